"""`keras-vit recipes`: how models are trained."""

import click

from keras_vit.cli.output import json_option, print_json, print_table
from keras_vit.errors import UsageError


@click.command("recipes")
@click.argument("name", required=False)
@click.option("--model", default="", help="The model: papers train each size in its own way.")
@click.option("--train-size", type=int, help="Training images; needed for a recipe's numbers.")
@click.option("--batch-size", type=int, help="Images a step; the recipe's by default.")
@click.option("--epochs", type=int, help="Passes over the images; the recipe's by default.")
@json_option
def command(
    name: str | None,
    model: str,
    train_size: int | None,
    batch_size: int | None,
    epochs: int | None,
    as_json: bool,
) -> None:
    """List the recipes of `train --recipe`, or show what one makes of a run.

    keras-vit recipes deit --model deit_tiny_patch16_224 --train-size 50000
    """
    from keras_vit import catalogue
    from keras_vit.training.plan_table import table
    from keras_vit.training.plans import list_recipes, plan

    if name is None:
        recipes = list_recipes()
        if as_json:
            print_json([{"name": key, "title": title} for key, title in recipes.items()])
        else:
            print_table(["NAME", "TITLE"], [[key, title] for key, title in recipes.items()])
        return
    if train_size is None:
        raise UsageError("a recipe's numbers follow from the data: pass --train-size")
    architecture = catalogue.info(model).architecture if model else ""
    made = plan(name, architecture, train_size=train_size, batch_size=batch_size, epochs=epochs)
    if as_json:
        print_json(made.to_dict())
    else:
        click.echo(table(made))
