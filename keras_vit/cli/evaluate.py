"""`keras-vit evaluate`: how often a model is right."""

from typing import TYPE_CHECKING, Any

import click

from keras_vit.cli.options import data_options, model_argument, weights_option, with_weights
from keras_vit.cli.output import bar, json_option, print_fields, print_json

if TYPE_CHECKING:
    from keras_vit.training import EvaluationReport
    from keras_vit.training.evaluation import Difference


@click.command("evaluate")
@model_argument
@data_options
@click.option(
    "--split",
    type=click.Choice(["validation", "train", "all"]),
    default="validation",
    show_default=True,
    help="The images that train holds out, those it trains on, or both.",
)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, metavar="N")
@click.option(
    "--against",
    metavar="MODEL",
    help="Another model for the same images, such as the .keras file that a file was made from.",
)
@weights_option
@json_option
def command(model: str, data: str, weights: str | None, as_json: bool, **arguments: Any) -> None:
    """Measure the accuracy of MODEL on labelled images.

    MODEL is a .keras, .tflite or .onnx file, a SavedModel folder or a catalogue name. Images are
    prepared as the model wants them, so that a file and the model it was made from see the same.
    """
    from keras_vit.training import evaluate

    with bar(f"Evaluating {model}") as advance:
        report = evaluate(with_weights(model, weights), data, progress=advance, **arguments)
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)


def _print(report: "EvaluationReport") -> None:
    click.echo(report.model)
    print_fields(
        {
            "images": f"{report.count} ({report.split})",
            "skipped": f"{report.skipped} damaged files" if report.skipped else None,
            "top-1": f"{report.top1:.2%}",
            "top-5": None if report.top5 is None else f"{report.top5:.2%}",
            "loss": f"{report.loss:.4f}",
            "seconds": f"{report.seconds:.2f} ({report.count / report.seconds:.0f} images/s)",
        },
        indent=2,
    )
    if report.against is not None:
        _print_difference(report.against)


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
