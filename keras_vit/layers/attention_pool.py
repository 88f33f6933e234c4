"""Tokens to one vector an image, by the attention of a learned query."""

from typing import Any

import keras
from keras import ops

from keras_vit.layers.attention import attend, head_width
from keras_vit.layers.composite import dtype_config, part_policy
from keras_vit.layers.initializers import WeightInit
from keras_vit.layers.layer_norm import LayerNormalization
from keras_vit.layers.mlp import MLP


@keras.saving.register_keras_serializable("keras_vit")
class AttentionPool(keras.layers.Layer):
    """A learned query attends to all tokens; an MLP with a residual follows (arXiv:2106.04560, SigLIP).

    As timm/layers/attention_pool.py `AttentionPoolLatent` with one latent, and big_vision's `MAPHead`. The
    columns of `kv` are keys, values, each head by head. The softmax is in float32 whatever the dtype policy.

    Args:
        num_heads: number of heads; it divides the width.
        mlp_ratio: hidden width of the MLP over the width.
        act: activation of the MLP.
        norm_eps: epsilon of the LayerNorm before the MLP.
        num_prefix_tokens: how many tokens at the front are left out.
        weight_init: a scheme of `WeightInit`.

    Call arguments:
        inputs: `(batch, tokens, dim)`.
        return_attention_scores: whether the softmax's `(batch, num_heads, 1, tokens)`, of those not left
            out, in float32 comes as a second output.
        scores_offset: as in `Attention`.

    Output shape: `(batch, dim)`.
    """

    def __init__(
        self,
        num_heads: int,
        mlp_ratio: float = 4.0,
        act: str = "gelu",
        norm_eps: float = 1e-6,
        num_prefix_tokens: int = 0,
        weight_init: str = "timm",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.mlp_ratio, self.act = num_heads, mlp_ratio, act
        self.norm_eps, self.num_prefix_tokens = norm_eps, num_prefix_tokens
        self.weight_init = weight_init
        self.norm = LayerNormalization(epsilon=norm_eps, dtype=self.dtype_policy, name="norm")
        self.no_drop = keras.layers.Dropout(0.0, dtype=self.dtype_policy, name="no_drop")

    @property
    def parts(self) -> list[keras.layers.Layer]:
        """The sublayers, in the order of the forward pass."""
        return [self.q, self.kv, self.proj, self.norm, self.mlp]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.head_dim = head_width(input_shape[-1], self.num_heads)
        dim = self.num_heads * self.head_dim
        self.latent = self.add_weight(
            shape=(1, 1, dim), initializer=WeightInit(self.weight_init, "latent"), name="latent"
        )
        self.q, self.kv, self.proj = (
            keras.layers.Dense(
                units,
                kernel_initializer=WeightInit(self.weight_init, role),
                dtype=part_policy(self, name),
                name=name,
            )
            for name, units, role in (
                ("q", dim, "kernel"),
                ("kv", 2 * dim, "kv"),
                ("proj", dim, "kernel"),
            )
        )
        self.mlp = MLP(
            int(dim * self.mlp_ratio),
            act=self.act,
            weight_init=self.weight_init,
            dtype=self.dtype_policy,
            name="mlp",
        )
        for part in self.parts:
            part.build((input_shape[0], None, dim))

    def call(
        self,
        inputs: Any,
        training: bool | None = None,
        return_attention_scores: bool = False,
        scores_offset: Any = None,
    ) -> Any:
        inputs = inputs[:, self.num_prefix_tokens :]
        batch, tokens, dim = ops.shape(inputs)
        query = self.q(ops.cast(self.latent, inputs.dtype))
        query = ops.broadcast_to(query, (batch, 1, dim))
        key, value = ops.split(self.kv(inputs), 2, axis=-1)
        mixed, scores = attend(
            ops.reshape(query, (batch, 1, self.num_heads, self.head_dim)),
            ops.reshape(key, (batch, tokens, self.num_heads, self.head_dim)),
            ops.reshape(value, (batch, tokens, self.num_heads, self.head_dim)),
            self.head_dim**-0.5,
            self.no_drop,
            training=training,
            with_scores=return_attention_scores,
            offset=scores_offset,
        )
        pooled = self.proj(ops.reshape(mixed, (batch, 1, dim)))
        pooled = pooled + self.mlp(self.norm(pooled), training=training)
        pooled = pooled[:, 0]
        return (pooled, scores) if return_attention_scores else pooled

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], input_shape[-1])

    def compute_output_spec(
        self,
        inputs: Any,
        training: bool | None = None,
        return_attention_scores: bool = False,
        scores_offset: Any = None,
    ) -> Any:
        batch, tokens, dim = inputs.shape
        pooled = keras.KerasTensor((batch, dim), dtype=self.compute_dtype)
        if not return_attention_scores:
            return pooled
        keys = None if tokens is None else tokens - self.num_prefix_tokens
        return pooled, keras.KerasTensor((batch, self.num_heads, 1, keys), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "mlp_ratio": self.mlp_ratio,
            "act": self.act,
            "norm_eps": self.norm_eps,
            "num_prefix_tokens": self.num_prefix_tokens,
            "weight_init": self.weight_init,
            **dtype_config(self),
        }
