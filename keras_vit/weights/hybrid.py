"""Tensor names of the hybrids: timm's, and those of Google's .npz files.

Confirmed by listing the state dicts of timm/models/vision_transformer_hybrid.py, and by
google-research/vision_transformer vit_jax/models_vit.py and models_resnet.py.
"""

import dataclasses

from keras_vit.weights import vision_transformer
from keras_vit.weights.name_map import Layout, Row
from keras_vit.weights.resnetv2 import BLOCK, torch_blocks

_REQUIRED = {"stem": None}  # a caller's model has names of its own


def _timm(stem: str, blocks: tuple[Row, ...]) -> Layout:
    """timm's names, of which those of the stem depend on whether stages follow it."""
    base = vision_transformer.TIMM
    rows = (
        Row("stem/conv/kernel", f"{stem}.conv.weight", "first_conv"),
        Row("stem/norm/gamma", f"{stem}.norm.weight"),
        Row("stem/norm/beta", f"{stem}.norm.bias"),
        *blocks,
    )
    return dataclasses.replace(base, rows=rows + base.rows, variants=(), requires=_REQUIRED)


_BACKBONE = "patch_embed.backbone"
TIMM = dataclasses.replace(
    _timm(_BACKBONE, ()),
    variants=(
        _timm(f"{_BACKBONE}.stem", torch_blocks(f"{_BACKBONE}.stages.{{}}.blocks.{{}}", True)),
    ),
)

_UNIT = "block{+1}/unit{+1}"
_GROUP_NORMS = {
    "stem/norm": "gn_root",
    f"{BLOCK}/norm1": f"{_UNIT}/gn1",
    f"{BLOCK}/norm2": f"{_UNIT}/gn2",
    f"{BLOCK}/norm3": f"{_UNIT}/gn3",
    f"{BLOCK}/downsample_norm": f"{_UNIT}/gn_proj",
}
NPZ = dataclasses.replace(
    vision_transformer.NPZ,
    rows=(
        Row("stem/conv/kernel", "conv_root/kernel", "same_first_conv"),
        *(
            Row(f"{BLOCK}/{ours}/kernel", f"{_UNIT}/{theirs}/kernel", "same")
            for ours, theirs in (
                ("conv1", "conv1"),
                ("conv2", "conv2"),
                ("conv3", "conv3"),
                ("downsample_conv", "conv_proj"),
            )
        ),
        *(
            Row(f"{ours}/gamma", f"{theirs}/scale", "squeezed")
            for ours, theirs in _GROUP_NORMS.items()
        ),
        *(
            Row(f"{ours}/beta", f"{theirs}/bias", "squeezed")
            for ours, theirs in _GROUP_NORMS.items()
        ),
        *vision_transformer.NPZ.rows,
    ),
    requires={**vision_transformer.NPZ.requires, **_REQUIRED},
)

LAYOUTS = {"timm": TIMM, "npz": NPZ}
