"""Multi-head self-attention."""

from typing import Any

import keras
from keras import ops

from keras_vit.layers.composite import dtype_config, part_policy
from keras_vit.layers.drop_path import dropped
from keras_vit.layers.initializers import WeightInit
from keras_vit.layers.layer_norm import LayerNormalization


@keras.saving.register_keras_serializable("keras_vit")
class Attention(keras.layers.Layer):
    """Self-attention with one projection for queries, keys and values (arXiv:1706.03762).

    The columns of `qkv` are queries, keys, values, each head by head: timm's rows, transposed
    (timm/layers/attention.py). The softmax is in float32 whatever the dtype policy.

    Args:
        num_heads: number of heads; it divides the width.
        qkv_bias: whether the joint projection has a bias.
        qk_norm: LayerNorm of queries and keys in each head (arXiv:2302.05442).
        norm_eps: epsilon of those norms.
        attn_drop_rate: dropout of the attention weights.
        proj_drop_rate: dropout after the output projection.
        weight_init: `"timm"` or `"jax"`.

    Call arguments:
        inputs: `(batch, tokens, dim)`.
        return_attention_scores: whether the softmax's `(batch, num_heads, tokens, tokens)`, queries
            before keys, in float32, come as a second output.
        scores_offset: None, or what is added to the softmax, shaped like it; the gradient by it, at zero,
            is the one by the attention map.

    Output shape: that of the input.
    """

    def __init__(
        self,
        num_heads: int,
        qkv_bias: bool = True,
        qk_norm: bool = False,
        norm_eps: float = 1e-6,
        attn_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        weight_init: str = "timm",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.qkv_bias = num_heads, qkv_bias
        self.qk_norm, self.norm_eps = qk_norm, norm_eps
        self.attn_drop_rate, self.proj_drop_rate = attn_drop_rate, proj_drop_rate
        self.weight_init = weight_init
        policy = self.dtype_policy
        self.attn_drop = keras.layers.Dropout(attn_drop_rate, dtype=policy, name="attn_drop")
        self.proj_drop = keras.layers.Dropout(proj_drop_rate, dtype=policy, name="proj_drop")
        self.norms = [
            LayerNormalization(epsilon=norm_eps, dtype=policy, name=name)
            for name in ("q_norm", "k_norm")
            if qk_norm
        ]

    @property
    def parts(self) -> list[keras.layers.Layer]:
        """The sublayers, in the order of the forward pass."""
        return [self.qkv, *self.norms, self.attn_drop, self.proj, self.proj_drop]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.head_dim = head_width(input_shape[-1], self.num_heads)
        dim = self.num_heads * self.head_dim
        self.qkv = keras.layers.Dense(
            3 * dim,
            use_bias=self.qkv_bias,
            kernel_initializer=WeightInit(self.weight_init, "qkv"),
            dtype=part_policy(self, "qkv"),
            name="qkv",
        )
        self.proj = keras.layers.Dense(
            dim,
            kernel_initializer=WeightInit(self.weight_init, "kernel"),
            dtype=part_policy(self, "proj"),
            name="proj",
        )
        self.qkv.build(input_shape)
        self.proj.build(input_shape)
        for norm in self.norms:
            norm.build((*input_shape[:-1], self.num_heads, self.head_dim))

    def call(
        self,
        inputs: Any,
        training: bool | None = None,
        return_attention_scores: bool = False,
        scores_offset: Any = None,
    ) -> Any:
        batch, tokens, dim = ops.shape(inputs)
        heads = (batch, tokens, self.num_heads, self.head_dim)
        query, key, value = (
            ops.reshape(part, heads) for part in ops.split(self.qkv(inputs), 3, axis=-1)
        )
        if self.norms:
            query, key = self.norms[0](query), self.norms[1](key)
        mixed, scores = attend(
            query,
            key,
            value,
            self.head_dim**-0.5,
            self.attn_drop,
            training=training,
            with_scores=return_attention_scores,
            offset=scores_offset,
        )
        mixed = self.proj(ops.reshape(mixed, (batch, tokens, dim)))
        mixed = dropped(self.proj_drop, mixed, training)
        return (mixed, scores) if return_attention_scores else mixed

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def compute_output_spec(
        self,
        inputs: Any,
        training: bool | None = None,
        return_attention_scores: bool = False,
        scores_offset: Any = None,
    ) -> Any:
        mixed = keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)
        if not return_attention_scores:
            return mixed
        batch, tokens, _ = inputs.shape
        return mixed, keras.KerasTensor((batch, self.num_heads, tokens, tokens), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "qkv_bias": self.qkv_bias,
            "qk_norm": self.qk_norm,
            "norm_eps": self.norm_eps,
            "attn_drop_rate": self.attn_drop_rate,
            "proj_drop_rate": self.proj_drop_rate,
            "weight_init": self.weight_init,
            **dtype_config(self),
        }


def head_width(width: int | None, num_heads: int) -> int:
    """The width of each head.

    Raises:
        ValueError: if `num_heads` does not divide the width.
    """
    if width is None or width % num_heads:
        raise ValueError(
            f"num_heads must divide the width. Received: num_heads={num_heads}, width={width}"
        )
    return width // num_heads


def attend(
    query: Any,
    key: Any,
    value: Any,
    scale: float,
    dropout: keras.layers.Dropout,
    *,
    training: bool | None,
    with_scores: bool,
    offset: Any = None,
) -> tuple[Any, Any]:
    """Scaled dot-product attention (arXiv:1706.03762), its softmax in float32.

    Args:
        query: `(batch, queries, heads, head_dim)`. key, value: `(batch, keys, heads, head_dim)`.
        scale: of the scores, before the softmax.
        dropout: of the attention weights.
        with_scores: whether the softmax is wanted.
        offset: added to the softmax, if not None.

    Returns:
        The mixed values, shaped like the queries, and the softmax `(batch, heads, queries, keys)` before
        its dropout; None where it was not wanted and the backend did without.
    """
    fused = keras.backend.backend() == "torch" and not (training and dropout.rate)
    if fused and not with_scores and offset is None:
        # torch's kernel, which accumulates in float32. On the other backends this operation is slower
        # than the lines below (benchmarks/README.md, "Attention").
        return ops.dot_product_attention(query, key, value, scale=scale), None
    query, key, value = (ops.transpose(x, (0, 2, 1, 3)) for x in (query, key, value))
    logits = ops.matmul(query * scale, ops.swapaxes(key, -2, -1))
    scores = ops.softmax(ops.cast(logits, "float32"), axis=-1)
    if offset is not None:
        scores = scores + ops.cast(offset, "float32")
    weights = dropped(dropout, ops.cast(scores, value.dtype), training)
    return ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3)), scores
