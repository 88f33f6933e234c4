"""What the rules of several layers are made of, one function an idea."""

from collections.abc import Callable, Sequence
from functools import reduce as fold
from typing import Any

import numpy as np

from keras_vit.export.onnx_graph import Graph, NoRule, Value, as_array

Shape = tuple[int | None, ...]


def count(*sides: int | None) -> int | None:
    """The product of axes' lengths; None where one is free."""
    known = [side for side in sides if side is not None]
    return int(np.prod(known, dtype=np.int64)) if len(known) == len(sides) else None


def reshape(graph: Graph, x: Value, shape: Sequence[int | None]) -> Value:
    """`x` in another shape; a free first axis stays as it is, and one other axis may be free."""
    x = graph.channels_last(x)
    if tuple(shape) == x.shape:
        return x
    target = [-1 if side is None else side for side in shape]
    if x.shape and shape and shape[0] == x.shape[0]:
        target[0] = 0  # copied
    if target.count(-1) > 1:
        raise NoRule(f"no rule for a reshape to {tuple(shape)}, of which several sides are free")
    return graph.node("Reshape", x, np.array(target, np.int64), shape=shape)


def transpose(graph: Graph, x: Value, perm: Sequence[int]) -> Value:
    """The axes in another order."""
    x = graph.channels_last(x)
    return graph.node("Transpose", x, shape=[x.shape[axis] for axis in perm], perm=list(perm))


def floats(graph: Graph, x: Value) -> Value:
    """`x` as float32."""
    if x.dtype == "float32":
        return x
    return graph.node("Cast", x, dtype="float32", to=1)


def combine(graph: Graph, op: str, values: Sequence[Value]) -> Value:
    """A binary operator over all values, broadcast as NumPy does it."""
    ranks = {len(value.shape) for value in values}
    if ranks == {4} and any(value.channels_first for value in values):
        values = [graph.channels_first(value) for value in values]
    else:
        values = [graph.channels_last(value) for value in values]

    def one(a: Value, b: Value) -> Value:
        return graph.node(op, a, b, shape=broadcast(a.shape, b.shape))

    return fold(one, values)


def broadcast(one: Shape, other: Shape) -> Shape:
    """The shape of an elementwise operation; a free side stays free."""
    rank = max(len(one), len(other))
    pairs = zip(*((1,) * (rank - len(shape)) + shape for shape in (one, other)), strict=True)
    return tuple(
        max(a, b) if a and b else (None if 1 in (a, b) or a is b else a or b) for a, b in pairs
    )


def channelwise(
    graph: Graph, op: str, x: Value, owner: Any, part: str, make: Callable[[], Any]
) -> Value:
    """An operator on `x` and one number a channel."""
    channels = x.channels
    if not x.channels_first:
        return graph.node(op, x, graph.weight(owner, part, (channels,), make))

    def upright() -> np.ndarray:
        return np.reshape(as_array(make()), (channels, 1, 1))

    return graph.node(op, x, graph.weight(owner, f"{part}_map", (channels, 1, 1), upright))


def reduce(graph: Graph, op: str, x: Value, axes: Sequence[int], keepdims: bool) -> Value:
    """ReduceMean, ReduceMax, ReduceSum or ReduceMin over some axes, as Keras counts them."""
    rank = len(x.shape)
    axes = sorted(axis % rank for axis in axes)
    shape = [
        1 if axis in axes else side
        for axis, side in enumerate(x.shape)
        if keepdims or axis not in axes
    ]
    stored = axes
    if x.channels_first and axes == [1, 2] and not keepdims:
        stored = [2, 3]
    else:
        x = graph.channels_last(x)
    listed = graph.opset >= (13 if op == "ReduceSum" else 18)  # as an input, not an attribute
    return graph.node(
        op,
        x,
        *([np.array(stored, np.int64)] if listed else []),
        axes=None if listed else stored,
        keepdims=int(keepdims),
        shape=shape,
        channels_first=False,
    )


def linear(
    graph: Graph,
    x: Value,
    layer: Any,
    kernel: Callable[[], Any],
    bias: Callable[[], Any] | None,
    units: int,
    part: str = "",
) -> Value:
    """`x @ kernel + bias` over the last axis: Gemm for vectors, MatMul and Add else.

    Args:
        layer: owns the weights. kernel: gives (width, units). bias: gives (units,), or None.
        part: distinguishes several products of one layer.
    """
    x = graph.channels_last(x)
    width = x.channels
    matrix = graph.weight(layer, f"{part}kernel", (width, units), kernel)
    shape = (*x.shape[:-1], units)
    if bias is None:
        return graph.node("MatMul", x, matrix, shape=shape)
    vector = graph.weight(layer, f"{part}bias", (units,), bias)
    if len(shape) == 2:
        return graph.node("Gemm", x, matrix, vector, shape=shape)
    return graph.node("Add", graph.node("MatMul", x, matrix, shape=shape), vector)


def convolve(
    graph: Graph,
    x: Value,
    kernel: Value,
    bias: Value | None,
    strides: Sequence[int],
    padding: str | Sequence[int],
    groups: int = 1,
    dilations: Sequence[int] = (1, 1),
) -> Value:
    """Conv over a map, whose result is stored channels first.

    Args:
        kernel: (filters, channels of a group, height, width).
        padding: `"same"`, `"valid"`, or zeros at the top, left, bottom and right.
    """
    x = graph.channels_first(x)
    window = [int(side or 1) for side in kernel.shape[2:]]
    spans = [(k - 1) * d + 1 for k, d in zip(window, dilations, strict=True)]
    pads, sides = windows(x.shape[1:3], spans, strides, padding)
    return graph.node(
        "Conv",
        x,
        kernel,
        *([] if bias is None else [bias]),
        shape=(x.shape[0], *sides, kernel.shape[0]),
        kernel_shape=window,
        strides=list(strides),
        dilations=list(dilations),
        group=groups,
        **pads,
    )


def windows(
    sides: Sequence[int | None],
    spans: Sequence[int],
    strides: Sequence[int],
    padding: str | Sequence[int],
) -> tuple[dict[str, Any], list[int | None]]:
    """How windows of `spans` pixels lie on a map: (ONNX attributes, sides of the result)."""
    axes = list(zip(sides, spans, strides, strict=True))
    if padding == "same":
        steps = [n and -(-n // stride) for n, _, stride in axes]
        if None in sides:
            return {"auto_pad": "SAME_UPPER"}, steps
        beyond = [
            max(((step or 0) - 1) * stride + span - (n or 0), 0)
            for step, (n, span, stride) in zip(steps, axes, strict=True)
        ]
        before = [n // 2 for n in beyond]
        pads = [*before, *(n - b for n, b in zip(beyond, before, strict=True))]
        return {"pads": pads}, steps
    pads = [0, 0, 0, 0] if isinstance(padding, str) else list(padding)
    steps = [
        None if n is None else (n + pads[axis] + pads[axis + 2] - span) // stride + 1
        for axis, (n, span, stride) in enumerate(axes)
    ]
    return {"pads": pads}, steps


def pool(
    graph: Graph,
    op: str,
    x: Value,
    size: Sequence[int],
    strides: Sequence[int],
    padding: str | Sequence[int],
) -> Value:
    """MaxPool or AveragePool; padding takes part in neither."""
    x = graph.channels_first(x)
    if op == "MaxPool" and x.name in graph.padded:
        return _max_with_zeros(graph, x, size, strides, padding)
    pads, sides = windows(x.shape[1:3], size, strides, padding)
    shape = (x.shape[0], *sides, x.shape[-1])
    return graph.node(op, x, shape=shape, kernel_shape=list(size), strides=list(strides), **pads)


def _max_with_zeros(
    graph: Graph, padded: Value, size: Sequence[int], strides: Sequence[int], padding: Any
) -> Value:
    """The maximum of windows that may reach into zeros around a map.

    onnxruntime takes Pad and MaxPool for MaxPool with padding, where zeros do not take part (as onnxsim
    does, github.com/onnxsim/onnxsim/issues/290). So it is that, and a maximum with zero at the windows
    that reach beyond the map: of one number a row, and one a column.
    """
    x, (top, left, bottom, right) = graph.padded[padded.name]
    if padding != "valid":
        raise NoRule('no rule for the maximum of "same" windows in a padded map')
    if None in x.shape[1:3]:
        x = _zeros_around(graph, x, (top, left, bottom, right), padded.shape)
        return pool(graph, "MaxPool", x, size, strides, padding)
    before, sides = (top, left), x.sides(1, 2)
    pads, steps = windows(sides, size, strides, [top, left, bottom, right])
    y = graph.node(
        "MaxPool",
        x,
        shape=(x.shape[0], *steps, x.channels),
        kernel_shape=list(size),
        strides=list(strides),
        **pads,
    )
    floors = []
    for axis in (0, 1):
        starts = np.arange(y.sides(1, 2)[axis]) * strides[axis] - before[axis]
        beyond = (starts < 0) | (starts + size[axis] > sides[axis])
        floor = np.where(beyond, 0, np.finfo(np.float32).min).astype(np.float32)
        floors.append(floor.reshape((-1, 1) if axis == 0 else (1, -1)))
    return graph.node("Max", y, *floors)


def _zeros_around(
    graph: Graph, x: Value, zeros: tuple[int, int, int, int], shape: Sequence[int | None]
) -> Value:
    """A map of any size with zeros around it, joined: onnxruntime takes no Concat for padding."""
    for axis, before, after in ((2, zeros[0], zeros[2]), (3, zeros[1], zeros[3])):
        ends = [np.array([n], np.int64) for n in (0, 1, axis)]
        line = tuple(1 if a == axis - 1 else side for a, side in enumerate(x.shape))
        first = graph.node("Slice", x, *ends, shape=line)
        nothing = graph.node("Mul", first, np.zeros((), np.float32))
        parts = [*[nothing] * before, x, *[nothing] * after]
        x = graph.node("Concat", *parts, axis=axis, shape=shape)
    return x


def pad_map(graph: Graph, x: Value, top: int, left: int, bottom: int, right: int) -> Value:
    """A map with zeros around it."""
    if not any((top, left, bottom, right)):
        return x
    x = graph.channels_first(x)
    batch, height, width, channels = x.shape
    sides = (height and height + top + bottom, width and width + left + right)
    pads = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
    padded = graph.node("Pad", x, pads, shape=(batch, *sides, channels))
    graph.padded[padded.name] = (x, (top, left, bottom, right))
    return padded


def grid_to_tokens(graph: Graph, x: Value) -> Value:
    """A map to its pixels row by row, (batch, height * width, channels)."""
    batch, height, width, channels = x.shape
    if ("tokens", x.name) in graph.known:
        return graph.known["tokens", x.name]
    shape = (batch, count(height, width), channels)
    if not x.channels_first:
        return reshape(graph, x, shape)
    target = np.array([0, channels, -1], np.int64)
    flat = graph.node("Reshape", x, target, shape=(batch, channels, shape[1]), channels_first=False)
    return transpose(graph, flat, (0, 2, 1))


def tokens_to_grid(graph: Graph, tokens: Value, like: Value) -> Value:
    """The inverse of `grid_to_tokens`, which gives `tokens` again for it; as high and wide as `like`."""
    batch, _, channels = tokens.shape
    shape = (batch, *like.shape[1:3], channels)
    if None in like.shape[1:3]:
        sides = sides_of(graph, like)
        ends = [np.array([n], np.int64) for n in (0, channels)]
        target = graph.node(
            "Concat", graph.constant(ends[0]), sides, ends[1], axis=0, shape=(4,), dtype="int64"
        )
        grid = graph.node("Reshape", tokens, target, shape=shape)
        graph.known["sides", grid.name] = sides
    else:
        grid = reshape(graph, tokens, shape)
    graph.known["tokens", grid.name] = tokens
    return grid


def sides_of(graph: Graph, x: Value) -> Value:
    """(height, width) of a map when the graph runs, int64."""
    if ("sides", x.name) in graph.known:
        return graph.known["sides", x.name]
    first = 2 if x.channels_first else 1
    return graph.node(
        "Shape", x, start=first, end=first + 2, shape=(2,), dtype="int64", channels_first=False
    )
