"""CvT computes what Hugging Face's port does, stage by stage, on every backend, and goes back to it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.parity

BACKENDS = ("tensorflow", "jax", "torch")
TOLERANCE = 2e-5  # of the standard deviation of what is compared


def request(id: str, size: tuple[int, int] = (64, 64), **differences: object) -> dict:
    """Two small models that are to be equal: Hugging Face's configuration and our arguments."""
    # transformers indexes a stage's drop path rates by the stage, so stage 2 must have 3 blocks.
    stages = {"embed_dim": [16, 32, 48], "depth": [1, 2, 3], "num_heads": [1, 2, 3]}
    arguments = {"num_classes": 10, "act": "gelu", "image_size": size, **stages, **differences}
    config = {"num_labels": 10, **stages}
    for name in {"stride_kv", "mlp_ratio", "qkv_bias"} & differences.keys():
        config[name] = [differences[name]] * 3
    if "in_chans" in differences:
        config["num_channels"] = differences["in_chans"]
    if differences.get("class_token") is False:
        config["cls_token"] = [False] * 3
    if differences.get("token_embedding") == "patch":
        config |= {"patch_sizes": [4, 2, 2], "patch_padding": [0, 0, 0]}
    return {"id": id, "size": size, "config": config, "arguments": arguments}


REQUESTS = [
    request("small"),
    request("odd-not-square", (75, 93)),
    request("stride-1", stride_kv=1),
    request("average", class_token=False, global_pool="avg"),
    request("patches", token_embedding="patch"),
    request("no-bias-mlp-2-grey", qkv_bias=False, mlp_ratio=2.0, in_chans=1),
]
IDS = [r["id"] for r in REQUESTS]


@pytest.fixture(scope="module")
def references(run: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights and outputs of all requests."""
    folder = tmp_path_factory.mktemp("cvt")
    run("reference_cvt.py", str(folder), json.dumps(REQUESTS))
    return folder


@pytest.fixture(scope="module", params=BACKENDS)
def found(
    run: Callable[..., str], references: Path, request: pytest.FixtureRequest
) -> dict[str, dict]:
    """What compare_cvt.py says of the requests on one backend."""
    return json.loads(
        run("compare_cvt.py", str(references), json.dumps(REQUESTS), KERAS_BACKEND=request.param)
    )


@pytest.fixture(scope="module")
def returned(run: Callable[..., str], references: Path, found: dict[str, dict]) -> dict[str, float]:
    """How far Hugging Face's logits are with the weights that came back."""
    return json.loads(run("reference_cvt.py", "--load", str(references), json.dumps(REQUESTS)))


@pytest.mark.parametrize("id", IDS)
def test_logits_equal_hugging_faces(found: dict[str, dict], id: str) -> None:
    assert found[id]["logits"] <= TOLERANCE, found[id]


@pytest.mark.parametrize("id", IDS)
def test_every_stage_equals_hugging_faces(found: dict[str, dict], id: str) -> None:
    assert len(found[id]["stages"]) == 3
    assert max(found[id]["stages"]) <= TOLERANCE, found[id]


@pytest.mark.parametrize("id", IDS)
def test_layout_is_recognised(found: dict[str, dict], id: str) -> None:
    assert found[id]["layout"] == "huggingface"


@pytest.mark.parametrize("id", IDS)
def test_file_comes_back_bit_equal(found: dict[str, dict], id: str) -> None:
    """Through both layouts; batch counters, which are 0 here, included."""
    assert found[id]["bit_equal"]


@pytest.mark.parametrize("id", IDS)
def test_hugging_face_loads_it_strictly(returned: dict[str, float], id: str) -> None:
    assert returned[id] == 0
