"""Where the values lie in a serialised tf.train.Example, found without copying or parsing the rest.

The format is protobuf's (https://protobuf.dev/programming-guides/encoding) of three messages: an Example
holds Features (field 1), which are a map (field 1) of name (1) to Feature (2), which is a list of bytes
(1), floats (2) or integers (3). An image of a megabyte is skipped by its length.
"""

from collections.abc import Iterator
from mmap import mmap

Buffer = bytes | memoryview | mmap

Span = tuple[int, int]
"""(start, end) of bytes in a buffer."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_BYTES, _INTEGERS = 1, 3
_LONGEST = 10  # bytes of a varint


def features(buffer: Buffer, start: int, end: int) -> dict[str, tuple[int, int, int]]:
    """The features of an Example: name -> (kind, start, end) of the list.

    Raises:
        ValueError: it is no Example.
    """
    found: dict[str, tuple[int, int, int]] = {}
    for _, whole in _fields(buffer, start, end, only=1):
        for _, entry in _fields(buffer, *whole, only=1):
            parts = dict(_fields(buffer, *entry))
            if set(parts) >= {1, 2}:
                name = bytes(buffer[slice(*parts[1])]).decode()
                for kind, span in _fields(buffer, *parts[2]):
                    found[name] = kind, *span
    return found


def bytes_span(buffer: Buffer, feature: tuple[int, int, int]) -> Span:
    """Where the one value of a list of bytes lies.

    Raises:
        ValueError: it is another list, or does not hold one value.
    """
    kind, start, end = feature
    values = [span for _, span in _fields(buffer, start, end, only=1)] if kind == _BYTES else []
    if len(values) != 1:
        raise ValueError("not one string of bytes")
    return values[0]


def integer(buffer: Buffer, feature: tuple[int, int, int]) -> int:
    """The one value of a list of integers.

    Raises:
        ValueError: it is another list, or does not hold one value.
    """
    kind, start, end = feature
    if kind != _INTEGERS:
        raise ValueError("not an integer")
    values = []
    at = start
    while at < end:
        tag, at = _varint(buffer, at, end)
        if tag == 1 << 3 | _VARINT:
            value, at = _varint(buffer, at, end)
            values.append(value)
        elif tag == 1 << 3 | _LENGTH:  # packed
            size, at = _varint(buffer, at, end)
            while size > 0:
                value, after = _varint(buffer, at, end)
                values.append(value)
                at, size = after, size - (after - at)
        else:
            raise ValueError("not a list of integers")
    if len(values) != 1:
        raise ValueError(f"{len(values)} integers where one is expected")
    return values[0] - (1 << 64) if values[0] >> 63 else values[0]


def _fields(
    buffer: Buffer, start: int, end: int, only: int | None = None
) -> Iterator[tuple[int, Span]]:
    """The fields of a message that have a length: (number, span); others are passed over."""
    at = start
    while at < end:
        tag, at = _varint(buffer, at, end)
        number, kind = tag >> 3, tag & 7
        if kind == _LENGTH:
            size, at = _varint(buffer, at, end)
            if at + size > end:
                raise ValueError("a field is longer than its message")
            if only is None or number == only:
                yield number, (at, at + size)
            at += size
        elif kind == _VARINT:
            _, at = _varint(buffer, at, end)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a field of kind {kind}")


def _varint(buffer: Buffer, at: int, end: int) -> tuple[int, int]:
    """(value, position after it) of a number of seven bits a byte, the lowest first."""
    value = 0
    for shift in range(0, 7 * _LONGEST, 7):
        if at >= end:
            break
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number without an end")
