"""`keras-vit info NAME --html`: a model card as a page, or as Markdown.

What the catalogue knows is written as it is; parts, parameters and multiply-adds are counted on the model,
which is built without values.
"""

from collections.abc import Sequence
from html import escape

import keras

from keras_vit import catalogue
from keras_vit.catalogue import ModelCard
from keras_vit.diagrams import diagram, flowchart, shape_text
from keras_vit.errors import UsageError
from keras_vit.facts import facts, other_numerics, preprocessing, scaled, size, value_text
from keras_vit.loading import load
from keras_vit.page import document, fields_table, rows_table, section, tiles
from keras_vit.parts import Part, parts_of

FORMATS = ("html", "markdown")

_PARTS = ("part", "layers", "what", "gives", "parameters", "", "MACs", " ")
_SCORES = ("dataset", "at", "top-1 in %", "top-5 in %", "measured by")


def model_card(name: str, format: str = "html") -> str:
    """All that is known of a model of the catalogue, with its architecture as a diagram.

    Args:
        name: as `keras_vit.info` takes it.
        format: `"html"`, a page that needs nothing but itself, or `"markdown"`, with a Mermaid flowchart.

    Raises:
        UnknownModelError: for another name. UsageError: for another format.
    """
    if format not in FORMATS:
        raise UsageError(f"format must be {' or '.join(FORMATS)}, not {format!r}")
    card = catalogue.info(name)
    # The pending variables are never initialised here: the largest models would not fit.
    with keras.StatelessScope(initialize_variables=False):
        parts = parts_of(load(card.name, weights=None))
    return _html(card, parts) if format == "html" else _markdown(card, parts)


def _html(card: ModelCard, parts: Sequence[Part]) -> str:
    main = {
        "parameters": scaled(card.parameters),
        "MACs an image": scaled(card.macs),
        "pixels a side": size(card.preprocessing.image_size),
        "classes": str(card.num_classes) if card.num_classes else "none",
    }
    if card.scores:
        best = card.scores[0]
        main[f"top-1, {best.dataset}, {best.measured_by}"] = f"{best.top1:.2f} %"
    other = other_numerics(card)
    sections = [
        section("Architecture", diagram(parts, f"The parts of {card.name}")),
        section("Parts", rows_table(_PARTS, _part_rows(parts), numbers=range(4, 8))),
        section("Published accuracy", _score_table(card)),
        section("Preprocessing", fields_table(preprocessing(card))),
        section("Facts", fields_table({k: v for k, v in facts(card, scores=False).items() if v})),
        section("Use", f"<pre>{escape(_use(card))}</pre>"),
        section(
            f"Arguments of the builder ({card.numerics} numerics)",
            fields_table({k: value_text(v) for k, v in card.arguments.items()}),
        ),
        *(section(f"numerics={k!r} changes", fields_table(v)) for k, v in other.items()),
    ]
    subtitle = card.description or card.title
    return document(card.name, subtitle, tiles(main) + "".join(sections))


def _score_table(card: ModelCard) -> str:
    return rows_table(_SCORES, _score_rows(card), numbers=(1, 2, 3)) if card.scores else ""


def _markdown(card: ModelCard, parts: Sequence[Part]) -> str:
    other = other_numerics(card)
    blocks = [
        f"# {card.name}",
        card.description or card.title,
        "## Architecture",
        f"```mermaid\n{flowchart(parts)}\n```",
        _markdown_table(_PARTS, _part_rows(parts), numbers=range(4, 8)),
    ]
    if card.scores:
        table = _markdown_table(_SCORES, _score_rows(card), numbers=(1, 2, 3))
        blocks += ["## Published accuracy", table]
    blocks += ["## Preprocessing", _markdown_fields(preprocessing(card))]
    blocks += ["## Facts", _markdown_fields(facts(card, scores=False))]
    blocks += ["## Use", f"```python\n{_use(card)}\n```"]
    blocks += [
        f"## Arguments of the builder ({card.numerics} numerics)",
        _markdown_fields({k: value_text(v) for k, v in card.arguments.items()}),
    ]
    for numerics, changed in other.items():
        blocks += [f"## numerics={numerics!r} changes", _markdown_fields(changed)]
    return "\n\n".join(blocks) + "\n"


def _part_rows(parts: Sequence[Part]) -> list[tuple[str, ...]]:
    parameters = sum(part.parameters for part in parts)
    macs = sum(part.macs for part in parts)
    rows = [
        (
            part.name,
            str(part.count),
            part.kind,
            shape_text(part.gives),
            f"{part.parameters:,}",
            _share(part.parameters, parameters),
            f"{part.macs:,}",
            _share(part.macs, macs),
        )
        for part in parts
        if part.parameters or part.macs
    ]
    layers = sum(part.count for part in parts if part.parameters or part.macs)
    return [*rows, ("all", str(layers), "", "", f"{parameters:,}", "", f"{macs:,}", "")]


def _share(number: int, whole: int) -> str:
    return f"{number / whole:.1%}" if whole else ""


def _score_rows(card: ModelCard) -> list[tuple[str, ...]]:
    return [
        (
            score.dataset,
            str(score.image_size),
            f"{score.top1:.2f}",
            "" if score.top5 is None else f"{score.top5:.2f}",
            f"{score.measured_by}: {score.source}",
        )
        for score in card.scores
    ]


def _use(card: ModelCard) -> str:
    weights = "" if card.pretrained else ", weights=None"
    return (
        "import keras_vit\n\n"
        f'model = keras_vit.load("{card.name}"{weights})\n'
        "outputs = model(model.preprocess(images))  # uint8 (batch, height, width, 3)"
    )


def _markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()
) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    marks = ["---:" if i in numbers else "---" for i in range(len(header))]
    return "\n".join([line(header), line(marks), *map(line, rows)])


def _markdown_fields(fields: dict[str, str]) -> str:
    rows = [(name, f"{value}") for name, value in fields.items() if value not in (None, "")]
    return _markdown_table(("", ""), rows)
