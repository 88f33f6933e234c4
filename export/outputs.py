"""What an artifact gives: logits or features, and on request probabilities, the best classes, inner maps.

Each is a Keras layer behind the model or a tensor inside it, so that every format has them and the
verification compares them all.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import keras
import numpy as np

from keras_vit.errors import UsageError
from keras_vit.export.interface import named, output_of
from keras_vit.export.reference import answers

_HEADS = ("head", "head_dist")
"""The classifiers of a model of ours; what they are called on are its features."""

_TOP = re.compile(r"top([1-9]\d*)")
_ATTENTION = "attention"


@keras.saving.register_keras_serializable("keras_vit")
class TopK(keras.layers.Layer):
    """The classes of the largest probabilities, the largest first; of equal ones the first.

    Args:
        k: how many.

    Input: (batch, classes). Output: classes (batch, k) int32 and their probabilities (batch, k).
    """

    def __init__(self, k: int, **kwargs: Any) -> None:
        super().__init__(**{"trainable": False, "dtype": "float32", **kwargs})
        self.k = k

    def call(self, probabilities: Any) -> tuple[Any, Any]:
        values, classes = keras.ops.top_k(probabilities, self.k)
        return keras.ops.cast(classes, "int32"), values

    def compute_output_spec(self, probabilities: Any) -> tuple[Any, Any]:
        """int32 and float32."""
        shape = (*probabilities.shape[:-1], self.k)
        return keras.KerasTensor(shape, "int32"), keras.KerasTensor(shape, "float32")

    def get_config(self) -> dict[str, Any]:
        """The constructor's argument."""
        return {**super().get_config(), "k": self.k}


def with_outputs(
    model: keras.Model, names: Sequence[str], wanted: Sequence[str] | None
) -> keras.Model:
    """A model of the same weights that gives `wanted` as a dict.

    Args:
        model: Functional or Sequential.
        names: what its own outputs are called.
        wanted: any of these, and of `names`; None is the model as it is. `"probabilities"`: the softmax of
            the logits. `"top5"`, or another number: `top5_classes` (int32) and `top5_probabilities`, the
            most probable first. `"features"`: what the classifier sees. `"attention"`: the softmax of
            every attention, `attention_BLOCK` (batch, heads, queries, keys); or one of those. A layer's
            name, such as `"blocks_5"`: what it gives.

    Raises:
        UsageError: an output that the model does not have.
    """
    if wanted is None:
        return model
    if isinstance(wanted, str) or not wanted:
        raise UsageError(f'outputs has to be a list such as ["logits", "top5"], not {wanted!r}')
    graph = _Graph(model, names, [name for name in wanted if name.startswith(_ATTENTION)])
    outputs: dict[str, Any] = {}
    for name in dict.fromkeys(wanted):
        outputs |= graph.outputs(name)
    return keras.Model(graph.inputs, outputs, name=model.name)


def expected_outputs(
    model: keras.Model,
    names: Sequence[str],
    wanted: Sequence[str] | None,
    images: np.ndarray,
    front: keras.Model | None = None,
) -> dict[str, np.ndarray]:
    """What the file has to give for `images`; for `top5_classes` the probabilities that they rank.

    Args: as in `with_outputs`; `front` runs before the model.
    """
    if wanted is None:
        return answers(model, names, images, front)
    ranks = any(_TOP.fullmatch(name) for name in wanted)
    asked = [*wanted, "probabilities"] if ranks else wanted
    whole = with_outputs(model, names, asked)
    found = answers(whole, list(output_of(whole)), images, front)
    return {
        name: found["probabilities"] if name.endswith("_classes") else value
        for name, value in found.items()
        if name != "probabilities" or name in wanted
    }


class _Graph:
    """The tensors of a model by the names that outputs have."""

    def __init__(self, model: keras.Model, names: Sequence[str], attention: Sequence[str]) -> None:
        plain = keras.Model(model.inputs, output_of(model), name=model.name)
        self.model, self.scored = plain, ()
        if attention:
            plain = self._with_attention(plain, attention)
        self.given: dict[str, list[Any]] = {}
        self.taken: dict[str, list[Any]] = {}
        copy = keras.models.clone_model(
            plain, clone_function=lambda layer: layer, call_function=self._recorded
        )
        own = copy.output["logits"] if attention else copy.output
        self.inputs, self.own = copy.inputs, named(own, names)

    def _with_attention(self, plain: keras.Model, wanted: Sequence[str]) -> keras.Model:
        from keras_vit.models.attention_scores import attention_scores

        blocks = [name.removeprefix(_ATTENTION).removeprefix("_") for name in wanted]
        scored = attention_scores(plain, None if "" in blocks else blocks)
        self.scored = tuple(name for name in scored.output if name != "logits")
        return scored

    def _recorded(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        given = layer(*args, **kwargs)
        self.taken.setdefault(layer.name, []).append(keras.tree.flatten([args, kwargs]))
        self.given.setdefault(layer.name, []).append(given)
        return given

    def outputs(self, name: str) -> dict[str, Any]:
        """The tensors for one of the names that a user gives."""
        if name in self.own:
            return {name: self.own[name]}
        if match := _TOP.fullmatch(name):
            classes, values = self._top(int(match[1]))
            return {f"{name}_classes": classes, f"{name}_probabilities": values}
        if name.startswith(_ATTENTION):
            blocks = self.scored if name == _ATTENTION else [name.removeprefix(f"{_ATTENTION}_")]
            return {f"{_ATTENTION}_{block}": self._only(self.given, block)[1] for block in blocks}
        if name == "probabilities":
            return {name: self._probabilities}
        return {name: self._features() if name == "features" else self._inner(name)}

    @cached_property
    def _probabilities(self) -> Any:
        logits = self.own.get("logits")
        if logits is None or len(logits.shape) != 2 or logits.shape[1] < 2:
            given = ", ".join(f"{name} {tuple(value.shape)}" for name, value in self.own.items())
            raise UsageError(f"probabilities need logits (batch, classes); the model gives {given}")
        if _ends_in_softmax(self.model):
            return logits
        return keras.layers.Softmax(dtype="float32", name="output_probabilities")(logits)

    def _top(self, k: int) -> Any:
        probabilities = self._probabilities
        if k > probabilities.shape[1]:
            raise UsageError(f'"top{k}" of a model with {probabilities.shape[1]} classes')
        return TopK(k, name=f"output_top{k}")(probabilities)

    def _features(self) -> Any:
        seen = [self._only(self.taken, head)[0] for head in _HEADS if head in self.taken]
        if not seen:
            raise UsageError(
                'the model has no classifier called "head", so that its features are not known; name '
                "the layer that gives them"
            )
        return keras.layers.Average(name="output_features")(seen) if len(seen) > 1 else seen[0]

    def _inner(self, name: str) -> Any:
        if name not in self.given:
            kinds = '"probabilities", "top5", "features", "attention"'
            raise UsageError(
                f"no output {name!r}: the model gives {', '.join(self.own)}; known are {kinds}, and the "
                f"layers {', '.join(self.given)}"
            )
        value = self._only(self.given, name)
        value = value[0] if name in self.scored else value
        if not isinstance(value, keras.KerasTensor):
            raise UsageError(f"the layer {name!r} gives more than one tensor")
        return value

    def _only(self, calls: Mapping[str, list[Any]], name: str) -> Any:
        if len(calls[name]) > 1:
            raise UsageError(f"the layer {name!r} is called {len(calls[name])} times")
        return calls[name][0]


def _ends_in_softmax(model: keras.Model) -> bool:
    """Whether what it calls logits are probabilities already."""
    (last, _, _), *_ = _flat(model.get_config()["output_layers"])
    layer = next((layer for layer in model.layers if layer.name == last), None)
    softmax: Callable[..., Any] = keras.activations.softmax
    return isinstance(layer, keras.layers.Softmax) or getattr(layer, "activation", None) is softmax


def _flat(references: Any) -> list[Any]:
    """Keras writes one output as [name, call, tensor], and several as a list or dict of those."""
    if isinstance(references, Mapping):
        return [entry for value in references.values() for entry in _flat(value)]
    if references and isinstance(references[0], str):
        return [references]
    return [entry for value in references for entry in _flat(value)]
