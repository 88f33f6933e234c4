"""What changes a model's shape: each gives a new model, and leaves the old one as it was."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from keras_vit import catalogue
from keras_vit.errors import UsageError
from keras_vit.models.factory import build_model, builder_of
from keras_vit.models.model import VisionModel

# The layers that a new number of classes makes anew; `pre_logits` belongs to what comes before.
_HEADS = ("head", "head_dist")
HEADS = dict(zip(("class", "distillation"), _HEADS, strict=True))
"""What a distilled model's two classifiers are called, and their layers."""


def reset_classifier(
    model: VisionModel, num_classes: int, labels: Sequence[str] | None = None
) -> VisionModel:
    """The same model with a new classifier.

    Args:
        model: a model of `keras_vit.load`; it and its weights stay as they are.
        num_classes: number of logits; 0 leaves the classifier out and gives the pooled features.
        labels: one name a class.

    Returns:
        A model with copies of all other weights; layers that were frozen are frozen.

    Raises:
        UsageError: for a model without a configuration, one that was quantised or has LoRA
            weights, or a number of labels that is not `num_classes`.
    """
    if model.config is None:
        raise UsageError("only a model of keras_vit.load has a classifier to reset")
    if labels is not None and len(labels) != num_classes:
        raise UsageError(f"num_classes={num_classes}, but there are {len(labels)} labels")
    config = dataclasses.replace(
        model.config,
        arguments={**model.config.arguments, "num_classes": num_classes},
        labels=None if labels is None else tuple(labels),
    )
    builder = builder_of(catalogue.info(config.name).builder)
    policy = next(layer for layer in model.layers if layer.weights).dtype_policy
    new = build_model(builder, config, dtype=policy, load_report=model.load_report)
    if two_heads(new) is not None and two_heads(model) is None:
        raise UsageError("change the whole model, then take one of its heads")
    old, fresh = _weights_below_the_head(model), _weights_below_the_head(new)
    if old.keys() != fresh.keys():
        raise UsageError("reset the classifier before quantizing the model or enabling LoRA")
    for path, variable in fresh.items():
        variable.assign(old[path])
    for layer in new.layers:
        if layer.name not in _HEADS:
            layer.trainable = model.get_layer(layer.name).trainable
    return new


def two_heads(model: keras.Model) -> tuple[keras.KerasTensor, keras.KerasTensor] | None:
    """The logits of a distilled model's classifiers, (batch, classes) each: of its class token, and of
    its distillation token. None for a model that has not both.
    """
    found = [layer for name in _HEADS for layer in model.layers if layer.name == name]
    return (found[0].output, found[1].output) if len(found) == len(_HEADS) else None


def one_head(model: VisionModel, head: str) -> VisionModel:
    """A distilled model with one of its classifiers alone, where it answers with the mean of both.

    Args:
        model: a distilled DeiT with its classifiers. head: `"class"` or `"distillation"`.

    Returns:
        A model of the same layers, which share their weights; it is exported and saved as any other.

    Raises:
        UsageError: for another head, or a model without two.
    """
    if head not in HEADS:
        raise UsageError(f"head must be one of {', '.join(HEADS)}; got {head!r}")
    heads = two_heads(model)
    if heads is None:
        raise UsageError(f"{model.name} has no two heads: only distilled models have")
    output = dict(zip(HEADS, heads, strict=True))[head]
    return VisionModel(
        model.input, output, name=model.name, config=model.config, load_report=model.load_report
    )


def _weights_below_the_head(model: VisionModel) -> dict[str, Any]:
    """Variables by their paths."""
    layers = [layer for layer in model.layers if layer.name not in _HEADS]
    return {variable.path: variable for layer in layers for variable in layer.weights}
