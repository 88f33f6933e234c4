"""The Convolutional vision Transformer (CvT, arXiv:2103.15808)."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_vit.layers import (
    ConvEmbedding,
    ConvTransformerBlock,
    LayerNormalization,
    MapPool,
    TokenPool,
)
from keras_vit.layers.windows import window_count
from keras_vit.models.transformer import classifier


def cvt(
    *,
    image_size: tuple[int, int],
    in_chans: int,
    num_classes: int,
    embed_dim: Sequence[int],
    depth: Sequence[int],
    num_heads: Sequence[int],
    embed_kernel: Sequence[int],
    embed_stride: Sequence[int],
    embed_padding: Sequence[int],
    proj_kernel: int,
    proj_padding: int,
    stride_kv: int | Sequence[int],
    mlp_ratio: float,
    qkv_bias: bool,
    class_token: bool,
    global_pool: str,
    act: str,
    norm_eps: float,
    bn_eps: float,
    bn_momentum: float,
    pos_resize: str,
    weight_init: str,
    token_embedding: str | Sequence[str] = "conv",
    projection: str | Sequence[str] = "conv",
    position_embedding: bool | Sequence[bool] = False,
    dynamic_image_size: bool = False,
    drop_rate: float = 0.0,
    proj_drop_rate: float = 0.0,
    attn_drop_rate: float = 0.0,
    drop_path_rate: float | Sequence[float] = 0.0,
    gradient_checkpointing: bool = False,
    dtype: Any = None,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Draws the graph of a CvT; `keras_vit.load` makes a model of it.

    Its layers are `stages_S_embed`, `stages_S_blocks_B`, `pool`, `norm` and `head`, with S and B from 0.
    `model.get_layer("stages_1_blocks_3").output` is a map (batch, height, width, dim). The last stage
    has a class token, and its layers give the pair of the map and the token (batch, 1, dim).

    The arguments that are told as "a stage" hold one value for each stage; those told as "or one a stage"
    take a single value for all stages, too. The paper's ablations are `position_embedding` (table 5),
    `token_embedding` (table 6), `stride_kv` (table 7) and `projection` (table 8).

    Args:
        image_size: (height, width) of the images; not necessarily square.
        in_chans: number of image channels.
        num_classes: number of logits; 0 gives the pooled features.
        embed_dim, depth, num_heads: width, number of blocks and heads, a stage.
        embed_kernel, embed_stride, embed_padding: of the token embedding's convolution, a stage.
        proj_kernel, proj_padding: of the convolutional projection.
        stride_kv: stride of its keys and values, or one a stage. The method `"linear"` has none.
        mlp_ratio: hidden width over width. qkv_bias: bias of the three linear projections.
        class_token: whether the last stage has a class token.
        global_pool: `"token"`, or `"avg"`, the mean of the last map after the final norm.
        act, norm_eps: activation and LayerNorm epsilon. bn_eps, bn_momentum: of BatchNorm.
        pos_resize: how positions are resized at run time.
        weight_init: a scheme of `WeightInit`.
        token_embedding: `"conv"`, or `"patch"` for patches of the stride's size that do not overlap; or
            one a stage.
        projection: `"conv"`, `"average"` or `"linear"`, as in `ConvAttention`; or one a stage.
        position_embedding: whether learned positions are added to the tokens; or one a stage. The class
            token has none.
        dynamic_image_size: takes images of any size, and resizes the positions as they come.
        drop_rate: dropout before the head. proj_drop_rate: after the attention's and the MLP's dense
            layers. attn_drop_rate: of attention weights.
        drop_path_rate: stochastic depth of a stage's last block, rising linearly from 0 at its first, a
            stage; a single number is the last stage's, and 0 the others', as the published models have it.
        gradient_checkpointing: as in `ConvTransformerBlock`.
        dtype: dtype policy of every layer.

    Returns:
        The symbolic `images` (batch, height, width, in_chans) and the output: logits
        (batch, num_classes), or features (batch, embed_dim of the last stage).

    Raises:
        ValueError: for arguments that contradict each other.
    """
    if global_pool not in ("token", "avg") or (global_pool == "token" and not class_token):
        raise ValueError(
            'global_pool must be "avg", or "token" in a model with a class token. '
            f"Received: global_pool={global_pool!r}, class_token={class_token}"
        )
    if isinstance(drop_path_rate, int | float):
        drop_path_rate = (*[0.0] * (len(depth) - 1), drop_path_rate)
    size: Sequence[int | None] = (None, None) if dynamic_image_size else image_size
    images = keras.Input((*size, in_chans), name="images", dtype="float32")
    x, grid = images, image_size
    stages = _each_stage(
        len(depth),
        dim=embed_dim,
        depth=depth,
        heads=num_heads,
        kernel=embed_kernel,
        stride=embed_stride,
        padding=embed_padding,
        stride_kv=stride_kv,
        token_embedding=token_embedding,
        projection=projection,
        position_embedding=position_embedding,
        drop_path_rate=drop_path_rate,
    )
    for s, stage in enumerate(stages):
        window = _window(stage)
        grid = (window_count(grid[0], *window), window_count(grid[1], *window))
        x = ConvEmbedding(
            stage["dim"],
            *window,
            class_token=class_token and s == len(depth) - 1,
            position_embedding=stage["position_embedding"],
            grid_size=grid if stage["position_embedding"] else None,
            pos_resize=pos_resize,
            norm_eps=norm_eps,
            weight_init=weight_init,
            dtype=dtype,
            name=f"stages_{s}_embed",
        )(x)
        for b in range(stage["depth"]):
            x = ConvTransformerBlock(
                stage["heads"],
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                projection=stage["projection"],
                proj_kernel=proj_kernel,
                proj_padding=proj_padding,
                stride_kv=stage["stride_kv"],
                act=act,
                norm_eps=norm_eps,
                bn_eps=bn_eps,
                bn_momentum=bn_momentum,
                attn_drop_rate=attn_drop_rate,
                proj_drop_rate=proj_drop_rate,
                drop_path_rate=stage["drop_path_rate"] * b / max(stage["depth"] - 1, 1),
                weight_init=weight_init,
                gradient_checkpointing=gradient_checkpointing,
                dtype=dtype,
                name=f"stages_{s}_blocks_{b}",
            )(x)
    norm = LayerNormalization(epsilon=norm_eps, dtype=dtype, name="norm")
    if global_pool == "token":
        x = norm(TokenPool("token", 1, dtype=dtype, name="pool")(x[1]))
    else:
        x = MapPool(dtype=dtype, name="pool")(norm(x[0] if class_token else x))
    if drop_rate:
        x = layers.Dropout(drop_rate, dtype=dtype, name="head_drop")(x)
    return images, classifier(x, num_classes, weight_init, "head", dtype) if num_classes else x


def _each_stage(count: int, **values: Any) -> list[dict[str, Any]]:
    """The arguments of each stage; a single value is that of all.

    Raises:
        ValueError: if there are not as many values as stages.
    """
    for name, value in values.items():
        several = isinstance(value, list | tuple)
        if several and len(value) != count:
            raise ValueError(f"{name} must have {count} values, one a stage. Received: {value}")
        values[name] = value if several else [value] * count
    return [{name: value[s] for name, value in values.items()} for s in range(count)]


def _window(stage: dict[str, Any]) -> tuple[int, int, int]:
    """Kernel, stride and padding of a stage's token embedding."""
    if stage["token_embedding"] == "conv":
        return stage["kernel"], stage["stride"], stage["padding"]
    if stage["token_embedding"] == "patch":
        return stage["stride"], stage["stride"], 0
    raise ValueError(
        f'token_embedding must be "conv" or "patch". Received: {stage["token_embedding"]!r}'
    )
