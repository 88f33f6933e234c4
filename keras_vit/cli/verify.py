"""`keras-vit verify`: whether a model computes here what its reference does."""

import click

from keras_vit import catalogue
from keras_vit.cli.output import json_option, print_fields, print_json, print_table, working
from keras_vit.errors import KerasVitError


@click.command("verify")
@click.argument("name")
@click.option(
    "--weights", metavar="FILE", help="A checkpoint that timm reads too; compares the whole model."
)
@click.option(
    "--against",
    type=click.Choice(["golden", "timm", "transformers"]),
    help="The outputs that keras_vit ships, or the library itself.",
)
@click.option("--dtype", metavar="POLICY", help="Such as mixed_bfloat16.")
@json_option
def command(
    name: str, weights: str | None, against: str | None, dtype: str | None, as_json: bool
) -> None:
    """Compare the model NAME with its reference, block by block, on this machine.

    Without --weights, they are drawn from the tensors' names, at full width and few blocks, and the
    outputs of the reference come with keras_vit. Exit code 1 if the model computes something else.
    """
    catalogue.info(name)  # a wrong name is told before Keras is imported
    from keras_vit.verifying import verify

    with working(f"Verifying {name}"):
        report = verify(name, weights=weights, against=against, dtype=dtype)
    if as_json:
        print_json(report.to_dict())
    else:
        differences = {**report.blocks, "output": report.output}
        print_table(
            ["LAYER", "DIFFERENCE"],
            [[layer, f"{value:.1e}"] for layer, value in differences.items()],
            right="DIFFERENCE",
        )
        click.echo()
        print_fields(
            {
                "model": report.name,
                "weights": report.weights or "drawn from the names of the tensors",
                "against": report.reference,
                "on": f"{report.backend}, {report.compute_dtype}",
                "verdict": f"{'passed' if report.passed else 'FAILED'}, at most {report.tolerance:g} "
                "of the output's standard deviation",
            }
        )
    if not report.passed:
        raise KerasVitError(
            f"{report.name} is {report.output:.1e} of the output's standard deviation from "
            f"{report.reference}; {report.tolerance:g} passes"
        )
