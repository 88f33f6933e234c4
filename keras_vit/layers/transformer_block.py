"""A pre-norm Transformer block."""

from typing import Any

import keras

from keras_vit.layers.attention import Attention
from keras_vit.layers.composite import dtype_config
from keras_vit.layers.drop_path import drop_path, dropped
from keras_vit.layers.gated_mlp import GatedMLP
from keras_vit.layers.layer_norm import LayerNormalization
from keras_vit.layers.layer_scale import LayerScale
from keras_vit.layers.mlp import MLP
from keras_vit.layers.recomputing import recomputed, require_no_dropout


@keras.saving.register_keras_serializable("keras_vit")
class TransformerBlock(keras.layers.Layer):
    """`x += attn(norm1(x)); x += mlp(norm2(x))`, with LayerScale and stochastic depth on each branch.

    As timm/models/vision_transformer.py `Block`.

    Args:
        num_heads, qkv_bias, qk_norm, attn_drop_rate: as in `Attention`.
        mlp_ratio: hidden width of the MLP over the width.
        act: activation of the MLP.
        gated_mlp: whether the MLP is a `GatedMLP`, such as SwiGLU with `act="silu"`.
        norm_eps: epsilon of the LayerNorms.
        init_values: LayerScale's initial value; None leaves LayerScale out.
        proj_drop_rate: dropout after the attention's projection and the MLP's dense layers.
        drop_path_rate: probability with which each branch of a sample is dropped in training.
        gradient_checkpointing: in training, keep only what goes into the two branches, and compute the
            rest again for the gradients: less memory for a third more time. Not with `attn_drop_rate` or
            `proj_drop_rate`, which would drop something else the second time.
        weight_init: `"timm"` or `"jax"`.

    Call arguments:
        inputs: `(batch, tokens, dim)`.
        return_attention_scores, scores_offset: as in `Attention`.

    Output shape: that of the input.
    """

    def __init__(
        self,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_norm: bool = False,
        act: str = "gelu",
        norm_eps: float = 1e-6,
        init_values: float | None = None,
        attn_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        weight_init: str = "timm",
        gradient_checkpointing: bool = False,
        gated_mlp: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require_no_dropout(
            gradient_checkpointing, attn_drop_rate=attn_drop_rate, proj_drop_rate=proj_drop_rate
        )
        self.num_heads, self.mlp_ratio = num_heads, mlp_ratio
        self.qkv_bias, self.qk_norm = qkv_bias, qk_norm
        self.act, self.norm_eps, self.init_values = act, norm_eps, init_values
        self.gated_mlp = gated_mlp
        self.attn_drop_rate, self.proj_drop_rate = attn_drop_rate, proj_drop_rate
        self.drop_path_rate, self.weight_init = drop_path_rate, weight_init
        self.gradient_checkpointing = gradient_checkpointing
        policy = self.dtype_policy
        self.attn = Attention(
            num_heads,
            qkv_bias=qkv_bias,
            qk_norm=qk_norm,
            norm_eps=norm_eps,
            attn_drop_rate=attn_drop_rate,
            proj_drop_rate=proj_drop_rate,
            weight_init=weight_init,
            dtype=policy,
            name="attn",
        )
        self.norm1, self.norm2 = (
            LayerNormalization(epsilon=norm_eps, dtype=policy, name=name)
            for name in ("norm1", "norm2")
        )
        self.ls1, self.ls2 = (
            LayerScale(init_values, dtype=policy, name=name) if init_values is not None else None
            for name in ("ls1", "ls2")
        )
        self.drop_path1, self.drop_path2 = (
            drop_path(drop_path_rate, name, policy) for name in ("drop_path1", "drop_path2")
        )

    @property
    def parts(self) -> list[keras.layers.Layer]:
        """The sublayers, in the order of the forward pass."""
        branch1 = [self.norm1, self.attn, self.ls1, self.drop_path1]
        branch2 = [self.norm2, self.mlp, self.ls2, self.drop_path2]
        return [part for part in (*branch1, *branch2) if part is not None]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        dim = input_shape[-1]
        assert dim is not None, "the width of the tokens must be known"
        self.mlp = (GatedMLP if self.gated_mlp else MLP)(
            int(dim * self.mlp_ratio),
            act=self.act,
            drop_rate=self.proj_drop_rate,
            weight_init=self.weight_init,
            dtype=self.dtype_policy,
            name="mlp",
        )
        for part in self.parts:
            part.build(input_shape)

    def call(
        self,
        inputs: Any,
        training: bool | None = None,
        return_attention_scores: bool = False,
        scores_offset: Any = None,
    ) -> Any:
        if return_attention_scores or scores_offset is not None:
            mixed, scores = self.attn(
                self.norm1(inputs),
                training=training,
                return_attention_scores=True,
                scores_offset=scores_offset,
            )
            mixed = mixed if self.ls1 is None else self.ls1(mixed)
        else:
            mixed, scores = recomputed(self, self._attend, inputs, training), None
        # Stochastic depth is outside of what is computed twice: it must drop the same both times.
        inputs = inputs + dropped(self.drop_path1, mixed, training)
        x = recomputed(self, self._transform, inputs, training)
        outputs = inputs + dropped(self.drop_path2, x, training)
        return (outputs, scores) if return_attention_scores else outputs

    def _attend(self, inputs: Any, training: bool | None = None) -> Any:
        x = self.attn(self.norm1(inputs), training=training)
        return x if self.ls1 is None else self.ls1(x)

    def _transform(self, inputs: Any, training: bool | None = None) -> Any:
        x = self.mlp(self.norm2(inputs), training=training)
        return x if self.ls2 is None else self.ls2(x)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def compute_output_spec(
        self,
        inputs: Any,
        training: bool | None = None,
        return_attention_scores: bool = False,
        scores_offset: Any = None,
    ) -> Any:
        return self.attn.compute_output_spec(inputs, training, return_attention_scores)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "mlp_ratio": self.mlp_ratio,
            "qkv_bias": self.qkv_bias,
            "qk_norm": self.qk_norm,
            "act": self.act,
            "gated_mlp": self.gated_mlp,
            "norm_eps": self.norm_eps,
            "init_values": self.init_values,
            "attn_drop_rate": self.attn_drop_rate,
            "proj_drop_rate": self.proj_drop_rate,
            "drop_path_rate": self.drop_path_rate,
            "weight_init": self.weight_init,
            "gradient_checkpointing": self.gradient_checkpointing,
            **dtype_config(self),
        }
