"""Curves and tables of counts as inline SVG, coloured by the page's own style sheet.

Series differ by colour and by dashes, so that they can be told apart without colours; every point and
every cell says its value when it is pointed at.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

import numpy as np

_WIDTH, _HEIGHT = 560, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 84, 14, 40
_Point = tuple[float, float]
_Place = Callable[[float, float], _Point]
_CELL_TEXT = 20  # pixels: a smaller cell has no room for a count


@dataclass(frozen=True)
class Series:
    """A line of a chart.

    Attributes:
        name: of what it shows. style: class of the style sheet.
        points: (x, y); those that are not finite are left out.
        marked: whether every point gets a mark.
        spread: of some x, how far y reaches up and down: a bar there.
    """

    name: str
    style: str
    points: Sequence[tuple[float, float]]
    marked: bool = True
    spread: Mapping[float, float] = field(default_factory=dict)

    def reach(self) -> list[float]:
        """Every y that the chart must have room for."""
        bars = [(y, self.spread.get(x, 0.0)) for x, y in self.points if math.isfinite(y)]
        return [end for y, half in bars for end in (y - half, y + half)]


def line_chart(
    title: str, series: Sequence[Series], x_name: str, *, percent: bool = False, zero: bool = False
) -> str:
    """An SVG figure of one or more lines over the same axis; empty where there is nothing to draw.

    Args:
        title: read out where the figure cannot be seen.
        series: the lines. x_name: what the axis counts.
        percent: y are shares, shown as per cent. zero: the y axis begins at 0.
    """
    finite = [
        (line, [(x, y) for x, y in line.points if math.isfinite(x) and math.isfinite(y)])
        for line in series
    ]
    shown = [(line, points) for line, points in finite if points]
    if not shown:
        return ""
    xs = [x for _, points in shown for x, _ in points]
    ys = [y for line, _ in shown for y in line.reach()]
    x_ticks = ticks(min(xs), max(xs), 8, whole=True)
    y_ticks = ticks(0.0 if zero else min(ys), max(ys), 5)
    x_low, x_high = min(*xs, x_ticks[0]), max(*xs, x_ticks[-1])
    y_low, y_high = y_ticks[0], y_ticks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        right = (x - x_low) / ((x_high - x_low) or 1)
        up = (y - y_low) / ((y_high - y_low) or 1)
        return (
            _LEFT + right * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    parts = [_axes(x_ticks, y_ticks, place, x_name, percent)]
    labels = _apart([place(*points[-1])[1] for _, points in shown])
    for (line, points), label in zip(shown, labels, strict=True):
        parts.append(_line(line, points, place, percent, label))
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def count_matrix(counts: np.ndarray, labels: Sequence[str]) -> str:
    """An SVG table of counts (true class, predicted class), shaded by their share of the row."""
    classes = len(labels)
    cell = max(12, min(44, 620 // classes))
    margin = 12 + 7 * min(max(map(len, labels)), 16)
    side = margin + classes * cell
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    parts = []
    for row, column in np.ndindex(classes, classes):
        share, count = float(shares[row, column]), int(counts[row, column])
        x, y = margin + column * cell, margin + row * cell
        kind = "right" if row == column else "wrong"
        tip = f"{labels[row]} taken for {labels[column]}: {count} ({share:.1%})"
        parts.append(
            f'<g><title>{escape(tip)}</title><rect x="{x}" y="{y}" width="{cell - 1}" '
            f'height="{cell - 1}" class="empty"/><rect x="{x}" y="{y}" width="{cell - 1}" '
            f'height="{cell - 1}" class="{kind}" opacity="{share**0.6:.3f}"/>'
        )
        if count and cell >= _CELL_TEXT:
            strong = " strong" if share > 0.5 else ""
            parts.append(
                f'<text x="{x + cell / 2:.1f}" y="{y + cell / 2:.1f}" class="count{strong}">{count}'
                "</text>"
            )
        parts.append("</g>")
    for index, label in enumerate(labels):
        middle = margin + (index + 0.5) * cell
        text = escape(label if len(label) <= 16 else f"{label[:15]}…")
        parts.append(f'<text x="{margin - 6}" y="{middle:.1f}" class="row">{text}</text>')
        parts.append(
            f'<text transform="translate({middle:.1f} {margin - 6}) rotate(-90)" class="column">'
            f"{text}</text>"
        )
    return (
        f'<svg class="matrix" viewBox="0 0 {side} {side}" style="max-width:{side}px" role="img" '
        f'aria-label="Confusion matrix: rows are true classes, columns are predictions">'
        f"{''.join(parts)}</svg>"
    )


def ticks(low: float, high: float, count: int, *, whole: bool = False) -> list[float]:
    """Round numbers, at most about `count`, the first at or below `low`, the last at or above `high`.

    Args:
        low, high: finite; they may be equal.
        count: how many there should be.
        whole: only whole numbers.
    """
    span = (high - low) or abs(high) or 1.0
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    if whole:
        step = max(1.0, round(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, max(last, first + 1) + 1)]


def _axes(
    x_ticks: Sequence[float], y_ticks: Sequence[float], place: _Place, x_name: str, percent: bool
) -> str:
    parts = []
    step = y_ticks[1] - y_ticks[0]
    for y in y_ticks:
        _, height = place(x_ticks[0], y)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>'
            f'<text class="y" x="{_LEFT - 8}" y="{height:.1f}">{_tick(y, step, percent)}</text>'
        )
    for x in x_ticks:
        across, _ = place(x, y_ticks[0])
        if across <= _WIDTH - _RIGHT + 1:
            parts.append(
                f'<text class="x" x="{across:.1f}" y="{_HEIGHT - _BOTTOM + 18}">{x:g}</text>'
            )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text class="x" x="{middle}" y="{_HEIGHT - 6}">{escape(x_name)}</text>')
    return "".join(parts)


def _line(
    line: Series, points: Sequence[_Point], place: _Place, percent: bool, label: float
) -> str:
    places = [place(x, y) for x, y in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<polyline class="line {line.style}" points="{path}"/>']
    for x, y in points:
        if x in line.spread:
            across, top = place(x, y + line.spread[x])
            bottom = place(x, y - line.spread[x])[1]
            parts.append(
                f'<line class="bar {line.style}" x1="{across:.1f}" x2="{across:.1f}" '
                f'y1="{top:.1f}" y2="{bottom:.1f}"/>'
            )
    if line.marked:
        for (x, y), (across, down) in zip(points, places, strict=True):
            parts.append(
                f'<circle class="mark {line.style}" cx="{across:.1f}" cy="{down:.1f}" r="3">'
                f"<title>{escape(line.name)}, {x:g}: {_value(y, percent)}</title></circle>"
            )
    parts.append(
        f'<text class="end {line.style}" x="{_WIDTH - _RIGHT + 8}" y="{label:.1f}">'
        f'{escape(line.name)}<tspan x="{_WIDTH - _RIGHT + 8}" dy="13">'
        f"{_value(points[-1][1], percent)}</tspan></text>"
    )
    return "".join(parts)


def _apart(heights: Sequence[float], least: float = 30) -> list[float]:
    """Heights of labels, moved apart so that none covers another, and inside the chart."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    moved = list(heights)
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + least)
    excess = max(0.0, max(moved) - (_HEIGHT - _BOTTOM - 10))
    return [height - excess for height in moved]


def _tick(value: float, step: float, percent: bool) -> str:
    if percent:
        return f"{100 * value:.{max(0, -math.floor(math.log10(100 * step) + 1e-9))}f} %"
    if abs(value) < step / 2:
        return "0"
    return f"{value:.3g}" if step < 1e-3 else f"{value:.{max(0, -math.floor(math.log10(step)))}f}"


def _value(value: float, percent: bool) -> str:
    return f"{100 * value:.2f} %" if percent else f"{value:.4g}"
