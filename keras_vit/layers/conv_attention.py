"""CvT's attention: queries, keys and values come from a map, through small convolutions."""

from typing import Any

import keras
from keras import ops

from keras_vit.layers.attention import attend, head_width
from keras_vit.layers.composite import dtype_config, part_policy
from keras_vit.layers.conv_projection import ConvProjection
from keras_vit.layers.drop_path import dropped
from keras_vit.layers.grids import count_tokens, grid_and_prefix, join_tokens
from keras_vit.layers.initializers import WeightInit


@keras.saving.register_keras_serializable("keras_vit")
class ConvAttention(keras.layers.Layer):
    """Self-attention of a map's pixels, with fewer keys and values than queries where `stride_kv` > 1.

    arXiv:2103.15808, section 3.2; microsoft/CvT lib/models/cls_cvt.py, `Attention`. The scores are scaled
    by the root of the whole width, not of a head's: the published weights were trained so. A class token
    goes past the convolutions. The softmax is in float32 whatever the dtype policy.

    Args:
        num_heads: number of heads; it divides the width.
        qkv_bias: whether the three linear projections have a bias.
        projection: a method of `ConvProjection` for keys and values. Queries take it too, with stride 1,
            but for `"average"`, where theirs is `"linear"`.
        proj_kernel, proj_padding: of its windows, in pixels. stride_kv: of those for keys and values.
        bn_eps, bn_momentum: of its BatchNorm.
        attn_drop_rate: dropout of the attention weights.
        proj_drop_rate: dropout after the output projection.
        weight_init: a scheme of `WeightInit`.

    Call arguments:
        inputs: a map `(batch, height, width, dim)`, or the pair of a map and a class token
            `(batch, 1, dim)`.
        return_attention_scores: whether the softmax's `(batch, num_heads, queries, keys)`, in float32,
            come as a second output.
        scores_offset: None, or what is added to the softmax, shaped like it; the gradient by it, at zero,
            is the one by the attention map.

    Output shape: `(batch, tokens, dim)`: the class token, if any, before the pixels row by row.
    """

    def __init__(
        self,
        num_heads: int,
        qkv_bias: bool = True,
        projection: str = "conv",
        proj_kernel: int = 3,
        proj_padding: int = 1,
        stride_kv: int = 2,
        bn_eps: float = 1e-5,
        bn_momentum: float = 0.9,
        attn_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        weight_init: str = "cvt",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.qkv_bias, self.projection = num_heads, qkv_bias, projection
        self.proj_kernel, self.proj_padding = proj_kernel, proj_padding
        self.stride_kv, self.bn_eps, self.bn_momentum = stride_kv, bn_eps, bn_momentum
        self.attn_drop_rate, self.proj_drop_rate = attn_drop_rate, proj_drop_rate
        self.weight_init = weight_init
        policy = self.dtype_policy
        self.conv_proj_q, self.conv_proj_k, self.conv_proj_v = (
            ConvProjection(
                "linear" if projection == "average" and part == "q" else projection,
                kernel_size=proj_kernel,
                stride=1 if part == "q" else stride_kv,
                padding=proj_padding,
                bn_eps=bn_eps,
                bn_momentum=bn_momentum,
                weight_init=weight_init,
                dtype=policy,
                name=f"conv_proj_{part}",
            )
            for part in "qkv"
        )
        self.attn_drop = keras.layers.Dropout(attn_drop_rate, dtype=policy, name="attn_drop")
        self.proj_drop = keras.layers.Dropout(proj_drop_rate, dtype=policy, name="proj_drop")

    @property
    def parts(self) -> list[keras.layers.Layer]:
        """The sublayers, in the order of the forward pass."""
        convolutions = [self.conv_proj_q, self.conv_proj_k, self.conv_proj_v]
        linear = [self.proj_q, self.proj_k, self.proj_v]
        return [*convolutions, *linear, self.attn_drop, self.proj, self.proj_drop]

    def build(self, input_shape: Any) -> None:
        grid, _ = grid_and_prefix(input_shape)
        self.head_dim = head_width(grid[-1], self.num_heads)
        dim = self.num_heads * self.head_dim
        self.scale = dim**-0.5
        self.proj_q, self.proj_k, self.proj_v, self.proj = (
            keras.layers.Dense(
                dim,
                use_bias=self.qkv_bias or name == "proj",
                kernel_initializer=WeightInit(self.weight_init, "kernel"),
                dtype=part_policy(self, name),
                name=name,
            )
            for name in ("proj_q", "proj_k", "proj_v", "proj")
        )
        for convolution in (self.conv_proj_q, self.conv_proj_k, self.conv_proj_v):
            convolution.build(grid)
        for dense in (self.proj_q, self.proj_k, self.proj_v, self.proj):
            dense.build((grid[0], None, dim))

    def call(
        self,
        inputs: Any,
        training: bool | None = None,
        return_attention_scores: bool = False,
        scores_offset: Any = None,
    ) -> Any:
        grid, prefix = grid_and_prefix(inputs)
        query = self._heads(self.proj_q, self.conv_proj_q(grid, training=training), prefix)
        key = self._heads(self.proj_k, self.conv_proj_k(grid, training=training), prefix)
        value = self._heads(self.proj_v, self.conv_proj_v(grid, training=training), prefix)
        mixed, scores = attend(
            query,
            key,
            value,
            self.scale,
            self.attn_drop,
            training=training,
            with_scores=return_attention_scores,
            offset=scores_offset,
        )
        tokens = ops.shape(mixed)[1]
        mixed = self.proj(ops.reshape(mixed, (-1, tokens, self.num_heads * self.head_dim)))
        mixed = dropped(self.proj_drop, mixed, training)
        return (mixed, scores) if return_attention_scores else mixed

    def _heads(self, dense: keras.layers.Layer, grid: Any, prefix: list[Any]) -> Any:
        """The linear projection of all tokens: `(batch, tokens, heads, head_dim)`."""
        projected = dense(join_tokens(grid, prefix))
        tokens = ops.shape(projected)[1]
        return ops.reshape(projected, (-1, tokens, self.num_heads, self.head_dim))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        grid, prefix = grid_and_prefix(input_shape)
        return (grid[0], count_tokens(grid, prefix), grid[-1])

    def score_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`(batch, num_heads, queries, keys)` for the shape of a map, or of a map and a class token."""
        grid, prefix = grid_and_prefix(input_shape)
        queries = count_tokens(grid, prefix)
        keys = count_tokens(self.conv_proj_k.compute_output_shape(grid), prefix)
        return (grid[0], self.num_heads, queries, keys)

    def compute_output_spec(
        self,
        inputs: Any,
        training: bool | None = None,
        return_attention_scores: bool = False,
        scores_offset: Any = None,
    ) -> Any:
        shapes = [x.shape for x in inputs] if isinstance(inputs, list | tuple) else inputs.shape
        mixed = keras.KerasTensor(self.compute_output_shape(shapes), dtype=self.compute_dtype)
        if not return_attention_scores:
            return mixed
        return mixed, keras.KerasTensor(self.score_shape(shapes), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "qkv_bias": self.qkv_bias,
            "projection": self.projection,
            "proj_kernel": self.proj_kernel,
            "proj_padding": self.proj_padding,
            "stride_kv": self.stride_kv,
            "bn_eps": self.bn_eps,
            "bn_momentum": self.bn_momentum,
            "attn_drop_rate": self.attn_drop_rate,
            "proj_drop_rate": self.proj_drop_rate,
            "weight_init": self.weight_init,
            **dtype_config(self),
        }
