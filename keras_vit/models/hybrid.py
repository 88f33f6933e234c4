"""Hybrids: a Transformer on the feature map of a ResNet (arXiv:2010.11929, section 3.1; 2106.10270).

The layers of a model, each of which can be a feature (`model.get_layer(NAME).output`):

* `stem`: a quarter of the image's height and width, 64 channels;
* `stages_S_blocks_B`, S and B from 0: 256, 512, 1024 and 2048 channels; the first block of every stage
  but the first halves height and width. R+ViT-Ti has none;
* `patch_embed`, `embedding`, `blocks_0` ... `norm`, `pool`, `head`: the Transformer's.

With `stem=` a model of the caller's, its layers under their own names stand in the place of those two.
"""

from collections.abc import Mapping
from typing import Any

import keras

from keras_vit.layers import PatchEmbedding, ResNetStem
from keras_vit.models.builders import passes_on
from keras_vit.models.resnetv2 import blocks
from keras_vit.models.transformer import transformer


@passes_on(transformer)
def hybrid(
    *,
    image_size: tuple[int, int],
    in_chans: int,
    layers: tuple[int, ...],
    channels: tuple[int, ...],
    stem_chs: int,
    padding: str,
    pool_padding: str,
    stem_norm_eps: float,
    conv_eps: float,
    conv_form: str,
    patch_size: tuple[int, int],
    embed_dim: int,
    pre_norm: bool,
    weight_init: str,
    stem: keras.Model | Mapping[str, Any] | None = None,
    dynamic_image_size: bool = False,
    gradient_checkpointing: bool = False,
    dtype: Any = None,
    **rest: Any,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Draws the graph of a hybrid; `keras_vit.load` makes a model of it.

    Args:
        layers: number of residual blocks of each stage; none for the stem alone.
        channels: width of each stage. stem_chs: width of the stem.
        padding, conv_eps, conv_form: as in `StandardizedConv2D`. pool_padding: as in `ResNetStem`.
        stem_norm_eps: epsilon of the GroupNorms; norm_eps: of the Transformer's LayerNorms.
        patch_size: (height, width) of a patch, in pixels of the feature map.
        stem: a Functional Keras model from images to a feature map (batch, height, width, channels), in
            place of the stem and the stages, such as
            `keras.Model(bit.input, bit.get_layer("stages_2_blocks_5").output)`. Its layers are
            copied, weights and all. What a configuration holds of it is its own configuration,
            from which a new one is made.
        gradient_checkpointing: of the residual and the Transformer's blocks.
        image_size, in_chans, embed_dim, pre_norm, weight_init, dynamic_image_size, dtype: as in
            `vision_transformer`.
        **rest: the arguments of `transformer`.

    Returns:
        The symbolic `images` (batch, height, width, in_chans) and the output, as `vision_transformer`'s.
    """
    size = (None, None) if dynamic_image_size else image_size
    images = keras.Input((*size, in_chans), name="images", dtype="float32")
    x: keras.KerasTensor = images
    shape: tuple[int | None, ...] = (None, *image_size, in_chans)
    if stem is None:
        conv = {
            "padding": padding,
            "norm_eps": stem_norm_eps,
            "conv_eps": conv_eps,
            "conv_form": conv_form,
            "weight_init": weight_init,
            "dtype": dtype,
        }
        backbone: list[keras.layers.Layer] = [
            ResNetStem(stem_chs, norm=True, pool_padding=pool_padding, **conv, name="stem"),
            *blocks(
                layers,
                channels,
                False,
                0.0,
                {**conv, "gradient_checkpointing": gradient_checkpointing},
            ),
        ]
        for layer in backbone:
            x, shape = layer(x), layer.compute_output_shape(shape)
    else:
        model = _functional(stem, (*size, in_chans))
        x, shape = _inlined(model, images), model.compute_output_shape(shape)
    patch_embed = PatchEmbedding(
        embed_dim, patch_size, not pre_norm, weight_init, dtype=dtype, name="patch_embed"
    )
    x, shape = patch_embed(x), patch_embed.compute_output_shape(shape)
    common = {
        "pre_norm": pre_norm,
        "weight_init": weight_init,
        "gradient_checkpointing": gradient_checkpointing,
        "dtype": dtype,
    }
    grid: Any = shape[1:3]  # known, since the image size is
    return images, transformer(x, grid, **common, **rest)


def _functional(
    stem: keras.Model | Mapping[str, Any], shape: tuple[int | None, ...]
) -> keras.Model:
    """The caller's model, or one made from its configuration, that takes images of `shape`."""
    model: Any = stem
    if isinstance(stem, Mapping):
        model = keras.saving.deserialize_keras_object(dict(stem))
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) != 1 or len(model.outputs) != 1 or len(model.output.shape) != 4:
        raise ValueError(
            "stem must be a Functional Keras model from one batch of images to one feature map "
            f"(batch, height, width, channels). Received: {stem!r}"
        )
    taken = tuple(model.input.shape[1:])
    if any(known not in (None, given) for known, given in zip(taken, shape, strict=True)):
        raise ValueError(
            f"stem takes images of {taken}, but the model is built for {shape}: give it "
            "the stem's image_size and in_chans, or a stem with dynamic_image_size=True"
        )
    return model


def _inlined(model: keras.Model, images: keras.KerasTensor) -> keras.KerasTensor:
    """The map that copies of a Functional model's layers give for other images, weights and all.

    As a layer of its own, or with layers that are in two graphs, `get_layer(...).output` would be of the
    caller's graph.
    """
    copy = keras.models.clone_model(model, images)
    copy.set_weights(model.get_weights())
    return copy.output
