"""Whether a table can be written, asked before anything heavy is imported."""

from pathlib import Path

from keras_vit.bulk.parts import Parts
from keras_vit.bulk.tables import SUFFIXES, require_writer
from keras_vit.errors import UsageError
from keras_vit.outputs import require_output


def shard_path(output: Path, shard: tuple[int, int]) -> Path:
    """The file of one worker: `answers-00001-of-00004.parquet` of `answers.parquet`.

    Raises:
        UsageError: a worker that is none.
    """
    index, count = shard
    if not 0 <= index < count:
        raise UsageError(f"shard is (index, count) with 0 <= index < count; got {shard}")
    if count == 1:
        return output
    return output.with_name(f"{output.stem}-{index:05}-of-{count:05}{output.suffix}")


def require_table(output: Path, shard: tuple[int, int], overwrite: bool) -> None:
    """Refuse an output before anything heavy is imported.

    Raises:
        UsageError: another kind of file, or one that exists.
        MissingPackageError: pyarrow, of Parquet.
    """
    path = shard_path(output, shard)
    # A killed process may have left parts beside the whole file: they are of the same job.
    require_output(path, SUFFIXES, overwrite or Parts(path).exist)
    require_writer(output)
