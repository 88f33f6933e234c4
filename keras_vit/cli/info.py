"""`keras-vit info`: the card of one checkpoint."""

from typing import Any

import click

from keras_vit import catalogue
from keras_vit.catalogue import ModelCard, Score
from keras_vit.cli.output import json_option, print_fields, print_json, scaled, size


@click.command("info")
@click.argument("name")
@json_option
def command(name: str, as_json: bool) -> None:
    """Show all that is known of the model NAME.

    NAME is ARCHITECTURE.TAG, an architecture (its default tag) or a paper's name: 'ViT-B/16'.
    """
    card = catalogue.info(name)
    if as_json:
        print_json(card.to_dict())
    else:
        _print(card)


def _print(card: ModelCard) -> None:
    click.echo(card.name)
    print_fields(_facts(card), indent=2)
    click.echo("\npreprocessing")
    print_fields(_preprocessing(card), indent=2)
    click.echo(f"\nbuilder arguments ({card.numerics} numerics)")
    print_fields({name: _text(value) for name, value in card.arguments.items()}, indent=2)
    for numerics, changed in _other_numerics(card).items():
        click.echo(f"\nnumerics={numerics!r} changes")
        print_fields(changed, indent=2)


def _facts(card: ModelCard) -> dict[str, Any]:
    scores = {f"accuracy {i}": _score(score) for i, score in enumerate(card.scores, 1)}
    return {
        "family": f"{card.family} ({card.title})",
        "also called": ", ".join(card.aliases),
        "weights": card.description if card.pretrained else "none published",
        "classes": _classes(card),
        "parameters": f"{card.parameters:,} ({scaled(card.parameters)})",
        "MACs": f"{card.macs:,} ({scaled(card.macs)})",
        **scores,
        "licence": card.licence,
        "file": f"hf://{card.hub_id}/{card.hub_file}" if card.hub_id else None,
        "source": card.source_url,
        "paper": card.paper,
    }


def _classes(card: ModelCard) -> str:
    if not card.num_classes:
        return "0 (features only)"
    return f"{card.num_classes}" + (f" ({card.labels})" if card.labels else "")


def _score(score: Score) -> str:
    top5 = "" if score.top5 is None else f", top-5 {score.top5:.2f} %"
    result = f"{score.dataset} at {score.image_size}: top-1 {score.top1:.2f} %{top5}"
    return f"{result}, measured by {score.measured_by} ({score.source})"


def _preprocessing(card: ModelCard) -> dict[str, Any]:
    values = card.preprocessing
    return {
        "image size": size(values.image_size),
        "resize": f"{values.interpolation}, {values.crop_mode} crop of {values.crop_pct:.4g}",
        "mean": _text(values.mean),
        "std": _text(values.std),
    }


def _other_numerics(card: ModelCard) -> dict[str, dict[str, str]]:
    """What each numerics but the default one sets differently."""
    changed = {
        numerics: {
            name: f"{_text(card.arguments[name])} -> {_text(value)}"
            for name, value in values.items()
            if value != card.arguments[name]
        }
        for numerics, values in card.numerics_arguments.items()
    }
    return {numerics: values for numerics, values in changed.items() if values}


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
