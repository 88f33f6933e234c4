"""Writers of each checkpoint format, from plain arrays and without torch."""

import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path

import numpy as np
import pytest

from keras_vit.weights.files import write_npz, write_safetensors

Tensors = Mapping[str, np.ndarray]

_STORAGES = {
    "float32": "Float",
    "float64": "Double",
    "float16": "Half",
    "int64": "Long",
    "int32": "Int",
    "uint8": "Byte",
    "bool": "Bool",
}


def _state_dict(tensors: Tensors) -> bytes:
    """The pickle of a state dict, opcode by opcode: a tensor is a call of torch's rebuild function."""
    out = [b"\x80\x02}("]
    for number, (name, array) in enumerate(tensors.items()):
        strides = [prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
        out += [
            _text(name),
            b"ctorch._utils\n_rebuild_tensor_v2\n((",
            _text("storage"),
            f"ctorch\n{_STORAGES[array.dtype.name]}Storage\n".encode(),
            _text(str(number)) + _text("cpu") + _number(array.size),
            b"tQ" + _number(0),
            _numbers(array.shape) + _numbers(strides),
            b"\x89ccollections\nOrderedDict\n)RtR",
        ]
    return b"".join([*out, b"u."])


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _numbers(values: list[int] | tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_number, values)) + b"t"


def write_torch(path: Path, tensors: Tensors) -> None:
    """As torch.save writes it since 1.6."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", _state_dict(tensors))
        for number, array in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{number}", array.tobytes())


def write_torch_legacy(path: Path, tensors: Tensors) -> None:
    """As torch.save wrote it before 1.6."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    content = [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2)]
    content += [pickle.dumps(system, 2), _state_dict(tensors)]
    content += [pickle.dumps([str(number) for number in range(len(tensors))], 2)]
    for array in tensors.values():
        content += [struct.pack("<q", array.size), array.tobytes()]
    path.write_bytes(b"".join(content))


WRITERS: dict[str, Callable[[Path, Tensors], None]] = {
    "safetensors": write_safetensors,
    "npz": write_npz,
    "torch": write_torch,
    "torch (legacy)": write_torch_legacy,
}


@pytest.fixture(params=WRITERS)
def format_name(request: pytest.FixtureRequest) -> str:
    """Each format in turn."""
    return request.param


@pytest.fixture
def write(format_name: str) -> Callable[[Path, Tensors], None]:
    """Writes arrays by name to a file of the format in turn."""
    return WRITERS[format_name]
