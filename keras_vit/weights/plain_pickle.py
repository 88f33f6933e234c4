"""Reading the pickles of torch checkpoints without running them.

A pickle is a program for a small stack machine, and Python's own machine calls whatever the program
names. This one knows the opcodes that plain containers need. It calls nothing: the few globals that
a state dict is made of (`GLOBALS`) stand for functions of this module, some others that training
scripts leave beside it become a stand-in that ignores everything, and any other is an error.
"""

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from keras_vit.errors import CheckpointError

# A state dict takes some 40 opcodes a tensor, so this is room for a thousand tensors and their
# optimizer, three times over. An opcode of one byte can make an object of 64, so it also bounds the
# memory and the time that a hostile pickle can take.
_MAX_OPCODES = 400_000


class Inert:
    """Stands for an object that is no part of the weights, whatever is done to it."""


INERT = Inert()


@dataclass(frozen=True)
class StorageType:
    """The element type of a torch storage.

    Attributes:
        dtype: the numpy dtype of its elements; bfloat16 is "bfloat16", which numpy has not.
        itemsize: bytes an element.
    """

    dtype: str
    itemsize: int


@dataclass(frozen=True)
class StorageRef:
    """A run of bytes elsewhere in the file: `count` elements called `key`."""

    type: StorageType
    key: str
    count: int


@dataclass(frozen=True)
class TensorRef:
    """A tensor as the pickle describes it: offset and strides count elements. Nothing is checked."""

    storage: StorageRef
    offset: Any
    shape: Any
    stride: Any


@dataclass(frozen=True)
class _Global:
    call: Callable[[tuple[Any, ...]], Any]


def load_plain_pickle(
    stream: BytesIO, path: Path, storages: dict[str, StorageRef] | None = None
) -> Any:
    """Read one pickle from `stream`, which is left behind its end.

    Args:
        stream: the bytes; what follows the pickle is not touched.
        path: the checkpoint, for messages.
        storages: is filled with every storage that the pickle names, by key.

    Returns:
        dict, list, tuple, str, int, float, bool, None, bytes, `TensorRef`, `StorageType` and `INERT`
        objects. A dict keeps the items whose key is a string or a number.

    Raises:
        CheckpointError: when the pickle is damaged, uses an unknown opcode or names a global that is
            not part of a plain state dict.
    """
    machine = _Machine(path, {} if storages is None else storages)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count == _MAX_OPCODES:
                raise CheckpointError(f"{path}: its pickle is longer than any state dict's")
            if opcode.name not in _OPCODES:
                raise CheckpointError(f"{path}: refused: its pickle uses the opcode {opcode.name}")
            _OPCODES[opcode.name](machine, argument)
        return machine.result()
    except CheckpointError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise CheckpointError(f"{path}: damaged pickle: {_one_line(error)}") from error


class _Machine:
    """The stack, the memo and the marked stacks of a pickle program."""

    def __init__(self, path: Path, storages: dict[str, StorageRef]) -> None:
        self.path = path
        self.storages = storages
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def result(self) -> Any:
        (value,) = self.stack
        return value

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self, count: int) -> list[Any]:
        """The top `count` objects, the topmost last."""
        return [self.stack.pop() for _ in range(count)][::-1]

    def push_stack_global(self) -> None:
        match self.pop(2):
            case [str(module), str(name)]:
                self.push_global(module, name)
            case _:
                raise ValueError("a global has no name")

    def push_global(self, module: str, name: str) -> None:
        known = GLOBALS.get(f"{module}.{name}")
        if known is None:
            raise CheckpointError(
                f"{self.path}: refused: its pickle asks for {f'{module}.{name}'[:80]!r}, which no "
                "plain state dict needs (nothing was run); save model.state_dict() alone"
            )
        self.push(known)

    def mark(self) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marked.pop()
        return items

    def memoize(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def call(self, arguments: Any) -> None:
        function = self.stack.pop()
        if isinstance(function, Inert):
            self.push(INERT)
        elif isinstance(function, _Global) and isinstance(arguments, tuple):
            self.push(function.call(arguments))
        else:
            raise ValueError("it calls what is not a function")

    def persistent(self) -> None:
        match self.stack.pop():
            case ("storage", StorageType() as kind, str(key), _, int(count), *rest) if (
                count >= 0 and rest in ([], [None])
            ):
                storage = StorageRef(kind, key, count)
                if self.storages.setdefault(key, storage) != storage:
                    raise ValueError(f"storage {key[:80]!r} is described in two ways")
                self.push(storage)
            case _:
                raise ValueError("a storage is described in an unknown way")

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            target.update(_plain_items(zip(items[::2], items[1::2], strict=True)))
        elif not isinstance(target, Inert):
            raise ValueError("it sets an item of what is not a dict")

    def append_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Inert):
            raise ValueError("it appends to what is not a list")

    def build(self) -> None:
        """Attributes of an object, such as the `_metadata` of a state dict: never needed."""
        self.stack.pop()
        if not isinstance(self.stack[-1], dict | Inert | TensorRef):
            raise ValueError("it sets attributes of what has none")


def _plain_items(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    # Other keys name no tensor, and hashing a deeply nested tuple overflows the C stack.
    return {key: value for key, value in pairs if isinstance(key, str | int | float | bytes)}


def _dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    # Never a copy: a short pickle could ask for a million copies of one large dict.
    content = arguments[0] if arguments else {}
    if not isinstance(content, dict):
        raise ValueError("a dict is made in an unknown way")
    return content


def _tensor(arguments: tuple[Any, ...]) -> TensorRef:
    storage, offset, shape, stride = arguments[:4]
    if not isinstance(storage, StorageRef):
        raise ValueError("a tensor has no storage")
    return TensorRef(storage, offset, shape, stride)


def _parameter(arguments: tuple[Any, ...]) -> TensorRef:
    if not isinstance(arguments[0], TensorRef):
        raise ValueError("a parameter has no tensor")
    return arguments[0]


def _size(arguments: tuple[Any, ...]) -> Any:
    return arguments[0] if arguments else ()


_STORAGES = {
    "Double": StorageType("float64", 8),
    "Float": StorageType("float32", 4),
    "Half": StorageType("float16", 2),
    "BFloat16": StorageType("bfloat16", 2),
    "Long": StorageType("int64", 8),
    "Int": StorageType("int32", 4),
    "Short": StorageType("int16", 2),
    "Char": StorageType("int8", 1),
    "Byte": StorageType("uint8", 1),
    "Bool": StorageType("bool", 1),
    "Untyped": StorageType("uint8", 1),
}

# What training scripts leave beside the weights: DeiT and MAE their arguments, others configurations,
# accuracies as numpy scalars, learning-rate schedules.
_BESIDE_THE_WEIGHTS = (
    *("argparse.Namespace", "yacs.config.CfgNode", "pathlib.PosixPath", "pathlib.WindowsPath"),
    *("pathlib._local.PosixPath", "pathlib._local.WindowsPath", "_codecs.encode", "torch.device"),
    *("numpy.dtype", "numpy.ndarray", "numpy.core.multiarray.scalar"),
    *("numpy._core.multiarray.scalar", "numpy.core.multiarray._reconstruct"),
    *("numpy._core.multiarray._reconstruct", "builtins.set", "__builtin__.set"),
    *("builtins.dict", "__builtin__.dict", "builtins.list", "__builtin__.list"),
    *(f"torch.{name}" for name in ("float64", "float32", "float16", "bfloat16", "int64")),
)

GLOBALS: dict[str, object] = {
    "collections.OrderedDict": _Global(_dict),
    "collections.Counter": _Global(_dict),
    "collections.defaultdict": _Global(lambda arguments: {}),
    "torch.Size": _Global(_size),
    "torch._utils._rebuild_tensor": _Global(_tensor),
    "torch._utils._rebuild_tensor_v2": _Global(_tensor),
    "torch._utils._rebuild_parameter": _Global(_parameter),
    "torch._utils._rebuild_parameter_with_state": _Global(_parameter),
    **{f"torch.{name}Storage": kind for name, kind in _STORAGES.items()},
    "torch.storage.UntypedStorage": _STORAGES["Untyped"],
    **dict.fromkeys(_BESIDE_THE_WEIGHTS, INERT),
}

_Step = Callable[[_Machine, Any], None]

_PUSH_ARGUMENT = (
    *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
)

_OPCODES: dict[str, _Step] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, _: None),
    **dict.fromkeys(_PUSH_ARGUMENT, lambda machine, argument: machine.push(argument)),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_SET": lambda machine, _: machine.push(INERT),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.pop(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.pop(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.pop(3))),
    "MARK": lambda machine, _: machine.mark(),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_mark())),
    "LIST": lambda machine, _: machine.push(machine.pop_mark()),
    "APPEND": lambda machine, _: machine.append_items(machine.pop(1)),
    "APPENDS": lambda machine, _: machine.append_items(machine.pop_mark()),
    "ADDITEMS": lambda machine, _: machine.append_items(machine.pop_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine.pop(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_mark()),
    "POP": lambda machine, _: machine.stack.pop(),
    **dict.fromkeys(
        ("PUT", "BINPUT", "LONG_BINPUT"), lambda machine, index: machine.memoize(int(index))
    ),
    "MEMOIZE": lambda machine, _: machine.memoize(len(machine.memo)),
    **dict.fromkeys(
        ("GET", "BINGET", "LONG_BINGET"),
        lambda machine, index: machine.push(machine.memo[int(index)]),
    ),
    "GLOBAL": lambda machine, name: machine.push_global(*name.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.push_stack_global(),
    "REDUCE": lambda machine, _: machine.call(machine.stack.pop()),
    "NEWOBJ": lambda machine, _: machine.call(machine.stack.pop()),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.persistent(),
}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
