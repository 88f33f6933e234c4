"""Tensor names of I-JEPA: timm's, which are the authors'.

facebookresearch/ijepa, src/models/vision_transformer.py: a training checkpoint has them in `encoder` and
`target_encoder` (`checkpoint_key=`).
"""

from keras_vit.weights.vision_transformer import TIMM

LAYOUTS = {"timm": TIMM}
