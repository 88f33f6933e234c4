"""Maps that may have a class token beside them: `map`, or the pair `[map, token]`."""

from typing import Any

from keras import ops


def grid_and_prefix(inputs: Any) -> tuple[Any, list[Any]]:
    """The map and a list of the token, if there is one: of tensors or of their shapes."""
    is_pair = isinstance(inputs, list | tuple) and not isinstance(inputs[0], int | None)
    return (inputs[0], list(inputs[1:])) if is_pair else (inputs, [])


def join_tokens(grid: Any, prefix: list[Any]) -> Any:
    """Class token, if any, and the pixels row by row: `(batch, tokens, dim)`."""
    _, height, width, dim = ops.shape(grid)
    # -1 for the batch, here and below: a shape of numbers alone is a constant of an exported file.
    pixels = ops.reshape(grid, (-1, height * width, dim))
    return ops.concatenate([*prefix, pixels], axis=1) if prefix else pixels


def split_tokens(tokens: Any, like: Any) -> Any:
    """The inverse of `join_tokens`: a map, or a pair, as `like` is."""
    grid, prefix = grid_and_prefix(like)
    shape = (-1, *ops.shape(grid)[1:])
    if not prefix:
        return ops.reshape(tokens, shape)
    return [ops.reshape(tokens[:, 1:], shape), tokens[:, :1]]


def count_tokens(grid: tuple[int | None, ...], prefix: list[Any]) -> int | None:
    """How many tokens `join_tokens` gives for a map of this shape; None where that is not known."""
    _, height, width, _ = grid
    return None if height is None or width is None else height * width + len(prefix)
