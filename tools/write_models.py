"""Writes README's table of families and zoo/README.md. Usage: python tools/write_models.py"""

import re
from itertools import groupby
from pathlib import Path
from urllib.parse import urlsplit

from keras_vit import catalogue
from keras_vit.catalogue import ModelCard
from keras_vit.cli.output import scaled, size
from keras_vit.licences import marked

ROOT = Path(__file__).parent.parent
_START, _END = "<!-- families, written by tools/write_models.py -->\n", "<!-- end of families -->"
_FAMILIES = """| family | | architectures | checkpoints | weights | paper |
| --- | --- | ---: | ---: | --- | --- |
"""
_MODELS = """# Models

Written by `tools/write_models.py` from the TOML files here. `timm` on the hub is the repository `timm/MODEL`;
MACs are multiply-adds of one image at the input's size; `keras-vit info MODEL` has the rest.

"""
_HEADER = """| model | weights | MACs | input | hub | published at | licence | top-1 in %, at pixels, by |
| --- | ---: | ---: | --- | --- | --- | --- | --- |
"""


def families() -> dict[str, list[ModelCard]]:
    """The cards of each family, in the catalogue's order."""
    cards = sorted(map(catalogue.info, catalogue.list_models()), key=lambda card: card.family)
    return {name: list(group) for name, group in groupby(cards, key=lambda card: card.family)}


def readme(text: str) -> str:
    """README's text with the table of families between its two marks."""
    between = re.compile(f"{re.escape(_START)}.*?{re.escape(_END)}", re.DOTALL)
    if not between.search(text):
        raise SystemExit("README.md lacks the lines that mark the table's place")
    rows = "".join(_family(name, cards) for name, cards in families().items())
    return between.sub(lambda _: f"{_START}{_FAMILIES}{rows}{_END}", text)


def models() -> str:
    """A table a family, and where the scores were published."""
    found = families()
    tables = "\n".join(_table(cards) for cards in found.values())
    scores = [score for cards in found.values() for card in cards for score in card.scores]
    links = {score.measured_by: score.source for score in scores}
    return f"{_MODELS}{tables}\n" + "".join(f"[{by}]: {links[by]}\n" for by in sorted(links))


def _family(name: str, cards: list[ModelCard]) -> str:
    papers = list(dict.fromkeys(card.paper for card in cards))
    weights = [card.parameters for card in cards]
    cells = [
        f"`{name}`",
        cards[0].title,
        str(len({card.architecture for card in cards})),
        str(sum(card.pretrained for card in cards)),
        " to ".join(dict.fromkeys((scaled(min(weights)), scaled(max(weights))))),
        ", ".join(f"[{url.rpartition('/')[2]}]({url})" for url in papers[:3]),
    ]
    return f"| {' | '.join(cells)} |\n"


def _table(cards: list[ModelCard]) -> str:
    rows = "".join(_row(card) for card in cards)
    return f"## {cards[0].title}\n\n{_HEADER}{rows}"


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
        marked(card.licence),
        "; ".join(scores),
    ]
    return f"| {' | '.join(cells)} |\n"


def _hub(card: ModelCard) -> str:
    """The repository; timm's are called like the models."""
    if card.hub_id is None:
        return "none"
    return "timm" if card.hub_id == f"timm/{card.name}" else card.hub_id


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(readme(path.read_text(encoding="utf-8")), encoding="utf-8")
    (ROOT / "zoo" / "README.md").write_text(models(), encoding="utf-8")
