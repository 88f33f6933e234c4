"""Tensor names of masked autoencoders: timm's, which are the authors', and transformers'.

facebookresearch/mae, models_mae.py and models_vit.py: the encoder has timm's names, and a whole autoencoder
its decoder's beside. transformers, models/vit_mae: the encoder is a ViT's.
"""

import dataclasses

from keras_vit.weights import vision_transformer
from keras_vit.weights.huggingface import mae_config
from keras_vit.weights.vision_transformer import HUGGINGFACE_BASE

TIMM = dataclasses.replace(
    vision_transformer.TIMM,
    ignored=(*vision_transformer.TIMM.ignored, r"decoder_.*"),
)

HUGGINGFACE = dataclasses.replace(
    HUGGINGFACE_BASE,
    ignored=(*HUGGINGFACE_BASE.ignored, r"decoder\..*"),
    config=mae_config,
    numerics="source",  # transformers resizes positions as the authors do
)

LAYOUTS = {"timm": TIMM, "huggingface": HUGGINGFACE}
