"""BiT (arXiv:1912.11370): a pre-activated ResNet with GroupNorm and standardised convolutions.

The layers of a model, each of which can be a feature (`model.get_layer(NAME).output`):

* `stem`: a quarter of the image's height and width, 64 channels times the width factor;
* `stages_S_blocks_B`, S and B from 0: 256, 512, 1024 and 2048 channels times the width factor; the
  first block of every stage but the first halves height and width;
* `norm` and `relu`: what is pooled;
* `pool`: `(batch, channels)`; then perhaps `head_drop`, and `head`: the logits.
"""

from collections.abc import Iterator
from typing import Any

import keras

from keras_vit.layers import Bottleneck, GroupNorm, MapPool, ResNetStem
from keras_vit.models.transformer import classifier


def resnetv2(
    *,
    image_size: tuple[int, int],
    in_chans: int,
    num_classes: int,
    layers: tuple[int, ...],
    channels: tuple[int, ...],
    stem_chs: int,
    width_factor: int,
    global_pool: str,
    padding: str,
    pool_padding: str,
    norm_eps: float,
    conv_eps: float,
    conv_form: str,
    weight_init: str,
    dynamic_image_size: bool = False,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    gradient_checkpointing: bool = False,
    dtype: Any = None,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Draws the graph of a BiT ResNet; `keras_vit.load` makes a model of it. Arguments are timm's.

    Args:
        image_size: (height, width) of the images; any, odd ones too.
        in_chans: number of image channels.
        num_classes: number of logits; 0 gives the pooled features.
        layers: number of blocks of each stage.
        channels: width of each stage, and stem_chs: of the stem, before the width factor.
        width_factor: multiplies them, such as 3 for R50x3.
        global_pool: `"avg"`, `"max"`, `"avgmax"`, or `""` for the whole map.
        padding, conv_eps, conv_form: as in `StandardizedConv2D`. pool_padding: as in `ResNetStem`.
        norm_eps: epsilon of the norms.
        weight_init: `"timm_resnetv2"` or `"bit"`.
        dynamic_image_size: takes images of any size.
        drop_rate: dropout before the head. drop_path_rate: stochastic depth of the last block, rising
            linearly from 0 at the first.
        gradient_checkpointing: as in `Bottleneck`.
        dtype: dtype policy of every layer.

    Returns:
        The symbolic `images` (batch, height, width, in_chans) and the output: logits
        (batch, num_classes), features (batch, channels), or with `global_pool=""` one of either a pixel.
    """
    common = {
        "padding": padding,
        "norm_eps": norm_eps,
        "conv_eps": conv_eps,
        "conv_form": conv_form,
        "weight_init": weight_init,
        "dtype": dtype,
    }
    size = (None, None) if dynamic_image_size else image_size
    images = keras.Input((*size, in_chans), name="images", dtype="float32")
    stem = ResNetStem(stem_chs * width_factor, pool_padding=pool_padding, **common, name="stem")
    x = stem(images)
    widths = tuple(width * width_factor for width in channels)
    block_common = {**common, "gradient_checkpointing": gradient_checkpointing}
    for block in blocks(layers, widths, True, drop_path_rate, block_common):
        x = block(x)
    x = GroupNorm(epsilon=norm_eps, dtype=dtype, name="norm")(x)
    x = keras.layers.ReLU(dtype=dtype, name="relu")(x)
    if global_pool:
        x = MapPool(global_pool, dtype=dtype, name="pool")(x)
    if drop_rate:
        x = keras.layers.Dropout(drop_rate, dtype=dtype, name="head_drop")(x)
    return images, classifier(x, num_classes, weight_init, "head", dtype) if num_classes else x


def blocks(
    layers: tuple[int, ...],
    widths: tuple[int, ...],
    pre_activation: bool,
    drop_path_rate: float,
    common: dict[str, Any],
) -> Iterator[Bottleneck]:
    """The residual blocks of all stages, in order, `stages_0_blocks_0` and so on.

    Args:
        layers: number of blocks of each stage; widths: their channels.
        pre_activation: as in `Bottleneck`; common: its other arguments, the same for all.
        drop_path_rate: of the last block.
    """
    last, index = max(sum(layers) - 1, 1), 0
    for stage, (depth, width) in enumerate(zip(layers, widths[: len(layers)], strict=True)):
        for i in range(depth):
            yield Bottleneck(
                width,
                strides=2 if stage > 0 and i == 0 else 1,
                pre_activation=pre_activation,
                projection=i == 0,
                drop_path_rate=drop_path_rate * index / last,
                name=f"stages_{stage}_blocks_{i}",
                **common,
            )
            index += 1
