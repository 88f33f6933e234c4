"""The figure of an experiment as SVG: a row a variant with a dot a seed, or curves."""

import importlib.resources
import statistics
from collections.abc import Callable, Mapping, Sequence
from html import escape

from keras_vit.experiments.results import Row
from keras_vit.experiments.specs import Experiment
from keras_vit.training.charts import Series, line_chart, ticks

_WIDTH, _ROW, _TOP, _BOTTOM, _RIGHT = 760, 34, 12, 44, 74
_DOT = 6  # pixels between dots of equal value
_LETTER = 6.6  # pixels, about, of a label
_STYLES = ("train", "validation", "rate")


def figure(experiment: Experiment, rows: Sequence[Row]) -> str:
    """The SVG, coloured by the style sheet of `keras_vit.page`."""
    if experiment.x_name:
        return _curves(experiment, rows, experiment.x_name)
    return _dots(experiment, rows)


def as_file(svg: str) -> str:
    """An SVG that brings its style sheet with it."""
    style = importlib.resources.files("keras_vit").joinpath("page.css").read_text()
    start = svg.index(">") + 1
    head = svg[:start].replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f"{head}<style>{style}</style>{svg[start:]}\n"


def _curves(experiment: Experiment, rows: Sequence[Row], x_name: str) -> str:
    lines: dict[str, list[tuple[float, float]]] = {}
    spreads: dict[str, dict[float, float]] = {}
    for variant in experiment.variants:
        found = _accuracies(rows, variant.name)
        if found and variant.line is not None and variant.x is not None:
            lines.setdefault(variant.line, []).append((variant.x, statistics.mean(found)))
            if len(found) > 1:
                spreads.setdefault(variant.line, {})[variant.x] = statistics.stdev(found)
    series = [
        Series(name, _STYLES[i % len(_STYLES)], points, spread=spreads.get(name, {}))
        for i, (name, points) in enumerate(lines.items())
    ]
    return line_chart(experiment.title, series, x_name, percent=True)


def _dots(experiment: Experiment, rows: Sequence[Row]) -> str:
    found: Mapping[str, list[float]] = {
        variant.name: _accuracies(rows, variant.name) for variant in experiment.variants
    }
    found = {name: values for name, values in found.items() if values}
    every = [value for values in found.values() for value in values]
    steps = ticks(min(every), max(every), 6)
    left = 16 + _LETTER * max(map(len, found))
    height = _TOP + _ROW * len(found) + _BOTTOM

    def across(value: float) -> float:
        share = (value - steps[0]) / (steps[-1] - steps[0])
        return left + share * (_WIDTH - left - _RIGHT)

    parts = [_axis(step, across(step), height, steps[1] - steps[0]) for step in steps]
    parts += [
        _row(name, values, _TOP + _ROW * (i + 0.5), left, across)
        for i, (name, values) in enumerate(found.items())
    ]
    parts.append(
        f'<text class="x" x="{(left + _WIDTH - _RIGHT) / 2:.0f}" y="{height - 6}">'
        "accuracy on the validation images; a dot a seed, the bar is their mean</text>"
    )
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(experiment.title)}">{"".join(parts)}</svg>'
    )


def _axis(step: float, across: float, height: float, size: float) -> str:
    digits = 0 if size >= 0.01 else 1 if size >= 0.001 else 2
    bottom = height - _BOTTOM
    return (
        f'<line class="grid" x1="{across:.1f}" x2="{across:.1f}" y1="{_TOP}" y2="{bottom}"/>'
        f'<text class="x" x="{across:.1f}" y="{bottom + 18}">{100 * step:.{digits}f} %</text>'
    )


def _row(
    name: str,
    values: Sequence[float],
    down: float,
    left: float,
    across: Callable[[float], float],
) -> str:
    mean = across(statistics.mean(values))
    dots = "".join(
        f'<circle class="mark train" cx="{across(value):.1f}" cy="{down + _beside(values, i):.1f}" r="4.5">'
        f"<title>{escape(name)}: {value:.2%}</title></circle>"
        for i, value in enumerate(values)
    )
    return (
        f'<text class="row" x="{left - 12:.1f}" y="{down:.1f}">{escape(name)}</text>'
        f'<line class="line validation" style="stroke-dasharray:none" x1="{mean:.1f}" x2="{mean:.1f}" '
        f'y1="{down - 11:.1f}" y2="{down + 11:.1f}"/>{dots}'
        f'<text x="{_WIDTH - _RIGHT + 10}" y="{down + 4:.1f}">{statistics.mean(values):.2%}</text>'
    )


def _beside(values: Sequence[float], index: int) -> float:
    """How far a dot is put from the line of its row, so that equal values do not hide each other."""
    before, equal = values[:index].count(values[index]), values.count(values[index])
    return _DOT * (before - (equal - 1) / 2)


def _accuracies(rows: Sequence[Row], variant: str) -> list[float]:
    return [row["accuracy"] for row in rows if row["variant"] == variant]
