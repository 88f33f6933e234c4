"""What changes a model's shape: each gives a new model, and leaves the old one as it was."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import keras

from keras_vit import catalogue
from keras_vit.errors import UsageError
from keras_vit.layers import TokenEmbedding
from keras_vit.models.factory import build_model, builder_of, pair
from keras_vit.models.model import VisionModel
from keras_vit.weights.adapt import Geometry, adapt_positions

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
    if labels is not None and len(labels) != num_classes:
        raise UsageError(f"num_classes={num_classes}, but there are {len(labels)} labels")
    names = None if labels is None else tuple(labels)
    new = _rebuilt(model, {"num_classes": num_classes}, labels=names)
    _copy_weights(model, new, fresh=_HEADS)
    return new


def set_image_size(model: VisionModel, image_size: int | tuple[int, int]) -> VisionModel:
    """The same model for images of another size, its position embedding resized as `load` would.

    Args:
        model: a model of `keras_vit.load`; it and its weights stay as they are.
        image_size: side, or (height, width), in pixels.

    Returns:
        A model with copies of all weights; layers that were frozen are frozen.

    Raises:
        UsageError: for a model without a configuration, one that was quantised or has LoRA weights, or
            one whose weights depend on the size in another way.
    """
    size = pair(image_size)
    new = _rebuilt(model, {"image_size": size}, preprocessing={"image_size": size})

    def resized(path: str, value: Any) -> Any:
        name = path.split("/")[0]
        old_layer, new_layer = model.get_layer(name), new.get_layer(name)
        if not path.endswith("/pos_embed") or not isinstance(new_layer, TokenEmbedding):
            raise UsageError(f"{path} of {model.name} depends on the image size and is not resized")
        geometry = Geometry(
            grid=new_layer.grid_size,
            file_grid=old_layer.grid_size,
            prefix=0 if new_layer.no_embed_class else new_layer.num_prefix_tokens,
        )
        return adapt_positions(value, geometry, new_layer.pos_resize)[0]

    _copy_weights(model, new, adapt=resized)
    return new


def keep_blocks(model: VisionModel, count: int) -> VisionModel:
    """The same Transformer with its first blocks alone, such as for features of a layer in the middle.

    Final norm and classifier stay, though they were trained for what the last block gave.

    Args:
        model: a ViT, DeiT or hybrid of `keras_vit.load`; it and its weights stay as they are.
        count: how many blocks to keep, from 1 to the model's depth.

    Returns:
        A model with copies of the weights that are left; layers that were frozen are frozen.

    Raises:
        UsageError: for a model without a configuration or without one depth, another count, or one that
            was quantised or has LoRA weights.
    """
    depth = model.config.arguments.get("depth") if model.config else None
    if not isinstance(depth, int):
        raise UsageError(f"{model.name} has no row of blocks to shorten: only Transformers have")
    if not 1 <= count <= depth:
        raise UsageError(f"{model.name} has {depth} blocks: keep 1 to {depth}. Received: {count}")
    new = _rebuilt(model, {"depth": count})

    def of_the_first(path: str, value: Any) -> Any:
        if not path.endswith("/freqs"):
            raise UsageError(f"{path} of {model.name} depends on the depth and is not shortened")
        return value[:, :count]  # RotaryEmbedding's, (2, blocks, ...)

    left_out = tuple(f"blocks_{i}" for i in range(count, depth))
    _copy_weights(model, new, left_out=left_out, adapt=of_the_first)
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


def _rebuilt(
    model: VisionModel,
    changes: Mapping[str, Any],
    *,
    preprocessing: Mapping[str, Any] | None = None,
    labels: tuple[str, ...] | Literal["same"] | None = "same",
) -> VisionModel:
    """A model of the same configuration but for `changes`, freshly initialised.

    Args:
        model: whose configuration and dtype policy it has.
        changes: builder arguments. preprocessing: fields of its own. labels: of the new model.
    """
    if model.config is None:
        raise UsageError(
            "only a model of keras_vit.load can be changed: this one has no configuration"
        )
    config = dataclasses.replace(
        model.config,
        arguments={**model.config.arguments, **changes},
        preprocessing=dataclasses.replace(model.config.preprocessing, **(preprocessing or {})),
        labels=model.config.labels if labels == "same" else labels,
    )
    builder = builder_of(catalogue.info(config.name).builder)
    policy = next(layer for layer in model.layers if layer.weights).dtype_policy
    new = build_model(builder, config, dtype=policy, load_report=model.load_report)
    if two_heads(new) is not None and two_heads(model) is None:
        raise UsageError("change the whole model, then take one of its heads")
    return new


def _copy_weights(
    model: VisionModel,
    new: VisionModel,
    *,
    fresh: tuple[str, ...] = (),
    left_out: tuple[str, ...] = (),
    adapt: Callable[[str, Any], Any] | None = None,
) -> None:
    """Fills `new` with the weights of `model`, and freezes what is frozen there.

    Args:
        fresh: names of layers that keep their initial values. left_out: of those that `new` has not.
        adapt: makes a value, told by its variable's path, fit into a variable of another shape.
    """
    skipped = (*fresh, *left_out)
    old, wanted = _variables(model, skipped), _variables(new, skipped)
    if old.keys() != wanted.keys():
        raise UsageError(
            "change the model before quantizing it, enabling LoRA or adding layers: "
            f"{sorted(old.keys() ^ wanted.keys())[0]} is in one of the two alone"
        )
    for path, variable in wanted.items():
        value: Any = old[path]
        if value.shape != variable.shape and adapt is not None:
            value = adapt(path, keras.ops.convert_to_numpy(value))
        variable.assign(value)
    for layer in new.layers:
        if layer.name not in skipped:
            layer.trainable = model.get_layer(layer.name).trainable


def _variables(model: VisionModel, skipped: tuple[str, ...]) -> dict[str, Any]:
    """Variables by their paths."""
    layers = [layer for layer in model.layers if layer.name not in skipped]
    return {variable.path: variable for layer in layers for variable in layer.weights}
