"""Tensor names of a checkpoint's layout, matched with the model's variable paths.

A family's map is a table of rows (`vision_transformer.py` is one), read in both directions. A row's
kind says how the array differs; `KINDS` has the functions.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Row:
    """One tensor, or one a block where the names hold `{}`.

    Attributes:
        ours: the path of a Keras variable, such as `"blocks_{}/attn/qkv/kernel"`.
        theirs: the name in the checkpoint, such as `"blocks.{}.attn.qkv.weight"`.
        kind: a name in `KINDS`.
    """

    ours: str
    theirs: str
    kind: str = "vector"


@dataclass(frozen=True)
class Kind:
    """How a tensor's array is turned on its way in and out; the two undo each other."""

    to_keras: Callable[[Array], Array]
    from_keras: Callable[[Array], Array]


KINDS = {
    "vector": Kind(lambda a: a, lambda a: a),
    "linear": Kind(np.transpose, np.transpose),  # torch (out, in), Keras (in, out)
    # torch OIHW, Keras HWIO; resized with the patch
    "patch": Kind(lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1)),
    "positions": Kind(lambda a: a, lambda a: a),  # (1, tokens, dim), resized with the grid
}


@dataclass(frozen=True)
class Layout:
    """The naming of one library.

    Attributes:
        rows: the table.
        heads: prefixes of the tensors that belong to a classifier.
        ignored: patterns of tensors that the source library drops too.
        keras_arrays: whether the arrays are laid out as Keras' already.
    """

    rows: tuple[Row, ...]
    heads: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    keras_arrays: bool = False

    def to_keras(self, row: Row, array: Array) -> Array:
        """The checkpoint's array as Keras lays it out."""
        return array if self.keras_arrays else KINDS[row.kind].to_keras(array)

    def from_keras(self, row: Row, array: Array) -> Array:
        """The inverse of `to_keras`."""
        return array if self.keras_arrays else KINDS[row.kind].from_keras(array)

    def by_path(self) -> "Layout":
        """The layout of a model's own arrays, called by their variable paths."""
        rows = tuple(Row(row.ours, row.ours, row.kind) for row in self.rows)
        heads = tuple(
            {row.ours.split("/")[0] + "/" for row in self.rows if self.is_head(row.theirs)}
        )
        return Layout(rows, heads, keras_arrays=True)

    def find(self, path: str) -> Row | None:
        """The row of a variable path, its numbers filled in; None if the table lacks it."""
        for row in self.rows:
            match = re.fullmatch(re.escape(row.ours).replace(r"\{\}", r"(\d+)"), path)
            if match:
                return Row(path, row.theirs.format(*match.groups()), row.kind)
        return None

    def is_head(self, name: str) -> bool:
        """Whether a tensor of the checkpoint belongs to a classifier."""
        return name.startswith(self.heads)

    def is_ignored(self, name: str) -> bool:
        """Whether the source library drops this tensor too."""
        return any(re.fullmatch(pattern, name) for pattern in self.ignored)

    def count_known(self, names: Iterable[str]) -> int:
        """How many of a checkpoint's names are in the table."""
        known = "|".join(re.escape(row.theirs).replace(r"\{\}", r"\d+") for row in self.rows)
        return sum(re.fullmatch(known, name) is not None for name in names)
