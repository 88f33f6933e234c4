"""Tensor names of DINO: timm's, and the authors' training checkpoints.

facebookresearch/dino, vision_transformer.py and main_dino.py: the backbones alone have timm's names; a
training checkpoint has them under `backbone.`, for the student and the teacher (`checkpoint_key=`), each
with a projection head.
"""

import dataclasses

from keras_vit.weights.vision_transformer import TIMM as _VIT

TIMM = dataclasses.replace(
    _VIT,
    renames=(
        (r"^backbone\.", ""),
        (r"^head\.(?=mlp|last_layer)", "projection_head."),
        *_VIT.renames,
    ),
    ignored=(*_VIT.ignored, r"projection_head\..*"),
)

LAYOUTS = {"timm": TIMM}
