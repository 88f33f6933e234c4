"""Images in TFRecord files by random access.

A TFRecord file has no index. So a file is scanned once: of every record the place of its encoded image
and its label are noted, and the note is kept in the cache folder, until the file changes. After that any
image is one read, and a data set of records can be shuffled, split and continued like any other.

    KERAS_VIT_CACHE: the cache folder; by default `keras_vit` in XDG_CACHE_HOME or ~/.cache.
"""

import hashlib
import mmap
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np

from keras_vit.caching import cache_folder
from keras_vit.data import examples
from keras_vit.data.threads import decoders
from keras_vit.data.transforms import EncodedImage
from keras_vit.errors import KerasVitError
from keras_vit.weights.whole_file import draft_file

_HEADER, _FOOTER = 12, 4  # length and its checksum; checksum of the data
_VERSION = 1  # of the notes


@dataclass(frozen=True, eq=False)
class Records(Sequence[EncodedImage]):
    """Encoded images in TFRecord files; what is taken of it reads nothing but that.

    Attributes:
        files: the TFRecord files.
        file: index of each image's file, (N,). offset, size: of its bytes there, (N,).
    """

    files: tuple[Path, ...]
    file: np.ndarray
    offset: np.ndarray
    size: np.ndarray

    def __len__(self) -> int:
        return len(self.offset)

    @overload
    def __getitem__(self, index: int) -> EncodedImage: ...
    @overload
    def __getitem__(self, index: slice) -> "Records": ...
    def __getitem__(self, index: int | slice) -> "EncodedImage | Records":
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        path, offset = self.files[self.file[index]], int(self.offset[index])
        try:
            with path.open("rb") as stream:
                stream.seek(offset)
                data = stream.read(int(self.size[index]))
        except OSError as error:
            raise KerasVitError(f"{path}: cannot be read ({error.strerror})") from None
        return EncodedImage(data, self.name(index))

    def name(self, index: int) -> str:
        """Of one image: its file, and its place there."""
        return f"{self.files[self.file[index]]}, image at byte {self.offset[index]}"

    def take(self, indices: np.ndarray) -> "Records":
        """The images at `indices`, in that order."""
        chosen = {name: getattr(self, name)[indices] for name in ("file", "offset", "size")}
        return replace(self, **chosen)

    @staticmethod
    def joined(parts: "Sequence[Records]") -> "Records":
        """One after the other."""
        starts = np.cumsum([0, *(len(part.files) for part in parts)])
        return Records(
            files=tuple(path for part in parts for path in part.files),
            file=np.concatenate([p.file + s for p, s in zip(parts, starts, strict=False)]),
            offset=np.concatenate([p.offset for p in parts]),
            size=np.concatenate([p.size for p in parts]),
        )


@dataclass(frozen=True)
class Keys:
    """What the features of an Example are called: the encoded image, its label (which is -1 where None is
    asked for), its label's name."""

    image: str
    label: str | None
    text: str | None = None


@dataclass(frozen=True, eq=False)
class Index:
    """What the scan of a file noted, of every record: arrays (N,), and the names of labels."""

    offset: np.ndarray
    size: np.ndarray
    label: np.ndarray
    names: dict[int, str]


def indexed(files: Sequence[Path], layouts: Sequence[Keys]) -> tuple[list[Index], Keys]:
    """The indices of TFRecord files, scanned where the cache does not have them.

    Args:
        files: at least one. layouts: how the features may be called; the first that fits the first
            record of the first file counts for all.

    Raises:
        KerasVitError: a file that cannot be read, is cut short, or holds other records.
    """
    keys = _layout(files[0], layouts)
    with decoders() as pool:
        return list(pool.map(lambda path: _index(path, keys), files)), keys


def records(files: Sequence[Path], indices: Sequence[Index]) -> tuple[Records, np.ndarray]:
    """All images of files that were indexed, and their labels (N,)."""
    counts = [len(index.label) for index in indices]
    images = Records(
        files=tuple(files),
        file=np.repeat(np.arange(len(files)), counts),
        offset=np.concatenate([index.offset for index in indices]),
        size=np.concatenate([index.size for index in indices]),
    )
    return images, np.concatenate([index.label for index in indices])


def _layout(path: Path, layouts: Sequence[Keys]) -> Keys:
    with _mapped(path) as data:
        start, end = _next(path, data, 0)
        names = _features(path, data, start, end)
    for keys in layouts:
        if {keys.image, keys.label or keys.image} <= set(names):
            return keys
    expected = " or ".join(f"{keys.image} and {keys.label}" for keys in layouts)
    raise KerasVitError(
        f"{path}: its records have {', '.join(sorted(names)) or 'no features'}; expected {expected}"
    )


def _index(path: Path, keys: Keys) -> Index:
    stat = path.stat()
    what = [_VERSION, path.resolve(), stat.st_size, stat.st_mtime_ns, keys]
    note = cache_folder() / "records" / f"{hashlib.sha256(repr(what).encode()).hexdigest()}.npz"
    try:
        return _noted(note)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except Exception as error:  # NumPy and zipfile raise nearly anything
        warnings.warn(f"{note} is damaged and is written anew ({error})", stacklevel=2)
    index = _scanned(path, keys)
    _keep(index, note)
    return index


def _noted(note: Path) -> Index:
    with np.load(note, allow_pickle=False) as found:
        names = dict(zip(found["named"].tolist(), found["names"].tolist(), strict=True))
        return Index(found["offset"], found["size"], found["label"], names)


def _keep(index: Index, note: Path) -> None:
    """Write an index whole or not at all; without it, the next run scans again."""
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        with draft_file(note) as draft:
            np.savez(
                draft,
                offset=index.offset,
                size=index.size,
                label=index.label,
                named=np.array(list(index.names), np.int64),
                names=np.array(list(index.names.values()), str),
            )
    except OSError as error:
        warnings.warn(
            f"the index of TFRecord files cannot be kept in {note.parent} ({error.strerror}); set "
            "KERAS_VIT_CACHE to a folder that can be written",
            stacklevel=2,
        )


def _scanned(path: Path, keys: Keys) -> Index:
    rows: list[tuple[int, int, int]] = []
    names: dict[int, str] = {}
    with _mapped(path) as data:
        at = 0
        while at < len(data):
            start, end = _next(path, data, at)
            found = _features(path, data, start, end)
            try:
                image = examples.bytes_span(data, found[keys.image])
                label = -1 if keys.label is None else examples.integer(data, found[keys.label])
                if keys.text in found and label not in names:
                    names[label] = bytes(
                        data[slice(*examples.bytes_span(data, found[keys.text]))]
                    ).decode()
            except (KeyError, ValueError) as error:
                raise KerasVitError(
                    f"{path}: the record at byte {at} has no {keys.image} and {keys.label} as they "
                    f"should be ({error})"
                ) from None
            rows.append((image[0], image[1] - image[0], label))
            at = end + _FOOTER
    columns = np.array(rows, np.int64).reshape(-1, 3).T
    return Index(columns[0], columns[1], columns[2], names)


def _mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as stream:
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise KerasVitError(f"{path}: the file is empty") from None
    except OSError as error:
        raise KerasVitError(f"{path}: cannot be read ({error.strerror})") from None


def _next(path: Path, data: mmap.mmap, at: int) -> tuple[int, int]:
    """(start, end) of the record at a place."""
    start = at + _HEADER
    end = start + struct.unpack_from("<Q", data, at)[0] if start <= len(data) else start
    if end + _FOOTER > len(data):
        raise KerasVitError(
            f"{path}: no whole TFRecord at byte {at}: the file is cut short, compressed or not of "
            "this format"
        )
    return start, end


def _features(path: Path, data: mmap.mmap, start: int, end: int) -> dict[str, tuple[int, int, int]]:
    try:
        return examples.features(data, start, end)
    except ValueError as error:
        raise KerasVitError(
            f"{path}: the record at byte {start - _HEADER} is no tf.train.Example ({error})"
        ) from None
