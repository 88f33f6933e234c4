"""Sheets to draw on: figures of matplotlib laid out in inches, on light or on dark paper.

Objects of matplotlib alone, no `pyplot`: nothing global is read or changed.
"""

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import UsageError, require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.0
"""Inches: across a page with margins. Text of 7 to 9 points can be read there."""

HEAT = "viridis"
"""Even steps look even, in grey and to the colour-blind, too."""


@dataclass(frozen=True)
class Theme:
    """Colours of a sheet; `first` and `second` are of Okabe and Ito's palette.

    Attributes:
        paper, text, soft, line: of the sheet, of what is read first and second, of frames.
        first, second: of two kinds of marks.
    """

    paper: str
    text: str
    soft: str
    line: str
    first: str
    second: str


THEMES = {
    "light": Theme("#ffffff", "#1b1f24", "#57606a", "#d5d9de", "#0072b2", "#d55e00"),
    "dark": Theme("#14171b", "#e8eaed", "#a4acb6", "#39414a", "#56b4e9", "#e69f00"),
}


class Sheet:
    """A figure that is filled from the top, with all places in inches from its upper left corner.

    Args:
        width, height: of the sheet, below the title.
        title: bold, broken where it is too long; None for none.
        note: below it, smaller.
        theme: `"light"` or `"dark"`.

    Attributes:
        figure: what is drawn. theme: its colours.

    Raises:
        UsageError: for another theme. MissingPackageError: without matplotlib.
    """

    def __init__(
        self, width: float, height: float, title: str | None, note: str = "", theme: str = "light"
    ) -> None:
        if theme not in THEMES:
            raise UsageError(f"theme must be {' or '.join(THEMES)}, not {theme!r}")
        self.theme = THEMES[theme]
        # Of letters as wide as those of names; wider ones are rare.
        lines = textwrap.wrap(title or "", int((width - 0.2) * 11.5))
        notes = textwrap.wrap(note, int((width - 0.2) * 15))
        self._top = 0.08 + 0.19 * len(lines) + 0.15 * len(notes) + (0.08 if lines or notes else 0)
        self.width, self.height = width, height + self._top
        self.figure: Figure = require("matplotlib.figure", "explain").Figure(
            figsize=(self.width, self.height), facecolor=self.theme.paper
        )
        for i, line in enumerate(lines):
            self._text(0.1, 0.08 + 0.19 * i, line, size=10, weight="bold")
        for i, line in enumerate(notes):
            self._text(
                0.1, 0.08 + 0.19 * len(lines) + 0.15 * i, line, size=8, color=self.theme.soft
            )

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        """A line of text, its upper left corner there unless `ha` or `va` say another."""
        self._text(left, self._top + top, text, **style)

    def _text(self, left: float, top: float, text: str, **style: Any) -> None:
        style = {"size": 8, "ha": "left", "va": "top", "color": self.theme.text, **style}
        # Dollar signs are no formulas here.
        self.figure.text(left / self.width, 1 - top / self.height, text, parse_math=False, **style)

    def axes(self, left: float, top: float, width: float, height: float) -> "Axes":
        """Axes with that frame, the labels around it not counted."""
        axes = self.figure.add_axes(
            (
                left / self.width,
                1 - (self._top + top + height) / self.height,
                width / self.width,
                height / self.height,
            ),
            facecolor=self.theme.paper,
        )
        axes.tick_params(labelsize=7, colors=self.theme.soft, length=2.5, width=0.6)
        for spine in axes.spines.values():
            spine.set(color=self.theme.line, linewidth=0.6)
        return axes

    def panel(self, left: float, top: float, width: float, height: float) -> "Axes":
        """Axes for a picture: no ticks, a thin frame."""
        axes = self.axes(left, top, width, height)
        axes.set(xticks=[], yticks=[])
        return axes

    def scale(self, left: float, top: float, width: float, low: str, high: str) -> None:
        """A bar of the heat map's colours, with words for its ends."""
        from matplotlib import colormaps

        axes = self.panel(left, top, width, 0.1)
        axes.imshow(np.linspace(0, 1, 64)[None], cmap=colormaps[HEAT], aspect="auto")
        style = {"size": 7, "color": self.theme.soft}
        self.text(left, top + 0.13, low, **style)
        self.text(left + width, top + 0.13, high, ha="right", **style)


def photograph(axes: "Axes", image: NDArray[Any], *, grey: bool = False) -> None:
    """A picture of 0..255, `(height, width, channels)`: its first three channels, or its first one."""
    pixels = image[..., :3] if image.shape[-1] >= 3 else image[..., 0]
    if grey and pixels.ndim == 3:
        # ITU-R 601, as Pillow makes grey.
        pixels = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    height, width = pixels.shape[:2]
    extent = (0, width, height, 0)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto")


def overlay(axes: "Axes", image: NDArray[Any], values: NDArray[Any], low: float) -> None:
    """A heat map from `low` to its largest value, over the picture in grey."""
    photograph(axes, image, grey=True)
    height, width = image.shape[:2]
    high = max(float(values.max()), low + 1e-12)
    axes.imshow(
        values,
        cmap=HEAT,
        vmin=low,
        vmax=high,
        alpha=0.65,
        extent=(0, width, height, 0),
        interpolation="bilinear",
        aspect="auto",
    )


def shortened(text: str, length: int) -> str:
    """`text` of at most so many characters; names of files keep their ends."""
    return text if len(text) <= length else f"…{text[1 - length :]}"
