"""The attention maps of a model, as outputs beside its own."""

import inspect
from collections.abc import Sequence
from typing import Any

import keras

from keras_vit.errors import UsageError
from keras_vit.layers.with_scores import WithScores


def attention_scores(model: keras.Model, at: Sequence[str] | None = None) -> keras.Model:
    """A model that gives the softmax of every attention, too.

    It shares its weights with `model`, computes nothing twice, and saves and exports like any Keras model.

    Args:
        model: Functional, with attention blocks of `keras_vit.layers`.
        at: names of the blocks, such as `["blocks_0", "blocks_11"]`; None takes all.

    Returns:
        A model of the same inputs, whose output is a dict: `"logits"`, what `model` gives (under its
        last layer's meaning: features for `num_classes=0`), and for each block's name its scores
        `(batch, num_heads, queries, keys)`, float32; each row sums to 1.

    Raises:
        UsageError: if a name is no attention block's, or the model has none.
    """
    known = [layer.name for layer in model.layers if _gives_scores(layer)]
    wanted = known if at is None else list(at)
    unknown = [name for name in wanted if name not in known]
    if unknown or not known:
        blocks = ", ".join(known) or "none"
        raise UsageError(f"no attention in {', '.join(unknown) or model.name}: there is {blocks}")
    scores: dict[str, Any] = {}

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        if layer.name not in wanted:
            return layer(*args, **kwargs)
        outputs, scores[layer.name] = WithScores(layer, name=layer.name)(*args, **kwargs)
        return outputs

    copy = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
    return keras.Model(copy.inputs, {"logits": copy.output, **scores}, name=model.name)


def _gives_scores(layer: keras.layers.Layer) -> bool:
    """Whether it is an attention block; Keras' name for the argument, as in MultiHeadAttention."""
    return "return_attention_scores" in inspect.signature(layer.call).parameters
