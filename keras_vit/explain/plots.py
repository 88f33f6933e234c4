"""Figures of numbers about a model, from arrays; nothing is computed here. See `explain.pictures`."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from keras_vit.explain.canvas import HEAT, WIDTH, Sheet, shortened
from keras_vit.explain.names import short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_vit.explain.similarity import Similarity

Numbers = NDArray[np.floating]

_MOST_TICKS = 26  # of an axis of blocks
_LETTER, _LINE = 0.06, 0.1  # inches of text of 7 points
_MOST_TILES = 16  # a side, of the grid of grids: with more, a tile has too few pixels on paper


def draw_distance(
    distances: Mapping[str, Numbers],
    *,
    title: str | None = "Mean attention distance",
    theme: str = "light",
) -> "Figure":
    """How far heads look, by depth (arXiv:2010.11929, figure 7, right): a dot a head, a line their mean.

    Args:
        distances: of each block `(heads,)`, in pixels, as `attention_distance` gives them.
        title: on top. theme: `"light"` or `"dark"`.
    """
    sheet = Sheet(5.6, 3.5, title, theme=theme)
    axes = sheet.axes(0.65, 0.1, 4.75, 2.85)
    heads = list(distances.values())
    depth = np.arange(len(heads))
    across = np.repeat(depth, [len(each) for each in heads])
    colours = sheet.theme
    axes.grid(axis="y", color=colours.line, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.plot(
        depth, [each.mean() for each in heads], color=colours.second, linewidth=1.6, label="mean"
    )
    axes.scatter(
        across,
        np.concatenate(heads),
        s=16,
        color=colours.first,
        edgecolors=colours.paper,
        linewidths=0.4,
        label="a head",
        zorder=3,
    )
    _ticks(axes, "x", short_names(distances))
    axes.set_ylim(0, 1.08 * max(each.max() for each in heads))
    axes.margins(x=0.04)
    axes.set_xlabel("block", size=8, color=colours.text)
    axes.set_ylabel("pixels of the image", size=8, color=colours.text)
    legend = axes.legend(loc="best", fontsize=7, labelcolor=colours.text, framealpha=0.85)
    legend.get_frame().set(facecolor=colours.paper, edgecolor=colours.line)
    return sheet.figure


def draw_position(
    similarity: Numbers,
    *,
    title: str | None = "Similarity of position embeddings",
    theme: str = "light",
) -> "Figure":
    """How alike positions are (arXiv:2010.11929, figure 7, centre): a picture of all for each of them.

    Args:
        similarity: `(rows, columns, rows, columns)`, in -1..1, as `position_similarity` gives it. Of a
            grid of more than 16 a side every second, third ... is shown, as its ticks say.
        title, theme: as in `draw_distance`.
    """
    rows, columns = similarity.shape[:2]
    step = math.ceil(max(rows, columns) / _MOST_TILES)
    shown = similarity[::step, ::step]
    down, right = shown.shape[:2]
    tile = 4.4 / max(down, right)
    sheet = Sheet(5.6, 0.1 + tile * down + 0.9, title, theme=theme)
    axes = sheet.axes(0.6, 0.1, tile * right, tile * down)
    # One pixel of paper between the pictures.
    framed = np.pad(shown, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    mosaic = framed.transpose(0, 2, 1, 3).reshape(down * (rows + 1), right * (columns + 1))
    axes.imshow(mosaic[:-1, :-1], cmap=HEAT, vmin=-1, vmax=1, aspect="auto", interpolation="none")
    for axis, count, length in (("x", right, columns), ("y", down, rows)):
        middles = (np.arange(count) + 0.5) * (length + 1) - 1
        _ticks(axes, axis, [str(i * step) for i in range(count)], middles)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("column of the patch", size=8, color=sheet.theme.text)
    axes.set_ylabel("row of the patch", size=8, color=sheet.theme.text)
    words = ("-1: opposite", "cosine similarity to the others; 1: the same")
    sheet.scale(0.6, 0.1 + tile * down + 0.52, 4.4, *words)
    return sheet.figure


def draw_filters(
    components: Numbers,
    shares: Numbers,
    *,
    title: str | None = "Principal components of the first layer's filters",
    theme: str = "light",
) -> "Figure":
    """What the first layer sees (arXiv:2010.11929, figure 7, left).

    Args:
        components: `(count, height, width, channels)`; of three channels in colour, else their mean.
            Grey is no weight, and each has its own range.
        shares: `(count,)`, the share of the variance, written below each.
        title, theme: as in `draw_distance`; both arrays as `filter_components` gives them.
    """
    colour = components.shape[-1] == 3
    weights = components if colour else components.mean(-1)
    columns = min(7, len(weights))
    tile = (WIDTH - 0.2) / 7
    step = tile + 0.16
    rows = math.ceil(len(weights) / columns)
    sheet = Sheet(WIDTH, rows * step + 0.1, title, theme=theme)
    for i, (each, share) in enumerate(zip(weights, shares, strict=True)):
        left, top = 0.1 + i % columns * tile, i // columns * step
        axes = sheet.panel(left, top, tile - 0.08, tile - 0.08)
        shown = 0.5 + each / (2 * max(float(np.abs(each).max()), 1e-12))
        axes.imshow(shown, cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        middle = left + (tile - 0.08) / 2
        sheet.text(
            middle, top + tile - 0.05, f"{share:.1%}", ha="center", size=7, color=sheet.theme.soft
        )
    return sheet.figure


def draw_similarity(
    similarity: "Similarity",
    names: tuple[str, str] = ("first model", "second model"),
    *,
    title: str | None = "Similarity of layers (linear CKA)",
    theme: str = "light",
) -> "Figure":
    """How alike the layers of two models are: those of the first upwards, of the second to the right.

    Args:
        similarity: as `layer_similarity` gives it. names: of the models.
        title, theme: as in `draw_distance`.
    """
    rows, columns = similarity.values.shape
    cell = min(0.45, 4.4 / max(rows, columns))
    labels = short_names(similarity.rows), short_names(similarity.columns)
    left = 0.5 + 0.055 * max(map(len, labels[0]))
    width, height = max(cell * columns, 1.2), max(cell * rows, 1.2)
    note = f"upwards: {names[0]}; to the right: {names[1]}"
    below = 0.85 + (_LETTER * max(map(len, labels[1])) if _upright(labels[1], width) else 0)
    sheet = Sheet(max(5.6, left + width + 0.2), 0.1 + height + below + 0.2, title, note, theme)
    axes = sheet.axes(left, 0.1, width, height)
    axes.imshow(similarity.values, cmap=HEAT, vmin=0, vmax=1, origin="lower", aspect="auto")
    _ticks(axes, "y", labels[0])
    _ticks(axes, "x", labels[1])
    axes.set_ylabel(shortened(names[0], int(height * 14)), size=8, color=sheet.theme.text)
    axes.set_xlabel(shortened(names[1], int(width * 14)), size=8, color=sheet.theme.text)
    sheet.scale(left, 0.1 + height + below - 0.17, max(width, 2.4), "0: unlike", "1: alike")
    return sheet.figure


def _upright(labels: Sequence[str], width: float) -> bool:
    """Whether names below an axis so wide, in inches, are too long to lie side by side."""
    longest = max(map(len, labels))
    return longest > 2 and _LETTER * (longest + 1) > width / len(labels)


def _ticks(axes: "Axes", axis: str, labels: Sequence[str], places: Numbers | None = None) -> None:
    """A label at each place, or at every second, third ... where they are many; long ones stand upright."""
    at: Any = np.arange(len(labels)) if places is None else places
    box, (width, height) = axes.get_position(), axes.get_figure().get_size_inches()  # type: ignore[union-attr]
    length = box.width * width if axis == "x" else box.height * height
    step = math.ceil(max(len(labels) / _MOST_TICKS, _LINE * len(labels) / length))
    upright = axis == "x" and _upright(labels, length)
    getattr(axes, f"set_{axis}ticks")(at[::step], labels[::step], rotation=90 if upright else 0)
