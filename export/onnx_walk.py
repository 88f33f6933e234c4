"""Walk a built Keras model in the order of its calls.

The calls are read from `get_config()` of a plain Functional model of the same tensors: it lists every call of
every layer, shared ones too, with all arguments, and it leaves the model as it was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_vit.export import onnx_rules_ops
from keras_vit.export.onnx_graph import Graph, NoRule, Value


@dataclass(frozen=True)
class _Ref:
    """The output `index` of the call number `call` of a layer."""

    layer: str
    call: int
    index: int


@dataclass(frozen=True)
class _Call:
    """A call of a layer; its arguments hold `_Ref` for tensors."""

    layer: Any
    number: int
    args: Any
    kwargs: Any


def draw_model(graph: Graph, model: Any, inputs: Sequence[Value]) -> list[Value]:
    """Draw all layers of a Functional or Sequential model; its outputs, flat.

    Raises:
        NoRule: a layer or a call that cannot be written.
    """
    plain = keras.Model(list(model.inputs), keras.tree.flatten(model.outputs))
    _require_plain_call(model, type(plain))
    config = plain.get_config()
    done: dict[tuple[str, int], list[Value]] = {}
    for (name, _, _), symbol, value in zip(
        config["input_layers"], plain.inputs, inputs, strict=True
    ):
        done[name, 0] = [_as_input(graph, value, symbol)]
    for call in _in_order(_calls(plain, config), done):
        args, kwargs = (_fill(part, done) for part in (call.args, call.kwargs))
        outputs = _draw(graph, call.layer, args, kwargs)
        done[call.layer.name, call.number] = keras.tree.flatten(outputs)
    functional = type(plain)
    refs = [
        # Keras counts a call more of a model than it lists.
        _Ref(name, call - isinstance(plain.get_layer(name), functional), index)
        if _is_layer(plain, name)
        else _Ref(name, call, index)
        for name, call, index in config["output_layers"]
    ]
    return _fill(refs, done)


def _require_plain_call(model: Any, functional: Any) -> None:
    """A subclass may do more than run its graph."""
    if type(model).call not in (functional.call, keras.Sequential.call):
        raise NoRule(f"no rule for {type(model).__name__}, which has a call of its own")


def _as_input(graph: Graph, value: Value, symbol: Any) -> Value:
    """A model casts what it is called with to its input's element type."""
    if value.dtype == symbol.dtype:
        return value
    if symbol.dtype != "float32":
        raise NoRule(f"no rule for a cast to {symbol.dtype}")
    return graph.node("Cast", value, dtype="float32", to=1)


def _is_layer(plain: Any, name: str) -> bool:
    return any(layer.name == name for layer in plain.layers)


def _calls(plain: Any, config: Mapping[str, Any]) -> list[_Call]:
    """Every call in a Functional model's configuration."""
    operations = {operation.name: operation for operation in plain.operations}
    return [
        _Call(operations[entry["name"]], number, _read(call["args"]), _read(call["kwargs"]))
        for entry in config["layers"]
        for number, call in enumerate(entry["inbound_nodes"])
    ]


def _in_order(calls: Sequence[_Call], done: Mapping[Any, Any]) -> Iterator[_Call]:
    """Calls after those that they take values from; `done` grows meanwhile."""
    waiting = list(calls)
    while waiting:
        left = []
        for call in waiting:
            if all((ref.layer, ref.call) in done for ref in _refs([call.args, call.kwargs])):
                yield call
            else:
                left.append(call)
        if len(left) == len(waiting):
            raise NoRule(f"no rule for a graph in which {left[0].layer.name!r} waits for itself")
        waiting = left


def _draw(graph: Graph, layer: Any, args: Any, kwargs: Any) -> Any:
    if isinstance(layer, keras.Model):
        if kwargs.get("mask") is not None:
            raise NoRule(f"no rule for a model called with a mask, {layer.name!r}")
        with graph.scope(layer.name):
            return draw_model(graph, layer, keras.tree.flatten(args))
    if isinstance(layer, keras.layers.Layer):
        return graph.layer(layer, *args, **kwargs)
    return onnx_rules_ops.draw(graph, layer, *args, **kwargs)


def _read(config: Any) -> Any:
    """Arguments as Keras writes them, with `_Ref` for tensors."""
    if isinstance(config, list | tuple):
        return [_read(entry) for entry in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "__keras_tensor__":
        return _Ref(*config["config"]["keras_history"])
    if "class_name" in config:
        return keras.saving.deserialize_keras_object(config)
    return {key: _read(value) for key, value in config.items()}


def _refs(part: Any) -> list[_Ref]:
    return [leaf for leaf in keras.tree.flatten(part) if isinstance(leaf, _Ref)]


def _fill(part: Any, done: Mapping[Any, list[Value]]) -> Any:
    """Arguments with values for their `_Ref`."""
    if isinstance(part, _Ref):
        return done[part.layer, part.call][part.index]
    if isinstance(part, list):
        return [_fill(entry, done) for entry in part]
    if isinstance(part, dict):
        return {key: _fill(value, done) for key, value in part.items()}
    return part
