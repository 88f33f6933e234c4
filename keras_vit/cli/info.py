"""`keras-vit info`: the card of one checkpoint."""

from pathlib import Path

import click

from keras_vit import catalogue
from keras_vit.catalogue import ModelCard
from keras_vit.cli.options import force_option
from keras_vit.cli.output import json_option, note, print_fields, print_json, working
from keras_vit.errors import UsageError
from keras_vit.facts import facts, other_numerics, preprocessing, value_text

_SUFFIXES = {"html": (".html", ".htm"), "markdown": (".md", ".markdown")}


@click.command("info")
@click.argument("name")
@click.option("--html", "format", flag_value="html", help="A page with the architecture drawn.")
@click.option(
    "--markdown", "format", flag_value="markdown", help="The same for a README or a model hub."
)
@click.option(
    "--output", "-o", metavar="FILE", help="Of --html and --markdown. [default: print it]"
)
@force_option
@json_option
def command(name: str, format: str | None, output: str | None, force: bool, as_json: bool) -> None:
    """Show all that is known of the model NAME.

    NAME is ARCHITECTURE.TAG, an architecture (its default tag) or a paper's name: 'ViT-B/16'. --html and
    --markdown write a model card: a diagram, parameters and multiply-adds by part, and all of the rest.
    """
    card = catalogue.info(name)
    if format is not None:
        _write(card, format, output, force, as_json)
    elif output is not None:
        raise UsageError("--output is of --html and --markdown")
    elif as_json:
        print_json(card.to_dict())
    else:
        _print(card)


def _write(card: ModelCard, format: str, output: str | None, force: bool, as_json: bool) -> None:
    if as_json:
        raise UsageError(f"--json and --{format}: choose one")
    if output is not None:
        from keras_vit.outputs import require_output

        require_output(Path(output), _SUFFIXES[format], force)
    with working(f"Building {card.name}"):
        from keras_vit.model_cards import model_card

        text = model_card(card.name, format)
    if output is None:
        click.echo(text, nl=False)
        return
    from keras_vit.weights.whole_file import whole_file

    with whole_file(Path(output)) as draft:
        draft.write_text(text, encoding="utf-8")
    note(f"wrote {output}")


def _print(card: ModelCard) -> None:
    click.echo(card.name)
    print_fields(facts(card), indent=2)
    click.echo("\npreprocessing")
    print_fields(preprocessing(card), indent=2)
    click.echo(f"\nbuilder arguments ({card.numerics} numerics)")
    print_fields({name: value_text(value) for name, value in card.arguments.items()}, indent=2)
    for numerics, changed in other_numerics(card).items():
        click.echo(f"\nnumerics={numerics!r} changes")
        print_fields(changed, indent=2)
