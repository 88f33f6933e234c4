"""Multi-head self-attention of tokens whose places are turned into queries and keys."""

from typing import Any

import keras
from keras import ops

from keras_vit.layers.attention import attend, head_width
from keras_vit.layers.composite import dtype_config, part_policy
from keras_vit.layers.drop_path import dropped
from keras_vit.layers.initializers import WeightInit
from keras_vit.layers.norms import norm as norm_of
from keras_vit.layers.rotary import rotate


@keras.saving.register_keras_serializable("keras_vit")
class RotaryAttention(keras.layers.Layer):
    """Self-attention with rotary positions, and what EVA and its heirs add to it.

    As timm/models/eva.py `EvaAttention` and timm/layers/attention.py `AttentionRope`. The softmax and the
    rotation are in float32 whatever the dtype policy.

    Args:
        num_heads: number of heads; it divides the width.
        num_kv_heads: number of heads of keys and values, each for a group of queries' heads
            (arXiv:2305.13245); it divides `num_heads`. None is `num_heads`.
        qkv_fused: whether queries, keys and values come of one Dense `qkv`, or of `q_proj`, `k_proj` and
            `v_proj`.
        qkv_bias: whether queries and values have a bias. key_bias: whether keys have one then, too; EVA's
            have none, and a `qkv` without it keeps `q_bias` and `v_bias` beside its kernel.
        qk_norm: a norm of queries and keys in each head.
        inner_norm: a norm of what the heads give, before the last product (EVA-02's sub-LN,
            arXiv:2210.06423).
        norm, norm_eps: kind of those norms, a name of `NORMS`, and their epsilon.
        interleaved: which channels make a pair, as in `rotate`.
        attn_drop_rate: dropout of the attention weights.
        proj_drop_rate: dropout after the output projection.
        weight_init: a scheme of `WeightInit`.

    Call arguments:
        inputs: `(batch, tokens, dim)`.
        rope: a table of `RotaryEmbedding`, or None for no rotation.
        return_attention_scores, scores_offset: as in `Attention`.

    Output shape: that of the input.
    """

    def __init__(
        self,
        num_heads: int,
        num_kv_heads: int | None = None,
        qkv_fused: bool = True,
        qkv_bias: bool = True,
        key_bias: bool = True,
        qk_norm: bool = False,
        inner_norm: bool = False,
        norm: str = "layer",
        norm_eps: float = 1e-6,
        interleaved: bool = True,
        attn_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        weight_init: str = "timm",
        **kwargs: Any,
    ) -> None:
        # The table must come in as it is: what is cast is cast below.
        super().__init__(autocast=False, **kwargs)
        self.num_heads, self.num_kv_heads = num_heads, num_kv_heads or num_heads
        if num_heads % self.num_kv_heads or (qkv_fused and self.num_kv_heads != num_heads):
            raise ValueError(
                "num_kv_heads must divide num_heads, and equal it in a fused projection. Received: "
                f"num_heads={num_heads}, num_kv_heads={num_kv_heads}, qkv_fused={qkv_fused}"
            )
        self.qkv_fused, self.qkv_bias, self.key_bias = qkv_fused, qkv_bias, key_bias
        self.qk_norm, self.inner_norm = qk_norm, inner_norm
        self.norm_kind, self.norm_eps, self.interleaved = norm, norm_eps, interleaved
        self.attn_drop_rate, self.proj_drop_rate = attn_drop_rate, proj_drop_rate
        self.weight_init = weight_init
        policy = self.dtype_policy
        self.attn_drop = keras.layers.Dropout(attn_drop_rate, dtype=policy, name="attn_drop")
        self.proj_drop = keras.layers.Dropout(proj_drop_rate, dtype=policy, name="proj_drop")
        self.q_norm, self.k_norm, self.norm = (
            norm_of(norm, norm_eps, name, policy) if wanted else None
            for name, wanted in (("q_norm", qk_norm), ("k_norm", qk_norm), ("norm", inner_norm))
        )

    @property
    def projections(self) -> list[keras.layers.Dense]:
        """`[qkv]`, or those of queries, keys and values."""
        return [self.qkv] if self.qkv_fused else [self.q_proj, self.k_proj, self.v_proj]

    @property
    def parts(self) -> list[keras.layers.Layer]:
        """The sublayers, in the order of the forward pass."""
        inner = [self.q_norm, self.k_norm, self.attn_drop, self.norm]
        return [
            *self.projections,
            *(part for part in inner if part is not None),
            self.proj,
            self.proj_drop,
        ]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.head_dim = head_width(input_shape[-1], self.num_heads)
        dim = self.num_heads * self.head_dim
        keys = self.head_dim * self.num_kv_heads
        if self.qkv_fused:
            self.qkv = self._dense("qkv", 3 * dim, self.qkv_bias and self.key_bias, "qkv")
        else:
            self.q_proj = self._dense("q_proj", dim, self.qkv_bias)
            self.k_proj = self._dense("k_proj", keys, self.qkv_bias and self.key_bias)
            self.v_proj = self._dense("v_proj", keys, self.qkv_bias)
        self.proj = self._dense("proj", dim)
        if self.has_bias_beside:
            self.q_bias, self.v_bias = (
                self.add_weight(shape=(dim,), initializer="zeros", name=name)
                for name in ("q_bias", "v_bias")
            )
        for part in (*self.projections, self.proj):
            part.build(input_shape)
        tokens = input_shape[:-1]
        if self.q_norm is not None and self.k_norm is not None:
            self.q_norm.build((*tokens, self.num_heads, self.head_dim))
            self.k_norm.build((*tokens, self.num_kv_heads, self.head_dim))
        if self.norm is not None:
            self.norm.build(input_shape)

    @property
    def has_bias_beside(self) -> bool:
        """Whether queries and values of a fused projection have a bias of which keys have no part."""
        return self.qkv_fused and self.qkv_bias and not self.key_bias

    def _dense(
        self, name: str, units: int, use_bias: bool = True, role: str = "kernel"
    ) -> keras.layers.Dense:
        return keras.layers.Dense(
            units,
            use_bias=use_bias,
            kernel_initializer=WeightInit(self.weight_init, role),
            dtype=part_policy(self, name),
            name=name,
        )

    def call(
        self,
        inputs: Any,
        rope: Any = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        scores_offset: Any = None,
    ) -> Any:
        query, key, value = self._heads(ops.cast(inputs, self.compute_dtype))
        if self.q_norm is not None and self.k_norm is not None:
            query, key = self.q_norm(query), self.k_norm(key)
        if rope is not None:
            query, key = (rotate(x, rope, self.interleaved) for x in (query, key))
        if (group := self.num_heads // self.num_kv_heads) > 1:
            key, value = (ops.repeat(x, group, axis=2) for x in (key, value))
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
        mixed = ops.reshape(mixed, ops.shape(inputs))
        if self.norm is not None:
            mixed = self.norm(mixed)
        mixed = dropped(self.proj_drop, self.proj(mixed), training)
        return (mixed, scores) if return_attention_scores else mixed

    def _heads(self, inputs: Any) -> list[Any]:
        """Queries, keys and values, each `(batch, tokens, its heads, head_dim)`."""
        batch, tokens, _ = ops.shape(inputs)
        if not self.qkv_fused:
            parts = [dense(inputs) for dense in self.projections]
        else:
            joint = self.qkv(inputs)
            if self.has_bias_beside:
                query, value = (ops.cast(b, joint.dtype) for b in (self.q_bias, self.v_bias))
                joint = joint + ops.concatenate([query, ops.zeros_like(query), value])
            parts = ops.split(joint, 3, axis=-1)
        counts = (self.num_heads, self.num_kv_heads, self.num_kv_heads)
        return [
            ops.reshape(part, (batch, tokens, heads, self.head_dim))
            for part, heads in zip(parts, counts, strict=True)
        ]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def compute_output_spec(
        self,
        inputs: Any,
        rope: Any = None,
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
            "num_kv_heads": self.num_kv_heads,
            "qkv_fused": self.qkv_fused,
            "qkv_bias": self.qkv_bias,
            "key_bias": self.key_bias,
            "qk_norm": self.qk_norm,
            "inner_norm": self.inner_norm,
            "norm": self.norm_kind,
            "norm_eps": self.norm_eps,
            "interleaved": self.interleaved,
            "attn_drop_rate": self.attn_drop_rate,
            "proj_drop_rate": self.proj_drop_rate,
            "weight_init": self.weight_init,
            **dtype_config(self),
        }
