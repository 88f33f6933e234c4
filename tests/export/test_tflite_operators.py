"""What a TFLite file is made of, by family: few operators, none that works out shapes as it runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import keras_vit
from keras_vit.export import tflite
from keras_vit.export.report import Tensor
from keras_vit.export.serving import Serving
from keras_vit.export.structure import examine

VIT = {"image_size": 32, "patch_size": 8, "embed_dim": 24, "num_heads": 2}
RESNET = {"layers": [1], "channels": [128, 256, 512, 1024], "image_size": 32}
FAMILIES: dict[str, dict[str, Any]] = {
    "vit": {"name": "vit_tiny_patch16_224", **VIT, "depth": 2},
    "registers, averaged": {
        "name": "vit_tiny_patch16_224",
        **VIT,
        "depth": 1,
        "reg_tokens": 4,
        "global_pool": "avg",
        "qk_norm": True,
    },
    "distilled": {"name": "deit_tiny_distilled_patch16_224", **VIT, "depth": 1},
    "hybrid": {
        "name": "vit_small_r26_s32_224",
        **RESNET,
        "embed_dim": 24,
        "num_heads": 2,
        "depth": 1,
    },
    "bit": {"name": "resnetv2_50x1_bit", **RESNET},
    "cvt": {
        "name": "cvt_13_224",
        "image_size": 64,
        "embed_dim": (8, 16, 32),
        "depth": (1, 1, 1),
        "num_heads": (1, 2, 4),
    },
}
AT_RUN_TIME = {"SHAPE", "PACK", "GATHER", "REDUCE_PROD", "RANGE", "FILL", "BROADCAST_TO"}


def operators(path: Path, batch: int | None = 1, **arguments: Any) -> dict[str, int]:
    """How often each occurs in the file of a fresh model."""
    model = keras_vit.load(**arguments, weights=None, num_classes=5)
    images = Tensor("images", (batch, *model.inputs[0].shape[1:]), "float32")
    tflite.write(Serving(model, None, images, ["logits"]), path)
    found, problems = examine(path, "tflite")
    assert problems == []
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_are_constants(tmp_path: Path, family: str) -> None:
    found = operators(tmp_path / "m.tflite", **FAMILIES[family])
    assert not AT_RUN_TIME & set(found)


def test_twelve_blocks(tmp_path: Path) -> None:
    """At most 430 operators, each LayerNorm in seven or eight, each GELU in one."""
    found = operators(tmp_path / "m.tflite", name="vit_tiny_patch16_224", **VIT, depth=12)
    assert sum(found.values()) <= 430
    assert found["GELU"] == 12
    assert found["RSQRT"] == 25
    assert found["MEAN"] == 2 * 25
    assert not {"SQUARED_DIFFERENCE", "NEG"} & set(found)


def test_free_batch_on_request(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    path = tmp_path / "m.tflite"
    operators(path, batch=None, **FAMILIES["vit"])
    runner = Interpreter(str(path)).get_signature_runner()
    images = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)
    together = runner(images=images)["logits"]
    alone = runner(images=images[1:2])["logits"]
    assert together.shape == (3, 5)
    np.testing.assert_allclose(together[1:2], alone, atol=1e-6)
