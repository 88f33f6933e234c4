"""Images or feature maps to a smaller, wider map: CvT's convolutional token embedding."""

from typing import Any

import keras
from keras import ops

from keras_vit.layers.initializers import WeightInit
from keras_vit.layers.layer_norm import LayerNormalization
from keras_vit.layers.windows import pad_sides, padded_shape, windowed_shape
from keras_vit.resize import axis_weights, resize_matrix


@keras.saving.register_keras_serializable("keras_vit")
class ConvEmbedding(keras.layers.Layer):
    """A strided convolution, LayerNorm over its channels, and what the stage adds to the tokens.

    arXiv:2103.15808, section 3.1; microsoft/CvT lib/models/cls_cvt.py, `ConvEmbed` and `VisionTransformer`.
    Zeros are padded on all sides alike, as torch does it; Keras' `"same"` would shift strided samples.

    Args:
        embed_dim: width of a token.
        kernel_size, stride, padding: of the convolution, in pixels. Equal kernel and stride without
            padding cut patches that do not overlap, as the paper's ablation does (table 6).
        class_token: whether a class token starts here.
        position_embedding: whether learned positions are added, as in the paper's ablation (table 5).
        grid_size: (height, width) of the map that the positions are learned for; needed for them alone.
        pos_resize: how positions are resized to another map, a method of `keras_vit.resize`.
        norm_eps: LayerNorm's epsilon.
        weight_init: a scheme of `WeightInit`.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, new height, new width, embed_dim)`; with a class token the pair of that and
    `(batch, 1, embed_dim)`.
    """

    def __init__(
        self,
        embed_dim: int,
        kernel_size: int,
        stride: int,
        padding: int,
        class_token: bool = False,
        position_embedding: bool = False,
        grid_size: tuple[int, int] | None = None,
        pos_resize: str = "linear_align_corners",
        norm_eps: float = 1e-5,
        weight_init: str = "cvt",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if position_embedding and grid_size is None:
            raise ValueError("A position embedding needs grid_size, (height, width) of the map.")
        self.embed_dim, self.kernel_size = embed_dim, kernel_size
        self.stride, self.padding = stride, padding
        self.use_class_token, self.position_embedding = class_token, position_embedding
        self.grid_size = (grid_size[0], grid_size[1]) if grid_size else None
        self.pos_resize, self.norm_eps, self.weight_init = pos_resize, norm_eps, weight_init
        self.proj = keras.layers.Conv2D(
            embed_dim,
            kernel_size,
            strides=stride,
            padding="valid",
            data_format="channels_last",
            kernel_initializer=WeightInit(weight_init, "patch"),
            dtype=self.dtype_policy,
            name="proj",
        )
        self.norm = LayerNormalization(epsilon=norm_eps, dtype=self.dtype_policy, name="norm")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.proj.build(padded_shape(input_shape, self.padding))
        self.norm.build((*input_shape[:-1], self.embed_dim))
        if self.position_embedding:
            assert self.grid_size is not None
            self.pos_embed = self.add_weight(
                shape=(1, *self.grid_size, self.embed_dim),
                initializer=WeightInit(self.weight_init, "pos_embed"),
                name="pos_embed",
            )
        if self.use_class_token:
            self.cls_token = self.add_weight(
                shape=(1, 1, self.embed_dim),
                initializer=WeightInit(self.weight_init, "token"),
                name="cls_token",
            )

    def call(self, inputs: Any) -> Any:
        x = self.norm(self.proj(pad_sides(inputs, self.padding)))
        if self.position_embedding:
            x = x + self._positions(*ops.shape(x)[1:3])
        if not self.use_class_token:
            return x
        token = ops.cast(self.cls_token, x.dtype)
        return [x, ops.broadcast_to(token, (ops.shape(x)[0], 1, self.embed_dim))]

    def _positions(self, height: Any, width: Any) -> Any:
        """The position embedding of a map of height x width: `(1, height, width, embed_dim)`."""
        positions = ops.convert_to_tensor(self.pos_embed)
        if (height, width) != self.grid_size:
            rows, columns = self._resize_matrix(0, height), self._resize_matrix(1, width)
            # (h, H) x (H, W, D) -> (h, W, D), then (w, W) x (h, W, D) -> (h, w, D)
            positions = ops.matmul(columns, ops.tensordot(rows, positions[0], axes=1))[None]
        return ops.cast(positions, self.compute_dtype)

    def _resize_matrix(self, axis: int, new: Any) -> Any:
        assert self.grid_size is not None
        old = self.grid_size[axis]
        if isinstance(new, int):
            matrix = resize_matrix(old, new, self.pos_resize)
        else:  # TensorFlow knows it at run time only: then the resize is in the graph
            places, samples = (ops.arange(length, dtype="float32") for length in (new, old))
            length = ops.cast(new, "float32")
            matrix = axis_weights(ops, samples, places, float(old), length, self.pos_resize)
        return ops.cast(matrix, self.pos_embed.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> Any:
        window = (self.kernel_size, self.stride, self.padding)
        grid = windowed_shape(input_shape, self.embed_dim, *window)
        return [grid, (grid[0], 1, self.embed_dim)] if self.use_class_token else grid

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "embed_dim": self.embed_dim,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "class_token": self.use_class_token,
            "position_embedding": self.position_embedding,
            "grid_size": self.grid_size,
            "pos_resize": self.pos_resize,
            "norm_eps": self.norm_eps,
            "weight_init": self.weight_init,
        }
