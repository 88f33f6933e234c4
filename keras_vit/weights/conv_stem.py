"""Tensor names of ViTs with a stem of convolutions: timm's.

Confirmed by listing the state dict of timm/models/vision_transformer_hybrid.py, `vit_base_mci_224`.
"""

import dataclasses

from keras_vit.weights import vision_transformer
from keras_vit.weights.name_map import NO_BATCHES, Constant, Row

_STEM = "patch_embed.backbone.{}"
_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_PATCHES = ("patch_embed/proj/kernel", "patch_embed/proj/bias")

TIMM = dataclasses.replace(
    vision_transformer.TIMM,
    rows=(
        Row("stem_0_conv/kernel", "patch_embed.backbone.0.conv.weight", "first_conv"),
        Row("stem_{}_conv/kernel", f"{_STEM}.conv.weight", "conv"),
        *(Row(f"stem_{{}}_norm/{ours}", f"{_STEM}.bn.{theirs}") for ours, theirs in _NORM.items()),
        # The last of two normalised convolutions has the number 1.
        Row("patch_embed/proj/kernel", "patch_embed.backbone.2.conv.weight", "conv"),
        Row("patch_embed/proj/bias", "patch_embed.backbone.2.conv.bias"),
        *(row for row in vision_transformer.TIMM.rows if row.ours not in _PATCHES),
    ),
    constants=(Constant("stem_{}_norm/gamma", f"{_STEM}.bn.num_batches_tracked", NO_BATCHES),),
)

LAYOUTS = {"timm": TIMM}
