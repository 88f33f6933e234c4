"""Zip archives whose members lie uncompressed, as torch and numpy write them.

An archive is hostile until read: nothing in it makes the reader hold more memory than the member
that it asks for, and no member is believed before its checksum is right.
"""

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import CheckpointError

# zipfile builds an object of some 600 bytes for each 46 bytes of an archive's directory. The largest
# vision transformers have fewer than 2000 members, 0.2 MB of directory.
_MAX_DIRECTORY = 4 * 2**20
_CHUNK = 2**20
_LOCAL_HEADER = struct.Struct("<4s22x2H")
_ENCRYPTED = 0x1
_UTF8 = 0x800


class StoredZip:
    """An open archive.

    Args:
        path: the file.

    Raises:
        CheckpointError: when it is damaged or a member is there twice. The methods below raise it
            for a member that is damaged, compressed or encrypted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = path.stat().st_size
        self._file = _DirectoryReader(io.FileIO(path))
        try:
            self._members = _unique(path, _directory(path, self._file))
        except BaseException:
            self._file.close()
            raise
        self._starts: dict[str, int] = {}
        self._verified: set[str] = set()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def names(self) -> list[str]:
        """The names of all members, in the archive's order."""
        return list(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def size(self, name: str) -> int:
        """The length of a member in bytes."""
        return self._member(name).file_size

    def peek(self, name: str, most: int) -> bytes:
        """The first `most` bytes of a member, or fewer where it ends; not verified yet."""
        count = min(most, self.size(name))
        self._file.seek(self._start(name))
        return self._into(memoryview(bytearray(count))).tobytes()

    def read(self, name: str, start: int, count: int) -> NDArray[np.uint8]:
        """Bytes `start` to `start + count` of a member, in a fresh array.

        The checksum of the whole member is verified the first time.

        Raises:
            CheckpointError: when the member is damaged.
        """
        if not 0 <= start <= start + count <= self.size(name):
            raise CheckpointError(f"{self._path}: member {name!r} is too short")
        content = np.empty(count, np.uint8)
        if name in self._verified:
            self._file.seek(self._start(name) + start)
            self._into(content.data)
            return content
        self._file.seek(self._start(name))
        checksum = self._skim(start, 0)
        checksum = zlib.crc32(self._into(content.data), checksum)
        checksum = self._skim(self.size(name) - start - count, checksum)
        if checksum != self._members[name].CRC:
            raise CheckpointError(f"{self._path}: damaged: member {name!r} has a wrong checksum")
        self._verified.add(name)
        return content

    def open(self, name: str) -> io.BufferedReader:
        """A member as a file of its own, to be closed before the archive; not verified."""
        return io.BufferedReader(_Part(self._file, self._start(name), self.size(name)))

    def _skim(self, count: int, checksum: int) -> int:
        """Run the checksum over the next `count` bytes without keeping them."""
        buffer = bytearray(min(count, _CHUNK))
        while count:
            part = self._into(memoryview(buffer)[: min(count, _CHUNK)])
            checksum = zlib.crc32(part, checksum)
            count -= len(part)
        return checksum

    def _into(self, view: memoryview) -> memoryview:
        """Fill `view` from where the file stands."""
        if self._file.readinto(view) != len(view):
            raise CheckpointError(f"{self._path}: the file is cut short")
        return view

    def _start(self, name: str) -> int:
        """Where a member's bytes begin: behind its local header, whose length varies."""
        if name not in self._starts:
            info = self._member(name)
            self._file.seek(info.header_offset)
            header = self._file.read(_LOCAL_HEADER.size)
            if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
                raise CheckpointError(f"{self._path}: damaged: member {name!r} has no header")
            _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
            encoding = "utf-8" if info.flag_bits & _UTF8 else "cp437"
            if self._file.read(name_length).decode(encoding, "replace") != info.orig_filename:
                raise CheckpointError(f"{self._path}: damaged: member {name!r} has two names")
            start = info.header_offset + len(header) + name_length + extra_length
            if start + info.file_size > self._size:
                raise CheckpointError(f"{self._path}: member {name!r} reaches beyond the file")
            self._starts[name] = start
        return self._starts[name]

    def _member(self, name: str) -> zipfile.ZipInfo:
        """A member that can be read: uncompressed and within the file."""
        info = self._members[name]
        stored = info.compress_type == zipfile.ZIP_STORED
        if not stored or info.flag_bits & _ENCRYPTED or info.compress_size != info.file_size:
            raise CheckpointError(
                f"{self._path}: member {name!r} is compressed or encrypted; torch.save, "
                "numpy.savez and Keras write members as they are, so save the weights again"
            )
        if not 0 <= info.header_offset <= self._size - info.file_size:
            raise CheckpointError(f"{self._path}: member {name!r} reaches beyond the file")
        return info


class _Part(io.RawIOBase):
    """Bytes `start` to `start + size` of a file, as a file. `zipfile` would read again from the member's
    beginning at every step back."""

    def __init__(self, file: io.BufferedReader, start: int, size: int) -> None:
        self._file, self._start, self._size, self._place = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")[: max(0, self._size - self._place)]
        self._file.seek(self._start + self._place)
        count = self._file.readinto(view)
        self._place += count
        return count


class _DirectoryReader(io.BufferedReader):
    """A file that refuses to read an oversized archive directory, which zipfile does in one go."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"its directory claims {size} bytes")
        return super().read(size)


def _directory(path: Path, file: _DirectoryReader) -> list[zipfile.ZipInfo]:
    try:
        return zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, struct.error, ValueError, OSError, NotImplementedError) as error:
        raise CheckpointError(f"{path}: damaged or truncated zip archive: {error}") from error


def _unique(path: Path, members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    by_name = {info.filename: info for info in members}
    if len(by_name) < len(members):
        raise CheckpointError(f"{path}: damaged: a member of the archive is there twice")
    return by_name
