"""Features of a frozen model, and what can be told from them."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from sklearn.linear_model import Ridge

import keras_vit
from keras_vit.config import Preprocessing
from keras_vit.data import eval_batch, load, normalize
from keras_vit.errors import KerasVitError, UsageError
from keras_vit.training.extraction import extractor

SHOTS = (1, 5, 25)
GRID = (2.0**-10, 2.0**-3, 2.0**4, 2.0**19)


@pytest.fixture(scope="module")
def report(model):
    return keras_vit.fewshot(model, "digits", shots=SHOTS, l2_grid=GRID)


@pytest.fixture(scope="module")
def features(model):
    """Of the training and the validation images, by Keras alone: what goes into the head."""
    below = keras.Model(model.input, model.get_layer("head").input)
    wanted = model.config.preprocessing
    return {
        split: below.predict(normalize(eval_batch(load("digits", split).images, wanted), wanted))
        for split in ("train", "validation")
    }


def ridge_accuracies(features, shots, seed, l2):
    """An independent few-shot classifier: big_vision's draw and conventions, scikit-learn's ridge."""
    train, test = load("digits", "train"), load("digits", "validation")
    rng = np.random.default_rng(seed)
    draws = [rng.permutation(np.where(train.labels == k)[0])[:shots] for k in range(10)]
    places = np.concatenate(draws)
    x = features["train"][places].astype(np.float64)
    mean, std = x.mean(axis=0), x.std(axis=0) + 1e-5

    def expanded(values):
        scaled = (values.astype(np.float64) - mean) / std
        return np.hstack([scaled, np.full((len(scaled), 1), 100.0)])

    ridge = Ridge(alpha=l2, fit_intercept=False)
    ridge.fit(expanded(x), 2 * np.eye(10)[train.labels[places]] - 1)
    answers = ridge.predict(expanded(features["validation"])).argmax(axis=1)
    return (answers == test.labels).mean()


@pytest.mark.parametrize("place", range(len(SHOTS)), ids=SHOTS)
def test_accuracies_are_those_of_a_ridge_regression(report, features, place):
    found = report.shots[place]
    expected = [ridge_accuracies(features, found.shots, seed, 2.0**10) for seed in range(3)]
    assert found.each == pytest.approx(expected)
    assert found.top1 == pytest.approx(np.mean(expected))
    assert found.deviation == pytest.approx(np.std(expected, ddof=1))
    assert found.images == 10 * found.shots


def test_the_best_of_the_grid(report, features):
    found = report.shots[-1]
    means = {
        l2: np.mean([ridge_accuracies(features, 25, seed, l2) for seed in range(3)]) for l2 in GRID
    }
    best = max(means, key=means.__getitem__)
    assert (found.best_l2, found.best_top1) == (best, pytest.approx(means[best]))
    assert found.best_top1 >= found.top1


def test_more_shots_are_better_and_training_is_better_than_chance(report, untrained):
    means = [one.top1 for one in report.shots]
    assert means == sorted(means)
    random = keras_vit.fewshot(untrained, "digits", shots=[25], knn=[])
    assert report.shots[-1].top1 > random.shots[0].top1 > 0.1


def test_neighbours_of_a_trained_model(report, trained):
    assert [one.k for one in report.neighbours] == [10, 20, 100, 200]
    assert report.neighbours[0].top1 == pytest.approx(trained.report.accuracy, abs=0.05)


def test_what_the_report_says(report):
    assert (report.features, report.classes, report.seeds) == (96, 10, 3)
    assert (report.train_count, report.count, report.skipped) == (1438, 359, 0)
    assert json.loads(json.dumps(report.to_dict()))["shots"][0]["shots"] == 1


def test_a_file_gives_what_its_model_gives(model, trained, tmp_path, report):
    few = {"shots": [5], "seeds": 1, "knn": []}
    expected = report.shots[1].each[0]  # of seed 0
    assert keras_vit.fewshot(trained.path, "digits", **few).shots[0].top1 == expected
    keras_vit.export_model(model, tmp_path / "f.onnx", outputs=["features"], verify=False)
    found = keras_vit.fewshot(tmp_path / "f.onnx", "digits", **few)
    assert found.shots[0].top1 == pytest.approx(expected, abs=0.003)


def test_without_neighbours_only_the_images_that_are_drawn_are_seen(model, report):
    seen: list[tuple[int, int]] = []
    found = keras_vit.fewshot(
        model, "digits", shots=[5, 1], knn=[], progress=lambda *p: seen.append(p)
    )
    assert seen[-1][0] == seen[-1][1] <= 3 * 50 + 359
    assert found.neighbours == ()
    assert found.train_count == 1438
    assert [one.each for one in found.shots] == [report.shots[1].each, report.shots[0].each]


def test_a_class_with_few_images_gives_all_it_has(untrained):
    digits = load("digits")
    threes, others = (
        np.flatnonzero(digits.labels == 3)[:4],
        np.flatnonzero(digits.labels == 7)[:40],
    )
    few = digits.take(np.concatenate([threes, others]))
    found = keras_vit.fewshot(untrained, few, shots=[10], seeds=1)
    assert found.smallest_class == 0  # the other eight digits
    assert found.shots[0].images == 3 + 10
    assert found.shots[0].deviation is None
    assert [one.k for one in found.neighbours] == [10, 20]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shots": []}, "shots"),
        ({"shots": [0]}, "at least 1"),
        ({"seeds": 0}, "at least 1"),
        ({"l2": 0.0}, "must be positive"),
        ({"temperature": 0.0}, "must be positive"),
        ({"knn": [2000]}, "knn must be 1 to 1438"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(UsageError, match=message):
        keras_vit.fewshot("vit_tiny_patch16_224", "digits", **arguments)


# Features

FAMILIES = {
    "vit_tiny_patch16_224": {"depth": 1, "embed_dim": 48},
    "vit_base_patch16_224.augreg_in21k": {"depth": 1, "embed_dim": 48, "num_heads": 2},
    "deit_tiny_distilled_patch16_224": {"depth": 1, "embed_dim": 48},
    "cvt_13_224": {"depth": (1, 1, 1)},
    "resnetv2_50x1_bit": {"layers": (1, 1)},
    "vit_small_r26_s32_224": {"layers": (1, 1), "depth": 1, "embed_dim": 48, "num_heads": 2},
}
SLOW = {"vit_small_r26_s32_224"}  # whose parts are tested by the others
NAMES = [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in FAMILIES]


@pytest.mark.parametrize("name", NAMES)
def test_features_of_every_family_are_those_of_the_model_without_a_classifier(name):
    few = load("digits").take(np.arange(5))
    whole = keras_vit.load(name, weights=None, num_classes=3, image_size=64, **FAMILIES[name])
    found = extractor(whole).features(few, 5, lambda n: None)
    below, wanted = whole.reset_classifier(0), whole.config.preprocessing
    expected = below.predict_on_batch(normalize(eval_batch(few.images, wanted), wanted))
    assert (found.shape, found.dtype) == (expected.shape, np.float32)
    assert np.abs(found - expected).max() <= 1e-5 * expected.std()


def test_a_model_without_a_classifier_gives_its_output(model):
    few, below = load("digits").take(np.arange(7)), model.reset_classifier(0)
    found, expected = (extractor(m).features(few, 3, lambda n: None) for m in (below, model))
    assert np.abs(found - expected).max() <= 1e-5 * expected.std()


def test_a_layer_of_a_plain_model():
    images = keras.Input((8, 8, 3))
    hidden = keras.layers.Dense(7, name="hidden")(keras.layers.Flatten()(images))
    plain = keras.Model(images, keras.layers.Dense(2)(hidden), name="plain")
    wanted = Preprocessing((8, 8))
    assert extractor(plain, wanted, "hidden").dimensions == 7
    with pytest.raises(UsageError, match='no classifier called "head"'):
        extractor(plain, wanted)
    with pytest.raises(UsageError, match="plain carries no preprocessing"):
        extractor(plain, layer="hidden")


def test_a_sequence_is_not_a_vector(model):
    with pytest.raises(UsageError, match=r"not give one vector an image there but \(None, 5, 96\)"):
        extractor(model, layer="blocks_0")


def test_logits_are_not_features(model, tmp_path):
    keras_vit.export_model(model, tmp_path / "m.onnx", verify=False)
    with pytest.raises(UsageError, match="gives logits, not features: export it with that output"):
        keras_vit.fewshot(tmp_path / "m.onnx", "digits")


def test_features_that_are_not_finite_are_an_error():
    images = keras.Input((8, 8, 3))
    constant = keras.initializers.Constant(np.nan)
    head = keras.layers.Dense(2, kernel_initializer=constant, name="f")
    broken = keras.Model(images, head(keras.layers.Flatten()(images)), name="broken")
    with pytest.raises(KerasVitError, match="broken gives features that are not finite"):
        keras_vit.fewshot(broken, "digits", layer="f", preprocessing=Preprocessing((8, 8)))


# Backends

CODE = """
import sys
import keras_vit
report = keras_vit.fewshot(sys.argv[1], "digits", shots=[5])
print(*report.shots[0].each, *(one.top1 for one in report.neighbours))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=pytest.mark.parity)])
def test_other_backends(backend, trained, report):
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(trained.path)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = [float(word) for word in done.stdout.splitlines()[-1].split()]
    expected = [*report.shots[1].each, *(one.top1 for one in report.neighbours)]
    assert found == pytest.approx(expected, abs=0.006)  # two images of 359
