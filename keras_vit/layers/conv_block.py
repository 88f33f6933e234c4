"""CvT's Transformer block: maps in, maps out."""

from typing import Any

import keras

from keras_vit.layers.composite import dtype_config
from keras_vit.layers.conv_attention import ConvAttention
from keras_vit.layers.drop_path import drop_path, dropped
from keras_vit.layers.grids import grid_and_prefix, join_tokens, split_tokens
from keras_vit.layers.layer_norm import LayerNormalization
from keras_vit.layers.mlp import MLP
from keras_vit.layers.recomputing import recomputed, require_no_dropout


@keras.saving.register_keras_serializable("keras_vit")
class ConvTransformerBlock(keras.layers.Layer):
    """Pre-norm block of `ConvAttention` and MLP, each in a residual branch (arXiv:2103.15808, figure 2).

    Args:
        num_heads, qkv_bias, projection, proj_kernel, proj_padding, stride_kv, bn_eps, bn_momentum,
            attn_drop_rate: as in `ConvAttention`.
        mlp_ratio: hidden width of the MLP over the width of the tokens.
        act: activation of the MLP, a name of `ACTIVATIONS`.
        norm_eps: epsilon of the two LayerNorms.
        proj_drop_rate: dropout after the attention and after both dense layers of the MLP.
        drop_path_rate: probability with which each branch of a sample is dropped in training.
        weight_init: a scheme of `WeightInit`.
        gradient_checkpointing: in training, compute the MLP's branch again for the gradients instead of
            keeping it; the attention's is kept, since its BatchNorms would count a batch twice. Not with
            `proj_drop_rate`, which would drop something else the second time.

    Call arguments:
        inputs: a map `(batch, height, width, dim)`, or the pair of a map and a class token
            `(batch, 1, dim)`.
        return_attention_scores, scores_offset: as in `ConvAttention`.

    Output shape: that of the input.
    """

    def __init__(
        self,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        projection: str = "conv",
        proj_kernel: int = 3,
        proj_padding: int = 1,
        stride_kv: int = 2,
        act: str = "quick_gelu",
        norm_eps: float = 1e-5,
        bn_eps: float = 1e-5,
        bn_momentum: float = 0.9,
        attn_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        weight_init: str = "cvt",
        gradient_checkpointing: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require_no_dropout(gradient_checkpointing, proj_drop_rate=proj_drop_rate)
        self.mlp_ratio, self.act, self.norm_eps = mlp_ratio, act, norm_eps
        self.proj_drop_rate, self.drop_path_rate = proj_drop_rate, drop_path_rate
        self.weight_init, self.gradient_checkpointing = weight_init, gradient_checkpointing
        policy = self.dtype_policy
        self.attn = ConvAttention(
            num_heads,
            qkv_bias=qkv_bias,
            projection=projection,
            proj_kernel=proj_kernel,
            proj_padding=proj_padding,
            stride_kv=stride_kv,
            bn_eps=bn_eps,
            bn_momentum=bn_momentum,
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
        self.drop_path1, self.drop_path2 = (
            drop_path(drop_path_rate, name, policy) for name in ("drop_path1", "drop_path2")
        )

    @property
    def parts(self) -> list[keras.layers.Layer]:
        """The sublayers, in the order of the forward pass."""
        return [self.norm1, self.attn, self.drop_path1, self.norm2, self.mlp, self.drop_path2]

    def build(self, input_shape: Any) -> None:
        grid, _ = grid_and_prefix(input_shape)
        tokens = (grid[0], None, grid[-1])
        assert grid[-1] is not None, "the width of the tokens must be known"
        self.mlp = MLP(
            int(grid[-1] * self.mlp_ratio),
            act=self.act,
            drop_rate=self.proj_drop_rate,
            weight_init=self.weight_init,
            dtype=self.dtype_policy,
            name="mlp",
        )
        self.attn.build(input_shape)
        for part in (self.norm1, self.norm2, self.mlp):
            part.build(tokens)

    def call(
        self,
        inputs: Any,
        training: bool | None = None,
        return_attention_scores: bool = False,
        scores_offset: Any = None,
    ) -> Any:
        tokens = join_tokens(*grid_and_prefix(inputs))
        mixed = self.attn(
            split_tokens(self.norm1(tokens), inputs),
            training=training,
            return_attention_scores=return_attention_scores,
            scores_offset=scores_offset,
        )
        mixed, scores = mixed if return_attention_scores else (mixed, None)
        tokens = tokens + dropped(self.drop_path1, mixed, training)
        # Stochastic depth is outside of what is computed twice: it must drop the same both times.
        transformed = recomputed(self, self._transform, tokens, training)
        tokens = tokens + dropped(self.drop_path2, transformed, training)
        outputs = split_tokens(tokens, inputs)
        return (outputs, scores) if return_attention_scores else outputs

    def _transform(self, tokens: Any, training: bool | None = None) -> Any:
        return self.mlp(self.norm2(tokens), training=training)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def compute_output_spec(
        self,
        inputs: Any,
        training: bool | None = None,
        return_attention_scores: bool = False,
        scores_offset: Any = None,
    ) -> Any:
        outputs = keras.tree.map_structure(
            lambda x: keras.KerasTensor(x.shape, dtype=self.compute_dtype), inputs
        )
        if not return_attention_scores:
            return outputs
        return outputs, self.attn.compute_output_spec(inputs, training, True)[1]

    def get_config(self) -> dict[str, Any]:
        attention = self.attn
        return {
            **super().get_config(),
            "num_heads": attention.num_heads,
            "mlp_ratio": self.mlp_ratio,
            "qkv_bias": attention.qkv_bias,
            "projection": attention.projection,
            "proj_kernel": attention.proj_kernel,
            "proj_padding": attention.proj_padding,
            "stride_kv": attention.stride_kv,
            "act": self.act,
            "norm_eps": self.norm_eps,
            "bn_eps": attention.bn_eps,
            "bn_momentum": attention.bn_momentum,
            "attn_drop_rate": attention.attn_drop_rate,
            "proj_drop_rate": self.proj_drop_rate,
            "drop_path_rate": self.drop_path_rate,
            "weight_init": self.weight_init,
            "gradient_checkpointing": self.gradient_checkpointing,
            **dtype_config(self),
        }
