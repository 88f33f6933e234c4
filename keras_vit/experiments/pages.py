"""The page of an experiment: what was asked, what was found, and what with."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from keras_vit import page
from keras_vit.experiments.results import Difference, Row, shown
from keras_vit.experiments.specs import Experiment

_SCALES = {
    "real": "at the scale of the paper, on {}",
    "small": (
        "at a small scale, on {}: it shows that the experiment runs, and what it finds on these data alone"
    ),
}


def report(
    experiment: Experiment,
    rows: Sequence[Row],
    summary: Sequence[Mapping[str, Any]],
    answers: Sequence[Difference],
    figure: str,
    environment: Mapping[str, Any],
) -> str:
    """The page as HTML.

    Args:
        experiment: that was run. rows: of all runs. summary, answers: of `results`.
        figure: SVG. environment: of `training.environment`.
    """
    runs = ["variant", "seed", *experiment.columns]
    sections = [
        page.section(
            "Question", _paragraphs(experiment.question, f"The paper: {experiment.finding}")
        ),
        page.section("Found", _answers(answers)),
        page.section("Table", _table(experiment, rows, summary)),
        page.section("Figure", f'<figure class="wide">{figure}</figure>'),
        page.section(
            "Runs",
            page.rows_table(
                runs, [[_cell(row, name) for name in runs] for row in rows], range(1, len(runs))
            ),
        ),
        *(
            page.section(variant.name, page.fields_table(_stages(variant.stages)))
            for variant in experiment.variants
        ),
        page.section("Computed with", page.fields_table(environment)),
    ]
    seeds = len({row["seed"] for row in rows})
    scale = _SCALES[experiment.scale].format(" and ".join(experiment.data))
    subtitle = f"{experiment.source}; {scale}; seeds: {seeds}"
    return page.document(experiment.title, subtitle, "".join(sections))


def text_table(
    experiment: Experiment, summary: Sequence[Mapping[str, Any]]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table, as text."""
    header = ["variant", *experiment.columns]
    return header, [
        [line["variant"], *(shown(line, name) for name in experiment.columns)] for line in summary
    ]


def _table(
    experiment: Experiment, rows: Sequence[Row], summary: Sequence[Mapping[str, Any]]
) -> str:
    header, cells = text_table(experiment, summary)
    counts = sorted({row["validation_images"] for row in rows if "validation_images" in row})
    measured = f" Measured on {' or '.join(f'{n:,}' for n in counts)} images." if counts else ""
    note = f"Mean over the seeds, ± their sample standard deviation.{measured}"
    names = [name.replace("_", " ") for name in header]
    return page.rows_table(names, cells, range(1, len(header))) + f'<p class="soft">{note}</p>'


def _answers(answers: Sequence[Difference]) -> str:
    items = "".join(
        f"<li>{escape(answer.verdict)}. <span class=soft>The paper: {escape(answer.paper)}</span></li>"
        for answer in answers
    )
    return f"<ul>{items}</ul>" if items else ""


def _paragraphs(*texts: str) -> str:
    return "".join(f"<p>{escape(text)}</p>" for text in texts)


def _stages(stages: Sequence[Any]) -> dict[str, Any]:
    return {
        f"{number}. {stage.do}": {**({"as": stage.name} if stage.name else {}), **stage.arguments}
        for number, stage in enumerate(stages, 1)
    }


def _cell(row: Row, name: str) -> str:
    value = row.get(name)
    return str(value) if name in ("variant", "seed") else shown({name: value}, name)
