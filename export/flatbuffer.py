"""Two things to do with flatbuffers that need no generated code: write small ones, add to large ones.

A flatbuffer is a tree of tables; a table has numbered fields, each a number in place or a distance ahead to
a string, a vector or another table (https://flatbuffers.dev/internals).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from flatbuffers import Builder, number_types
from flatbuffers.table import Table

Fields = Mapping[int, Any]
"""A table: each field's number in the schema -> its value. A NumPy scalar is a number of that type; a
string, an array and another sequence (of strings or tables) are vectors; a mapping is a table."""

_ALIGNMENT = 64  # at most, of anything inside a TFLite file

_MODEL_VERSION, _MODEL_BUFFERS, _MODEL_METADATA = 0, 4, 6
"""Fields of `Model` in TFLite's schema.fbs; all others refer to something too."""


def encode(root: Fields, identifier: bytes) -> bytearray:
    """A whole flatbuffer.

    Args:
        root: the root table. identifier: the schema's, four bytes.
    """
    builder = Builder(4096)
    builder.Finish(_write(builder, root), identifier)
    return builder.Output()


def add_metadata(content: bytes, name: str, payload: bytes | bytearray) -> bytearray:
    """A TFLite file with one entry more in its model's metadata.

    The old file is not taken apart: it lies whole behind a new root whose fields point into it, so that
    weights keep their alignment and memory stays near the file's size.

    Args:
        content: a TFLite file. name: of the entry. payload: what its buffer holds.
    """
    old = Table(content, int.from_bytes(content[:4], "little"))
    builder = Builder(len(content) + len(payload) + 65536)
    padded = content + bytes(-len(content) % _ALIGNMENT)
    # A builder counts from the end of what it writes; here, the old file's position 0.
    start = builder.CreateByteVector(padded) - number_types.UOffsetTFlags.bytewidth
    references = {slot: start - position for slot, position in _references(old)}
    buffers = [start - position for position in _items(old, _MODEL_BUFFERS)]
    entries = [start - position for position in _items(old, _MODEL_METADATA)]
    builder.Prep(16, len(payload))  # the schema aligns a buffer's data
    buffers.append(_table(builder, {0: builder.CreateByteVector(payload)}, {}))
    entry = {0: builder.CreateString(name)}
    entries.append(_table(builder, entry, {1: np.uint32(len(buffers) - 1)}))
    references[_MODEL_BUFFERS] = _vector(builder, buffers)
    references[_MODEL_METADATA] = _vector(builder, entries)
    builder.Prep(_ALIGNMENT, 0)
    version = {_MODEL_VERSION: np.uint32(_version(old))}
    builder.Finish(_table(builder, references, version), b"TFL3")
    return builder.Output()


def _write(builder: Builder, value: Any) -> int:
    """Write what a field refers to, and return where it is."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, Mapping):
        numbers = {slot: part for slot, part in value.items() if isinstance(part, np.generic)}
        others = {
            slot: _write(builder, part) for slot, part in value.items() if slot not in numbers
        }
        return _table(builder, others, numbers)
    return _vector(builder, [_write(builder, item) for item in value])


def _vector(builder: Builder, positions: Sequence[int]) -> int:
    builder.StartVector(4, len(positions), 4)
    for position in reversed(positions):  # a flatbuffer is written from its end
        builder.PrependUOffsetTRelative(position)
    return builder.EndVector()


def _table(
    builder: Builder, references: Mapping[int, int], numbers: Mapping[int, np.generic]
) -> int:
    builder.StartObject(1 + max([-1, *references, *numbers]))
    for slot, position in references.items():
        builder.PrependUOffsetTRelativeSlot(slot, position, 0)
    for slot, number in numbers.items():
        _PREPEND[number.dtype.name](builder, slot, number.item(), 0)
    return builder.EndObject()


_PREPEND = {
    "uint8": Builder.PrependUint8Slot,
    "int8": Builder.PrependInt8Slot,
    "uint32": Builder.PrependUint32Slot,
    "int32": Builder.PrependInt32Slot,
}


def _references(table: Table) -> Iterator[tuple[int, int]]:
    """(field, position in the file) of everything that a model refers to."""
    vtable = table.Pos - table.Get(number_types.SOffsetTFlags, table.Pos)
    count = (table.Get(number_types.VOffsetTFlags, vtable) - 4) // 2
    for slot in range(count):
        if slot != _MODEL_VERSION and (offset := _offset(table, slot)):
            yield slot, table.Indirect(table.Pos + offset)


def _items(table: Table, slot: int) -> list[int]:
    """Positions in the file of the tables in a vector."""
    if not (offset := _offset(table, slot)):
        return []
    first = table.Vector(offset)
    return [table.Indirect(first + 4 * index) for index in range(table.VectorLen(offset))]


def _version(table: Table) -> int:
    offset = _offset(table, _MODEL_VERSION)
    return table.Get(number_types.Uint32Flags, table.Pos + offset) if offset else 0


def _offset(table: Table, slot: int) -> int:
    """Where a field is, from the table's start; 0 where it is not."""
    return table.Offset(4 + 2 * slot)
