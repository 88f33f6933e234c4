"""An open checkpoint: named tensors that are read one at a time, whatever the file format."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import CheckpointError

Array = NDArray[Any]


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that still lies in its file.

    Attributes:
        shape: its shape, already checked against the bytes that the file holds.
        dtype: the dtype of the array that `read` returns.
        read: reads it; CheckpointError when the bytes turn out damaged.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], Array]


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of one checkpoint file, open for reading. A context manager.

    Attributes:
        path: the file.
        format: "safetensors", "torch", "torch (legacy)" or "npz".
        tensors: the stored tensors by name, in the order of the file.
        metadata: the file's own text metadata, where the format has some.
        skipped: names that stood among the tensors but hold something else, such as an epoch.
        close: releases the file; called by `with`.
    """

    path: Path
    format: str
    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]
    skipped: tuple[str, ...]
    close: Callable[[], None]

    def keys(self) -> list[str]:
        """The names of all tensors, in the order of the file."""
        return list(self.tensors)

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of tensor `key`."""
        return self._tensor(key).shape

    def dtype(self, key: str) -> np.dtype[Any]:
        """The dtype of the array that `read(key)` returns: bfloat16 is read as float32."""
        return self._tensor(key).dtype

    def read(self, key: str) -> Array:
        """Read tensor `key` from the file into a fresh array. Nothing is kept.

        Raises:
            CheckpointError: when there is no such tensor or its bytes are damaged.
        """
        tensor = self._tensor(key)
        try:
            return tensor.read()
        except CheckpointError:
            raise
        except (ValueError, OSError) as error:
            raise CheckpointError(f"{self.path}: cannot read tensor {key!r}: {error}") from error

    def renamed(self, rename: Callable[[str], str]) -> "Checkpoint":
        """The same checkpoint under new names.

        Raises:
            CheckpointError: when two tensors would get one name.
        """
        tensors: dict[str, StoredTensor] = {}
        for key, tensor in self.tensors.items():
            if rename(key) in tensors:
                raise CheckpointError(f"{self.path}: two tensors are called {rename(key)!r}")
            tensors[rename(key)] = tensor
        return replace(self, tensors=tensors)

    def _tensor(self, key: str) -> StoredTensor:
        if key not in self.tensors:
            raise CheckpointError(f"{self.path}: no tensor is called {key!r}")
        return self.tensors[key]

    def __contains__(self, key: str) -> bool:
        return key in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def check_finite(path: Path | str, name: str, array: Array) -> None:
    """Refuse a tensor that holds NaN or infinity.

    Args:
        path: the file it came from, for the message.
        name: the tensor's name, for the message.
        array: any shape and dtype; only floating dtypes can fail.

    Raises:
        CheckpointError: with the number of values that are not finite.
    """
    if not np.issubdtype(array.dtype, np.inexact) or np.isfinite(array).all():
        return
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    raise CheckpointError(
        f"{path}: tensor {name!r} has {bad} of {array.size} values that are NaN or infinite: "
        "the file is damaged or its training diverged"
    )


def widen_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """float32 values of bfloat16 numbers given as their 16 bits, of any shape; exact."""
    wide = bits.astype(np.uint32)
    wide <<= np.uint32(16)
    return wide.view(np.float32)


def as_real(array: Array) -> Array:
    """An array as it is, but bfloat16, which is no number to NumPy, as float32; exact."""
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def join_names(names: Iterable[str], most: int = 5) -> str:
    """The first `most` names for an error line, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
