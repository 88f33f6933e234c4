"""Tensor names of RoPE-ViT: timm's and the authors'.

The authors': naver-ai/rope-vit, models/vit_rope.py, over DeiT's names.
"""

from keras_vit.weights.eva import TIMM, like_timm
from keras_vit.weights.name_map import Row

OFFICIAL = like_timm(
    Row("rope/freqs", "freqs", "frequencies"),
    renames=(),
    ignored=(r"freqs_t_[xy]",),
    numerics="source",
)

LAYOUTS = {"timm": TIMM, "official": OFFICIAL}
