"""Vision Transformers with rotary positions: EVA and EVA-02, RoPE-ViT, Perception Encoder, DINOv3.

The layers of a model, each of which can be a feature (`model.get_layer(NAME).output`): `patch_embed`,
`embedding`, `norm_pre`, `blocks_0` ... `norm`, `pool` or `attn_pool`, `fc_norm`, `head`. Beside them `rope`
makes the tables of cosines and sines that the blocks take as their second input.
"""

from typing import Any

import keras
from keras import layers

from keras_vit.layers import (
    AttentionPool,
    EvaBlock,
    PatchEmbedding,
    RotaryEmbedding,
    TokenEmbedding,
    TokenPool,
)
from keras_vit.layers.drop_path import drop_path_rates
from keras_vit.layers.norms import norm as norm_of
from keras_vit.models.transformer import classifier


def eva(
    *,
    image_size: tuple[int, int],
    in_chans: int,
    num_classes: int,
    patch_size: tuple[int, int],
    patch_bias: bool,
    embed_dim: int,
    depth: int,
    num_heads: int,
    num_kv_heads: int | None,
    grouped_blocks: tuple[int, int],
    qkv_fused: bool,
    qkv_bias: bool,
    key_bias: bool,
    qk_norm: bool,
    inner_norm: bool,
    mlp: str,
    mlp_ratio: float,
    mlp_norm: bool,
    post_norm: bool,
    init_values: float | None,
    mlp_layer_scale: bool,
    class_token: bool,
    reg_tokens: int,
    position_embedding: bool,
    no_embed_class: bool,
    rope: str | None,
    rope_learned: bool,
    rope_temperature: float,
    rope_columns_first: bool,
    rope_interleaved: bool,
    rope_offset: float,
    rope_reference_grid: tuple[int, int] | None,
    rope_rounded_periods: bool,
    pre_norm: bool,
    final_norm: bool,
    fc_norm: bool,
    global_pool: str,
    attn_pool_heads: int | None,
    attn_pool_ratio: float | None,
    act: str,
    norm: str,
    norm_eps: float,
    pos_resize: str,
    weight_init: str,
    dynamic_image_size: bool = False,
    drop_rate: float = 0.0,
    pos_drop_rate: float = 0.0,
    proj_drop_rate: float = 0.0,
    attn_drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    drop_path_schedule: str = "linear",
    gradient_checkpointing: bool = False,
    dtype: Any = None,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Draws the graph of such a model; `keras_vit.load` makes a model of it.

    Args:
        image_size: (height, width) of the images; not necessarily square.
        in_chans: number of image channels.
        num_classes: number of logits; 0 gives the pooled features.
        patch_size: (height, width) of a patch. patch_bias: whether its projection has a bias.
        embed_dim, depth, num_heads: width, number of blocks and of heads.
        num_kv_heads, grouped_blocks: heads of keys and values in the blocks from the first number to the
            second, without it; everywhere else, or if None, as many as of queries.
        qkv_fused, qkv_bias, key_bias, qk_norm, inner_norm: as in `RotaryAttention`.
        mlp, mlp_ratio, mlp_norm, post_norm, init_values, mlp_layer_scale, act: as in `EvaBlock`.
        class_token, reg_tokens, position_embedding, no_embed_class: as in `TokenEmbedding`.
        rope: the coordinates of `RotaryEmbedding`, or None for no rotary positions.
        rope_learned: whether their frequencies are learned, for each block and head by itself.
        rope_temperature, rope_columns_first, rope_interleaved, rope_offset, rope_reference_grid,
            rope_rounded_periods: as in `RotaryEmbedding` and `rotate`.
        pre_norm: a norm before the blocks.
        final_norm: a norm after the blocks, or with fc_norm after the pooling.
        global_pool: `"token"`, `"avg"`, `"max"`, `"avgmax"`, `"map"` for `AttentionPool`, or `""` for all
            tokens. attn_pool_heads, attn_pool_ratio: heads and MLP ratio of that one.
        norm, norm_eps: kind of the norms, a name of `NORMS`, and their epsilon.
        pos_resize: how positions are resized at run time.
        weight_init: a scheme of `WeightInit`.
        dynamic_image_size: takes images of any size, and makes the positions as they come.
        drop_rate: dropout before the head. pos_drop_rate: after adding positions. proj_drop_rate: after
            the attention's and the perceptron's dense layers. attn_drop_rate: of attention weights.
        drop_path_rate, drop_path_schedule, gradient_checkpointing: as in `transformer`.
        dtype: dtype policy of every layer.

    Returns:
        The symbolic `images` (batch, height, width, in_chans) and the output: logits
        (batch, num_classes), features (batch, embed_dim), or with `global_pool=""` one of either a token.
    """
    size = (None, None) if dynamic_image_size else image_size
    images = keras.Input((*size, in_chans), name="images", dtype="float32")
    patches = PatchEmbedding(
        embed_dim, patch_size, patch_bias, weight_init, dtype=dtype, name="patch_embed"
    )(images)
    embedding = TokenEmbedding(
        class_token=class_token,
        reg_tokens=reg_tokens,
        no_embed_class=no_embed_class,
        position_embedding=position_embedding,
        grid_size=(image_size[0] // patch_size[0], image_size[1] // patch_size[1]),
        pos_resize=pos_resize,
        drop_rate=pos_drop_rate,
        weight_init=weight_init,
        dtype=dtype,
        name="embedding",
    )
    x = embedding(patches)
    tables: list[keras.KerasTensor | None] = [None]
    if rope is not None:
        tables = RotaryEmbedding(
            embed_dim // num_heads,
            coordinates=rope,
            temperature=rope_temperature,
            columns_first=rope_columns_first,
            offset=rope_offset,
            reference_grid=rope_reference_grid,
            rounded_periods=rope_rounded_periods,
            learned=(depth, num_heads) if rope_learned else None,
            num_prefix_tokens=embedding.num_prefix_tokens,
            dtype=dtype,
            name="rope",
        )(patches)
    if pre_norm:
        x = norm_of(norm, norm_eps, "norm_pre", dtype)(x)
    for i, rate in enumerate(drop_path_rates(drop_path_rate, depth, drop_path_schedule)):
        grouped = grouped_blocks[0] <= i < grouped_blocks[1]
        block = EvaBlock(
            num_heads,
            num_kv_heads=num_kv_heads if grouped else None,
            qkv_fused=qkv_fused,
            qkv_bias=qkv_bias,
            key_bias=key_bias,
            qk_norm=qk_norm,
            inner_norm=inner_norm,
            interleaved=rope_interleaved,
            mlp=mlp,
            mlp_ratio=mlp_ratio,
            mlp_norm=mlp_norm,
            act=act,
            norm=norm,
            norm_eps=norm_eps,
            post_norm=post_norm,
            init_values=init_values,
            mlp_layer_scale=mlp_layer_scale,
            attn_drop_rate=attn_drop_rate,
            proj_drop_rate=proj_drop_rate,
            drop_path_rate=rate,
            gradient_checkpointing=gradient_checkpointing,
            weight_init=weight_init,
            dtype=dtype,
            name=f"blocks_{i}",
        )
        table = tables[i % len(tables)]
        x = block(x) if table is None else block(x, rope=table)
    if final_norm and not fc_norm:
        x = norm_of(norm, norm_eps, "norm", dtype)(x)
    if global_pool == "map":
        x = AttentionPool(
            attn_pool_heads or num_heads,
            mlp_ratio=attn_pool_ratio or mlp_ratio,
            act=act,
            norm_eps=norm_eps,
            weight_init=weight_init,
            dtype=dtype,
            name="attn_pool",
        )(x)
    elif global_pool:
        x = TokenPool(global_pool, embedding.num_prefix_tokens, dtype=dtype, name="pool")(x)
    if final_norm and fc_norm:
        x = norm_of(norm, norm_eps, "fc_norm", dtype)(x)
    if drop_rate:
        x = layers.Dropout(drop_rate, dtype=dtype, name="head_drop")(x)
    return images, classifier(x, num_classes, weight_init, "head", dtype) if num_classes else x
