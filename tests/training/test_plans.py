"""What recipes make of a run: lengths, rates, rows, overrides. No Keras."""

import json
import subprocess
import sys

import pytest

from keras_vit.errors import UsageError
from keras_vit.training import list_recipes, plan
from keras_vit.training.plans import in_epochs

IMAGENET, IMAGENET21K, JFT = 1_281_167, 14_197_122, 303_000_000


@pytest.mark.parametrize("name", list_recipes())
@pytest.mark.parametrize("train_size", [1, 37, 1000, 50_000, IMAGENET])
def test_every_recipe_plans_every_size(name, train_size):
    made = plan(name, "vit_base_patch16_224", train_size=train_size)
    assert 0 <= made.warmup_steps <= 0.2 * made.steps < made.steps
    assert made.epochs * made.steps_per_epoch == made.steps
    assert made.settings.batch_size <= train_size
    assert json.loads(json.dumps(made.to_dict()))["recipe"] == name


# Table 3 of arXiv:2010.11929: epochs, rate, decay of the rate, weight decay, dropout.
@pytest.mark.parametrize(
    ("architecture", "train_size", "expected"),
    [
        ("vit_base_patch16_224", JFT, (7, 8e-4, "linear", 0.1, 0.0)),
        ("vit_large_patch32_224", JFT, (7, 6e-4, "linear", 0.1, 0.0)),
        ("vit_large_patch16_224", JFT, (14, 4e-4, "linear", 0.1, 0.0)),
        ("vit_huge_patch14_224", JFT, (14, 3e-4, "linear", 0.1, 0.0)),
        ("vit_large_r50_s32_224", JFT, (7, 2e-4, "linear", 0.1, 0.0)),
        ("vit_base_patch32_224", IMAGENET21K, (90, 1e-3, "linear", 0.03, 0.1)),
        ("vit_large_patch16_224", IMAGENET21K, (90, 1e-3, "linear", 0.03, 0.1)),
        ("vit_large_patch16_224", IMAGENET, (300, 3e-3, "cosine", 0.3, 0.1)),
    ],
)
def test_vit_pretraining_is_the_papers_table(architecture, train_size, expected):
    made = plan("vit-pretrain", architecture, train_size=train_size)
    settings = made.settings
    found = (made.epochs, made.learning_rate, settings.schedule, settings.weight_decay)
    assert (*found, made.model_arguments.get("proj_drop_rate", 0.0)) == expected
    assert settings.clip_norm == (1.0 if train_size == IMAGENET else None)


@pytest.mark.parametrize(
    ("train_size", "expected"),
    [(IMAGENET, (20_000, 500)), (50_000, (10_000, 500)), (3_680, (500, 100))],
)
@pytest.mark.parametrize("name", ["bit-hyperrule", "vit-finetune", "cvt-finetune"])
def test_the_length_follows_from_the_datas_size(name, train_size, expected):
    made = plan(name, "resnetv2_50x1_bit", train_size=train_size)
    assert (made.steps, made.warmup_steps) == expected


@pytest.mark.parametrize(
    ("architecture", "train_size", "strength"),
    [
        ("vit_tiny_patch16_224", IMAGENET, "light1"),
        ("vit_small_patch32_224", IMAGENET, "medium1"),
        ("vit_small_patch16_224", IMAGENET, "medium2"),
        ("vit_tiny_patch16_224", IMAGENET21K, "none"),
        ("vit_small_patch16_224", IMAGENET21K, "light1"),
        ("vit_base_patch16_224", IMAGENET21K, "light2"),
        ("vit_large_patch16_224", IMAGENET21K, "medium2"),
    ],
)
def test_augregs_suggested_strengths(architecture, train_size, strength):
    made = plan("augreg", architecture, train_size=train_size)
    assert made.choices["strength"] == strength


def test_augregs_grid():
    made = plan("augreg", train_size=IMAGENET, strength="strong2", regularisation="on")
    assert (made.augmentation.policy, made.augmentation.mixup) == ("randaug(2,20)", 0.8)
    assert made.model_arguments["drop_path_rate"] == 0.1
    with pytest.raises(UsageError, match="strength must be one of none, light1"):
        plan("augreg", train_size=IMAGENET, strength="strong3")


@pytest.mark.parametrize(
    ("name", "batch", "rate"),
    [
        ("deit", 512, 5e-4),
        ("deit", 256, 2.5e-4),
        ("cvt", 512, 5e-4),
        ("mae-finetune", 1024, 2e-3),
        ("deit3", 256, 3e-3),  # not scaled: --unscale-lr
        ("finetune", 64, 2.5e-4),  # by the root
    ],
)
def test_rates_scale_with_the_batch_as_each_paper_says(name, batch, rate):
    made = plan(name, train_size=IMAGENET, batch_size=batch)
    assert made.learning_rate == pytest.approx(rate)


def test_a_rate_that_is_given_is_not_scaled():
    assert plan("deit", train_size=IMAGENET, batch_size=64, learning_rate=0.1).learning_rate == 0.1


def test_mae_has_its_layer_decay_for_each_size():
    base = plan("mae-finetune", "vit_base_patch16_224", train_size=IMAGENET)
    huge = plan("mae-finetune", "vit_huge_patch14_224", train_size=IMAGENET)
    assert (base.settings.layer_decay, base.epochs) == (0.65, 100)
    assert (huge.settings.layer_decay, huge.epochs) == (0.75, 50)
    assert huge.model_arguments["drop_path_rate"] == 0.3


@pytest.mark.parametrize(
    ("steps", "a_pass", "expected"),
    [(10_000, 97, (100, 100)), (500, 78, (5, 100)), (30, 78, (1, 30)), (503, 40, (13, 39))],
)
def test_steps_become_epochs_of_about_a_pass(steps, a_pass, expected):
    assert in_epochs(steps, a_pass) == expected


def test_accumulated_batches_count_as_one_step():
    made = plan("finetune", train_size=1000, batch_size=100, epochs=3, accumulation=4)
    assert (made.steps, made.steps_per_epoch, made.loaded_batch) == (30, 40, 25)
    with pytest.raises(UsageError, match="do not split into 3"):
        plan("finetune", train_size=1000, batch_size=100, accumulation=3)


def test_smoothing_goes_where_labels_are_mixed():
    mixed = plan("deit", train_size=IMAGENET)
    plain = plan("finetune", train_size=IMAGENET, label_smoothing=0.2)
    assert mixed.augmentation.label_smoothing == 0.1
    assert (plain.augmentation.label_smoothing, plain.settings.label_smoothing) == (0.0, 0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "finetun"}, "'finetun'; the nearest ones are finetune"),
        ({"leraning_rate": 1.0}, "no setting 'leraning_rate'; the nearest one is 'learning_rate'"),
        ({"mixupp": 1.0}, "the nearest one is 'mixup'"),
        ({"epochs": 2, "steps": 3}, "epochs or steps"),
        ({"epochs": 0}, "epochs must be above 0"),
        ({"train_size": 0}, "train_size"),
        ({"schedule": "cosin"}, "schedule must be one of"),
    ],
)
def test_misuse_is_one_line(arguments, message):
    with pytest.raises(UsageError, match=message) as caught:
        plan(**{"name": "finetune", "train_size": 100, **arguments})
    assert "\n" not in str(caught.value)


def test_planning_needs_no_keras():
    code = "import sys; from keras_vit import training; training.list_recipes(); "
    code += "training.plan('deit', train_size=9); assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
