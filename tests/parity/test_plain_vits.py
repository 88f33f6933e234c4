"""The plain ViTs beyond the first families compute what timm's do, and their files come back bit for bit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import keras_vit

pytestmark = pytest.mark.parity

BACKENDS = ("tensorflow", "jax", "torch")
TOLERANCE = 2e-5  # of the standard deviation of the features
FAMILIES = (
    *("dinov2", "dino", "mae", "clip", "siglip", "flexivit"),
    *("ijepa", "tips", "radio", "vit_timm", "mobileclip"),
)
# timm builds these for images of any size.
ANY_SIZE = ("vit_intern300m_patch14_448", "test_vit2")
# Models that are compared in one process, since a process takes longer to start than a model to run.
TOGETHER = 8


def request(name: str, id: str = "", **more: Any) -> dict[str, Any]:
    """One block, and six by six patches; `more` wins."""
    card = keras_vit.info(name)
    side = 6 * card.arguments["patch_size"][0]
    adapt = more.pop("adapt", {})
    arguments = {"depth": 1, "img_size": side, **more}
    if card.num_classes and not adapt:  # timm leaves out a classifier of another size
        arguments.setdefault("num_classes", 10)
    return {
        "id": id or name,
        "name": name,
        "arguments": arguments,
        "adapt": adapt,
        "size": [side, side] if card.architecture in ANY_SIZE else None,
    }


def default_checkpoints() -> list[str]:
    """One of each architecture."""
    names = keras_vit.list_models(family=FAMILIES)
    return list({keras_vit.info(name).architecture: name for name in reversed(names)}.values())


ARCHITECTURES = [request(name) for name in sorted(default_checkpoints())]
GROUPS = [ARCHITECTURES[i : i + TOGETHER] for i in range(0, len(ARCHITECTURES), TOGETHER)]

# Each family's way to another size, and what timm loads as it does only these: FlexiViT's patches and
# C-RADIO's positions.
ADAPTED = [
    request("vit_small_patch14_dinov2.lvd142m", "dinov2", adapt={"img_size": 140}),
    request("vit_small_patch14_reg4_dinov2.lvd142m", "registers", adapt={"img_size": [112, 98]}),
    request("vit_base_patch32_clip_224.openai", "clip", adapt={"img_size": 256}),
    request("vit_base_patch16_siglip_224.webli", "siglip", adapt={"img_size": 160}),
    request("flexivit_small.1200ep_in1k", "flexivit", adapt={"img_size": 160}),
    request("flexivit_small.1200ep_in1k", "flexivit-patch", adapt={"patch_size": 12}),
    request("vit_base_patch16_radio_v3.c_radio", "radio-corners", adapt={"img_size": 160}),
    request("vit_large_patch16_radio_v3.c_radio", "radio", adapt={"img_size": 160}),
    request("vit_base_patch14_reg1_tipsv2.webli", "tips", adapt={"img_size": 140}),
    request("vit_wee_patch16_reg1_gap_256.sbb_in1k", "vit_timm", adapt={"img_size": 160}),
]
# One of each family at its depth and size; of I-JEPA, whose smallest has 630 million weights, narrower.
WHOLE = [
    request(name, f"{name}-whole", **{"depth": depth, "img_size": side, **more})
    for name, depth, side, more in [
        ("vit_small_patch14_dinov2.lvd142m", 12, 518, {}),
        ("vit_small_patch16_224.dino", 12, 224, {}),
        ("vit_base_patch16_224.mae", 12, 224, {}),
        ("vit_base_patch32_clip_quickgelu_224.openai", 12, 224, {"num_classes": 512}),
        ("vit_base_patch16_siglip_224.webli", 12, 224, {}),
        ("flexivit_small.1200ep_in1k", 12, 240, {"num_classes": 1000}),
        ("vit_huge_patch14_gap_224.in1k_ijepa", 32, 224, {"embed_dim": 320, "num_heads": 4}),
        ("vit_base_patch14_reg1_tipsv2.webli", 12, 448, {}),
        ("vit_base_patch16_radio_v3.c_radio", 12, 512, {}),
        ("vit_wee_patch16_reg1_gap_256.sbb_in1k", 14, 256, {"num_classes": 1000}),
    ]
]


@pytest.fixture
def found(run: Callable[..., str], tmp_path: Path) -> Callable[..., dict[str, dict]]:
    """`found(requests, backend)`: how far the models are from timm's, by the requests' ids."""

    def compare(requests: list[dict], backend: str) -> dict[str, dict]:
        run("reference.py", str(tmp_path), json.dumps(requests))
        return json.loads(
            run("compare.py", str(tmp_path), json.dumps(requests), KERAS_BACKEND=backend)
        )

    return compare


@pytest.mark.in_turn(32)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("asked", GROUPS, ids=lambda group: group[0]["id"])
def test_equals_timm(found: Callable[..., dict], asked: list[dict], backend: str) -> None:
    for name, result in found(asked, backend).items():
        assert max(result["logits"], result["features"]) <= TOLERANCE, (name, result)
        assert result["round_trip"], name


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("asked", [ADAPTED[:5], ADAPTED[5:]], ids=["first", "second"])
def test_equals_timm_at_another_size(found: Callable[..., dict], asked: list[dict]) -> None:
    for name, result in found(asked, "tensorflow").items():
        assert max(result["logits"], result["features"]) <= TOLERANCE, (name, result)
        assert result["resized"], name


@pytest.mark.in_turn(10)
@pytest.mark.parametrize("asked", WHOLE, ids=lambda asked: asked["id"])
def test_whole_model_equals_timm(found: Callable[..., dict], asked: dict) -> None:
    result = found([asked], "tensorflow")[asked["id"]]
    assert max(result["logits"], result["features"]) <= TOLERANCE, result
