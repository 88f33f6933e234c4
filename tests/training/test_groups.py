"""Where layers stand, for the families that timm does not number, and for models of others."""

import keras
import pytest

import keras_vit
from keras_vit.training.groups import decays, layer_positions, parameter_groups


def test_a_cvts_embedding_belongs_to_the_block_after_it():
    model = keras_vit.load(
        "cvt_13_224",
        weights=None,
        image_size=32,
        num_classes=3,
        embed_dim=(8, 16, 16),
        depth=(1, 2, 1),
        num_heads=(1, 1, 1),
    )
    assert layer_positions(model) == {
        "images": 0,
        "stages_0_embed": 0,
        "stages_0_blocks_0": 1,
        "stages_1_embed": 2,
        "stages_1_blocks_0": 2,
        "stages_1_blocks_1": 3,
        "stages_2_embed": 4,
        "stages_2_blocks_0": 4,
        "pool": 5,
        "norm": 5,
        "head": 5,
    }
    undecayed = {v.path.split("/")[-1] for v in model.trainable_variables if not decays(v)}
    assert undecayed == {"bias", "gamma", "beta", "cls_token"}


def test_the_head_of_a_distilled_model_is_both_classifiers():
    model = keras_vit.load(
        "deit_tiny_distilled_patch16_224",
        weights=None,
        image_size=32,
        num_classes=3,
        depth=1,
        embed_dim=12,
        num_heads=1,
    )
    positions = layer_positions(model)
    assert {name for name, position in positions.items() if position == 2} == {
        "pool",
        "pool_dist",
        "head",
        "head_dist",
        "mean",
    }
    assert (positions["embedding"], positions["norm"]) == (0, 1)


def test_a_model_around_one_of_ours_is_looked_into():
    features = keras_vit.load(
        "vit_tiny_patch16_224",
        weights=None,
        image_size=32,
        num_classes=0,
        depth=2,
        embed_dim=12,
        num_heads=1,
    )
    model = keras.Sequential([keras.Input((32, 32, 3)), features, keras.layers.Dense(4)])
    scales = {p: group.scale for group in parameter_groups(model, 0.5) for p in group.paths}
    assert set(scales.values()) == {1.0, 0.5, 0.25, 0.125}
    assert {p for p, scale in scales.items() if scale == 1.0} == {
        v.path for v in model.layers[-1].trainable_variables
    }


@pytest.mark.parametrize("layer_decay", [1.0, 0.9])
def test_there_are_no_more_groups_than_rates_and_decays(layer_decay):
    model = keras_vit.load(
        "vit_tiny_patch16_224",
        weights=None,
        image_size=32,
        num_classes=3,
        depth=3,
        embed_dim=12,
        num_heads=1,
    )
    groups = parameter_groups(model, layer_decay)
    assert len(groups) == (2 if layer_decay == 1 else 10)
    paths = [path for group in groups for path in group.paths]
    assert sorted(paths) == sorted(v.path for v in model.trainable_variables)
