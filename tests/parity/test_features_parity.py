"""`features` gives what timm's `forward_intermediates` does."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import keras_vit

pytestmark = pytest.mark.parity

TOLERANCE = 2e-5  # of the standard deviation of each feature
# timm counts blocks and stages from 0, and a ResNet's stem as its stage 0; `at` counts what was passed.
REQUESTS = [
    {
        "id": f"{name}-{norm}",
        "name": name,
        "arguments": arguments,
        "size": size,
        "indices": indices,
        "at": at,
        "norm": norm,
    }
    for norm in (False, True)
    for name, arguments, size, indices, at in (
        ("vit_tiny_patch16_224", {"depth": 3, "img_size": 96}, [96, 96], [0, 2], [1, 3]),
        (
            "deit_tiny_distilled_patch16_224",
            {"depth": 3, "img_size": [64, 96]},
            [64, 96],
            [1, 2],
            [2, 3],
        ),
        (
            "vit_small_patch14_reg4_dinov2",
            {"depth": 3, "img_size": 98},
            [98, 98],
            [0, 1],
            [1, 2],
        ),
        ("vit_small_patch16_dinov3", {"depth": 3}, [256, 256], [0, 2], [1, 3]),
        (
            "resnetv2_50x1_bit",
            {"num_classes": 10, "layers": [1, 1, 1, 1]},
            [65, 65],
            [1, 4],
            [1, 4],
        ),
    )
]


@pytest.fixture(scope="module")
def folder(run: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("features")
    run("features_reference.py", str(path), json.dumps(REQUESTS))
    return path


@pytest.mark.parametrize("request_", REQUESTS, ids=[r["id"] for r in REQUESTS])
def test_equals_timm(folder: Path, request_: dict) -> None:
    """To 2e-5, or three times what separates timm's float32 run from its float64 run."""
    arguments = {**request_["arguments"], "img_size": request_["size"]}
    file = folder / f"{request_['id']}.safetensors"
    model = keras_vit.load(request_["name"], weights=file, **arguments)
    backbone = keras_vit.features(model, at=request_["at"], prefix="keep", norm=request_["norm"])
    theirs = np.load(folder / f"{request_['id']}.npz")
    ours = backbone.predict_on_batch(theirs["images"])
    for index, feature in zip(request_["indices"], ours, strict=True):
        grid, *prefix = feature if isinstance(feature, list) else [feature]
        for name, found in zip(("map", "prefix"), (grid, *prefix), strict=False):
            expected = theirs[f"{name}_{index}"]
            assert found.shape == expected.shape
            tolerance = max(TOLERANCE, 3 * float(theirs[f"error_{name}_{index}"]))
            assert np.abs(found - expected).max() <= tolerance * expected.std(), (name, index)
        assert bool(prefix) == (f"prefix_{index}" in theirs)
