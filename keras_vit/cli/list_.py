"""`keras-vit list`: what the catalogue has."""

import click

from keras_vit import catalogue
from keras_vit.catalogue import ModelCard
from keras_vit.cli.output import json_option, note, print_json, print_table, scaled, size
from keras_vit.licences import COMMERCIAL, marked


@click.command("list")
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@click.option("--tag", multiple=True, help="Pattern of the tag, such as '*in21k*'.")
@click.option("--family", multiple=True, help="A family, such as deit3.")
@click.option("--pretrained/--no-pretrained", default=None, help="With or without weights.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave these out.")
@json_option
def command(
    patterns: tuple[str, ...],
    tag: tuple[str, ...],
    family: tuple[str, ...],
    pretrained: bool | None,
    exclude: tuple[str, ...],
    as_json: bool,
) -> None:
    """List models whose names match, with wildcards: 'vit_*patch16*'.

    MACs are multiply-adds of one image at the model's size; TOP-1 is the published ImageNet-1k
    accuracy, in percent. Options can be repeated.
    """
    names = catalogue.list_models(
        patterns or "*",
        tag=tag or None,
        family=family or None,
        pretrained=pretrained,
        exclude=exclude,
    )
    cards = [catalogue.info(name) for name in names]
    if as_json:
        print_json([_summary(card) for card in cards])
    elif cards:
        print_table(
            ["NAME", "PARAMS", "MACS", "SIZE", "TOP-1", "LICENCE"],
            [_row(card) for card in cards],
            right="PARAMS MACS SIZE TOP-1",
        )
    else:
        note("no model matches; patterns are matched with the whole name, so try '*tiny*'")


def _row(card: ModelCard) -> list[str]:
    top1 = _top1(card)
    return [
        card.name,
        scaled(card.parameters),
        scaled(card.macs),
        size(card.preprocessing.image_size),
        "-" if top1 is None else f"{top1:.2f}",
        marked(card.licence),
    ]


def _summary(card: ModelCard) -> dict[str, object]:
    return {
        "name": card.name,
        "family": card.family,
        "parameters": card.parameters,
        "macs": card.macs,
        "image_size": card.preprocessing.image_size,
        "num_classes": card.num_classes,
        "pretrained": card.pretrained,
        "top1": _top1(card),
        "licence": card.licence,
        "commercial": COMMERCIAL[card.licence],
    }


def _top1(card: ModelCard) -> float | None:
    """The first published ImageNet-1k accuracy: timm's own measurement where there is one."""
    return next((score.top1 for score in card.scores if score.dataset == "imagenet1k"), None)
