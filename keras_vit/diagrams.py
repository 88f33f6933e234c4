"""A model's parts drawn as boxes with arrows: SVG for pages, a Mermaid flowchart for Markdown."""

from collections.abc import Sequence
from html import escape
from itertools import groupby

from keras_vit.facts import scaled
from keras_vit.parts import Part

_WIDTH, _HEIGHT, _ACROSS, _DOWN = 350, 64, 24, 30  # pixels: of a box, and between boxes


def diagram(parts: Sequence[Part], title: str) -> str:
    """An inline SVG, coloured by `page.css`; boxes with weights have a coloured frame.

    Args:
        parts: in the order of the forward pass. title: read out where it cannot be seen.
    """
    ranks = _ranks(parts)
    order = sorted(range(len(parts)), key=lambda i: (ranks[i], i))
    rows = [list(group) for _, group in groupby(order, key=lambda i: ranks[i])]
    width = max(map(len, rows)) * (_WIDTH + _ACROSS) + 2
    height = len(rows) * (_HEIGHT + _DOWN) - _DOWN + 4
    middles: dict[int, tuple[float, float]] = {}
    for down, row in enumerate(rows):
        left = (width - len(row) * (_WIDTH + _ACROSS) + _ACROSS) / 2
        for across, i in enumerate(row):
            middle = left + across * (_WIDTH + _ACROSS) + _WIDTH / 2
            middles[i] = (middle, 2 + down * (_HEIGHT + _DOWN))
    edges = [_edge(middles[j], middles[i]) for i, part in enumerate(parts) for j in part.after]
    boxes = [_box(part, *middles[i]) for i, part in enumerate(parts)]
    return (
        f'<div class="diagram"><svg viewBox="0 0 {width} {height}" style="max-width:{width}px" '
        f'role="img" aria-label="{escape(title)}">{"".join(edges)}{"".join(boxes)}</svg></div>'
    )


def flowchart(parts: Sequence[Part]) -> str:
    """The same as a Mermaid flowchart, without the fence of Markdown."""
    lines = ["flowchart TD"]
    for i, part in enumerate(parts):
        told = "<br/>".join(line for line in _lines(part) if line)
        lines.append(f'    p{i}["{told}"]')
    lines += [f"    p{j} --> p{i}" for i, part in enumerate(parts) for j in part.after]
    return "\n".join(lines)


def shape_text(shape: Sequence[int | None]) -> str:
    """`14 x 14 x 768`; sides that are free are `?`."""
    return " x ".join("?" if side is None else str(side) for side in shape)


def _ranks(parts: Sequence[Part]) -> list[int]:
    """How many parts come before each, on the longest way."""
    ranks: list[int] = []
    for part in parts:
        ranks.append(max((ranks[i] + 1 for i in part.after), default=0))
    return ranks


def _lines(part: Part) -> tuple[str, str, str]:
    """Its name, what it is, what it weighs."""
    times = f" ({part.count}x)" if part.count > 1 else ""
    weights = []
    if part.parameters:
        weights.append(f"{scaled(part.parameters)} parameters")
    if part.macs:
        weights.append(f"{scaled(part.macs)} MACs")
    return f"{part.name}{times}", f"{part.kind} → {shape_text(part.gives)}", ", ".join(weights)


def _box(part: Part, middle: float, top: float) -> str:
    name, kind, weights = _lines(part)
    weighty = " weights" if part.parameters else ""
    lines = [("name", name), ("fact", kind), ("fact", weights)]
    told = [line for line in lines if line[1]]
    first = top + _HEIGHT / 2 - 9 * (len(told) - 1) + 4
    texts = "".join(
        f'<text class="{style}" x="{middle:g}" y="{first + 18 * i:g}">{escape(text)}</text>'
        for i, (style, text) in enumerate(told)
    )
    return (
        f'<rect class="box{weighty}" x="{middle - _WIDTH / 2:g}" y="{top:g}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" rx="8"/>{texts}'
    )


def _edge(source: tuple[float, float], target: tuple[float, float]) -> str:
    """From the middle of one box's lower side to the middle of another's upper side."""
    (x0, y0), (x1, y1) = source, target
    y0 += _HEIGHT
    half = (y1 - y0) / 2
    path = f"M{x0:g} {y0:g}C{x0:g} {y0 + half:g} {x1:g} {y1 - half:g} {x1:g} {y1 - 7:g}"
    tip = f"M{x1 - 4:g} {y1 - 8:g}h8l-4 7z"
    return f'<path class="edge" d="{path}"/><path class="tip" d="{tip}"/>'
