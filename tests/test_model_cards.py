"""Model cards: parts add up to the model, and are drawn as they are connected."""

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import keras
import pytest

import keras_vit
from keras_vit.diagrams import diagram, flowchart
from keras_vit.errors import UnknownModelError, UsageError
from keras_vit.parts import Part, parts_of

SMALL: dict[str, dict[str, Any]] = {
    "deit_tiny_distilled_patch16_224": {"embed_dim": 24, "depth": 3},
    "cvt_13_224": {"depth": (1, 2, 3), "embed_dim": (12, 24, 36), "num_heads": (1, 2, 3)},
    "vit_small_r26_s32_224": {"layers": [1, 2], "channels": [128, 256, 512, 1024], "depth": 2},
    "resnetv2_50x1_bit": {"layers": [1, 3], "channels": [128, 256, 512, 1024]},
}


def small(name: str) -> Any:
    return keras_vit.load(name, weights=None, image_size=64, num_classes=5, **SMALL[name])


@pytest.mark.parametrize("name", SMALL)
def test_parts_add_up(name: str) -> None:
    from keras_vit.counting import count_macs, count_parameters

    model = small(name)
    parts = parts_of(model)
    assert sum(part.parameters for part in parts) == count_parameters(model)
    assert sum(part.macs for part in parts) == count_macs(model)
    assert sum(part.count for part in parts) == len(model.layers)
    assert parts[0].after == ()
    assert all(part.after and max(part.after) < i for i, part in enumerate(parts) if i)


def test_like_blocks_are_one_part() -> None:
    parts = parts_of(small("deit_tiny_distilled_patch16_224"))
    named = {part.name: part for part in parts}
    blocks = named["blocks_0 to blocks_2"]
    assert (blocks.count, blocks.kind, blocks.gives) == (3, "Transformer block", (18, 24))
    places = {part.name: i for i, part in enumerate(parts)}
    assert named["mean"].after == (places["head"], places["head_dist"])
    assert named["pool"].after == named["pool_dist"].after == (places["norm"],)


def test_a_first_block_that_differs_stands_alone() -> None:
    names = [part.name for part in parts_of(small("resnetv2_50x1_bit"))]
    assert "stages_1_blocks_0" in names
    assert "stages_1_blocks_1 to stages_1_blocks_2" in names


PARTS = [
    Part("images", "Input layer", 1, (8, 8, 3), 0, 0, ()),
    Part("a", "Dense", 1, (5,), 1234, 99, (0,)),
    Part("b", "Dense", 2, (5,), 0, 0, (0,)),
    Part("<mean>", "Average", 1, (5,), 0, 0, (1, 2)),
]


def test_a_diagram_has_a_box_a_part_and_an_arrow_an_edge() -> None:
    root = ET.fromstring(diagram(PARTS, "x & y"))
    boxes = list(root.iter("rect"))
    assert len(boxes) == 4
    tops = [float(box.attrib["y"]) for box in boxes]
    assert tops[0] < tops[1] == tops[2] < tops[3]
    assert float(boxes[1].attrib["x"]) + 350 < float(boxes[2].attrib["x"])
    assert sum(e.attrib["class"] == "edge" for e in root.iter("path")) == 4
    told = [e.text for e in root.iter("text")]
    assert {"<mean>", "1.23K parameters, 99 MACs", "b (2x)"} <= set(told)


def test_text_fits_its_box() -> None:
    """A bold letter of 13 pixels is about 7.6 wide on average."""
    for name in SMALL:
        for text in ET.fromstring(diagram(parts_of(small(name)), "x")).iter("text"):
            assert len(text.text or "") * 7.6 <= 350, text.text


def test_a_flowchart() -> None:
    lines = flowchart(PARTS).splitlines()
    assert lines[0] == "flowchart TD"
    assert '    p1["a<br/>Dense → 5<br/>1.23K parameters, 99 MACs"]' in lines
    assert lines[-4:] == ["    p0 --> p1", "    p0 --> p2", "    p1 --> p3", "    p2 --> p3"]


@pytest.fixture(scope="module")
def cards() -> dict[str, str]:
    return {format: keras_vit.model_card("DeiT-Ti", format) for format in ("html", "markdown")}


@pytest.mark.parametrize("format", ["html", "markdown"])
def test_a_card_has_every_fact(cards: dict[str, str], format: str) -> None:
    card, text = keras_vit.info("DeiT-Ti"), cards[format]
    facts = [card.name, card.licence, card.hub_id, card.source_url, card.paper, *card.aliases]
    facts += [f"{card.parameters:,}", f"{card.macs:,}", card.description, *card.arguments]
    facts += [f"{score.top1:.2f}" for score in card.scores] + [s.source for s in card.scores]
    facts += ["bicubic", "0.485, 0.456, 0.406"]
    assert [fact for fact in facts if fact not in text] == []


def test_a_html_card_stands_alone(cards: dict[str, str]) -> None:
    tags: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            tags.append((tag, dict(attrs)))

    Reader().feed(cards["html"])
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in tags}
    assert not re.search(r"url\(|@import", cards["html"])
    assert "prefers-color-scheme: dark" in cards["html"]


def test_a_markdown_card_has_whole_tables(cards: dict[str, str]) -> None:
    tables = re.findall(r"(?:^\|.*\|\n)+", cards["markdown"], re.MULTILINE)
    assert len(tables) >= 4
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1, table
    assert cards["markdown"].count("```") % 2 == 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("ViT-B/16", "pdf"), UsageError, "format must be html or markdown, not 'pdf'"),
        (("vit_bas", "html"), UnknownModelError, "unknown model 'vit_bas'"),
    ],
)
def test_misuse(arguments: tuple[str, str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        keras_vit.model_card(*arguments)


def test_a_layer_without_a_rule_is_named() -> None:
    class Odd(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.table = self.add_weight(shape=(3, 3), name="table")

        def call(self, x: Any) -> Any:
            return x

    inputs = keras.Input((3,))
    with pytest.raises(UsageError, match="has no rule for Odd"):
        parts_of(keras.Model(inputs, Odd()(inputs)))
