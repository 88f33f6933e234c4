"""`keras-vit fewshot`: how good a frozen model's features are."""

import math
from typing import TYPE_CHECKING, Any

import click

from keras_vit.cli.options import (
    Counts,
    data_options,
    model_argument,
    source_options,
    weights_option,
    with_weights,
)
from keras_vit.cli.output import bar, json_option, note, print_fields, print_json, print_table

if TYPE_CHECKING:
    from keras_vit.training import FewShotReport


class _CountsOrNone(Counts):
    """`10,20`, or `none`."""

    name = "N,...|none"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        return () if value == "none" else super().convert(value, param, ctx)


@click.command("fewshot")
@model_argument
@data_options
@source_options
@click.option(
    "--shots",
    type=Counts(),
    default="1,5,10,25",
    show_default=True,
    help="Training images a class.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    metavar="N",
    help="How many times they are drawn.",
)
@click.option(
    "--l2",
    type=click.FloatRange(0, min_open=True),
    default=1024.0,
    show_default=True,
    metavar="X",
    help="Strength of the least squares' regularisation.",
)
@click.option(
    "--knn",
    type=_CountsOrNone(),
    help="Neighbours that vote.  [default: 10,20,100,200, as far as there are images]",
)
@click.option(
    "--layer", metavar="NAME", help="Whose output the features are.  [default: what the head sees]"
)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, metavar="N")
@weights_option
@json_option
def command(model: str, data: str, weights: str | None, as_json: bool, **arguments: Any) -> None:
    """Measure the features of MODEL, frozen, on labelled images.

    Linear classifiers are solved in closed form on a few training images a class, as in the ViT paper,
    and nearest neighbours vote among all training images, as in DINO. The validation images test both.
    MODEL is a .keras file, a catalogue name, or another file with an output called features.
    """
    from keras_vit.training import fewshot

    with bar(f"Features of {model}") as advance:
        report = fewshot(with_weights(model, weights), data, progress=advance, **arguments)
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)
    largest = max(one.shots for one in report.shots)
    if report.smallest_class < largest:
        note(f"a class has {report.smallest_class} training images, fewer than {largest} shots")


def _print(report: "FewShotReport") -> None:
    click.echo(report.model)
    print_fields(
        {
            "features": report.features,
            "images": f"{report.train_count} training, {report.count} test, of {report.classes} classes",
            "skipped": f"{report.skipped} damaged files" if report.skipped else None,
            "seconds": f"{report.feature_seconds:.2f} features, {report.solve_seconds:.2f} solving",
        },
        indent=2,
    )
    click.echo(f"\nleast squares, l2 {_power(report.l2)}, mean of {report.seeds} seeds")
    header = ["shots", "images", "top-1", "best-l2", "its-top-1"]
    rows = [
        [
            str(one.shots),
            str(one.images),
            _share(one.top1, one.deviation),
            _power(one.best_l2),
            _share(one.best_top1, one.best_deviation),
        ]
        for one in report.shots
    ]
    print_table(header, rows, " ".join(header))
    note("best-l2: of the grid, by the test images themselves, and so an upper bound")
    if report.neighbours:
        click.echo(f"\nnearest neighbours, temperature {report.temperature:g}")
        print_table(
            ["k", "top-1"],
            [[str(one.k), f"{one.top1:.2%}"] for one in report.neighbours],
            "k top-1",
        )


def _power(l2: float) -> str:
    """2^10 of 1024."""
    mantissa, exponent = math.frexp(l2)
    return f"2^{exponent - 1}" if mantissa == 0.5 else f"{l2:g}"


def _share(mean: float, deviation: float | None) -> str:
    return f"{mean:.2%}" if deviation is None else f"{mean:.2%} ± {deviation:.2%}"
