"""Where keras_vit keeps what it can make again: indices of records, the parsed catalogue. No Keras.

Environment variable:
    KERAS_VIT_CACHE: the folder; by default `keras_vit` in XDG_CACHE_HOME or ~/.cache.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast


def cache_folder() -> Path:
    """The folder; it may not be there yet."""
    given = os.environ.get("KERAS_VIT_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keras_vit"


def cached_json(name: str, key: Any, make: Callable[[], Any]) -> Any:
    """Plain JSON data that is kept until its key changes.

    A cache that cannot be read or written only costs the time of making it.

    Args:
        name: of the file in the cache folder. key: what the data depends on, plain JSON data.
        make: gives the data.
    """
    with contextlib.suppress(OSError, ValueError, RuntimeError, KeyError, TypeError):
        note = json.loads((cache_folder() / name).read_bytes())
        if note["key"] == key:
            return note["data"]
    data = make()
    with contextlib.suppress(OSError, RuntimeError), written_whole(cache_folder() / name) as file:
        file.write(json.dumps({"key": key, "data": data}).encode())
    return data


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes its name when all went well, whoever else writes it.

    Raises:
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            yield cast(BinaryIO, file)
            file.close()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink()
            raise
