"""Write an ONNX file weight by weight: no more than one is in memory at a time.

`onnx.save` wants the whole file as one message, and copies it once more to bytes. Here the message is
written in the order of protobuf's wire format: the graph's length, its nodes, and then each weight.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx

from keras_vit.export.onnx_graph import Weight
from keras_vit.export.staging import data_path

MAX_INLINE = 1_900_000_000
"""Bytes of weights in the file itself: a protobuf ends at 2 GiB, and the rest is for the graph."""

_PAGE = 4096  # weights beside the file start at a page, so that a runtime can map them
_SMALL = 1024  # bytes; constants below it, such as shapes, always stay in the file

_GRAPH = onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_RAW_DATA = onnx.TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number


def write_file(path: Path, model: onnx.ModelProto, weights: Sequence[Weight]) -> None:
    """Write a model and its weights, those of a large one into `data_path(path)` beside it.

    Args:
        model: without initializers.
        weights: in any order, of unique names.
    """
    large = sum(weight.bytes for weight in weights) > MAX_INLINE
    outside = [weight for weight in weights if large and weight.bytes >= _SMALL]
    inside = [weight for weight in weights if not large or weight.bytes < _SMALL]
    if outside:
        with data_path(path).open("wb") as file:
            model.graph.initializer.extend(_write_beside(file, outside, data_path(path).name))
    graph = model.graph.SerializeToString()
    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    headers = [_header(weight) for weight in inside]
    tensors = list(zip(inside, headers, strict=True))
    lengths = [len(header) + weight.bytes for weight, header in tensors]
    whole = len(graph) + sum(len(_key(_INITIALIZER, n)) + n for n in lengths)
    with path.open("wb") as file:
        file.write(rest.SerializeToString())
        file.write(_key(_GRAPH, whole))
        file.write(graph)
        for (weight, header), length in zip(tensors, lengths, strict=True):
            file.write(_key(_INITIALIZER, length))
            file.write(header)
            _write_array(file, weight)


def _write_beside(
    file: BinaryIO, weights: Iterable[Weight], location: str
) -> Iterable[onnx.TensorProto]:
    """Write arrays to a file of their own, and give the tensors that refer to them."""
    for weight in weights:
        offset = -(-file.tell() // _PAGE) * _PAGE
        file.seek(offset)
        _write_array(file, weight)
        tensor = _tensor(weight)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entries = {"location": location, "offset": offset, "length": weight.bytes}
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
        yield tensor


def _write_array(file: BinaryIO, weight: Weight) -> None:
    array = np.ascontiguousarray(weight.make())
    # ONNX is little-endian; a scalar stays one, which ascontiguousarray does not keep.
    array = array.astype(array.dtype.newbyteorder("<"), copy=False).reshape(weight.value.sides())
    if array.dtype != np.dtype(weight.value.dtype):
        raise TypeError(f"{weight.value} was made as {array.dtype}")
    file.write(array.data.cast("B") if array.size and array.ndim else array.tobytes())


def _tensor(weight: Weight) -> onnx.TensorProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(weight.value.dtype))
    return onnx.TensorProto(name=weight.value.name, dims=weight.value.sides(), data_type=kind)


def _header(weight: Weight) -> bytes:
    """A tensor's message up to its data."""
    return _tensor(weight).SerializeToString() + _key(_RAW_DATA, weight.bytes)


def _key(field: int, length: int) -> bytes:
    """What stands before a field of known length: its number, its wire type (2), the length."""
    return _varint(field << 3 | 2) + _varint(length)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth bit says that more follow."""
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])
