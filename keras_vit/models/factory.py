"""From a configuration to a model: the builder that the catalogue names, called and wrapped."""

import dataclasses
import difflib
import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

import keras

from keras_vit.config import ModelConfig
from keras_vit.errors import UsageError
from keras_vit.models.model import VisionModel
from keras_vit.weights.report import LoadReport

# timm's name, or Keras', for ours.
_ALIASES = {"img_size": "image_size", "activation": "act"}
_PAIRS = ("image_size", "patch_size")


def builder_of(reference: str) -> Callable[..., Any]:
    """The function that a catalogue's `"module:function"` names."""
    module, function = reference.split(":")
    return getattr(importlib.import_module(module), function)


def merge_arguments(
    builder: Callable[..., Any], arguments: Mapping[str, Any], overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """The builder's arguments with the user's on top.

    Sizes may be one number; timm's `img_size` is taken for `image_size`.

    Raises:
        UsageError: for an argument that the builder does not take, with the nearest one.
    """
    known = [name for name in inspect.signature(builder).parameters if name != "dtype"]
    merged = dict(arguments)
    for name, value in overrides.items():
        name = _ALIASES.get(name, name)
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise UsageError(f"unknown argument {name!r}; the nearest one is {nearest!r}")
        value = tuple(value) if isinstance(value, list) else value
        merged[name] = pair(value) if name in _PAIRS else value
    return merged


def build_model(
    builder: Callable[..., Any],
    config: ModelConfig,
    *,
    dtype: Any = None,
    load_report: LoadReport | None = None,
) -> VisionModel:
    """A model with freshly initialised weights.

    Args:
        builder: draws the graph from `config.arguments`.
        config: what the model is; it stays with the model. A Keras model among its arguments, such as
            a hybrid's stem, stays as its own configuration.
        dtype: dtype policy of its layers; Keras' global one when None.
        load_report: stays with the model.
    """
    inputs, outputs = builder(**config.arguments, dtype=dtype)
    name = config.name.split(".")[0]
    plain = {key: _plain(value) for key, value in config.arguments.items()}
    config = dataclasses.replace(config, arguments=plain)
    return VisionModel(inputs, outputs, name=name, config=config, load_report=load_report)


def _plain(value: Any) -> Any:
    """A builder's argument as plain JSON data, tuples apart."""
    if isinstance(value, keras.Model):
        return json.loads(json.dumps(keras.saving.serialize_keras_object(value)))
    return value


def pair(value: Any) -> tuple[int, int]:
    """(height, width) of a side or of both."""
    height, width = (value, value) if isinstance(value, int) else value
    return (int(height), int(width))
