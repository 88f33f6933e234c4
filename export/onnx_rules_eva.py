"""Rules of the layers of EVA and its heirs.

Cosines and sines of images of one size are weights. The pairs of channels that a rotation turns are brought
side by side in the kernels of queries and keys; scales are folded in as those are written.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_vit import layers
from keras_vit.export.onnx_graph import Graph, NoRule, Rule, Value, as_array
from keras_vit.export.onnx_parts import count, linear, reshape, sides_of, transpose
from keras_vit.export.onnx_resize import Number
from keras_vit.export.onnx_rules_keras import attend, concatenated
from keras_vit.export.onnx_rules_vit import gamma_of
from keras_vit.layers.rotary import turns


def rotary_embedding(graph: Graph, layer: Any, x: Value) -> list[Value]:
    """A table for all blocks, or one for each."""
    return [_table(graph, layer, x, block) for block in range((layer.learned or (1, 1))[0])]


def _table(graph: Graph, layer: Any, x: Value, block: int) -> Value:
    """As the layer gives it; its halves, heads before tokens, are known by its name."""
    heads, pairs = (layer.learned or (1, 1))[1], layer.head_dim // 2
    height, width = x.shape[1:3]
    tokens = count(height, width)
    if tokens is not None:
        tokens += layer.num_prefix_tokens
        shape = (heads, tokens, pairs)

        def half(index: int) -> np.ndarray:
            return _turns(layer, block, x.sides(1, 2))[index].transpose(1, 0, 2)

        halves = [
            graph.weight(layer, f"{name}_{block}", shape, partial(half, index))
            for index, name in enumerate(("cosines", "sines"))
        ]
    else:
        halves = _halves_of_any_size(graph, layer, x, block)
    upright = [transpose(graph, half, (1, 0, 2)) for half in halves]
    ones = [reshape(graph, half, (1, tokens, heads, pairs)) for half in upright]
    table = concatenated(graph, ones, 0)
    graph.known["cosines", table.name], graph.known["sines", table.name] = halves
    return table


def _turns(layer: Any, block: int, size: tuple[int, ...]) -> np.ndarray:
    """(2, tokens, heads, pairs) for a grid of this size."""
    y, x = (
        layer.along(axis, np.arange(length, dtype=np.float32), length)
        for axis, length in enumerate(size)
    )
    rows, columns = (as_array(part) for part in layer.frequencies()[block])
    return turns(np, y, x, (rows, columns), layer.num_prefix_tokens)


def _halves_of_any_size(graph: Graph, layer: Any, x: Value, block: int) -> list[Value]:
    """Cosines and sines, (heads, tokens, pairs) each, of angles that are made when the graph runs."""
    heads, pairs = (layer.learned or (1, 1))[1], layer.head_dim // 2
    products = []
    for axis, name in enumerate(("rows", "columns")):
        coordinates = _along(graph, layer, x, axis)
        upright = [(-1, 1, 1, 1), (1, -1, 1, 1)][axis]
        target = np.array(upright, np.int64)
        shape = tuple(None if side == -1 else side for side in upright)
        coordinates = graph.node("Reshape", coordinates, target, shape=shape)
        values = lambda axis=axis: layer.frequencies()[block][axis]  # noqa: E731
        frequencies = graph.weight(layer, f"{name}_{block}", (heads, pairs), values)
        shape = (*shape[:2], heads, pairs)
        products.append(graph.node("Mul", coordinates, frequencies, shape=shape))
    angles = graph.node("Add", *products, shape=(None, None, heads, pairs))
    target = np.array([-1, heads, pairs], np.int64)
    angles = graph.node("Reshape", angles, target, shape=(None, heads, pairs))
    angles = transpose(graph, angles, (1, 0, 2))
    halves = [graph.node(op, angles) for op in ("Cos", "Sin")]
    if prefix := layer.num_prefix_tokens:
        still = [np.full((heads, prefix, pairs), value, np.float32) for value in (1, 0)]
        halves = [
            concatenated(graph, [graph.constant(first), half], 1)
            for first, half in zip(still, halves, strict=True)
        ]
    return halves


def _along(graph: Graph, layer: Any, x: Value, axis: int) -> Value:
    """The coordinates of a grid's rows or columns."""
    side = graph.node("Gather", sides_of(graph, x), np.array(axis, np.int64), axis=0, shape=())
    length = graph.node("Cast", side, dtype="float32", to=1)
    ends = [graph.constant(np.array(number, np.float32)) for number in (0, 1)]
    numbers = graph.node("Range", ends[0], length, ends[1], shape=(None,))
    return layer.along(axis, Number(graph, numbers), Number(graph, length)).value


def rotary_attention(
    graph: Graph,
    layer: Any,
    x: Value,
    rope: Value | None = None,
    return_attention_scores: bool = False,
    factors: Callable[[], np.ndarray] | None = None,
) -> Any:
    """Queries, keys and values, turned, and mixed.

    Args:
        rope: a table of `rotary_embedding`. factors: multiply what it gives.
    """
    side_by_side = layer.interleaved and rope is not None
    folded = layer.q_norm is None
    order = _order(layer) if side_by_side and folded else None
    query, key, value = _heads(graph, layer, x, layer.head_dim**-0.5 if folded else 1.0, order)
    if not folded:
        query = graph.layer(layer.q_norm, query, factor=layer.head_dim**-0.5)
        key = graph.layer(layer.k_norm, key)
        if side_by_side:
            query, key = (graph.node("Gather", y, _order(layer), axis=3) for y in (query, key))
    if rope is not None:
        query, key = (_rotated(graph, y, rope) for y in (query, key))
    if (group := layer.num_heads // layer.num_kv_heads) > 1:
        several = np.repeat(np.arange(layer.num_kv_heads), group)
        shape = (key.shape[0], layer.num_heads, *key.shape[2:])
        key, value = (graph.node("Gather", y, several, axis=1, shape=shape) for y in (key, value))
    if graph.attention == "operator" and not return_attention_scores:
        mixed = graph.node("Attention", query, key, value, scale=1.0)
        mixed, scores = reshape(graph, transpose(graph, mixed, (0, 2, 1, 3)), x.shape), None
    else:
        mixed, scores = attend(graph, query, transpose(graph, key, (0, 1, 3, 2)), value)
    if layer.norm is not None:
        mixed = graph.layer(layer.norm, mixed)
    mixed = graph.layer(layer.proj, mixed, factors=factors)
    return (mixed, scores) if return_attention_scores else mixed


def _order(layer: Any) -> np.ndarray:
    """Where the channels of a head come from, for the first of each pair to stand before the others."""
    return np.arange(layer.head_dim).reshape(-1, 2).T.reshape(-1)


def _heads(
    graph: Graph, layer: Any, x: Value, scale: float, order: np.ndarray | None
) -> list[Value]:
    """Queries times `scale`, keys and values, (batch, heads, tokens, size) each.

    Args:
        order: of the channels of queries' and keys' heads; None leaves it as it is.
    """
    counts = [layer.num_heads, layer.num_kv_heads, layer.num_kv_heads]
    scales, size = [scale, 1.0, 1.0], layer.head_dim
    orders = [order, order, None]
    if not layer.qkv_fused:
        return [
            _split_heads(graph, _product(graph, dense, x, dense.bias, [n], [s], [o], size), n, size)
            for dense, n, s, o in zip(layer.projections, counts, scales, orders, strict=True)
        ]
    beside = (layer.q_bias, layer.v_bias) if layer.has_bias_beside else None
    bias = layer.qkv.bias if beside is None else lambda: _with_no_key_bias(*beside)
    joint = _product(graph, layer.qkv, x, bias, counts, scales, orders, size)
    joint = _split_heads(graph, joint, sum(counts), size)
    shape = (joint.shape[0], counts[0], *joint.shape[2:])
    return list(
        graph.split_node("Split", joint, np.array(counts, np.int64), shapes=[shape] * 3, axis=1)
    )


def _with_no_key_bias(query: Any, value: Any) -> np.ndarray:
    return np.concatenate([as_array(query), np.zeros_like(as_array(query)), as_array(value)])


def _split_heads(graph: Graph, x: Value, heads: int, size: int) -> Value:
    split = reshape(graph, x, (*x.shape[:2], heads, size))
    return transpose(graph, split, (0, 2, 1, 3))


def _product(
    graph: Graph,
    dense: Any,
    x: Value,
    bias: Any,
    counts: list[int],
    scales: list[float],
    orders: list[np.ndarray | None],
    size: int,
) -> Value:
    """A Dense whose columns, a part of `counts` heads after another, are scaled and put in another order.

    Args:
        bias: an array or a function that gives one, or None.
    """
    if type(dense) is not keras.layers.Dense or getattr(dense, "quantization_mode", None):
        raise NoRule(f"no rule for {type(dense).__name__}, layer {dense.name!r}")
    heads = np.arange(sum(counts) * size).reshape(-1, size)
    ends = np.cumsum(counts)[:-1]
    columns = np.concatenate(
        [
            (part if order is None else part[:, order]).reshape(-1)
            for part, order in zip(np.split(heads, ends), orders, strict=True)
        ]
    )
    factors = np.repeat(np.array(scales, np.float32), [n * size for n in counts])

    def changed(value: Any) -> np.ndarray:
        return as_array(value() if callable(value) else value)[..., columns] * factors

    with graph.scope(dense.name):
        return linear(
            graph,
            x,
            dense,
            lambda: changed(dense.kernel),
            None if bias is None else lambda: changed(bias),
            len(columns),
        )


def _rotated(graph: Graph, x: Value, rope: Value) -> Value:
    """Each pair of channels turned: the first of all pairs stand before the others."""
    cosines, sines = (graph.known[name, rope.name] for name in ("cosines", "sines"))
    pairs = x.channels // 2
    shape = (*x.shape[:-1], pairs)
    halves = np.full(2, pairs, np.int64)
    one, other = graph.split_node("Split", x, halves, shapes=[shape] * 2, axis=-1)

    def turned(op: str, first: Value, second: Value) -> Value:
        return graph.node(op, graph.node("Mul", first, cosines), graph.node("Mul", second, sines))

    return concatenated(graph, [turned("Sub", one, other), turned("Add", other, one)], -1)


def eva_block(
    graph: Graph,
    layer: Any,
    x: Value,
    rope: Value | None = None,
    return_attention_scores: bool = False,
) -> Any:
    """Two residual branches, LayerScale folded into the last product of each where no norm stands between."""
    wanted = {"rope": rope, "return_attention_scores": return_attention_scores or None}
    mixed = _branch(graph, layer, x, layer.norm1, layer.attn, layer.ls1, **wanted)
    mixed, scores = mixed if return_attention_scores else (mixed, None)
    x = graph.node("Add", x, mixed)
    x = graph.node("Add", x, _branch(graph, layer, x, layer.norm2, layer.mlp, layer.ls2))
    return (x, scores) if return_attention_scores else x


def _branch(
    graph: Graph, block: Any, x: Value, norm: Any, layer: Any, scale: Any, **arguments: Any
) -> Any:
    """What is added to the tokens; with the attention's scores, if it gives them."""
    if not block.post_norm:
        return graph.layer(layer, graph.layer(norm, x), factors=gamma_of(scale), **arguments)
    found = graph.layer(layer, x, **arguments)
    mixed, *rest = found if isinstance(found, tuple) else (found,)
    mixed = graph.layer(norm, mixed)
    if scale is not None:
        mixed = graph.layer(scale, mixed)
    return (mixed, *rest) if rest else mixed


RULES: dict[type, Rule] = {
    layers.RotaryEmbedding: rotary_embedding,
    layers.RotaryAttention: rotary_attention,
    layers.EvaBlock: eva_block,
}
