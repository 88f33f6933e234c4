"""A ViT whose patches come of a few strided convolutions: MobileCLIP's base tower (arXiv:2311.17049).

The layers of a model: `stem_I_conv`, `stem_I_norm` and `stem_I_act`, I from 0, then those of a plain ViT,
whose `patch_embed` is the last convolution.
"""

import math
from typing import Any

import keras

from keras_vit.layers import PatchEmbedding, WeightInit, activation
from keras_vit.models.builders import passes_on
from keras_vit.models.transformer import transformer


@passes_on(transformer)
def conv_stem_vit(
    *,
    image_size: tuple[int, int],
    in_chans: int,
    patch_size: tuple[int, int],
    stem_channels: tuple[int, ...],
    stem_strides: tuple[int, ...],
    stem_norm_eps: float,
    stem_norm_momentum: float,
    embed_dim: int,
    act: str,
    pre_norm: bool,
    weight_init: str,
    dynamic_image_size: bool = False,
    dtype: Any = None,
    **rest: Any,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Draws the graph; `keras_vit.load` makes a model of it.

    Args:
        patch_size: (height, width) of what one token sees. Every convolution's stride is its kernel's size.
        stem_channels, stem_strides: of the convolutions before the last, each with BatchNorm and `act`.
        stem_norm_eps, stem_norm_momentum: of the BatchNorms, in Keras' terms.
        image_size, in_chans, embed_dim, act, pre_norm, weight_init, dynamic_image_size, dtype: as in
            `vision_transformer`.
        **rest: the arguments of `transformer`.

    Returns:
        The symbolic `images` (batch, height, width, in_chans) and the output, as `vision_transformer`'s.
    """
    size = (None, None) if dynamic_image_size else image_size
    images = keras.Input((*size, in_chans), name="images", dtype="float32")
    x: keras.KerasTensor = images
    for i, (channels, stride) in enumerate(zip(stem_channels, stem_strides, strict=True)):
        x = keras.layers.Conv2D(
            channels,
            stride,
            strides=stride,
            use_bias=False,
            data_format="channels_last",
            kernel_initializer=WeightInit(weight_init, "patch"),
            dtype=dtype,
            name=f"stem_{i}_conv",
        )(x)
        norm = keras.layers.BatchNormalization(
            momentum=stem_norm_momentum, epsilon=stem_norm_eps, dtype=dtype, name=f"stem_{i}_norm"
        )
        x = norm(x)
        x = keras.layers.Activation(activation(act), dtype=dtype, name=f"stem_{i}_act")(x)
    last = math.prod(stem_strides)
    patches = (patch_size[0] // last, patch_size[1] // last)
    grid = (image_size[0] // patch_size[0], image_size[1] // patch_size[1])
    patch_embed = PatchEmbedding(
        embed_dim, patches, not pre_norm, weight_init, dtype=dtype, name="patch_embed"
    )
    common = {"act": act, "pre_norm": pre_norm, "weight_init": weight_init, "dtype": dtype}
    return images, transformer(patch_embed(x), grid, **common, **rest)
