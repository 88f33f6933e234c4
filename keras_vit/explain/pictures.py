"""Figures of images and what a model looks at in them, from arrays; nothing is computed here.

Images are uint8 `(height, width, channels)` of 0..255, as the model sees them: resized and cropped
(`keras_vit.data.eval_batch`). All functions give a `matplotlib.figure.Figure`, 7 inches wide, and raise
MissingPackageError without matplotlib. `title` and `captions` are shown as they are; `theme` is `"light"`
or `"dark"`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import UsageError
from keras_vit.explain.canvas import HEAT, WIDTH, Sheet, overlay, photograph, shortened
from keras_vit.explain.names import short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Pictures = NDArray[np.uint8]
Maps = NDArray[np.floating]

_GAP = 0.06


def draw_attention(
    image: Pictures,
    maps: Mapping[str, Maps],
    *,
    heads: Sequence[int] | None = None,
    at: tuple[float, float] | None = None,
    title: str | None = "Attention by block and head",
    caption: str = "",
    theme: str = "light",
) -> "Figure":
    """What each head looks at in one image: a row a block, a column a head; of one block, over the image.

    Args:
        image: what the model sees.
        maps: of each block `(heads, rows, columns)`, as `attention_maps` gives them for one image.
        heads: their numbers, where not all are there.
        at: (down, right) the pixel on which the patch lies that looks; None is none of them.
        title, caption, theme: see above.
    """
    if not maps:
        raise UsageError("there are no attention maps to draw")
    numbers = heads or range(max(len(each) for each in maps.values()))
    if len(maps) == 1:
        return _one_block(image, maps, numbers, at, title, caption, theme)
    label, photo = 0.75, 1.3
    tile = min(1.1, (WIDTH - label - 0.1) / len(numbers))
    height, width = _fitted(image, photo)
    side = tile * image.shape[0] / image.shape[1]
    top = height + 0.45
    sheet = Sheet(WIDTH, top + side * len(maps) + 0.1, title, caption, theme)
    _seen(sheet, image, 0.1, width, height, at)
    _explained(sheet, width + 0.35, height)
    for i, head in enumerate(numbers):
        sheet.text(
            label + (i + 0.5) * tile, top - 0.04, f"{head}", ha="center", va="bottom", size=7
        )
    sheet.text(label - 0.06, top - 0.04, "head", ha="right", va="bottom", size=7)
    for row, (name, each) in enumerate(zip(short_names(maps), maps.values(), strict=True)):
        middle = top + (row + 0.5) * side
        told = f"block {name}" if name[0].isdecimal() else name
        sheet.text(label - 0.06, middle, told, ha="right", va="center", size=7)
        for head, values in enumerate(each):
            axes = sheet.panel(
                label + head * tile + 0.015, top + row * side + 0.015, tile - 0.03, side - 0.03
            )
            _heat(axes, values)
    return sheet.figure


def _one_block(
    image: Pictures,
    maps: Mapping[str, Maps],
    numbers: Sequence[int],
    at: tuple[float, float] | None,
    title: str | None,
    caption: str,
    theme: str,
) -> "Figure":
    """The heads of one block, larger, over the image."""
    ((block, heads),) = maps.items()
    columns = min(5 if len(heads) > 7 else 4, len(heads) + 1)
    rows = math.ceil((len(heads) + 1) / columns)
    tile = min(2.2, (WIDTH - 0.2) / columns)
    height = (tile - _GAP) * image.shape[0] / image.shape[1]
    step = height + 0.22
    sheet = Sheet(WIDTH, rows * step + 0.4, title, caption, theme)
    places = [(0.1 + i % columns * tile, i // columns * step + 0.18) for i in range(len(heads) + 1)]
    _seen(sheet, image, places[0][0], tile - _GAP, height, at, places[0][1])
    sheet.text(places[0][0], places[0][1] - 0.03, "what the model sees", va="bottom")
    for head, values, (left, top) in zip(numbers, heads, places[1:], strict=True):
        axes = sheet.panel(left, top, tile - _GAP, height)
        overlay(axes, image, values, 0.0)
        sheet.text(left, top - 0.03, f"{block}, head {head}", va="bottom")
    _explained(sheet, 0.1, rows * step + 0.4, WIDTH - 0.2)
    return sheet.figure


def draw_rollout(
    images: Sequence[Pictures],
    maps: Maps,
    *,
    captions: Sequence[str] = (),
    title: str | None = "Attention rollout",
    theme: str = "light",
) -> "Figure":
    """Which patches a token at the end comes from: each image, and beside it the rollout over it.

    Args:
        images: what the model sees.
        maps: `(images, rows, columns)`, as `attention_rollout` gives them. Colours go from the smallest
            to the largest of each; both are written below.
        captions: one an image. title, theme: see above.
    """
    lows = [float(each.min()) for each in maps]
    ends = ("least attended", "most attended in the image")
    return _beside(images, maps, lows, captions, ends, title, theme)


def draw_gradient_rollout(
    images: Sequence[Pictures],
    maps: Maps,
    *,
    captions: Sequence[str] = (),
    title: str | None = "Gradient-weighted rollout",
    theme: str = "light",
) -> "Figure":
    """Which patches speak for a class; see `draw_rollout`. Colours begin at 0: no part in it."""
    ends = ("0: not for the class", "most for the class in the image")
    return _beside(images, maps, [0.0] * len(maps), captions, ends, title, theme)


def draw_grad_cam(
    images: Sequence[Pictures],
    maps: Maps,
    *,
    captions: Sequence[str] = (),
    title: str | None = "Grad-CAM",
    theme: str = "light",
) -> "Figure":
    """Which places speak for a class, as `grad_cam` gives them; see `draw_gradient_rollout`."""
    return draw_gradient_rollout(images, maps, captions=captions, title=title, theme=theme)


def draw_components(
    images: Sequence[Pictures],
    components: Maps,
    *,
    captions: Sequence[str] = (),
    title: str | None = "Principal components of the tokens",
    theme: str = "light",
) -> "Figure":
    """What patches have in common: each image, three components as its colours, and each by itself.

    Args:
        images: what the model sees.
        components: `(images, rows, columns, 3)`, as `token_components` gives them; NaN is left out.
            Colours span the middle 96 % of the values of all images.
        captions: one an image. title, theme: see above.
    """
    low, high = np.nanpercentile(components, [2, 98], axis=(0, 1, 2))
    shares = np.clip((components - low) / np.maximum(high - low, 1e-12), 0, 1)
    tile = (WIDTH - 0.2) / 5
    height = (tile - _GAP) * images[0].shape[0] / images[0].shape[1]
    step = height + (0.2 if captions else _GAP)
    sheet = Sheet(WIDTH, 0.2 + step * len(images) + 0.35, title, theme=theme)
    heads = ("what the model sees", "as red, green, blue", "first", "second", "third")
    for column, head in enumerate(heads):
        sheet.text(0.1 + column * tile, 0.15, head, va="bottom", size=7.5)
    for row, (image, share) in enumerate(zip(images, shares, strict=True)):
        top = 0.2 + row * step
        panels = [sheet.panel(0.1 + i * tile, top, tile - _GAP, height) for i in range(5)]
        photograph(panels[0], image)
        alpha = np.isfinite(share).all(-1)[..., None].astype(float)
        panels[1].imshow(np.concatenate([np.nan_to_num(share), alpha], -1), aspect="auto")
        for axes, values in zip(panels[2:], np.moveaxis(share, -1, 0), strict=True):
            axes.imshow(values, cmap=HEAT, vmin=0, vmax=1, aspect="auto")
        if captions:
            sheet.text(0.1, top + height + 0.03, shortened(captions[row], 90), size=7.5)
    bottom = 0.2 + step * len(images) + 0.06
    sheet.scale(
        0.1 + 2 * tile, bottom, 3 * tile - _GAP, "one end", "the other (signs mean nothing)"
    )
    return sheet.figure


def _beside(
    images: Sequence[Pictures],
    maps: Maps,
    lows: Sequence[float],
    captions: Sequence[str],
    ends: tuple[str, str],
    title: str | None,
    theme: str,
) -> "Figure":
    """Pairs of an image and a heat map over it, two in a row; one alone is larger."""
    pairs = 1 if len(images) == 1 else 2
    between = 0.16 if pairs == 2 else 0.0
    tile = (WIDTH - 0.2 - between) / (2 * pairs)
    height = (tile - _GAP) * images[0].shape[0] / images[0].shape[1]
    step = height + 0.4
    rows = math.ceil(len(images) / pairs)
    sheet = Sheet(WIDTH, rows * step + 0.35, title, theme=theme)
    characters = int(tile * 2 * 15)
    for i, (image, values, low) in enumerate(zip(images, maps, lows, strict=True)):
        left, top = 0.1 + i % pairs * (2 * tile + between), i // pairs * step
        photograph(sheet.panel(left, top, tile - _GAP, height), image)
        overlay(sheet.panel(left + tile, top, tile - _GAP, height), image, values, low)
        if captions:
            sheet.text(left, top + height + 0.04, shortened(captions[i], characters), size=7.5)
        sheet.text(
            left,
            top + height + 0.19,
            f"{low:.3g} to {float(values.max()):.3g}",
            size=7,
            color=sheet.theme.soft,
        )
    sheet.scale(0.1, rows * step + 0.02, WIDTH - 0.2 - _GAP, *ends)
    return sheet.figure


def _seen(
    sheet: Sheet,
    image: Pictures,
    left: float,
    width: float,
    height: float,
    at: tuple[float, float] | None,
    top: float = 0.0,
) -> None:
    """The image, with a mark on the patch that looks."""
    axes = sheet.panel(left, top, width, height)
    photograph(axes, image)
    if at is not None:
        down, right = at
        for size, colour in ((9, "#010101"), (6.5, "#fefefe")):
            axes.plot([right + 0.5], [down + 0.5], "o", mfc="none", mec=colour, ms=size, mew=1.6)


def _explained(sheet: Sheet, left: float, bottom: float, width: float = 3.2) -> None:
    """The scale of maps that each have their own."""
    sheet.scale(left, bottom - 0.3, width, "0", "most attended in each map")


def _heat(axes: "Axes", values: Maps) -> None:
    high = max(float(values.max()), 1e-12)
    axes.imshow(values, cmap=HEAT, vmin=0, vmax=high, aspect="auto")


def _fitted(image: Pictures, side: float) -> tuple[float, float]:
    """(height, width) in inches of an image whose longer side is so long."""
    height, width = image.shape[:2]
    return side * height / max(height, width), side * width / max(height, width)
