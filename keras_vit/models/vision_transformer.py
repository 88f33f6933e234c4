"""The plain Vision Transformer (arXiv:2010.11929), DeiT (2012.12877) and DeiT-III (2204.07118)."""

from typing import Any

import keras

from keras_vit.layers import PatchEmbedding
from keras_vit.models.builders import passes_on
from keras_vit.models.transformer import transformer


@passes_on(transformer)
def vision_transformer(
    *,
    image_size: tuple[int, int],
    in_chans: int,
    patch_size: tuple[int, int],
    embed_dim: int,
    pre_norm: bool,
    weight_init: str,
    dynamic_image_size: bool = False,
    dtype: Any = None,
    **rest: Any,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Draws the graph of a ViT; `keras_vit.load` makes a model of it. Arguments are timm's.

    Args:
        image_size: (height, width) of the images; not necessarily square.
        in_chans: number of image channels.
        patch_size: (height, width) of a patch.
        embed_dim: width.
        pre_norm: LayerNorm before the blocks; the patch embedding then has no bias (CLIP).
        weight_init: a scheme of `WeightInit`.
        dynamic_image_size: takes images of any size, and resizes the positions as they come.
        dtype: dtype policy of every layer.
        **rest: the arguments of `transformer`.

    Returns:
        The symbolic `images` (batch, height, width, in_chans) and the output: logits
        (batch, num_classes), features (batch, embed_dim), or with `global_pool=""` one of either a token.
    """
    size = (None, None) if dynamic_image_size else image_size
    images = keras.Input((*size, in_chans), name="images", dtype="float32")
    patch_embed = PatchEmbedding(
        embed_dim, patch_size, not pre_norm, weight_init, dtype=dtype, name="patch_embed"
    )
    grid = (image_size[0] // patch_size[0], image_size[1] // patch_size[1])
    common = {"pre_norm": pre_norm, "weight_init": weight_init, "dtype": dtype}
    return images, transformer(patch_embed(images), grid, **common, **rest)
