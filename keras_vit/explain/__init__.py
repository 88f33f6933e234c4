"""What a model looks at: the figures of the ViT paper, as NumPy arrays, as pictures, and as files.

Functions that compute give arrays; `draw_...` take those and give a `matplotlib.figure.Figure`
(`pip install 'keras-vit-zoo[explain]'`); `figures` is the command `keras-vit explain`: it writes PNG and
SVG files and a page.

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
    from keras_vit.explain.pictures import draw_attention as draw_attention
    from keras_vit.explain.pictures import draw_components as draw_components
    from keras_vit.explain.pictures import draw_grad_cam as draw_grad_cam
    from keras_vit.explain.pictures import draw_gradient_rollout as draw_gradient_rollout
    from keras_vit.explain.pictures import draw_rollout as draw_rollout
    from keras_vit.explain.plots import draw_distance as draw_distance
    from keras_vit.explain.plots import draw_filters as draw_filters
    from keras_vit.explain.plots import draw_position as draw_position
    from keras_vit.explain.plots import draw_similarity as draw_similarity
    from keras_vit.explain.position import position_similarity as position_similarity
    from keras_vit.explain.reporting import figures as figures
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
    "draw_attention": "pictures",
    "draw_rollout": "pictures",
    "draw_gradient_rollout": "pictures",
    "draw_grad_cam": "pictures",
    "draw_components": "pictures",
    "draw_distance": "plots",
    "draw_position": "plots",
    "draw_filters": "plots",
    "draw_similarity": "plots",
    "figures": "reporting",
}

__all__ = [*_PUBLIC]

__getattr__ = lazy(__name__, _PUBLIC)
