"""`keras-vit experiment`: one of the papers' experiments, from its data to its page."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from keras_vit.cli.options import Assignment, force_option
from keras_vit.cli.output import json_option, note, print_json, print_table, working
from keras_vit.errors import UsageError
from keras_vit.experiments.specs import experiment_of, list_experiments


class Change(click.ParamType):
    """`train.epochs=5`: an argument of every stage that trains."""

    name = "STAGE.KEY=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str, Any]:
        if isinstance(value, tuple):
            return value
        do, dot, rest = value.partition(".")
        if not dot:
            self.fail(f"{value!r} is not of the form stage.key=value, such as train.epochs=5")
        key, argument = Assignment().convert(rest, param, ctx)
        return do, key, argument


@click.command("experiment")
@click.argument("name", required=False)
@click.option("--output", "-o", metavar="FOLDER", help="For the table, figure, JSON and page.")
@click.option("--small", is_flag=True, help="On small data, in minutes on a CPU.")
@click.option("--seeds", type=click.IntRange(1), metavar="N", help="[default: the experiment's]")
@click.option(
    "--set",
    "assignments",
    type=Change(),
    multiple=True,
    help="Another argument of the stages, such as train.data=tfds:imagenette; repeatable.",
)
@force_option
@json_option
def command(
    name: str | None,
    output: str | None,
    small: bool,
    seeds: int | None,
    assignments: Sequence[tuple[str, str, Any]],
    force: bool,
    as_json: bool,
) -> None:
    """Run the experiment NAME of a paper, and write its table, figure, raw JSON and page.

    Without NAME they are listed. Interrupted, the same command goes on where it was.
    """
    if name is None:
        known = list_experiments()
        if as_json:
            print_json(known)
        else:
            print_table(["name", "title"], [[*pair] for pair in known.items()])
        return
    changes: dict[str, dict[str, Any]] = {}
    for do, key, value in assignments:
        changes.setdefault(do, {})[key] = value
    made = experiment_of(name, "small" if small else "real", changes)
    if output is None:
        raise UsageError("give --output FOLDER")
    with working(f"Loading {name}"):
        from keras_vit.experiments.pages import text_table
        from keras_vit.experiments.running import experiment

    def told(variant: str, seed: int, row: Mapping[str, Any]) -> None:
        note(f"{variant}, seed {seed}: accuracy {row['accuracy']:.2%}")

    report = experiment(
        name,
        output,
        small=small,
        seeds=seeds,
        changes=changes,
        overwrite=force,
        progress=told,
    )
    if as_json:
        print_json(report.to_dict())
        return
    header, rows = text_table(made, report.summary)
    print_table(header, rows, " ".join(header[1:]))
    for found in report.differences:
        click.echo(f"\n{found.verdict}\n  the paper: {found.paper}")
    click.echo(f"\n{report.path}/report.html")
