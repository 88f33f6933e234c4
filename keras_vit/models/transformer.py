"""The Transformer that plain ViTs, DeiTs and hybrids share, from patch embeddings to logits."""

from typing import Any

import keras
from keras import layers

from keras_vit.layers import (
    AttentionPool,
    LayerNormalization,
    TokenEmbedding,
    TokenPool,
    TransformerBlock,
    WeightInit,
)
from keras_vit.layers.drop_path import drop_path_rates


def transformer(
    x: keras.KerasTensor,
    grid: tuple[int, int],
    *,
    num_classes: int,
    depth: int,
    num_heads: int,
    mlp_ratio: float,
    qkv_bias: bool,
    qk_norm: bool,
    init_values: float | None,
    class_token: bool,
    dist_token: bool,
    reg_tokens: int,
    no_embed_class: bool,
    pre_norm: bool,
    final_norm: bool,
    fc_norm: bool,
    global_pool: str,
    representation_size: int | None,
    act: str,
    norm_eps: float,
    pos_resize: str,
    weight_init: str,
    position_embedding: bool = True,
    pool_include_prefix: bool = False,
    gated_mlp: bool = False,
    drop_rate: float = 0.0,
    pos_drop_rate: float = 0.0,
    proj_drop_rate: float = 0.0,
    attn_drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    drop_path_schedule: str = "linear",
    gradient_checkpointing: bool = False,
    dtype: Any = None,
) -> keras.KerasTensor:
    """Draws what follows the patch embedding: tokens, blocks, norm, pooling, classifier.

    Args:
        x: symbolic patch embeddings, `(batch, height, width, embed_dim)`.
        grid: (height, width) that the position embedding is learned for.
        num_classes: number of logits; 0 gives the pooled features.
        depth, num_heads, mlp_ratio: number of blocks, heads, hidden width over width.
        gated_mlp: as in `TransformerBlock`.
        qkv_bias, qk_norm: bias of the joint projection; LayerNorm of queries and keys.
        init_values: LayerScale's initial value, or None for no LayerScale.
        class_token, dist_token, reg_tokens, no_embed_class, position_embedding: as in `TokenEmbedding`.
        pre_norm: LayerNorm before the blocks.
        final_norm: LayerNorm after the blocks, or with fc_norm after the pooling.
        global_pool: `"token"`, `"avg"`, `"max"`, `"avgmax"`, `"map"` for `AttentionPool`, or `""` for all
            tokens. pool_include_prefix: whether prefix tokens are among those pooled.
        representation_size: width of the pre-training head's dense + tanh, or None for no such layer.
        act, norm_eps: activation and LayerNorm epsilon.
        pos_resize: how positions are resized at run time.
        weight_init: a scheme of `WeightInit`.
        drop_rate: dropout before the head. pos_drop_rate: after adding positions. proj_drop_rate: after
            the attention's and the MLP's dense layers (the ViT paper's dropout is the last two).
            attn_drop_rate: of attention weights. drop_path_rate: stochastic depth of the last block.
        drop_path_schedule: of the others': `"linear"`, rising from 0 at the first, or `"constant"`.
        gradient_checkpointing: as in `TransformerBlock`.
        dtype: dtype policy of every layer.

    Returns:
        The symbolic output: logits (batch, num_classes), features (batch, embed_dim), or with
        `global_pool=""` one of either a token.
    """
    if dist_token and global_pool != "token":
        raise ValueError(
            f"A distilled model pools its tokens. Received: global_pool={global_pool!r}"
        )
    norm = {"epsilon": norm_eps, "dtype": dtype}
    embedding = TokenEmbedding(
        class_token=class_token,
        dist_token=dist_token,
        reg_tokens=reg_tokens,
        no_embed_class=no_embed_class,
        position_embedding=position_embedding,
        grid_size=grid,
        pos_resize=pos_resize,
        drop_rate=pos_drop_rate,
        weight_init=weight_init,
        dtype=dtype,
        name="embedding",
    )
    x = embedding(x)
    if pre_norm:
        x = LayerNormalization(**norm, name="norm_pre")(x)
    for i, rate in enumerate(drop_path_rates(drop_path_rate, depth, drop_path_schedule)):
        x = TransformerBlock(
            num_heads,
            mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias,
            qk_norm=qk_norm,
            act=act,
            gated_mlp=gated_mlp,
            norm_eps=norm_eps,
            init_values=init_values,
            attn_drop_rate=attn_drop_rate,
            proj_drop_rate=proj_drop_rate,
            drop_path_rate=rate,
            gradient_checkpointing=gradient_checkpointing,
            weight_init=weight_init,
            dtype=dtype,
            name=f"blocks_{i}",
        )(x)
    if final_norm and not fc_norm:
        x = LayerNormalization(**norm, name="norm")(x)

    def head(x: keras.KerasTensor, suffix: str = "", index: int = 0) -> keras.KerasTensor:
        prefix = 0 if pool_include_prefix else embedding.num_prefix_tokens
        if global_pool == "map":
            x = AttentionPool(
                num_heads,
                mlp_ratio=mlp_ratio,
                act=act,
                norm_eps=norm_eps,
                num_prefix_tokens=prefix,
                weight_init=weight_init,
                dtype=dtype,
                name="attn_pool",
            )(x)
        elif global_pool:
            x = TokenPool(global_pool, prefix, index, dtype=dtype, name=f"pool{suffix}")(x)
        if final_norm and fc_norm:
            x = LayerNormalization(**norm, name="fc_norm")(x)
        if representation_size:
            x = layers.Dense(
                representation_size,
                activation="tanh",
                kernel_initializer=WeightInit(weight_init, "kernel"),
                dtype=dtype,
                name="pre_logits",
            )(x)
        if drop_rate:
            x = layers.Dropout(drop_rate, dtype=dtype, name=f"head_drop{suffix}")(x)
        return classifier(x, num_classes, weight_init, f"head{suffix}", dtype) if num_classes else x

    if dist_token:
        # Both heads count the same at inference (timm/models/deit.py, forward_head).
        return layers.Average(dtype=dtype, name="mean")([head(x), head(x, "_dist", 1)])
    return head(x)


def classifier(
    x: keras.KerasTensor, num_classes: int, weight_init: str, name: str, dtype: Any
) -> keras.KerasTensor:
    """The linear head. Under a mixed policy it computes in float32, as Keras advises for outputs."""
    return layers.Dense(
        num_classes,
        kernel_initializer=WeightInit(weight_init, "head"),
        dtype=keras.dtype_policies.get(dtype).variable_dtype,
        name=name,
    )(x)
