"""EVA and its heirs compute what timm's do, on every backend; and their files come back bit for bit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import keras_vit

pytestmark = pytest.mark.parity

BACKENDS = ("tensorflow", "jax", "torch")
TOLERANCE = 2e-5  # of the standard deviation of the features
FAMILIES = ("eva02", "eva", "rope_vit", "dinov3", "perception_encoder", "lingbot", "sapiens2")
# Narrower than they are, with as many channels a head.
NARROWER = {
    "vit_7b_patch16_dinov3": {"embed_dim": 512, "num_heads": 4},
    "vit_5b_patch16_sapiens2": {"embed_dim": 304, "num_heads": 4},
}


def request(name: str, id: str = "", adapt: dict | None = None, **arguments: Any) -> dict:
    """Two blocks, four by three patches; with keys in groups three blocks, of which the second has them."""
    card, family = keras_vit.info(name).arguments, keras_vit.info(name).family
    patch = card["patch_size"][0]
    common = {"depth": 2, "img_size": [4 * patch, 3 * patch], **NARROWER.get(name, {}), **arguments}
    heads = common.get("num_heads", card["num_heads"])
    # timm's Sapiens2 has a number for each of all blocks.
    theirs, ours = ({"num_kv_heads": heads} if family == "sapiens2" else {}), {}
    if card["num_kv_heads"]:
        common["depth"] = 3
        theirs = {"num_kv_heads": [heads, heads // 2, heads]}
        ours = {"num_kv_heads": heads // 2, "grouped_blocks": [1, 2]}
    return {
        "id": id or name,
        "name": name,
        "arguments": common,
        "theirs": theirs,
        "ours": ours,
        "adapt": adapt or {},
        "size": None,
    }


def architectures() -> list[str]:
    names = keras_vit.list_models(family=FAMILIES)
    return list(dict.fromkeys(name.split(".")[0] for name in names))


ARCHITECTURES = [request(name, num_classes=10) for name in architectures()]


def adapted(id: str, name: str, **adapt: Any) -> dict:
    """From a square grid, as timm takes that of any file to be."""
    side = 4 * keras_vit.info(name).arguments["patch_size"][0]
    return request(name, id, adapt, img_size=[side, side])


ADAPTED = [
    adapted("eva02-larger", "eva02_tiny_patch14_224", img_size=[70, 98]),
    adapted("eva02-patch-16", "eva02_tiny_patch14_224", patch_size=16, img_size=64),
    adapted("rope_vit-larger", "vit_small_patch16_rope_mixed_ape_224", img_size=[80, 112]),
    adapted("dinov3-larger", "vit_small_patch16_dinov3", img_size=[80, 112]),
    adapted("perception_encoder-larger", "vit_pe_core_tiny_patch16_384", img_size=[80, 112]),
]
# The depth that they have, and where that is a gigabyte a smaller width.
WHOLE = [
    request("eva02_tiny_patch14_224", "eva02-whole", depth=12),
    request("eva_giant_patch14_224", "eva-whole", depth=40, embed_dim=176, num_heads=2),
    request("vit_small_patch16_rope_mixed_224", "rope_vit-whole", depth=12),
    request("vit_small_patch16_dinov3_qkvb", "dinov3-whole", depth=12),
    request("vit_pe_core_tiny_patch16_384", "perception_encoder-whole", depth=12),
    request("vit_small_patch16_lingbot", "lingbot-whole", depth=12),
    request("vit_base_patch16_sapiens2", "sapiens2-whole", depth=12),
]


@pytest.fixture
def found(run: Callable[..., str], tmp_path: Path) -> Callable[[dict, str], dict]:
    """`found(request, backend)`: how far a model is from timm's."""

    def compare(request: dict, backend: str) -> dict:
        requests = json.dumps([request])
        run("reference.py", str(tmp_path), requests)
        answer = run("compare.py", str(tmp_path), requests, KERAS_BACKEND=backend)
        return json.loads(answer)[request["id"]]

    return compare


@pytest.mark.in_turn(25)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("asked", ARCHITECTURES, ids=lambda asked: asked["id"])
def test_equals_timm(found: Callable[[dict, str], dict], asked: dict, backend: str) -> None:
    result = found(asked, backend)
    assert max(result["logits"], result["features"]) <= TOLERANCE, result
    assert result["round_trip"], result


@pytest.mark.in_turn(6)
@pytest.mark.parametrize("asked", [*ADAPTED, *WHOLE], ids=lambda asked: asked["id"])
def test_equals_timm_whole_and_at_other_sizes(
    found: Callable[[dict, str], dict], asked: dict
) -> None:
    result = found(asked, "tensorflow")
    assert max(result["logits"], result["features"]) <= TOLERANCE, result
