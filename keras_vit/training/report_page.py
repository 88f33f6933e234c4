"""`report.html`: a run on one page that needs nothing but itself, on light and on dark screens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from keras_vit.page import document, fields_table, rows_table, section, tiles
from keras_vit.training.answers import Answers, Sample
from keras_vit.training.charts import Series, count_matrix, line_chart
from keras_vit.training.logs import Row

_LARGEST_MATRIX = 40  # classes: more would be a grey square
_SMALL = 96  # pixels: smaller images are shown with their pixels
_LISTED = 15


@dataclass(frozen=True)
class Page:
    """What the page shows.

    Attributes:
        title, subtitle: what was trained, on what.
        tiles: the main figures, by name.
        epochs: one row each, as in `log.csv`. steps: rows of the training loss between.
        steps_per_epoch: to place those.
        answers: on the validation images.
        tables: names and values, nested, by heading.
    """

    title: str
    subtitle: str
    tiles: Mapping[str, str]
    epochs: Sequence[Row]
    steps: Sequence[Row]
    steps_per_epoch: int
    answers: Answers
    tables: Mapping[str, Mapping[str, Any]]


def report_page(page: Page) -> str:
    """The page as HTML."""
    sections = [
        section("Curves", _curves(page)),
        section("Confusion matrix", _confusion(page.answers)),
        section("Found", _samples(page.answers.right)),
        section("Most wrong", _samples(page.answers.wrong)),
        section("Epochs", _epochs(page.epochs)),
        *(section(name, fields_table(fields)) for name, fields in page.tables.items()),
    ]
    body = tiles(page.tiles) + "".join(sections)
    return document(page.title, page.subtitle, body)


def _curves(page: Page) -> str:
    def of(name: str) -> list[tuple[float, float]]:
        return [(row["epoch"], row[name]) for row in page.epochs if name in row]

    loss = of("loss")
    if len(page.epochs) < 4:  # too few points to see how it went
        loss = [(row["step"] / page.steps_per_epoch, row["loss"]) for row in page.steps] or loss
    marked = len(page.epochs) <= 60
    charts = {
        "Loss": line_chart(
            "Loss by epoch",
            [
                Series("train", "train", loss, marked),
                Series("validation", "validation", of("val_loss"), marked),
            ],
            "epoch",
            zero=True,
        ),
        "Accuracy": line_chart(
            "Accuracy by epoch",
            [
                Series("train", "train", of("accuracy"), marked),
                Series("validation", "validation", of("val_accuracy"), marked),
            ],
            "epoch",
            percent=True,
        ),
        "Learning rate": line_chart(
            "Learning rate by epoch",
            [
                Series(
                    "rate",
                    "rate",
                    [
                        (row["step"] / page.steps_per_epoch, row["learning_rate"])
                        for row in page.steps
                    ],
                    False,
                )
            ],
            "epoch",
            zero=True,
        ),
    }
    figures = (
        f"<figure><figcaption>{name}</figcaption>{chart}</figure>"
        for name, chart in charts.items()
        if chart
    )
    return f'<div class="charts">{"".join(figures)}</div>'


def _confusion(answers: Answers) -> str:
    parts = []
    if len(answers.labels) <= _LARGEST_MATRIX:
        parts.append(
            '<p class="soft">Rows are true classes, columns are answers; the shade is the share of the '
            f"row.</p>{count_matrix(answers.counts, answers.labels)}"
        )
    weakest = [
        (name, str(count), f"{right / count:.1%}")
        for name, count, right in answers.weakest(_LISTED)
    ]
    confused = [(true, answer, str(count)) for true, answer, count in answers.confusions(_LISTED)]
    lists = [
        f"<div><h3>Weakest classes</h3>{rows_table(('class', 'images', 'found'), weakest)}</div>",
        f"<div><h3>Most frequent mistakes</h3>{rows_table(('is', 'taken for', 'images'), confused)}</div>"
        if confused
        else "",
    ]
    return f'{"".join(parts)}<div class="columns below">{"".join(lists)}</div>'


def _samples(samples: Sequence[Sample]) -> str:
    if not samples:
        return '<p class="soft">None.</p>'
    cards = []
    for sample in samples:
        small = ' class="small"' if max(sample.image.shape[:2]) < _SMALL else ""
        told = (
            f"<b>{escape(sample.truth)}</b>"
            if sample.truth == sample.answer
            else f"<b>{escape(sample.answer)}</b>, but it is <b>{escape(sample.truth)}</b>"
        )
        cards.append(
            f'<div class="sample"><img{small} src="{sample.url}" alt="{escape(sample.truth)}">'
            f"{told}<br>{sample.probability:.1%} sure</div>"
        )
    return f'<div class="samples">{"".join(cards)}</div>'


def _epochs(epochs: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for row in epochs for name in row))
    rows = [tuple(_number(row.get(name)) for name in names) for row in epochs]
    table = rows_table([name.replace("_", " ") for name in names], rows, numbers=range(len(names)))
    return f"<details><summary>{len(epochs)} rows</summary>{table}</details>"


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
