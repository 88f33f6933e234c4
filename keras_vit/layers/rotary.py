"""Rotary position embeddings of a grid of patches (arXiv:2104.09864, in two dimensions).

The channels of a head make pairs. Each pair of a query or a key is turned in its plane, by an angle that
grows with its token's row or column: so the product of the two depends on how far apart their tokens are.

The angle of pair p, of the token at row y and column x, is `y * f_y[p] + x * f_x[p]`. The published codes
differ in the coordinates and in the frequencies f:

| who                          | coordinates  | frequencies                                  |
|------------------------------|--------------|----------------------------------------------|
| EVA-02 (2303.11331)          | `"index"`    | half of the pairs for rows, half for columns |
| Perception Encoder           | `"index"`    | the same, with columns first                 |
| (2504.13181), RoPE-ViT axial |              |                                              |
| RoPE-ViT mixed (2403.13298)  | `"index"`    | learned: both of every pair, head and block  |
| DINOv3 (2508.10104)          | `"centered"` | EVA-02's times 2 pi                          |

Their formulas: timm/layers/pos_embed_sincos.py.
"""

import math
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

COORDINATES = ("index", "centered")


@keras.saving.register_keras_serializable("keras_vit")
class RotaryEmbedding(keras.layers.Layer):
    """The cosines and sines of the angles by which `rotate` turns queries and keys.

    Tokens before the patches have the angle 0: they stay as they are. In float32 whatever the dtype policy.

    Args:
        head_dim: channels of a head, a multiple of 4.
        coordinates: `"index"`, the row and the column of a patch, or `"centered"`, where its centre lies in
            -1..1 of the height and the width.
        temperature: of the frequencies, `temperature ** -(p / (head_dim / 4))`.
        columns_first: whether the first frequencies are those of columns.
        offset: added to rows and columns.
        reference_grid: (rows, columns) of the grid that the model was pre-trained with: those of another one
            are stretched to it. None leaves them as they are. Of `"index"` alone.
        rounded_periods: whether the periods, 1 / frequency, are rounded to bfloat16, as the released files of
            DINOv3 hold them.
        learned: (blocks, heads) where the frequencies are learned, for each block and head by itself; None
            where they are fixed.
        num_prefix_tokens: how many tokens stand before the patches.

    Input: the grid of patch embeddings, `(batch, height, width, dim)`; its size alone counts.

    Output: a list of tables `(2, prefix + height * width, heads or 1, head_dim // 2)`, cosines before sines:
    one for all blocks, or of learned frequencies one for each.
    """

    def __init__(
        self,
        head_dim: int,
        coordinates: str = "index",
        temperature: float = 10000.0,
        columns_first: bool = False,
        offset: float = 0.0,
        reference_grid: tuple[int, int] | None = None,
        rounded_periods: bool = False,
        learned: tuple[int, int] | None = None,
        num_prefix_tokens: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        if coordinates not in COORDINATES or head_dim % 4:
            raise ValueError(
                f"coordinates must be one of {COORDINATES} and head_dim a multiple of 4. "
                f"Received: coordinates={coordinates!r}, head_dim={head_dim}"
            )
        self.head_dim, self.coordinates, self.temperature = head_dim, coordinates, temperature
        self.columns_first, self.offset = columns_first, offset
        self.reference_grid = reference_grid and (reference_grid[0], reference_grid[1])
        self.rounded_periods = rounded_periods
        self.learned = learned and (learned[0], learned[1])
        self.num_prefix_tokens = num_prefix_tokens
        self._last: tuple[tuple[int, int], NDArray[np.float32]] | None = None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if self.learned:
            self.freqs = self.add_weight(
                shape=(2, *self.learned, self.head_dim // 2),
                initializer=TurnedFrequencies(self.temperature),
                autocast=False,
                name="freqs",
            )

    def call(self, inputs: Any) -> list[Any]:
        height, width = ops.shape(inputs)[1:3]
        # A dimension that TensorFlow knows at run time only is a tensor: then all this is in the graph.
        known = isinstance(height, int) and isinstance(width, int)
        if known and not self.learned:
            return [ops.convert_to_tensor(self.table(height, width))]
        y, x = (
            self.along(axis, ops.arange(length, dtype="float32"), ops.cast(length, "float32"))
            for axis, length in enumerate((height, width))
        )
        return [turns(ops, y, x, f, self.num_prefix_tokens) for f in self.frequencies()]

    def along(self, axis: int, numbers: Any, length: Any) -> Any:
        """The coordinates of a grid's rows (axis 0) or columns (axis 1).

        Args:
            numbers: 0, 1, ... length - 1, as floats. length: how many there are.
        """
        if self.coordinates == "centered":
            return 2.0 * ((numbers + (0.5 + self.offset)) / length) - 1.0
        numbers = numbers + self.offset
        if self.reference_grid is None:
            return numbers
        return numbers / length * float(self.reference_grid[axis])

    def frequencies(self) -> list[tuple[Any, Any]]:
        """Of rows and of columns, `(heads or 1, head_dim // 2)` each: of all blocks, or one pair a block."""
        if self.learned:
            values = ops.cast(self.freqs, "float32")
            pairs = [(values[0, block], values[1, block]) for block in range(self.learned[0])]
        else:
            pairs = [
                fixed_frequencies(
                    self.head_dim,
                    self.temperature,
                    self.coordinates == "centered",
                    self.rounded_periods,
                )
            ]
        return [(second, first) for first, second in pairs] if self.columns_first else pairs

    def table(self, height: int, width: int) -> NDArray[np.float32]:
        """Cosines and sines for a grid of this size, of fixed frequencies: made once for a size."""
        if self._last is None or self._last[0] != (height, width):
            y, x = (
                self.along(axis, np.arange(length, dtype=np.float32), length)
                for axis, length in enumerate((height, width))
            )
            (frequencies,) = self.frequencies()
            table = turns(np, y, x, frequencies, self.num_prefix_tokens)
            self._last = ((height, width), table)
        return self._last[1]

    def compute_output_spec(self, inputs: Any) -> list[keras.KerasTensor]:
        height, width = inputs.shape[1:3]
        free = height is None or width is None
        tokens = None if free else self.num_prefix_tokens + height * width
        blocks, heads = self.learned or (1, 1)
        shape = (2, tokens, heads, self.head_dim // 2)
        return [keras.KerasTensor(shape, dtype="float32") for _ in range(blocks)]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "head_dim": self.head_dim,
            "coordinates": self.coordinates,
            "temperature": self.temperature,
            "columns_first": self.columns_first,
            "offset": self.offset,
            "reference_grid": self.reference_grid,
            "rounded_periods": self.rounded_periods,
            "learned": self.learned,
            "num_prefix_tokens": self.num_prefix_tokens,
        }


def fixed_frequencies(
    head_dim: int, temperature: float, whole_turns: bool, rounded_periods: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Half of the pairs for one axis, half for the other: two arrays `(1, head_dim // 2)`.

    Args:
        whole_turns: whether a coordinate of 1 is a whole turn at the period 1, 2 pi, and not 1.
        rounded_periods: as in `RotaryEmbedding`.
    """
    count = head_dim // 4
    periods = np.float32(temperature) ** (np.arange(count, dtype=np.float32) / np.float32(count))
    if rounded_periods:
        periods = _to_bfloat16(periods)
    values = np.float32(2 * math.pi if whole_turns else 1) / periods
    nothing = np.zeros_like(values)
    return np.concatenate([values, nothing])[None], np.concatenate([nothing, values])[None]


def _to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounded to the nearest, ties to even, of numbers that stay finite."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def turns(xp: Any, y: Any, x: Any, frequencies: tuple[Any, Any], prefix: int) -> Any:
    """Cosines and sines of the angles of every token.

    Args:
        xp: `numpy` or `keras.ops`.
        y, x: coordinates of the rows `(height,)` and of the columns `(width,)`.
        frequencies: of rows and of columns, `(heads, pairs)` each.
        prefix: how many tokens stand before the grid's, with the angle 0.

    Returns:
        `(2, prefix + height * width, heads, pairs)`, float32.
    """
    of_rows, of_columns = frequencies
    angles = y[:, None, None, None] * of_rows + x[:, None, None] * of_columns
    heads, pairs = of_rows.shape
    angles = xp.reshape(angles, (-1, heads, pairs))
    table = xp.stack([xp.cos(angles), xp.sin(angles)])
    still = np.zeros((2, prefix, heads, pairs), np.float32)
    still[0] = 1
    return xp.concatenate([still, table], axis=1) if prefix else table


def rotate(x: Any, table: Any, interleaved: bool) -> Any:
    """Turns each pair of channels of queries or keys.

    Args:
        x: `(batch, tokens, heads, head_dim)`.
        table: as `RotaryEmbedding` gives it.
        interleaved: whether the pairs are neighbours, channels 0 and 1, 2 and 3 and so on, or as far apart as
            half of the channels are.

    Returns:
        The same shape and dtype, computed in at least float32. Channels that were `interleaved` are so no
        more: the first of each pair, then the others. The product of a query and a key that were both
        turned here is the same in either order.
    """
    wide = ops.cast(x, keras.backend.result_type(x.dtype, "float32"))
    if interleaved:
        one, other = wide[..., ::2], wide[..., 1::2]
    else:
        one, other = ops.split(wide, 2, axis=-1)
    cosines, sines = table[0], table[1]
    turned = [one * cosines - other * sines, other * cosines + one * sines]
    return ops.cast(ops.concatenate(turned, axis=-1), x.dtype)


@keras.saving.register_keras_serializable("keras_vit")
class TurnedFrequencies(keras.initializers.Initializer):
    """RoPE-ViT's first frequencies (arXiv:2403.13298): axial ones, turned by a random angle a head.

    As timm/layers/pos_embed_sincos.py `init_random_2d_freqs`.

    Args:
        temperature: of the magnitudes `temperature ** -(p / (pairs / 2))`.
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def __call__(self, shape: tuple[int, ...], dtype: Any = None, **kwargs: Any) -> Any:
        _, blocks, heads, pairs = shape
        angle = keras.random.uniform((blocks, heads, 1), 0.0, 2 * math.pi, dtype="float32")
        half = np.arange(pairs // 2, dtype=np.float32) / np.float32(pairs // 2)
        magnitude = ops.convert_to_tensor(np.float32(self.temperature) ** -half)
        quarter = math.pi / 2
        axes = [
            ops.concatenate([magnitude * of(angle), magnitude * of(angle + quarter)], axis=-1)
            for of in (ops.cos, ops.sin)
        ]
        return ops.cast(ops.stack(axes), dtype or "float32")

    def get_config(self) -> dict[str, Any]:
        return {"temperature": self.temperature}
