"""What goes into and comes out of a Keras model, in the names that artifacts use."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from keras_vit.config import ModelConfig
from keras_vit.errors import UsageError


def configuration(model: Any) -> ModelConfig | None:
    """The configuration of a model of ours; None for a plain Keras model."""
    config = getattr(model, "config", None)
    return config if isinstance(config, ModelConfig) else None


def image_shape(model: Any) -> tuple[int | None, int | None, int]:
    """(height, width, channels) of the images that a model takes; None for a free side.

    Raises:
        UsageError: the model does not take one batch of images.
    """
    try:
        inputs = list(model.inputs)
    except (AttributeError, TypeError, ValueError):
        inputs = []
    if not inputs:
        raise UsageError(
            "the model has no symbolic inputs; give it some with keras.Model(inputs, model(inputs))"
        )
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 4 or shape[-1] is None:
        shapes = ", ".join(str(tuple(value.shape)) for value in inputs)
        raise UsageError(
            f"the model has to take one batch of images (batch, height, width, channels); it takes "
            f"{shapes}"
        )
    return shape[1], shape[2], shape[3]


def output_of(model: Any) -> Any:
    """A model's symbolic output; a Sequential has no `output` before it is called in another model."""
    try:
        return model.output
    except AttributeError:
        outputs = model.outputs
        return outputs[0] if len(outputs) == 1 else outputs


def output_names(model: Any) -> tuple[str, ...]:
    """The names of a model's outputs: its own where it gives a dict or several tensors.

    A single tensor is called `logits`, or `features` for a model of ours without classes.

    Raises:
        UsageError: two outputs of one name.
    """
    output = output_of(model)
    if isinstance(output, Mapping):
        return tuple(output)
    if len(model.outputs) == 1:
        config = configuration(model)
        features = config is not None and not config.arguments.get("num_classes", 1)
        return ("features" if features else "logits",)
    names = tuple(model.output_names)
    if len(set(names)) < len(names):
        raise UsageError(f"the model's outputs need names of their own; they are called {names}")
    return names


def named(outputs: Any, names: Sequence[str]) -> dict[str, Any]:
    """A model's outputs by name, whether it gives a tensor, a list, perhaps of pairs, or a dict."""
    if isinstance(outputs, Mapping):
        return dict(outputs)
    return dict(zip(names, _flat(outputs), strict=True))


def _flat(outputs: Any) -> Iterator[Any]:
    if isinstance(outputs, list | tuple):
        for output in outputs:
            yield from _flat(output)
    else:
        yield outputs
