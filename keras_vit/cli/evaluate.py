"""`keras-vit evaluate`: how often a model is right, or several side by side."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keras_vit.cli.options import (
    data_options,
    force_option,
    models_argument,
    source_options,
    weights_option,
    with_weights,
)
from keras_vit.cli.output import (
    bar,
    json_option,
    note,
    print_fields,
    print_json,
    print_table,
    scaled,
)
from keras_vit.errors import UsageError
from keras_vit.outputs import require_output

if TYPE_CHECKING:
    from keras_vit.training import EvaluationReport
    from keras_vit.training.evaluation import Difference


@click.command("evaluate")
@models_argument
@data_options
@source_options
@click.option(
    "--split",
    default="validation",
    show_default=True,
    metavar="validation|train|all",
    help="The images that train holds out, those it trains on, or both: all is for data that was never "
    "trained on, such as ImageNet's validation folder. Of TFDS also an expression, test[:50%].",
)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, metavar="N")
@click.option(
    "--against",
    metavar="MODEL",
    help="Another model for the same images, such as the .keras file that a file was made from.",
)
@click.option(
    "--real",
    metavar="real.json",
    help="ImageNet's reassessed labels, for the accuracy on these too.",
)
@click.option("--per-class", is_flag=True, help="Print the accuracy of each class.")
@click.option(
    "--confusion", metavar="FILE.csv", help="Write the confusion matrix: a row a true class."
)
@force_option
@weights_option
@json_option
def command(
    models: tuple[str, ...],
    data: str,
    weights: str | None,
    per_class: bool,
    confusion: str | None,
    force: bool,
    as_json: bool,
    **arguments: Any,
) -> None:
    """Measure the accuracy of MODEL on labelled images; of several, side by side.

    MODEL is a .keras, .tflite or .onnx file, a SavedModel or run folder or a catalogue name. Images are
    prepared as the model wants them, so that a file and the model it was made from see the same.
    Classes are matched by name; ImageNet's also by folders called n01440764 (WordNet) or 0 to 999.
    """
    _require_possible(models, confusion, force)
    from keras_vit.training import evaluate

    opened = [with_weights(model, weights) for model in models]
    arguments |= {"confusion": confusion, "overwrite": force}
    with bar(f"Evaluating {', '.join(models)}") as advance:
        reports = evaluate(opened, data, progress=advance, **arguments)
    if as_json:
        print_json([one.to_dict() for one in reports] if len(models) > 1 else reports[0].to_dict())
        return
    if len(reports) > 1:
        _print_side_by_side(reports)
    else:
        _print(reports[0])
    if per_class:
        _print_classes(reports)


def _require_possible(models: Sequence[str], confusion: str | None, force: bool) -> None:
    """Refuse before Keras is imported."""
    if confusion is None:
        return
    if len(models) > 1:
        raise UsageError("--confusion is of one model: leave out the others")
    require_output(Path(confusion), (".csv",), force)


def _print(report: "EvaluationReport") -> None:
    click.echo(report.model)
    print_fields(
        {
            "images": f"{report.count} ({report.split})",
            "skipped": f"{report.skipped} damaged files" if report.skipped else None,
            "top-1": f"{report.top1:.2%}",
            "top-5": None if report.top5 is None else f"{report.top5:.2%}",
            "ReaL": None
            if report.real is None
            else f"{report.real:.2%} (of {report.real_count} images)",
            "loss": f"{report.loss:.4f}",
            "classes": f"{len(report.classes)}, {report.mean_per_class:.2%} right on average",
            "seconds": f"{report.seconds:.2f} ({report.images_per_second:.0f} images/s)",
            "size": _size(report),
        },
        indent=2,
    )
    if report.against is not None:
        _print_difference(report.against)


def _size(report: "EvaluationReport") -> str | None:
    if report.parameters is None:
        return None
    macs = "" if report.macs is None else f", {scaled(report.macs)} MACs"
    return f"{scaled(report.parameters)} parameters{macs}"


def _print_difference(other: "Difference") -> None:
    click.echo(f"against {other.model}")
    print_fields(
        {
            "top-1": f"{other.top1:.2%}",
            "agreement": f"{other.agreement:.2%}",
            "difference": f"{other.max_difference:.2e} at most, {other.relative_difference:.1e} of the "
            "logits' standard deviation",
        },
        indent=2,
    )


_COLUMNS: dict[str, Callable[["EvaluationReport"], str | None]] = {
    "model": lambda one: one.model,
    "top-1": lambda one: f"{one.top1:.2%}",
    "top-5": lambda one: None if one.top5 is None else f"{one.top5:.2%}",
    "ReaL": lambda one: None if one.real is None else f"{one.real:.2%}",
    "loss": lambda one: f"{one.loss:.4f}",
    "agreement": lambda one: None if one.against is None else f"{one.against.agreement:.2%}",
    "difference": lambda one: None if one.against is None else f"{one.against.max_difference:.1e}",
    "images/s": lambda one: f"{one.images_per_second:.0f}",
    "seconds": lambda one: f"{one.seconds:.2f}",
    "parameters": lambda one: None if one.parameters is None else scaled(one.parameters),
    "MACs": lambda one: None if one.macs is None else scaled(one.macs),
}
"""Of the table: a column that no model has a value for is left out."""


def _print_side_by_side(reports: Sequence["EvaluationReport"]) -> None:
    columns = {name: [cell(one) for one in reports] for name, cell in _COLUMNS.items()}
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    rows = [[cell or "-" for cell in row] for row in zip(*shown.values(), strict=True)]
    print_table([*shown], rows, " ".join([*shown][1:]))
    first = reports[0]
    skipped = f", {first.skipped} damaged files skipped" if first.skipped else ""
    against = f"; agreement, difference: with {first.against.model}" if first.against else ""
    note(f"{first.count} images ({first.split}){skipped}{against}")


def _print_classes(reports: Sequence["EvaluationReport"]) -> None:
    """The accuracy of each class by each model; of a single one also what it is taken for."""
    click.echo()
    alone = len(reports) == 1
    names = ["top-1"] if alone else [one.model for one in reports]
    rows = []
    for place, (name, count) in enumerate((c.name, c.count) for c in reports[0].classes):
        shares = [one.classes[place].top1 for one in reports]
        row = [name, str(count), *("-" if s is None else f"{s:.2%}" for s in shares)]
        rows.append([*row, _taken_for(reports[0], place)] if alone else row)
    header = ["class", "images", *names, *(["taken for"] if alone else [])]
    print_table(header, rows, " ".join(header[1 : 2 + len(names)]))


def _taken_for(report: "EvaluationReport", place: int) -> str:
    """The three classes that a class is most often taken for by mistake."""
    if report.confusion is None:
        return ""
    names = [*(one.name for one in report.classes), "(another)"]
    mistakes = [(n, j) for j, n in enumerate(report.confusion[place]) if n and j != place]
    most = sorted(mistakes, key=lambda found: (-found[0], found[1]))[:3]
    return ", ".join(f"{names[j]} ({count})" for count, j in most)
