"""Every architecture of the catalogue computes what timm's does, on every backend."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import keras_vit

pytestmark = pytest.mark.parity

BACKENDS = ("tensorflow", "jax", "torch")
TOLERANCE = 2e-5  # of the standard deviation of the logits


def request(
    name: str,
    id: str = "",
    adapt: dict | None = None,
    size: tuple[int, int] | None = None,
    **arguments: object,
) -> dict:
    """`size` is for models that timm does not build for one image size."""
    return {
        "id": id or name,
        "name": name,
        "arguments": arguments,
        "adapt": adapt or {},
        "size": size,
    }


def architectures(*families: str) -> list[str]:
    return sorted({name.split(".")[0] for name in keras_vit.list_models(family=families)})


# Two blocks show what twelve would, at a fraction of the time; one of each family is compared whole.
# BiT at odd sizes and narrower, so that the files of the widest stay small.
NARROW = {"channels": [128, 256, 512, 1024], "num_classes": 10}
NARROWER = {"channels": [64, 128, 256, 512], "num_classes": 10}
SHALLOW = [
    *(request(name, depth=2) for name in architectures("vit", "deit", "deit3")),
    *(request(name, depth=2, img_size=64, num_classes=10) for name in architectures("hybrid")),
    *(
        request(
            name,
            size=(65, 97),
            layers=[2, 1, 1, 1],
            **(NARROWER if name == "resnetv2_152x4_bit" else NARROW),
        )
        for name in architectures("bit")
    ),
]
WHOLE = [
    request(name, f"{name}-whole")
    for name in (
        "vit_base_patch16_224",
        "deit_base_distilled_patch16_224",
        "deit3_base_patch16_224",
    )
]
WHOLE += [
    request("resnetv2_50x1_bit", "resnetv2_50x1-whole", size=(97, 97)),
    request("vit_base_r50_s16_224", "vit_base_r50_s16_224-whole", num_classes=10),
]
SWITCHES = [
    request("vit_tiny_patch16_224", f"vit_tiny-{id}", depth=2, **arguments)
    for id, arguments in {
        "registers": {"reg_tokens": 4},
        "registers-no-embed-class": {"reg_tokens": 4, "no_embed_class": True},
        "no-class-token": {"class_token": False, "global_pool": "avg", "fc_norm": False},
        "average": {"global_pool": "avg", "fc_norm": True},
        "avgmax": {"global_pool": "avgmax", "fc_norm": False},
        "pre-norm": {"pre_norm": True},
        "layer-scale": {"init_values": 1e-5},
        "no-qkv-bias": {"qkv_bias": False},
        "qk-norm": {"qk_norm": True},
        "patch-8": {"patch_size": 8, "img_size": 64},
        "not-square": {"img_size": [96, 160]},
    }.items()
]
SWITCHES += [
    request("vit_small_r26_s32_224", "r26-odd", depth=1, img_size=[75, 109], num_classes=10),
    request("vit_tiny_r_s16_p8_224", "r_ti-average", depth=1, global_pool="avg", fc_norm=True),
]
ADAPTED = [
    request("vit_tiny_patch16_224", "vit_tiny-larger", {"img_size": 320}, depth=2),
    request("vit_tiny_patch16_224", "vit_tiny-smaller", {"img_size": 128}, depth=2),
    request("vit_tiny_patch16_224", "vit_tiny-not-square", {"img_size": [160, 256]}, depth=2),
    request("vit_tiny_patch16_224", "vit_tiny-one-channel", {"in_chans": 1}, depth=2),
    request("vit_tiny_patch16_224", "vit_tiny-five-channels", {"in_chans": 5}, depth=2),
    request("vit_tiny_patch16_224", "vit_tiny-larger-patch", {"patch_size": 32}, depth=2),
    request("vit_tiny_patch16_224", "vit_tiny-smaller-patch", {"patch_size": 14}, depth=2),
    request("deit_tiny_distilled_patch16_224", "distilled-larger", {"img_size": 320}, depth=2),
    request("deit3_small_patch16_224", "deit3-larger", {"img_size": 320}, depth=2),
    request("vit_small_r26_s32_224", "r26-larger", {"img_size": 320}, depth=1),
    request("vit_small_r26_s32_224", "r26-one-channel", {"in_chans": 1}, depth=1),
    request("vit_tiny_r_s16_p8_224", "r_ti-not-square", {"img_size": [192, 320]}, depth=1),
]
SMALL = SHALLOW + SWITCHES + ADAPTED


@pytest.fixture(scope="module")
def references(run: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights and outputs of all requests."""
    folder = tmp_path_factory.mktemp("timm")
    run("reference.py", str(folder), json.dumps(SMALL + WHOLE))
    return folder


@pytest.fixture(scope="module", params=BACKENDS)
def small(
    run: Callable[..., str], references: Path, request: pytest.FixtureRequest
) -> dict[str, dict]:
    """What compare.py says of the small requests on one backend."""
    return json.loads(
        run("compare.py", str(references), json.dumps(SMALL), KERAS_BACKEND=request.param)
    )


@pytest.fixture(scope="module")
def whole(run: Callable[..., str], references: Path) -> dict[str, dict]:
    """What compare.py says of the models at full depth."""
    return json.loads(
        run("compare.py", str(references), json.dumps(WHOLE), KERAS_BACKEND="tensorflow")
    )


@pytest.mark.parametrize("id", [r["id"] for r in SMALL])
def test_equals_timm(small: dict[str, dict], id: str) -> None:
    found = small[id]
    assert max(found["logits"], found["features"]) <= TOLERANCE, found


@pytest.mark.parametrize("id", [r["id"] for r in SMALL if not r["adapt"]])
def test_timms_file_comes_back_bit_equal(small: dict[str, dict], id: str) -> None:
    """The same names, shapes and bits as timm's own state dict: so timm loads it strictly."""
    assert small[id]["round_trip"]


@pytest.mark.parametrize("id", [r["id"] for r in WHOLE])
def test_whole_model_equals_timm(whole: dict[str, dict], id: str) -> None:
    """The logits. BiT's features are a float32 run's rounding apart: 2e-5 from timm's own in float64."""
    assert whole[id]["logits"] <= TOLERANCE, whole[id]


@pytest.mark.parametrize("id", [r["id"] for r in ADAPTED])
def test_report_names_what_was_adapted(small: dict[str, dict], id: str) -> None:
    expected = (
        ("stem.conv.weight", "patch_embed.proj.weight") if "channel" in id else ("pos_embed",)
    )
    assert any(name.endswith(expected) for name in small[id]["resized"])
