"""What a model looks at, as NumPy arrays: the figures of the ViT paper, before they are drawn.

Images are float32 `(batch, height, width, channels)` as the model takes them, that is after
`model.preprocess`; a model with `dynamic_image_size=True` takes any size here, too. Everything works on
the TensorFlow, JAX and PyTorch backends. The public names are resolved when they are first used.
"""

from typing import TYPE_CHECKING

from keras_vit._lazy import lazy

if TYPE_CHECKING:
    from keras_vit.explain.attention import attention_maps as attention_maps
    from keras_vit.explain.distance import attention_distance as attention_distance
    from keras_vit.explain.filters import filter_components as filter_components
    from keras_vit.explain.gradcam import grad_cam as grad_cam
    from keras_vit.explain.position import position_similarity as position_similarity
    from keras_vit.explain.rollout import attention_rollout as attention_rollout
    from keras_vit.explain.rollout import gradient_rollout as gradient_rollout
    from keras_vit.explain.similarity import layer_similarity as layer_similarity
    from keras_vit.explain.similarity import linear_cka as linear_cka
    from keras_vit.explain.tokens import token_components as token_components

_PUBLIC = {
    "attention_maps": "attention",
    "attention_rollout": "rollout",
    "gradient_rollout": "rollout",
    "attention_distance": "distance",
    "position_similarity": "position",
    "filter_components": "filters",
    "token_components": "tokens",
    "grad_cam": "gradcam",
    "layer_similarity": "similarity",
    "linear_cka": "similarity",
}

__all__ = [*_PUBLIC]

__getattr__ = lazy(__name__, _PUBLIC)
