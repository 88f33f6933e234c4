"""An ONNX graph while it is being drawn: values, nodes, weights, and the rules of the layers.

A value knows the shape that the tensor has in Keras, channels last. Convolutions leave their maps channels
first, as ONNX has them, and only who needs them otherwise has them transposed.
"""

import inspect
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

BATCH = "batch"
"""What the free first axis is called."""

PREPROCESSING = "preprocessing"
"""The scope of the nodes that run before the model: `preprocessing/...`."""


class NoRule(Exception):
    """Something that cannot be written directly; the message says what."""


@dataclass(frozen=True)
class Value:
    """A tensor of the graph.

    Attributes:
        name: in the graph.
        shape: as in Keras, channels last; None where it is free.
        dtype: NumPy's name of the element type.
        channels_first: whether it is stored (batch, channels, height, width) all the same.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    channels_first: bool = False

    @property
    def channels(self) -> int:
        """Length of the last axis.

        Raises:
            NoRule: it is free.
        """
        return self.sides(-1)[0]

    def sides(self, *axes: int) -> tuple[int, ...]:
        """Lengths of some axes, or of all.

        Raises:
            NoRule: one is free.
        """
        found = [self.shape[axis] for axis in axes] if axes else self.shape
        known = tuple(side for side in found if side is not None)
        if len(known) < len(found):
            raise NoRule(f"no rule for sides that are free: {self.shape}")
        return known


@dataclass(frozen=True)
class Node:
    """An operator, with the values that it takes and gives."""

    op: str
    name: str
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Weight:
    """An initializer: what it is now, and how to make it when it is written.

    `make` gives the array, of the shape and element type promised here.
    """

    value: Value
    make: Callable[[], np.ndarray]

    @property
    def bytes(self) -> int:
        """Its size in the file."""
        return math.prod(self.value.sides()) * np.dtype(self.value.dtype).itemsize


Rule = Callable[..., Any]
"""`rule(graph, layer, *values, **arguments)`: draws a layer's nodes and returns its output values."""


class Graph:
    """Draws nodes. Equal nodes on equal inputs are drawn once.

    Args:
        rules: how a layer of exactly this class is written; a subclass may compute something else.
        casting: the classes among them that take other element types than float32.
        opset: of the operators.
        attention: `"matmul"`, or `"operator"` for ONNX's own (opset 23).
        reserved: names that no node may have: those of inputs and outputs.
    """

    def __init__(
        self,
        rules: Mapping[type, Rule],
        casting: Collection[type],
        opset: int,
        attention: str = "matmul",
        reserved: Sequence[str] = (),
    ) -> None:
        self.rules, self.casting = rules, casting
        self.opset, self.attention = opset, attention
        self.nodes: list[Node] = []
        self.weights: dict[str, Weight] = {}
        # What other form of a value there is already: (form, its name or names) -> the other value.
        self.known: dict[tuple[str, ...], Value] = {}
        # Maps with zeros around them: what is inside, and how many zeros at the top, left, bottom, right.
        self.padded: dict[str, tuple[Value, tuple[int, int, int, int]]] = {}
        self._scopes: list[str] = []
        self._names = set(reserved)
        self._drawn: dict[Any, tuple[Value, ...]] = {}
        self._by_owner: dict[tuple[int, str], Value] = {}

    # Layers

    def layer(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """Draw a layer called on values.

        Raises:
            NoRule: there is no rule for its class, or not for this call.
        """
        kind = type(layer).__name__
        rule = self.rules.get(type(layer))
        if rule is None or getattr(layer, "quantization_mode", None):
            raise NoRule(f"no rule for {kind}, layer {layer.name!r}")
        if type(layer) not in self.casting:
            for value in keras.tree.flatten([args, kwargs]):
                if isinstance(value, Value) and value.dtype != "float32":
                    raise NoRule(f"no rule for {kind} of {value.dtype}, layer {layer.name!r}")
        # A model that is called with training=False calls its layers so, whatever the graph says.
        kwargs = {k: value for k, value in kwargs.items() if k != "training" and value is not None}
        try:
            inspect.signature(rule).bind(self, layer, *args, **kwargs)
        except TypeError:
            raise NoRule(f"no rule for {kind} called with {', '.join(kwargs) or 'that'}") from None
        with self.scope(layer.name):
            return rule(self, layer, *args, **kwargs)

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Nodes and weights drawn inside are called `name/...`."""
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    # Nodes

    def node(
        self,
        op: str,
        *inputs: Value | np.ndarray | None,
        shape: Sequence[int | None] | None = None,
        dtype: str | None = None,
        channels_first: bool | None = None,
        **attributes: Any,
    ) -> Value:
        """A node with one output.

        Args:
            op: the operator. inputs: arrays become constants; None leaves an optional one out.
            shape, dtype, channels_first: of the output; None means as the first input.
            attributes: None ones are left out.
        """
        first = inputs[0]
        assert isinstance(first, Value)
        (output,) = self.split_node(
            op,
            *inputs,
            shapes=[first.shape if shape is None else tuple(shape)],
            dtype=dtype,
            channels_first=channels_first,
            **attributes,
        )
        return output

    def split_node(
        self,
        op: str,
        *inputs: Value | np.ndarray | None,
        shapes: Sequence[Sequence[int | None]],
        dtype: str | Sequence[str] | None = None,
        channels_first: bool | None = None,
        **attributes: Any,
    ) -> tuple[Value, ...]:
        """A node with one output for each of `shapes`, of one `dtype` or one each; else as `node`."""
        values = tuple(self.constant(x) if isinstance(x, np.ndarray) else x for x in inputs)
        attributes = {name: value for name, value in attributes.items() if value is not None}
        key = (op, tuple(v and v.name for v in values), repr(sorted(attributes.items())))
        if key not in self._drawn:
            first = values[0]
            assert first is not None
            name = self._unique(op)
            kind = first.dtype if dtype is None else dtype
            kinds = [kind] * len(shapes) if isinstance(kind, str) else kind
            layout = first.channels_first if channels_first is None else channels_first
            outputs = tuple(
                Value(name if len(shapes) == 1 else f"{name}.{i}", tuple(shape), kind, layout)
                for i, (shape, kind) in enumerate(zip(shapes, kinds, strict=True))
            )
            self.nodes.append(Node(op, name, values, outputs, attributes))
            self._drawn[key] = outputs
        return self._drawn[key]

    def constant(self, array: np.ndarray) -> Value:
        """An array that no layer owns, such as a shape."""
        key = ("constant", array.shape, array.dtype.name, array.tobytes())
        if key not in self._drawn:
            value = Value(self._unique("constant"), array.shape, array.dtype.name)
            self.weights[value.name] = Weight(value, lambda: array)
            self._drawn[key] = (value,)
        return self._drawn[key][0]

    def weight(self, owner: Any, part: str, shape: Sequence[int], make: Callable[[], Any]) -> Value:
        """A float32 weight, read when it is written; the same again for the same owner and part.

        Args:
            owner: the layer. part: which of its weights, in which form.
            shape: of what `make` gives: an array, a Keras variable or a tensor.
        """
        key = (id(owner), part)
        if key not in self._by_owner:
            value = Value(self._unique(part), tuple(shape))
            self.weights[value.name] = Weight(value, lambda: as_array(make()))
            self._by_owner[key] = value
        return self._by_owner[key]

    def is_constant(self, value: Value | None) -> bool:
        """Whether it does not depend on the images."""
        return value is None or value.name in self.weights

    def _unique(self, name: str) -> str:
        whole = "/".join([*self._scopes, name])
        unique, count = whole, 0
        while unique in self._names:
            count += 1
            unique = f"{whole}_{count}"
        self._names.add(unique)
        return unique

    # Layouts

    def channels_last(self, x: Value) -> Value:
        """The value stored as Keras has it."""
        return self._stored(x, False, [0, 2, 3, 1]) if x.channels_first else x

    def channels_first(self, x: Value) -> Value:
        """A map (batch, height, width, channels) stored with its channels first."""
        return x if x.channels_first else self._stored(x, True, [0, 3, 1, 2])

    def _stored(self, x: Value, channels_first: bool, perm: list[int]) -> Value:
        forms = ("first", "last") if channels_first else ("last", "first")
        stored = self.known.get((forms[0], x.name))
        if stored is None:
            stored = self.node("Transpose", x, channels_first=channels_first, perm=perm)
            self.known[forms[0], x.name] = stored
            self.known[forms[1], stored.name] = x
        return stored


def as_array(value: Any) -> np.ndarray:
    """A variable, tensor or array of any backend in float32."""
    if not isinstance(value, np.ndarray):
        value = keras.ops.convert_to_numpy(value)
    return np.asarray(value, np.float32)
