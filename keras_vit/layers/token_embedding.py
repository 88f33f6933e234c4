"""A grid of patch embeddings to the token sequence: prefix tokens and position embeddings."""

from typing import Any

import keras
from keras import ops

from keras_vit.layers.initializers import WeightInit
from keras_vit.resize import axis_weights, resize_matrix


@keras.saving.register_keras_serializable("keras_vit")
class TokenEmbedding(keras.layers.Layer):
    """Flattens the grid row by row, puts the prefix tokens before it and adds the position embedding.

    The order is class, distillation, register and patch tokens, as in timm
    (timm/models/vision_transformer.py `_pos_embed`, timm/models/deit.py).

    Args:
        grid_size: (height, width) of the grid that the position embedding is learned for.
        class_token, dist_token: whether there is a class or a distillation token (arXiv:2012.12877).
        reg_tokens: number of register tokens (arXiv:2309.16588).
        no_embed_class: positions are added to the patches alone, before the prefix tokens join.
        position_embedding: whether there are position embeddings at all.
        pos_resize: how positions are resized to another grid at run time, a method of
            `keras_vit.resize`.
        drop_rate: dropout of the tokens, after the positions are added.
        weight_init: `"timm"` or `"jax"`.

    Input shape: `(batch, height, width, dim)`.
    Output shape: `(batch, prefix tokens + height * width, dim)`.
    """

    def __init__(
        self,
        grid_size: tuple[int, int],
        class_token: bool = True,
        dist_token: bool = False,
        reg_tokens: int = 0,
        no_embed_class: bool = False,
        position_embedding: bool = True,
        pos_resize: str = "bicubic_antialias",
        drop_rate: float = 0.0,
        weight_init: str = "timm",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.use_class_token, self.use_dist_token = class_token, dist_token
        self.reg_tokens, self.no_embed_class = reg_tokens, no_embed_class
        self.position_embedding, self.pos_resize = position_embedding, pos_resize
        self.grid_size = (grid_size[0], grid_size[1])
        self.drop_rate, self.weight_init = drop_rate, weight_init
        self.drop = keras.layers.Dropout(drop_rate, dtype=self.dtype_policy, name="drop")

    @property
    def num_prefix_tokens(self) -> int:
        """How many tokens stand before the patches."""
        return int(self.use_class_token) + int(self.use_dist_token) + self.reg_tokens

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        dim = input_shape[-1]
        counts = {
            "cls_token": int(self.use_class_token),
            "dist_token": int(self.use_dist_token),
            "reg_token": self.reg_tokens,
        }
        self.prefix = [
            self.add_weight(
                shape=(1, count, dim),
                initializer=WeightInit(
                    self.weight_init, "dist_token" if name == "dist_token" else "token"
                ),
                name=name,
            )
            for name, count in counts.items()
            if count
        ]
        if self.position_embedding:
            length = self.grid_size[0] * self.grid_size[1]
            length += 0 if self.no_embed_class else self.num_prefix_tokens
            self.pos_embed = self.add_weight(
                shape=(1, length, dim),
                initializer=WeightInit(self.weight_init, "pos_embed"),
                name="pos_embed",
            )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        batch, height, width, dim = ops.shape(inputs)
        tokens = ops.reshape(inputs, (batch, height * width, dim))
        positions = self._positions(height, width, inputs.dtype)
        if positions is not None and self.no_embed_class:
            tokens = tokens + positions
        if self.prefix:
            prefix = ops.cast(ops.concatenate(self.prefix, axis=1), inputs.dtype)
            prefix = ops.broadcast_to(prefix, (batch, self.num_prefix_tokens, dim))
            tokens = ops.concatenate([prefix, tokens], axis=1)
        if positions is not None and not self.no_embed_class:
            tokens = tokens + positions
        return self.drop(tokens, training=training)

    def _positions(self, height: Any, width: Any, dtype: str) -> Any:
        """The position embedding for a grid of height x width: `(1, tokens, dim)`, or None."""
        if not self.position_embedding:
            return None
        positions = ops.convert_to_tensor(self.pos_embed)
        # A dimension that TensorFlow knows at run time only is a tensor: then the resize is in the graph.
        if not (isinstance(height, int) and (height, width) == self.grid_size):
            extra = 0 if self.no_embed_class else self.num_prefix_tokens
            grid = ops.reshape(positions[0, extra:], (*self.grid_size, -1))
            rows = self._resize_matrix(self.grid_size[0], height)
            columns = self._resize_matrix(self.grid_size[1], width)
            # (h, H) x (H, W, D) -> (h, W, D), then (w, W) x (h, W, D) -> (h, w, D)
            grid = ops.tensordot(rows, grid, axes=1)
            grid = ops.matmul(columns, grid)
            grid = ops.reshape(grid, (1, height * width, ops.shape(grid)[-1]))
            positions = ops.concatenate([positions[:, :extra], grid], axis=1)
        return ops.cast(positions, dtype)

    def _resize_matrix(self, old: int, new: Any) -> Any:
        if isinstance(new, int):
            matrix = resize_matrix(old, new, self.pos_resize)
        else:
            rows, columns = (ops.arange(length, dtype="float32") for length in (new, old))
            length = ops.cast(new, "float32")
            matrix = axis_weights(ops, columns, rows, float(old), length, self.pos_resize)
        return ops.cast(matrix, self.pos_embed.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, height, width, dim = input_shape
        if height is None or width is None:
            return (batch, None, dim)
        return (batch, self.num_prefix_tokens + height * width, dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "class_token": self.use_class_token,
            "dist_token": self.use_dist_token,
            "reg_tokens": self.reg_tokens,
            "no_embed_class": self.no_embed_class,
            "position_embedding": self.position_embedding,
            "grid_size": self.grid_size,
            "pos_resize": self.pos_resize,
            "drop_rate": self.drop_rate,
            "weight_init": self.weight_init,
        }
