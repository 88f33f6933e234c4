"""A look into a .keras file before Keras opens it. No Keras.

Keras refuses to run code from such a file, but not to unpack whatever it claims to hold. Here nothing is
unpacked: members lie uncompressed, as Keras writes them, and have a checksum; the arrays of the HDF5 file
lie in it, and are not larger than it.
"""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import h5py

from keras_vit.errors import CheckpointError
from keras_vit.weights.stored_zip import StoredZip

_CONFIG = "config.json"
_WEIGHTS = "model.weights.h5"
# A model of 100 blocks takes 0.3 MB, the names of 21,843 classes another one; parsed, ten times that.
_MAX_CONFIG = 8 * 2**20
# Where a configuration says how large weights are; a weight has fewer elements than all of them, and
# images have fewer rows than this.
_SIZES = {
    *("units", "filters", "input_dim", "output_dim", "embed_dim", "mlp_ratio", "reg_tokens"),
    *("kernel_size", "patch_size", "grid_size", "batch_shape", "input_shape", "shape"),
}
_MOST_PIXELS = 2**16


def check_keras_file(path: Path) -> int:
    """Refuse a .keras file that is damaged or claims more than it holds.

    What it does not see is a configuration that asks for a few times more than the file's weights: Keras
    builds that, and then refuses the weights.

    Returns:
        The number of arrays that it holds for the model's layers.

    Raises:
        CheckpointError: one line that says what is wrong.
    """
    try:
        archive = StoredZip(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        _check_members(path, archive)
        config = archive.read(_CONFIG, 0, archive.size(_CONFIG)).tobytes()
        elements, arrays = _check_arrays(path, archive)
    finally:
        archive.close()
    _check_sizes(path, config, max(elements, _MOST_PIXELS))
    return arrays


def _check_members(path: Path, archive: StoredZip) -> None:
    missing = [name for name in (_CONFIG, _WEIGHTS) if name not in archive]
    if missing:
        raise CheckpointError(
            f"{path}: not a whole .keras file: it has no {' and no '.join(missing)}"
        )
    for name in archive.names():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise CheckpointError(f"{path}: member {name!r} would lie outside of the archive")
        archive.read(name, 0, 0)  # verifies its checksum
    if archive.size(_CONFIG) > _MAX_CONFIG:
        raise CheckpointError(f"{path}: its configuration takes {archive.size(_CONFIG)} bytes")


def _check_arrays(path: Path, archive: StoredZip) -> tuple[int, int]:
    """Elements of all arrays, and how many arrays belong to layers."""
    try:
        with archive.open(_WEIGHTS) as weights:
            return _look_into(path, weights, archive.size(_WEIGHTS))
    except CheckpointError:
        raise
    # A damaged HDF5 file fails in any of its library's ways.
    except Exception as error:
        raise CheckpointError(f"{path}: damaged: its weights are no HDF5 file") from error


def _look_into(path: Path, weights: BinaryIO, size: int) -> tuple[int, int]:
    with h5py.File(weights, "r") as file:
        foreign: list[str] = []
        datasets: dict[str, h5py.Dataset] = {}

        def look(name: str, link: Any) -> None:
            found = file[name] if isinstance(link, h5py.HardLink) else None
            if isinstance(found, h5py.Dataset):
                datasets[name] = found
                if found.is_virtual or found.external or found.dtype.kind not in "biufV":
                    foreign.append(name)
            elif found is None:
                foreign.append(name)

        file.visititems_links(look)
        if foreign:
            raise CheckpointError(
                f"{path}: array {foreign[0]!r} lies elsewhere or holds no numbers"
            )
        total = sum(dataset.nbytes for dataset in datasets.values())
        if total > size:
            raise CheckpointError(
                f"{path}: its weights claim {total} bytes and take {size}; Keras compresses none"
            )
        layers = [name for name in datasets if not name.startswith("optimizer/")]
        return sum(dataset.size for dataset in datasets.values()), len(layers)


def _check_sizes(path: Path, config: bytes, most: int) -> None:
    try:
        tree = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged: its configuration is no JSON") from error
    for key, number in _numbers("", tree):
        if key in _SIZES and number > most:
            raise CheckpointError(
                f"{path}: its configuration has {key}={number:.3g}, more than all its weights"
            )


def _numbers(key: str, tree: Any) -> Iterator[tuple[str, float]]:
    """Every number below a JSON value, with the key that it stands at."""
    waiting = [(key, tree)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.items())
        elif isinstance(value, list):
            waiting.extend((key, item) for item in value)
        elif isinstance(value, int | float):
            yield key, value
