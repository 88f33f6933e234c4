"""Writes README's table of models from the catalogue. Usage: python tools/write_models.py"""

import re
from itertools import groupby
from pathlib import Path
from urllib.parse import urlsplit

from keras_vit import catalogue
from keras_vit.catalogue import ModelCard
from keras_vit.cli.output import scaled, size

README = Path(__file__).parent.parent / "README.md"
_START, _END = "<!-- models, written by tools/write_models.py -->\n", "<!-- end of models -->"
_HEADER = """| model | weights | MACs | input | hub | published at | licence | top-1 in %, at pixels, by |
| --- | ---: | ---: | --- | --- | --- | --- | --- |
"""


def tables() -> str:
    """One folded table a family, in the catalogue's order, and where the scores were published."""
    cards = sorted(map(catalogue.info, catalogue.list_models()), key=lambda card: card.family)
    families = groupby(cards, key=lambda card: card.family)
    sources = {score.measured_by: score.source for card in cards for score in card.scores}
    links = "".join(f"[{name}]: {url}\n" for name, url in sorted(sources.items()))
    return "\n".join(_table(list(family)) for _, family in families) + f"\n{links}"


def _table(cards: list[ModelCard]) -> str:
    rows = "".join(_row(card) for card in cards)
    return (
        f"<details><summary>{cards[0].title}: {len(cards)} checkpoints</summary>\n\n"
        f"{_HEADER}{rows}\n</details>\n"
    )


def _row(card: ModelCard) -> str:
    scores = (
        f"{score.top1:.2f} at {score.image_size}, [{score.measured_by}]" for score in card.scores
    )
    cells = [
        f"`{card.name}`",
        scaled(card.parameters),
        scaled(card.macs),
        size(card.preprocessing.image_size),
        _hub(card),
        urlsplit(card.source_url or "").netloc,
        card.licence,
        "; ".join(scores),
    ]
    return f"| {' | '.join(cells)} |\n"


def _hub(card: ModelCard) -> str:
    """The repository; timm's are called like the models."""
    if card.hub_id is None:
        return "none"
    return "timm" if card.hub_id == f"timm/{card.name}" else card.hub_id


def rewrite(text: str) -> str:
    """README's text with the tables between their two marks."""
    between = re.compile(f"{re.escape(_START)}.*?{re.escape(_END)}", re.DOTALL)
    if not between.search(text):
        raise SystemExit(f"{README.name} lacks the lines that mark the table's place")
    return between.sub(lambda _: f"{_START}{tables()}{_END}", text)


if __name__ == "__main__":
    README.write_text(rewrite(README.read_text(encoding="utf-8")), encoding="utf-8")
