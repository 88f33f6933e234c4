"""Rules of the plain Transformer's layers.

Attention's scale and LayerScale are folded into the products as they are written, prefix tokens into the
positions.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from keras_vit import layers
from keras_vit.export.onnx_activations import activate, scalar, softmax
from keras_vit.export.onnx_graph import Graph, NoRule, Rule, Value, as_array
from keras_vit.export.onnx_parts import (
    channelwise,
    grid_to_tokens,
    reduce,
    reshape,
    transpose,
)
from keras_vit.export.onnx_resize import resized_positions
from keras_vit.export.onnx_rules_keras import (
    attend,
)
from keras_vit.resize import resize_grid


def patch_embedding(graph: Graph, layer: Any, x: Value) -> Value:
    """A convolution."""
    return graph.layer(layer.proj, x)


def token_embedding(graph: Graph, layer: Any, x: Value) -> Value:
    """Zeros in front of the patches, then one sum: of positions, and prefix tokens where the zeros are."""
    tokens = grid_to_tokens(graph, x)
    batch, length, _ = tokens.shape
    dim, prefix = tokens.channels, layer.num_prefix_tokens
    if not prefix and not layer.position_embedding:
        return tokens
    if length is None:
        return _tokens_of_any_size(graph, layer, x, tokens)

    def table() -> np.ndarray:
        values = np.zeros((1, prefix + length, dim), np.float32)
        values[:, :prefix] = _prefix(layer, dim)
        if layer.position_embedding:
            height, width = x.sides(1, 2)
            grid = resize_grid(_grid(layer, dim), (height, width), layer.pos_resize)
            values[0, prefix:] = grid.reshape(-1, dim)
        return values

    if prefix:
        pads = np.array([0, prefix, 0, 0, 0, 0], np.int64)
        tokens = graph.node("Pad", tokens, pads, shape=(batch, prefix + length, dim))
    return graph.node(
        "Add", tokens, graph.weight(layer, "pos_embed", (1, prefix + length, dim), table)
    )


def _tokens_of_any_size(graph: Graph, layer: Any, x: Value, tokens: Value) -> Value:
    """The same with positions that are resized in the graph."""
    if not layer.position_embedding:
        raise NoRule(f"no rule for prefix tokens without positions, of any size, {layer.name!r}")
    learned = partial(_grid, layer, tokens.channels)
    table = resized_positions(graph, layer, learned, layer.grid_size, x, layer.pos_resize)
    if count := layer.num_prefix_tokens:
        shape = (1, count, tokens.channels)
        prefix = graph.weight(layer, "prefix", shape, partial(_prefix, layer, tokens.channels))
        table = graph.node("Concat", prefix, table, axis=1, shape=table.shape)
        pads = np.array([0, count, 0, 0, 0, 0], np.int64)
        tokens = graph.node("Pad", tokens, pads, shape=tokens.shape)
    return graph.node("Add", tokens, table)


def _prefix(layer: Any, dim: int) -> np.ndarray:
    """The prefix tokens with their positions, (1, tokens, dim)."""
    count = layer.num_prefix_tokens
    values = np.zeros((1, count, dim), np.float32)
    if layer.prefix:
        values += np.concatenate([as_array(token) for token in layer.prefix], axis=1)
    if layer.position_embedding and not layer.no_embed_class:
        values += as_array(layer.pos_embed)[:, :count]
    return values


def _grid(layer: Any, dim: int) -> np.ndarray:
    """The learned positions of the patches, (height, width, dim)."""
    extra = 0 if layer.no_embed_class else layer.num_prefix_tokens
    return as_array(layer.pos_embed)[0, extra:].reshape(*layer.grid_size, dim)


def transformer_block(
    graph: Graph, layer: Any, x: Value, return_attention_scores: bool = False
) -> Any:
    """Two residual branches, LayerScale folded into the last product of each."""
    normed = graph.layer(layer.norm1, x)
    mixed = graph.layer(
        layer.attn,
        normed,
        return_attention_scores=return_attention_scores or None,
        factors=gamma_of(layer.ls1),
    )
    mixed, scores = mixed if return_attention_scores else (mixed, None)
    x = graph.node("Add", x, mixed)
    hidden = graph.layer(layer.mlp, graph.layer(layer.norm2, x), factors=gamma_of(layer.ls2))
    x = graph.node("Add", x, hidden)
    return (x, scores) if return_attention_scores else x


def gamma_of(scale: Any) -> Callable[[], np.ndarray] | None:
    """LayerScale's factors, or None where there is none."""
    if scale is None:
        return None
    if type(scale) is not layers.LayerScale:
        raise NoRule(f"no rule for {type(scale).__name__}, layer {scale.name!r}")
    return lambda: as_array(scale.gamma)


def layer_scale(graph: Graph, layer: Any, x: Value) -> Value:
    """One factor a channel."""
    return channelwise(graph, "Mul", x, layer, "gamma", lambda: layer.gamma)


def mlp(
    graph: Graph, layer: Any, x: Value, factors: Callable[[], np.ndarray] | None = None
) -> Value:
    """Two products; `factors` multiply what they give."""
    return graph.layer(layer.fc2, graph.layer(layer.fc1, x), factors=factors)


def gated_mlp(
    graph: Graph, layer: Any, x: Value, factors: Callable[[], np.ndarray] | None = None
) -> Value:
    """The product of gate and value between two products; `factors` multiply what they give."""
    parts = [graph.layer(dense, x) for dense in layer.first]
    if layer.packed:
        shape = (*parts[0].shape[:-1], layer.hidden_dim)
        halves = np.full(2, layer.hidden_dim, np.int64)
        parts = list(graph.split_node("Split", parts[0], halves, shapes=[shape] * 2, axis=-1))
    gate, value = parts
    hidden = graph.node("Mul", activate(graph, layer.activation, gate), value)
    if layer.norm is not None:
        hidden = graph.layer(layer.norm, hidden)
    return graph.layer(layer.fc2, hidden, factors=factors)


def attention(
    graph: Graph,
    layer: Any,
    x: Value,
    return_attention_scores: bool = False,
    factors: Callable[[], np.ndarray] | None = None,
) -> Any:
    """One product for queries, keys and values, whose heads are laid out and split at once.

    Args:
        factors: multiply what it gives.
    """
    batch, tokens, _ = x.shape
    heads, size, dim = layer.num_heads, layer.head_dim, x.channels
    scale = size**-0.5
    folded = None if layer.norms else _first_third(dim, scale)
    qkv = graph.layer(layer.qkv, x, factors=folded)
    operator = graph.attention == "operator" and not return_attention_scores
    if operator and not layer.norms:
        parts = np.full(3, dim, np.int64)
        q, k, v = graph.split_node("Split", qkv, parts, shapes=[x.shape] * 3, axis=-1)
        mixed, scores = attention_operator(graph, q, k, v, heads), None
    else:
        qkv = transpose(graph, reshape(graph, qkv, (batch, tokens, 3 * heads, size)), (0, 2, 1, 3))
        parts, shape = np.full(3, heads, np.int64), (batch, heads, tokens, size)
        q, k, v = graph.split_node("Split", qkv, parts, shapes=[shape] * 3, axis=1)
        if layer.norms:
            q = graph.layer(layer.norms[0], q, factor=scale)
            k = graph.layer(layer.norms[1], k)
        if operator:
            mixed = graph.node("Attention", q, k, v, scale=1.0)
            mixed = reshape(graph, transpose(graph, mixed, (0, 2, 1, 3)), x.shape)
            scores = None
        else:
            mixed, scores = attend(graph, q, transpose(graph, k, (0, 1, 3, 2)), v)
    mixed = graph.layer(layer.proj, mixed, factors=factors)
    return (mixed, scores) if return_attention_scores else mixed


def attention_pool(
    graph: Graph, layer: Any, x: Value, return_attention_scores: bool = False
) -> Any:
    """The queries are the weights' alone, and so constant: two products a token, the rest of one vector."""
    x = graph.channels_last(x)
    if prefix := layer.num_prefix_tokens:
        x = rows(
            graph, x, prefix, None, (x.shape[0], x.shape[1] and x.shape[1] - prefix, x.channels)
        )
    batch, tokens, dim = x.shape
    heads, size = layer.num_heads, layer.head_dim
    query = graph.weight(layer, "query", (1, heads, 1, size), partial(_query, layer))
    kv = reshape(graph, graph.layer(layer.kv, x), (batch, tokens, 2 * heads, size))
    parts, shape = np.full(2, heads, np.int64), (batch, heads, tokens, size)
    key, value = graph.split_node(
        "Split", transpose(graph, kv, (0, 2, 1, 3)), parts, shapes=[shape] * 2, axis=1
    )
    logits = graph.node(
        "MatMul", query, transpose(graph, key, (0, 1, 3, 2)), shape=(batch, heads, 1, tokens)
    )
    scores = softmax(graph, logits)
    mixed = graph.node("MatMul", scores, value, shape=(batch, heads, 1, size))
    pooled = graph.layer(layer.proj, reshape(graph, mixed, (batch, dim)))
    hidden = graph.layer(layer.mlp, graph.layer(layer.norm, pooled))
    pooled = graph.node("Add", pooled, hidden)
    return (pooled, scores) if return_attention_scores else pooled


def _query(layer: Any) -> np.ndarray:
    """The scaled query of each head, (1, heads, 1, size)."""
    query = as_array(layer.latent)[0] @ as_array(layer.q.kernel) + as_array(layer.q.bias)
    return (query * layer.head_dim**-0.5).reshape(1, layer.num_heads, 1, layer.head_dim)


def _first_third(dim: int, factor: float) -> Callable[[], np.ndarray]:
    """`factor` for the queries, 1 for keys and values."""
    return lambda: np.repeat(np.array([factor, 1, 1], np.float32), dim)


def attention_operator(graph: Graph, query: Value, key: Value, value: Value, heads: int) -> Value:
    """ONNX's Attention of scaled queries, keys and values (batch, tokens, heads * size)."""
    return graph.node(
        "Attention", query, key, value, q_num_heads=heads, kv_num_heads=heads, scale=1.0
    )


def with_scores(graph: Graph, layer: Any, x: Any, rope: Value | None = None) -> Any:
    """A block that gives its attention map as well."""
    return graph.layer(layer.block, x, return_attention_scores=True, rope=rope)


def token_pool(graph: Graph, layer: Any, x: Value) -> Value:
    """One token, or the patches without the prefix, pooled."""
    x = graph.channels_last(x)
    if layer.mode == "token":
        index = np.array(layer.index, np.int64)
        return graph.node("Gather", x, index, shape=(x.shape[0], x.shape[2]), axis=1)
    prefix, length = layer.num_prefix_tokens, x.shape[1]
    patches = x
    if prefix:
        shape = (x.shape[0], length and length - prefix, x.shape[2])
        patches = rows(graph, x, prefix, None, shape)
    return _pooled(graph, layer.mode, patches, [1])


def rows(graph: Graph, x: Value, start: int, stop: int | None, shape: tuple) -> Value:
    """`x[:, start:stop]`."""
    ends = np.array([np.iinfo(np.int64).max if stop is None else stop])
    return graph.node("Slice", x, np.array([start]), ends, np.array([1]), shape=shape)


def map_pool(graph: Graph, layer: Any, x: Value) -> Value:
    """A map, pooled over its pixels."""
    return _pooled(graph, layer.mode, x, [1, 2])


def _pooled(graph: Graph, mode: str, x: Value, axes: list[int]) -> Value:
    """The mean, the maximum, or the mean of both."""
    ops = {"avg": ["ReduceMean"], "max": ["ReduceMax"], "avgmax": ["ReduceMean", "ReduceMax"]}
    values = [reduce(graph, op, x, axes, False) for op in ops[mode]]
    if len(values) == 1:
        return values[0]
    return graph.node("Mul", graph.node("Add", *values), scalar(0.5))


RULES: dict[type, Rule] = {
    layers.PatchEmbedding: patch_embedding,
    layers.TokenEmbedding: token_embedding,
    layers.TransformerBlock: transformer_block,
    layers.Attention: attention,
    layers.AttentionPool: attention_pool,
    layers.MLP: mlp,
    layers.GatedMLP: gated_mlp,
    layers.LayerScale: layer_scale,
    layers.WithScores: with_scores,
    layers.TokenPool: token_pool,
    layers.MapPool: map_pool,
}
