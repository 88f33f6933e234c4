"""The Transformer block of EVA and its heirs: rotary attention, gated perceptrons, norms in other places."""

from typing import Any

import keras
from keras import ops

from keras_vit.layers.composite import dtype_config
from keras_vit.layers.drop_path import drop_path, dropped
from keras_vit.layers.gated_mlp import GatedMLP
from keras_vit.layers.layer_scale import LayerScale
from keras_vit.layers.mlp import MLP
from keras_vit.layers.norms import norm as norm_of
from keras_vit.layers.recomputing import recomputed, require_no_dropout
from keras_vit.layers.rotary_attention import RotaryAttention

MLPS = ("mlp", "swiglu", "swiglu_packed")


@keras.saving.register_keras_serializable("keras_vit")
class EvaBlock(keras.layers.Layer):
    """`x += attn(norm1(x), rope); x += mlp(norm2(x))`, or with the norms behind attention and perceptron.

    As timm/models/eva.py `EvaBlock` and `EvaBlockPostNorm`. LayerScale and stochastic depth act on branches.

    Args:
        num_heads, num_kv_heads, qkv_fused, qkv_bias, key_bias, qk_norm, inner_norm, interleaved,
            attn_drop_rate: as in `RotaryAttention`.
        mlp: `"mlp"`, two products with `act` between, or `"swiglu"` and `"swiglu_packed"`, a `GatedMLP` of
            three or two.
        mlp_ratio: hidden width of the perceptron, of its gate where it has one, over the width.
        mlp_norm: a norm of the hidden layer (sub-LN, arXiv:2210.06423); of a gated one alone.
        act: activation of `"mlp"`.
        norm, norm_eps: kind of the norms, a name of `NORMS`, and their epsilon. That of `mlp_norm` is a
            LayerNorm.
        post_norm: `norm1` and `norm2` stand behind attention and perceptron, before what they give is added.
        init_values: LayerScale's initial value; None leaves LayerScale out.
        mlp_layer_scale: whether the perceptron's branch has LayerScale, too.
        proj_drop_rate, drop_path_rate, weight_init, gradient_checkpointing: as in `TransformerBlock`.

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
        interleaved: bool = True,
        mlp: str = "mlp",
        mlp_ratio: float = 4.0,
        mlp_norm: bool = False,
        act: str = "gelu",
        norm: str = "layer",
        norm_eps: float = 1e-6,
        post_norm: bool = False,
        init_values: float | None = None,
        mlp_layer_scale: bool = True,
        attn_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        weight_init: str = "timm",
        gradient_checkpointing: bool = False,
        **kwargs: Any,
    ) -> None:
        # The table must come in as it is: what is cast is cast below.
        super().__init__(autocast=False, **kwargs)
        require_no_dropout(
            gradient_checkpointing, attn_drop_rate=attn_drop_rate, proj_drop_rate=proj_drop_rate
        )
        if mlp not in MLPS or (mlp_norm and mlp == "mlp"):
            raise ValueError(
                f'mlp must be one of {MLPS}, with mlp_norm not "mlp". '
                f"Received: mlp={mlp!r}, mlp_norm={mlp_norm}"
            )
        self.num_heads, self.num_kv_heads, self.qkv_fused = num_heads, num_kv_heads, qkv_fused
        self.qkv_bias, self.key_bias = qkv_bias, key_bias
        self.qk_norm, self.inner_norm, self.interleaved = qk_norm, inner_norm, interleaved
        self.mlp_kind, self.mlp_ratio, self.mlp_norm, self.act = mlp, mlp_ratio, mlp_norm, act
        self.norm_kind, self.norm_eps, self.post_norm = norm, norm_eps, post_norm
        self.init_values, self.mlp_layer_scale = init_values, mlp_layer_scale
        self.attn_drop_rate, self.proj_drop_rate = attn_drop_rate, proj_drop_rate
        self.drop_path_rate, self.weight_init = drop_path_rate, weight_init
        self.gradient_checkpointing = gradient_checkpointing
        policy = self.dtype_policy
        self.attn = RotaryAttention(
            num_heads,
            num_kv_heads=num_kv_heads,
            qkv_fused=qkv_fused,
            qkv_bias=qkv_bias,
            key_bias=key_bias,
            qk_norm=qk_norm,
            inner_norm=inner_norm,
            norm=norm,
            norm_eps=norm_eps,
            interleaved=interleaved,
            attn_drop_rate=attn_drop_rate,
            proj_drop_rate=proj_drop_rate,
            weight_init=weight_init,
            dtype=policy,
            name="attn",
        )
        self.norm1, self.norm2 = (
            norm_of(norm, norm_eps, name, policy) for name in ("norm1", "norm2")
        )
        self.ls1, self.ls2 = (
            LayerScale(init_values, dtype=policy, name=name)
            if init_values is not None and wanted
            else None
            for name, wanted in (("ls1", True), ("ls2", mlp_layer_scale))
        )
        self.drop_path1, self.drop_path2 = (
            drop_path(drop_path_rate, name, policy) for name in ("drop_path1", "drop_path2")
        )

    @property
    def parts(self) -> list[keras.layers.Layer]:
        """The sublayers, in the order of the forward pass."""
        branches = [self._order(self.norm1, self.attn), self._order(self.norm2, self.mlp)]
        ends = [(self.ls1, self.drop_path1), (self.ls2, self.drop_path2)]
        parts = [
            part for branch, end in zip(branches, ends, strict=True) for part in (*branch, *end)
        ]
        return [part for part in parts if part is not None]

    def _order(
        self, norm: keras.layers.Layer, layer: keras.layers.Layer
    ) -> list[keras.layers.Layer]:
        return [layer, norm] if self.post_norm else [norm, layer]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        dim = input_shape[-1]
        assert dim is not None, "the width of the tokens must be known"
        self.mlp = self._mlp(round(dim * self.mlp_ratio))
        for part in self.parts:
            part.build(input_shape)

    def _mlp(self, hidden_dim: int) -> keras.layers.Layer:
        common: dict[str, Any] = {
            "drop_rate": self.proj_drop_rate,
            "weight_init": self.weight_init,
            "dtype": self.dtype_policy,
            "name": "mlp",
        }
        if self.mlp_kind == "mlp":
            return MLP(hidden_dim, act=self.act, **common)
        packed = self.mlp_kind == "swiglu_packed"
        epsilon = self.norm_eps if self.mlp_norm else None
        return GatedMLP(hidden_dim, packed=packed, norm_eps=epsilon, **common)

    def call(
        self,
        inputs: Any,
        rope: Any = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        scores_offset: Any = None,
    ) -> Any:
        inputs = ops.cast(inputs, self.compute_dtype)
        given = [inputs] if rope is None else [inputs, rope]
        if return_attention_scores or scores_offset is not None:
            wanted = {"return_attention_scores": True, "scores_offset": scores_offset}
            mixed, scores = self._attend(given, training, **wanted)
        else:
            mixed, scores = recomputed(self, self._attend, given, training), None
        # Stochastic depth is outside of what is computed twice: it must drop the same both times.
        inputs = inputs + dropped(self.drop_path1, mixed, training)
        x = recomputed(self, self._transform, inputs, training)
        outputs = inputs + dropped(self.drop_path2, x, training)
        return (outputs, scores) if return_attention_scores else outputs

    def _attend(self, given: list[Any], training: bool | None = None, **scores: Any) -> Any:
        """What attention adds to the tokens; and, if they are wanted, its scores."""
        x, *rope = given
        found = self.attn(
            x if self.post_norm else self.norm1(x),
            rope=rope[0] if rope else None,
            training=training,
            **scores,
        )
        mixed, *rest = found if scores else [found]
        if self.post_norm:
            mixed = self.norm1(mixed)
        mixed = mixed if self.ls1 is None else self.ls1(mixed)
        return (mixed, *rest) if scores else mixed

    def _transform(self, inputs: Any, training: bool | None = None) -> Any:
        """What the perceptron adds to the tokens."""
        if self.post_norm:
            x = self.norm2(self.mlp(inputs, training=training))
        else:
            x = self.mlp(self.norm2(inputs), training=training)
        return x if self.ls2 is None else self.ls2(x)

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
        return self.attn.compute_output_spec(inputs, rope, training, return_attention_scores)

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
            "interleaved": self.interleaved,
            "mlp": self.mlp_kind,
            "mlp_ratio": self.mlp_ratio,
            "mlp_norm": self.mlp_norm,
            "act": self.act,
            "norm": self.norm_kind,
            "norm_eps": self.norm_eps,
            "post_norm": self.post_norm,
            "init_values": self.init_values,
            "mlp_layer_scale": self.mlp_layer_scale,
            "attn_drop_rate": self.attn_drop_rate,
            "proj_drop_rate": self.proj_drop_rate,
            "drop_path_rate": self.drop_path_rate,
            "weight_init": self.weight_init,
            "gradient_checkpointing": self.gradient_checkpointing,
            **dtype_config(self),
        }
