"""Where on the image the tokens of a layer lie."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import UsageError

Query = str | tuple[int, int]


@dataclass(frozen=True)
class Place:
    """The tokens of a sequence or a map: some of none's place, then a grid, row by row.

    Attributes:
        prefix: what the tokens before the grid are: `"class"`, `"distillation"`, `"register"`.
        grid: (rows, columns).
        first: (down, right) the pixel on which the centre of the first token of the grid lies.
        step: (down, right) pixels from one token to the next.
    """

    prefix: tuple[str, ...]
    grid: tuple[int, int]
    first: tuple[float, float]
    step: tuple[float, float]

    @property
    def count(self) -> int:
        """Number of tokens."""
        return len(self.prefix) + self.grid[0] * self.grid[1]

    def rows_of(self, query: Query) -> list[int]:
        """The tokens that a query means: one, or all of the grid for `"mean"`.

        Raises:
            UsageError: if there is no such token.
        """
        start = len(self.prefix)
        if query == "mean":
            return list(range(start, self.count))
        if isinstance(query, str):
            if query not in self.prefix:
                there = ", ".join(dict.fromkeys(self.prefix)) or "none"
                raise UsageError(
                    f'no {query} token here (there is: {there}): query="mean" or (row, column)'
                )
            return [self.prefix.index(query)]
        row, column = query
        if not (0 <= row < self.grid[0] and 0 <= column < self.grid[1]):
            raise UsageError(f"patch {tuple(query)} is not on the grid of {self.grid} patches")
        return [start + row * self.grid[1] + column]

    def on_grid(self, tokens: NDArray[Any], axis: int = -1) -> NDArray[Any]:
        """`tokens` without the prefix, its axis of tokens split into rows and columns."""
        axis %= tokens.ndim
        kept = np.take(tokens, range(len(self.prefix), self.count), axis)
        return kept.reshape(*tokens.shape[:axis], *self.grid, *tokens.shape[axis + 1 :])

    def centres(self) -> NDArray[np.float64]:
        """(rows * columns, 2): the pixel (down, right) on which each token of the grid is centred."""
        down, right = (
            first + step * np.arange(length)
            for first, step, length in zip(self.first, self.step, self.grid, strict=True)
        )
        return np.stack(np.meshgrid(down, right, indexing="ij"), -1).reshape(-1, 2)

    def window(self, kernel: Any, stride: Any, padding: int, grid: Any) -> "Place":
        """The place of a map made from this one by windows; kernel and stride are (down, right)."""
        return Place(
            (),
            (grid[0], grid[1]),
            (self._shifted(0, kernel, padding), self._shifted(1, kernel, padding)),
            (self.step[0] * stride[0], self.step[1] * stride[1]),
        )

    def _shifted(self, axis: int, kernel: Any, padding: int) -> float:
        return self.first[axis] + self.step[axis] * ((kernel[axis] - 1) / 2 - padding)

    def spread(self, grid: tuple[int, int]) -> "Place":
        """The place of a map of another size that covers what this one does, evenly."""
        step = [s * old / new for s, old, new in zip(self.step, self.grid, grid, strict=True)]
        first = [f + (s - old) / 2 for f, s, old in zip(self.first, step, self.step, strict=True)]
        return Place((), grid, (first[0], first[1]), (step[0], step[1]))
