"""What a model knows between its blocks: maps or tokens as outputs, and a pyramid of them."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from keras_vit.errors import UsageError
from keras_vit.layers.grids import grid_and_prefix
from keras_vit.layers.layer_norm import LayerNormalization
from keras_vit.layers.token_map import TokenMap, TokenSlice

_BLOCK = re.compile(r"(?:stages_(\d+)_)?blocks_\d+")
_FORMATS = ("nhwc", "tokens")
_PREFIXES = ("drop", "keep")


def features(
    model: keras.Model,
    at: int | Sequence[int] | None = None,
    *,
    format: str = "nhwc",
    prefix: str = "drop",
    norm: bool = False,
) -> keras.Model:
    """A model of a model's intermediate features, as timm's `forward_intermediates` gives them.

    It shares its weights with `model`, computes nothing behind the last feature, and trains, saves and
    exports like any Keras model.

        backbone = keras_vit.features(model, at=[3, 6, 9, 12])

    Args:
        model: a Functional model of `keras_vit.load`.
        at: after how many blocks, or of CvT and BiT stages, each feature is taken: 0 is what the first
            block takes, -1 is behind the last. A number alone is that many last ones; None is all from 1.
        format: `"nhwc"`, maps `(batch, height, width, dim)`, or `"tokens"`, `(batch, tokens, dim)`.
        prefix: `"drop"` leaves class, distillation and register tokens out. `"keep"` gives them: within the
            tokens, or beside each map that has some, as the pair `[map, tokens]`.
        norm: applies the model's final norm: to every feature of a Transformer, to the last stage's map
            of CvT, and with its ReLU of BiT.

    Returns:
        A model of the same input; its output is a list with one feature for each of `at`, or that
        feature if there is one alone.

    Raises:
        UsageError: for another format or prefix, a place that the model has not, or a norm over pooled
            features alone.
    """
    if format not in _FORMATS or prefix not in _PREFIXES:
        raise UsageError(
            f"format must be one of {_FORMATS} and prefix one of {_PREFIXES}; "
            f"got {format!r} and {prefix!r}"
        )
    staged, places = _places(model)
    wanted = _wanted(at, len(places) - 1, model.name)
    finish = _map_feature if staged else _token_feature
    found = [
        finish(
            model,
            places[i],
            i,
            format,
            prefix == "keep",
            norm and (not staged or i == len(places) - 1),
        )
        for i in wanted
    ]
    return keras.Model(model.input, found if len(found) > 1 else found[0], name=model.name)


def feature_pyramid(
    model: keras.Model, channels: int = 256, scales: Sequence[float] = (4, 2, 1, 0.5)
) -> keras.Model:
    """ViTDet's simple feature pyramid of a plain Transformer (arXiv:2203.16527), for detectors.

    As detectron2's modeling/backbone/vit.py `SimpleFeaturePyramid`: from the last map alone, deconvolutions
    or pooling for each scale, then a 1x1 and a 3x3 convolution with LayerNorm. These are new, the rest
    shares its weights with `model`.

    Args:
        model: a ViT, DeiT or hybrid of `keras_vit.load`.
        channels: of each level.
        scales: of the levels against the map of patches: 4, 2, 1 or 0.5 each.

    Returns:
        A model of the same input; its output is a list of maps `(batch, height, width, channels)`, one a
        scale.

    Raises:
        UsageError: for another scale, or a model without one row of blocks.
    """
    unknown = [scale for scale in scales if scale not in _SCALES]
    if unknown:
        raise UsageError(f"the scales are {', '.join(map(str, _SCALES))}; got {unknown[0]}")
    if _places(model)[0]:
        raise UsageError(
            f"{model.name} has stages of several sizes: features(model) is its pyramid"
        )
    backbone = features(model, at=[-1])
    levels = []
    for scale in scales:
        x, name = backbone.output, f"pyramid_{scale:g}".replace(".", "_")
        for layer in _SCALES[scale](x.shape[-1], name):
            x = layer(x)
        for i, size in enumerate((1, 3)):
            conv = layers.Conv2D(
                channels, size, padding="same", use_bias=False, name=f"{name}_conv{i}"
            )
            x = LayerNormalization(epsilon=1e-6, name=f"{name}_norm{i}")(conv(x))
        levels.append(x)
    return keras.Model(model.input, levels, name=model.name)


def _double(dim: int, name: str) -> layers.Layer:
    return layers.Conv2DTranspose(dim, 2, strides=2, name=name)


_SCALES = {
    4: lambda dim, name: [
        _double(dim // 2, f"{name}_up0"),
        LayerNormalization(epsilon=1e-6, name=f"{name}_norm"),
        layers.Activation("gelu", name=f"{name}_gelu"),
        _double(dim // 4, f"{name}_up1"),
    ],
    2: lambda dim, name: [_double(dim // 2, f"{name}_up0")],
    1: lambda dim, name: [],
    0.5: lambda dim, name: [layers.MaxPooling2D(2, name=f"{name}_down")],
}


def _places(model: keras.Model) -> tuple[bool, list[Any]]:
    """Whether it has stages alone; what is before its first block, and behind each block or stage."""
    matches = ((layer, _BLOCK.fullmatch(layer.name)) for layer in model.layers)
    blocks = [(layer, match) for layer, match in matches if match]
    if not blocks:
        raise UsageError(f"{model.name} has no blocks of keras_vit to take features from")
    plain = [layer for layer, match in blocks if match[1] is None]
    if plain:
        return False, [plain[0].input, *(layer.output for layer in plain)]
    ends = {match[1]: layer for layer, match in blocks}
    return True, [blocks[0][0].input, *(layer.output for layer in ends.values())]


def _wanted(at: int | Sequence[int] | None, count: int, name: str) -> list[int]:
    if at is None or isinstance(at, int):
        last = count if at is None else at
        if not 1 <= last <= count:
            raise UsageError(f"{name} has {count} blocks or stages, not {at}")
        return list(range(count - last + 1, count + 1))
    wanted = [i + count + 1 if i < 0 else i for i in at]
    unknown = [i for i, place in zip(at, wanted, strict=True) if not 0 <= place <= count]
    if unknown or not wanted:
        raise UsageError(f"{name} has features at 0 to {count}, not at {unknown or 'none'}")
    return wanted


def _token_feature(
    model: keras.Model, tokens: Any, index: int, format: str, keep: bool, norm: bool
) -> Any:
    if norm:
        tokens = _norm(model)(tokens)
    count = model.get_layer("embedding").num_prefix_tokens
    if format == "tokens" and (keep or not count):
        # A name of its own, since the norm is called for every feature.
        return layers.Identity(name=f"tokens_{index}")(tokens) if norm else tokens
    if format == "tokens":
        return TokenSlice(count, name=f"tokens_{index}")(tokens)
    patches = model.get_layer("patch_embed").output
    grid = TokenMap(count, name=f"map_{index}")(tokens, patches)
    return [grid, TokenSlice(0, count, name=f"prefix_{index}")(tokens)] if keep and count else grid


def _map_feature(
    model: keras.Model, output: Any, index: int, format: str, keep: bool, norm: bool
) -> Any:
    grid, prefix = grid_and_prefix(output)
    if norm:
        grid, prefix = _norm(model)(grid), [_norm(model)(token) for token in prefix]
    if format == "nhwc":
        return [grid, *prefix] if keep and prefix else grid
    tokens = layers.Reshape((-1, grid.shape[-1]), name=f"tokens_{index}")(grid)
    return (
        layers.Concatenate(1, name=f"joined_{index}")([*prefix, tokens])
        if keep and prefix
        else tokens
    )


def _norm(model: keras.Model) -> Callable[[Any], Any]:
    """The final norm of all tokens or of the last map, and what activates it."""
    found = [layer for layer in model.layers if layer.name in ("norm", "relu")]
    if not found:
        raise UsageError(f"{model.name} norms what it has pooled alone: features without norm=True")

    def apply(x: Any) -> Any:
        for layer in found:
            x = layer(x)
        return x

    return apply
