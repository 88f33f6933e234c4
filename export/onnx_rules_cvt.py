"""Rules of CvT's layers; BatchNorm is folded into the convolution before it."""

import math
from typing import Any

import keras
import numpy as np

from keras_vit import layers
from keras_vit.export.onnx_graph import Graph, NoRule, Rule, Value, as_array
from keras_vit.export.onnx_parts import (
    convolve,
    grid_to_tokens,
    pad_map,
    pool,
    reshape,
    tokens_to_grid,
    transpose,
)
from keras_vit.export.onnx_resize import resized_positions
from keras_vit.export.onnx_rules_keras import (
    attend,
    concatenated,
    depthwise_kernel,
)
from keras_vit.export.onnx_rules_norms import batch_norm_factors
from keras_vit.export.onnx_rules_vit import attention_operator, rows
from keras_vit.layers.grids import grid_and_prefix
from keras_vit.resize import resize_grid


def conv_embedding(graph: Graph, layer: Any, x: Value) -> Any:
    """A convolution, LayerNorm over the channels, perhaps positions and a class token."""
    convolution = layer.proj
    window, channels = layer.kernel_size, x.channels
    with graph.scope(convolution.name):
        kernel = graph.weight(
            convolution,
            "kernel",
            (layer.embed_dim, channels, window, window),
            lambda: as_array(convolution.kernel).transpose(3, 2, 0, 1),
        )
        bias = graph.weight(convolution, "bias", (layer.embed_dim,), lambda: convolution.bias)
        strides = (layer.stride, layer.stride)
        x = convolve(graph, x, kernel, bias, strides, [layer.padding] * 4)
    # As tokens, which is what the blocks take it for.
    tokens = graph.layer(layer.norm, grid_to_tokens(graph, x))
    if layer.position_embedding:
        tokens = graph.node("Add", tokens, _positions(graph, layer, x))
    grid = tokens_to_grid(graph, tokens, x)
    if not layer.use_class_token:
        return grid
    return [grid, _one_an_image(graph, layer, x)]


def _positions(graph: Graph, layer: Any, x: Value) -> Value:
    """Those of every pixel of a map, (1, height * width, dim)."""
    if None in x.shape[1:3]:
        learned = lambda: as_array(layer.pos_embed)[0]  # noqa: E731
        return resized_positions(graph, layer, learned, layer.grid_size, x, layer.pos_resize)
    size = x.sides(1, 2)
    shape = (1, math.prod(size), layer.embed_dim)

    def positions() -> np.ndarray:
        grid = as_array(layer.pos_embed)[0]
        return resize_grid(grid, (size[0], size[1]), layer.pos_resize).reshape(shape)

    return graph.weight(layer, "pos_embed", shape, positions)


def _one_an_image(graph: Graph, layer: Any, x: Value) -> Value:
    """The class token for each image, (batch, 1, dim)."""
    dim = layer.embed_dim
    token = graph.weight(layer, "cls_token", (1, 1, dim), lambda: layer.cls_token)
    batch = graph.node("Shape", x, shape=(1,), dtype="int64", channels_first=False, start=0, end=1)
    sides = graph.node("Concat", batch, np.array([1, dim]), shape=(3,), axis=0)
    return graph.node("Expand", token, sides, shape=(x.shape[0], 1, dim))


def conv_projection(graph: Graph, layer: Any, x: Value) -> Value:
    """A depthwise convolution with BatchNorm folded, averages, or nothing."""
    if layer.method == "linear":
        return x
    channels, size = x.channels, layer.kernel_size
    if layer.method == "average":
        return _averages(graph, layer, x)
    _require_folding(layer)

    def folded() -> np.ndarray:
        factors = batch_norm_factors(layer.bn)[0].reshape(-1, 1, 1, 1)
        return depthwise_kernel(layer.conv) * factors

    kernel = graph.weight(layer, "kernel", (channels, 1, size, size), folded)
    bias = graph.weight(layer, "bias", (channels,), lambda: batch_norm_factors(layer.bn)[1])
    strides = (layer.stride, layer.stride)
    return convolve(graph, x, kernel, bias, strides, [layer.padding] * 4, groups=channels)


def _require_folding(layer: Any) -> None:
    for part, kind in (
        (layer.conv, keras.layers.DepthwiseConv2D),
        (layer.bn, keras.layers.BatchNormalization),
    ):
        if type(part) is not kind:
            raise NoRule(f"no rule for {type(part).__name__}, layer {part.name!r}")


def _averages(graph: Graph, layer: Any, x: Value) -> Value:
    """The means of windows; those that reach beyond the padding are the means of what is inside."""
    size, stride, padding = layer.kernel_size, layer.stride, layer.padding
    beyond = stride - 1
    padded = pad_map(graph, x, padding, padding, padding + beyond, padding + beyond)
    y = pool(graph, "AveragePool", padded, (size, size), (stride, stride), "valid")
    if not beyond:
        return y

    def inside(length: int, outputs: int) -> np.ndarray:
        starts = stride * np.arange(outputs)
        return np.minimum(starts + size, length + 2 * padding) - starts

    counts = [inside(n, m) for n, m in zip(x.sides(1, 2), y.sides(1, 2), strict=True)]
    factors = (size * size / np.multiply.outer(*counts)).astype(np.float32)
    return graph.node("Mul", y, factors)


def conv_attention(graph: Graph, layer: Any, x: Any, return_attention_scores: bool = False) -> Any:
    """CvT's attention: queries, keys and values of a map, by convolutions and products."""
    grid, prefix = grid_and_prefix(x)
    heads, size = layer.num_heads, layer.head_dim
    width = heads * size
    factors = {"q": lambda: np.full(width, layer.scale, np.float32)}
    projected = {}
    for part in "qkv":
        tokens = join(graph, graph.layer(getattr(layer, f"conv_proj_{part}"), grid), prefix)
        product = getattr(layer, f"proj_{part}")
        projected[part] = graph.layer(product, tokens, factors=factors.get(part))
    if graph.attention == "operator" and not return_attention_scores:
        mixed, scores = (
            attention_operator(graph, projected["q"], projected["k"], projected["v"], heads),
            None,
        )
    else:
        perms = {"q": (0, 2, 1, 3), "k": (0, 2, 3, 1), "v": (0, 2, 1, 3)}
        q, k, v = (
            transpose(graph, reshape(graph, y, (*y.shape[:2], heads, size)), perms[part])
            for part, y in projected.items()
        )
        mixed, scores = attend(graph, q, k, v)
    mixed = graph.layer(layer.proj, mixed)
    return (mixed, scores) if return_attention_scores else mixed


def join(graph: Graph, grid: Value, prefix: list[Value]) -> Value:
    """Class token, if any, and pixels: (batch, tokens, channels)."""
    names = [value.name for value in (grid, *prefix)]
    if ("joined", *names) in graph.known:
        return graph.known["joined", *names]
    tokens = grid_to_tokens(graph, grid)
    return concatenated(graph, [*prefix, tokens], 1) if prefix else tokens


def conv_block(graph: Graph, layer: Any, x: Any, return_attention_scores: bool = False) -> Any:
    """CvT's block, on tokens; its attention sees them as a map."""
    grid, prefix = grid_and_prefix(x)
    tokens = join(graph, grid, prefix)
    inputs = _split(graph, graph.layer(layer.norm1, tokens), grid, prefix)
    mixed = graph.layer(layer.attn, inputs, return_attention_scores=return_attention_scores or None)
    mixed, scores = mixed if return_attention_scores else (mixed, None)
    tokens = graph.node("Add", tokens, mixed)
    hidden = graph.layer(layer.mlp, graph.layer(layer.norm2, tokens))
    outputs = _split(graph, graph.node("Add", tokens, hidden), grid, prefix)
    return (outputs, scores) if return_attention_scores else outputs


def _split(graph: Graph, tokens: Value, grid: Value, prefix: list[Value]) -> Any:
    """A map, or a map and a class token, as the block got them; joined again they are `tokens`."""
    if not prefix:
        return tokens_to_grid(graph, tokens, grid)
    batch, length, dim = tokens.shape
    pixels = rows(graph, tokens, 1, None, (batch, length and length - 1, dim))
    grid = tokens_to_grid(graph, pixels, grid)
    token = rows(graph, tokens, 0, 1, (batch, 1, dim))
    graph.known["joined", grid.name, token.name] = tokens
    return [grid, token]


RULES: dict[type, Rule] = {
    layers.ConvEmbedding: conv_embedding,
    layers.ConvProjection: conv_projection,
    layers.ConvAttention: conv_attention,
    layers.ConvTransformerBlock: conv_block,
}
