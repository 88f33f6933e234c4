"""One small model of each family with rotary positions, from a file to a file."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from whole_road import tuned_saved_exported, with_noise

import keras_vit
from keras_vit import explain
from keras_vit.errors import UsageError
from keras_vit.models import VisionModel
from keras_vit.training.groups import decays, layer_positions

TINY = {"embed_dim": 48, "num_heads": 3, "depth": 2, "patch_size": 8, "num_classes": 4}
SMALL: dict[str, dict[str, Any]] = {
    "eva02": {"name": "eva02_base_patch16_clip_224", "rope_reference_grid": (4, 4)},
    "eva": {"name": "eva_giant_patch14_224"},
    "rope_vit": {"name": "vit_small_patch16_rope_mixed_ape_224"},
    "dinov3": {"name": "vit_small_plus_patch16_dinov3_qkvb"},
    "perception_encoder": {"name": "vit_pe_core_tiny_patch16_384", "attn_pool_heads": 3},
    "lingbot": {"name": "vit_giant_patch16_lingbot"},
    "sapiens2": {
        "name": "vit_base_patch16_sapiens2",
        "num_heads": 4,
        "num_kv_heads": 2,
        "grouped_blocks": (0, 2),
    },
}
IMAGES = np.random.default_rng(0).normal(size=(4, 32, 48, 3)).astype("float32")


def small(family: str, **arguments: Any) -> VisionModel:
    common = {"weights": None, "image_size": 32, **TINY}
    return with_noise(keras_vit.load(**{**common, **SMALL[family], **arguments}))


def loaded(file: Path, family: str, **arguments: Any) -> VisionModel:
    return keras_vit.load(**{**TINY, **SMALL[family], "weights": file, **arguments})


@pytest.fixture(scope="module")
def models() -> dict[str, VisionModel]:
    return {family: small(family, image_size=(32, 48)) for family in ("eva02", "rope_vit")}


def test_images_of_any_size_are_those_of_one(tmp_path: Path) -> None:
    """Positions are resized, and rotary tables made, as the images come."""
    file = keras_vit.save_weights(small("eva02"), tmp_path / "small.safetensors")
    fixed = loaded(file, "eva02", image_size=(32, 48))
    free = loaded(file, "eva02", image_size=32, dynamic_image_size=True)
    expected = fixed.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(free.predict(IMAGES, verbose=0), expected, atol=1e-4)


def test_attention_scores_are_those_of_the_model(models: dict[str, VisionModel]) -> None:
    model = models["rope_vit"]
    found = keras_vit.attention_scores(model).predict(IMAGES, verbose=0)
    np.testing.assert_allclose(found["logits"], model.predict(IMAGES, verbose=0), atol=1e-5)
    assert found["blocks_1"].shape == (4, 3, 25, 25)
    np.testing.assert_allclose(found["blocks_1"].sum(-1), 1, atol=1e-5)


def test_kept_blocks_keep_their_learned_frequencies(models: dict[str, VisionModel]) -> None:
    model, first = models["rope_vit"], models["rope_vit"].keep_blocks(1)
    expected, found = (
        keras.Model(m.input, m.get_layer("blocks_0").output).predict(IMAGES, verbose=0)
        for m in (model, first)
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_explaining_sees_the_tables_through(models: dict[str, VisionModel]) -> None:
    """A map of each block, and gradients by the scores."""
    maps = explain.attention_maps(models["rope_vit"], IMAGES)
    assert {name: found.shape for name, found in maps.items()} == {
        "blocks_0": (4, 3, 4, 6),
        "blocks_1": (4, 3, 4, 6),
    }
    rollout = explain.gradient_rollout(models["rope_vit"], IMAGES, [0, 1, 2, 3])
    assert rollout.shape == (4, 4, 6)
    assert explain.grad_cam(models["eva02"], IMAGES, [0, 1, 2, 3]).shape == (4, 4, 6)


def test_layers_stand_at_their_depths(models: dict[str, VisionModel]) -> None:
    """Learned frequencies with the embeddings."""
    assert layer_positions(models["rope_vit"]) == {
        "images": 0,
        "patch_embed": 0,
        "embedding": 0,
        "rope": 0,
        "blocks_0": 1,
        "blocks_1": 2,
        "norm": 2,
        "pool": 3,
        "head": 3,
    }


def test_only_kernels_decay(models: dict[str, VisionModel]) -> None:
    variables = [v for model in models.values() for v in model.trainable_variables]
    undecayed = {v.path.split("/")[-1] for v in variables if not decays(v)}
    assert undecayed == {"bias", "gamma", "beta", "cls_token", "pos_embed", "freqs"}


def test_rotary_names_of_authors_are_only_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="are read, but not written"):
        keras_vit.save_weights(small("dinov3"), tmp_path / "a.safetensors", "official")


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("family", SMALL)
def test_from_a_file_to_three_formats(family: str, tmp_path: Path) -> None:
    """Loaded at another size, fine-tuned one step, saved, reloaded, exported; each file verified."""
    file = keras_vit.save_weights(small(family), tmp_path / "small.safetensors")
    model = loaded(file, family, image_size=(32, 48), gradient_checkpointing=True)
    assert ["pos_embed"] * model.get_layer("embedding").position_embedding == [
        row[0] for row in model.load_report.resized
    ]
    tuned_saved_exported(model, IMAGES, tmp_path)
