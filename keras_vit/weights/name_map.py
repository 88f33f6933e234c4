"""Tensor names of a checkpoint's layout, matched with the model's variable paths.

A family's map is a table of rows (`vision_transformer.py` is one), read in both directions. A row's
kind says how the array differs; `KINDS` has the functions.
"""

import importlib
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import UsageError
from keras_vit.weights.checkpoint import Checkpoint
from keras_vit.weights.rearranging import Change

Array = NDArray[Any]
Arguments = Mapping[str, Any]

# A number in a name: `{}` as it is, `{+1}` one more, `{+1:02d}` one more and in that format.
_PLACEHOLDER = re.compile(r"\{(?:\+(\d+))?(?::(\w+))?\}")


@dataclass(frozen=True)
class Row:
    """One variable, or one a block where the names hold numbers.

    Attributes:
        ours: the path of a Keras variable, such as `"blocks_{}/attn/qkv/kernel"`.
        theirs: the name in the checkpoint, such as `"blocks.{}.attn.qkv.weight"`, whose numbers are
            those of `ours` in their order. `{+1:02d}` is such a number plus one, in that format. Several
            names are parts that stand side by side along the variable's last axis: query, key, value.
        kind: a name in `KINDS`.
    """

    ours: str
    theirs: str | tuple[str, ...]
    kind: str = "vector"

    @property
    def names(self) -> tuple[str, ...]:
        """`theirs`, always as a tuple."""
        return (self.theirs,) if isinstance(self.theirs, str) else self.theirs

    def match(self, path: str) -> "Row | None":
        """The row of one variable, its numbers filled in; None if it is not this row's."""
        found = re.fullmatch(_pattern(self.ours), path)
        if found is None:
            return None
        return Row(path, tuple(_fill(name, found.groups()) for name in self.names), self.kind)


@dataclass(frozen=True)
class Constant:
    """A tensor that a library wants and the model has no variable for; not read, and always written.

    Attributes:
        beside: the path of the variable that it is written beside.
        theirs: its name, with numbers as in `Row`.
        value: what is written.
    """

    beside: str
    theirs: str
    value: Array


# torch's BatchNorm counts the batches that it has seen. Keras' does not, and nothing depends on it.
NO_BATCHES = np.zeros((), np.int64)


@dataclass(frozen=True)
class Kind:
    """How a tensor's array is turned on its way in and out; the two undo each other.

    Attributes:
        to_keras: from the checkpoint's array. from_keras: from the variable's, or its part, with the
            builder's arguments.
        resized: how an array of another shape can be made to fit: `"positions"`, `"patch"` (both its
            size and its channels) or `"channels"`; None if it cannot.
        loose: whether axes of length 1 may be missing or too many in the checkpoint.
    """

    to_keras: Callable[[Array], Array]
    from_keras: Callable[[Array, Arguments], Array]
    resized: str | None = None
    loose: bool = False


def _same(array: Array, arguments: Arguments | None = None) -> Array:
    return array


def _permuted(*axes: int) -> tuple[Callable[[Array], Array], Callable[[Array, Arguments], Array]]:
    back = tuple(int(axis) for axis in np.argsort(axes))
    return lambda array: array.transpose(axes), lambda array, arguments: array.transpose(back)


def _heads(array: Array, arguments: Arguments) -> Array:
    """(..., heads * width) as (..., heads, width)."""
    return array.reshape(*array.shape[:-1], arguments["num_heads"], -1)


def _heads_in_front(array: Array, arguments: Arguments) -> Array:
    """(heads * width, dim) as (heads, width, dim)."""
    return array.reshape(arguments["num_heads"], -1, array.shape[-1])


_OIHW = _permuted(2, 3, 1, 0)

KINDS = {
    # torch's arrays
    "vector": Kind(_same, _same),
    "linear": Kind(*_permuted(1, 0)),  # (out, in) to (in, out)
    "pointwise": Kind(  # a 1x1 convolution (out, in, 1, 1) to (in, out)
        lambda a: a.reshape(a.shape[:2]).T, lambda a, _: a.T[:, :, None, None], loose=True
    ),
    "conv": Kind(*_OIHW),
    "first_conv": Kind(*_OIHW, resized="channels"),
    "patch": Kind(*_OIHW, resized="patch"),
    "depthwise": Kind(*_permuted(2, 3, 0, 1)),  # (C, 1, h, w) to (h, w, C, 1)
    "positions": Kind(_same, _same, resized="positions"),  # (1, tokens, dim)
    "flat_positions": Kind(  # (tokens, dim)
        lambda a: a[None], lambda a, _: a[0], resized="positions"
    ),
    "flat_token": Kind(lambda a: a[None, None], lambda a, _: a[0, 0]),  # (dim,) to (1, 1, dim)
    # RoPE-ViT's (2, blocks, heads * pairs), of 32 pairs a head in each of its models
    "frequencies": Kind(
        lambda a: a.reshape(*a.shape[:2], -1, 32), lambda a, _: a.reshape(*a.shape[:2], -1)
    ),
    # of a joint bias of queries, keys and values, for layouts that are only read
    "first_third": Kind(lambda a: a[: len(a) // 3], lambda a, _: np.pad(a, (0, 2 * len(a)))),
    "last_third": Kind(lambda a: a[2 * len(a) // 3 :], lambda a, _: np.pad(a, (2 * len(a), 0))),
    # Google's .npz arrays, most of which lie as Keras' do
    "same": Kind(_same, _same),
    "same_pointwise": Kind(  # (1, 1, in, out) to (in, out)
        lambda a: a.reshape(a.shape[-2:]), lambda a, _: a[None, None], loose=True
    ),
    "same_first_conv": Kind(_same, _same, resized="channels"),
    "same_patch": Kind(_same, _same, resized="patch"),
    "squeezed": Kind(  # (1, 1, 1, C) to (C,)
        lambda a: a.reshape(-1), lambda a, _: a[None, None, None], loose=True
    ),
    "heads": Kind(  # (dim, heads, width) or (heads, width), last two axes in one
        lambda a: a.reshape(*a.shape[:-2], -1), _heads
    ),
    "heads_out": Kind(  # (heads, width, dim), first two axes in one
        lambda a: a.reshape(-1, a.shape[-1]), _heads_in_front
    ),
}


@dataclass(frozen=True)
class Layout:
    """The naming of one library.

    Attributes:
        rows: the table.
        heads: prefixes of the tensors that belong to a classifier.
        pre_heads: prefixes of a pre-training layer before it; a new classifier does without that layer
            where the model has none, and stands behind it where it has.
        ignored: patterns of tensors that the source library drops too.
        constants: tensors that are written although the model has none, and not read.
        renames: (pattern, replacement) pairs of `re.sub`, which bring other spellings of a checkpoint's
            names, such as a newer version's, to those of the table; applied in turn, on the way in.
        changes: what is done to the tensors after that, to have those of the table.
        marks: names that are no row's, by which the library's files are told from others.
        numerics: whose arithmetic a checkpoint with these names was made for, where it is not that of
            the catalogue entry: `"source"` or `"timm"`.
        variants: tables for models that this one lacks names for, such as those of another class.
        requires: arguments of the builder that the library's own models have.
        suffix: of the files that are written.
        settings: keys of the config.json beside such a checkpoint, by argument of the builder.
        config: from the builder's arguments and the class names to that config.json, for libraries that
            want one.
        keras_arrays: whether the arrays are laid out as Keras' already.
        read_only: whether the library's files hold more than a model has, so that none can be written.
    """

    rows: tuple[Row, ...]
    heads: tuple[str, ...]
    pre_heads: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    constants: tuple[Constant, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    changes: tuple[Change, ...] = ()
    marks: tuple[str, ...] = ()
    numerics: str | None = None
    variants: tuple["Layout", ...] = ()
    requires: Arguments = field(default_factory=dict)
    suffix: str = ".safetensors"
    settings: Mapping[str, str] = field(default_factory=dict)
    config: Callable[[Arguments, Sequence[str] | None], dict[str, Any]] | None = None
    keras_arrays: bool = False
    read_only: bool = False

    def to_keras(self, row: Row, arrays: Sequence[Array]) -> Array:
        """The variable's array from those of `row.names`."""
        if self.keras_arrays:
            return arrays[0]
        turned = [KINDS[row.kind].to_keras(array) for array in arrays]
        return turned[0] if len(turned) == 1 else np.concatenate(turned, axis=-1)

    def from_keras(self, row: Row, array: Array, arguments: Arguments) -> list[Array]:
        """The inverse of `to_keras`; `arguments` are the model builder's."""
        if self.keras_arrays:
            return [array]
        parts = [array] if len(row.names) == 1 else np.split(array, len(row.names), axis=-1)
        return [KINDS[row.kind].from_keras(part, arguments) for part in parts]

    def unfolded(self, checkpoint: Checkpoint) -> Checkpoint:
        """A checkpoint with the names and the tensors of the table."""
        checkpoint = checkpoint.renamed(self.spelled)
        tensors = reduce(lambda t, change: change.unfold(t), self.changes, dict(checkpoint.tensors))
        return replace(checkpoint, tensors=tensors)

    def folded(self, arrays: dict[str, Array]) -> dict[str, Array]:
        """The table's tensors of a model as the library keeps them."""
        return reduce(lambda a, change: change.fold(a), reversed(self.changes), arrays)

    def by_path(self) -> "Layout":
        """The layout of a model's own arrays, called by their variable paths."""
        tables = (self, *self.variants)
        rows = tuple(Row(row.ours, row.ours, row.kind) for table in tables for row in table.rows)
        return Layout(
            rows,
            heads=_layers_of(tables, Layout.is_classifier),
            pre_heads=_layers_of(tables, lambda table, name: name.startswith(table.pre_heads)),
            keras_arrays=True,
        )

    def for_model(self, paths: Iterable[str]) -> "Layout":
        """This layout, or its first variant that has a name for each of a model's variables."""
        paths = list(paths)
        tables = (self, *self.variants)
        return next((table for table in tables if all(map(table.find, paths))), self)

    def require(self, arguments: Arguments, name: str) -> None:
        """Refuse a model that the library has no class for, though it may have names for its tensors.

        Raises:
            UsageError: for an argument that is not as the library's own models have it, or names that are
                only read; `name` is what to call the layout.
        """
        if self.read_only:
            raise UsageError(f"{name} names of this family are read, but not written")
        for key, value in self.requires.items():
            if arguments.get(key, value) != value:
                raise UsageError(
                    f"{name} has no model with {key}={reprlib.repr(arguments[key])}, "
                    f"only with {value!r}"
                )

    def find(self, path: str) -> Row | None:
        """The row of a variable path, its numbers filled in; None if the table lacks it."""
        return next((row for row in (row.match(path) for row in self.rows) if row), None)

    def constants_beside(self, path: str) -> dict[str, Array]:
        """The constants that are written beside a variable, by name."""
        found = ((Row(c.beside, c.theirs).match(path), c.value) for c in self.constants)
        return {row.names[0]: value for row, value in found if row is not None}

    def spelled(self, name: str) -> str:
        """A checkpoint's name in the table's spelling."""
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name

    def is_classifier(self, name: str) -> bool:
        """Whether a tensor of the checkpoint belongs to a classifier."""
        return name.startswith(self.heads)

    def is_head(self, name: str) -> bool:
        """Whether it belongs to a classifier or the pre-training layer before it."""
        return name.startswith((*self.heads, *self.pre_heads))

    def is_ignored(self, name: str) -> bool:
        """Whether the source library drops this tensor too, or the table writes it by itself."""
        patterns = (*self.ignored, *(_pattern(constant.theirs) for constant in self.constants))
        return any(re.fullmatch(pattern, name) for pattern in patterns)

    def count_known(self, names: Iterable[str]) -> int:
        """How many of a checkpoint's names are in the table, or in the variant that knows most."""
        known = "|".join(_pattern(name) for row in self.rows for name in row.names)
        names = list(names)
        spelled = [self.spelled(name) for name in names]
        here = sum(re.fullmatch(known, name) is not None or name in self.marks for name in spelled)
        return max([here, *(variant.count_known(names) for variant in self.variants)])


def _layers_of(tables: Iterable[Layout], belongs: Callable[[Layout, str], bool]) -> tuple[str, ...]:
    """The layers, as prefixes of variable paths, of the rows whose tensors belong."""
    paths = (row.ours for table in tables for row in table.rows if belongs(table, row.names[0]))
    return tuple({path.split("/")[0] + "/" for path in paths})


def layouts_of(module: str) -> Mapping[str, Layout]:
    """The tables of a family: `LAYOUTS` of the module that its catalogue file names, native one first."""
    return importlib.import_module(module).LAYOUTS


def _pattern(name: str) -> str:
    """A regular expression for a name with numbers, with a group for each."""
    pieces = re.split(r"\{[^}]*\}", name)
    return r"(\d+)".join(re.escape(piece) for piece in pieces)


def _fill(name: str, numbers: Sequence[str]) -> str:
    """The name with its placeholders replaced by the numbers, in their order."""
    values = iter(numbers)

    def one(found: re.Match[str]) -> str:
        return format(int(next(values)) + int(found[1] or 0), found[2] or "d")

    return _PLACEHOLDER.sub(one, name)
