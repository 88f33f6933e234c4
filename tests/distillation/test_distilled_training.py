"""Students under teachers: through plain `fit`, through `train`, and what they leave."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from distillation_cases import DISTILLED, deit

import keras_vit
from keras_vit.config import Preprocessing
from keras_vit.data import batches, load
from keras_vit.distillation import Distillation, Teacher
from keras_vit.errors import UsageError
from keras_vit.models.editing import one_head
from keras_vit.training import SoftmaxCrossEntropy

SMALL = Preprocessing(image_size=(16, 16), crop_pct=1.0)


def _few(count: int = 48):
    return load("digits").take(np.arange(count))


def _plain() -> keras.Model:
    keras.utils.set_random_seed(0)
    images = keras.Input((16, 16, 3))
    x = keras.layers.Dense(10)(keras.layers.Flatten()(images))
    return keras.Model(images, x, name="plain")


def test_targets_hold_the_teachers_logits_of_the_batch():
    teacher = Teacher(_plain(), SMALL, _few().class_names, SMALL)
    for augment in (None, keras_vit.data.Augmentation(mixup=0.5)):
        stream = batches(_few(), SMALL, 12, augment=augment)
        width = 20 if augment else 11
        for (images, labels), (same, targets) in zip(
            stream, Distillation(teacher).targets(stream), strict=True
        ):
            assert targets.shape == (12, width) == tuple(np.shape(targets))
            np.testing.assert_array_equal(images, same)
            np.testing.assert_array_equal(np.reshape(labels, (12, -1)), targets[:, :-10])
            expected = _plain().predict_on_batch(images.numpy())
            np.testing.assert_allclose(targets[:, -10:], expected, rtol=1e-4, atol=1e-4)


def test_fit_gives_the_loss_of_a_computation_by_hand():
    student, names = deit(), _few().class_names
    learning = Distillation(Teacher(_plain(), SMALL, names, SMALL), "soft", 0.3, 2.0)
    fitted = learning.student(student)
    fitted.compile(**learning.compile({"optimizer": "sgd", "loss": SoftmaxCrossEntropy()}))
    images, labels = next(batches(_few(), SMALL, 48).as_numpy_iterator())
    both = [student.one_head(h).predict_on_batch(images) for h in ("class", "distillation")]
    logs = keras.ops.log_softmax
    base = -np.mean(np.take_along_axis(np.asarray(logs(both[0])), labels[:, None], 1))
    wanted = np.asarray(logs(_plain().predict_on_batch(images) / 2))
    soft = 4 * np.mean(np.exp(wanted) * (wanted - np.asarray(logs(both[1] / 2))))
    history = fitted.fit(learning.targets(batches(_few(), SMALL, 48)), verbose=0)
    assert history.history["loss"][0] == pytest.approx(0.7 * base + 0.3 * soft, rel=1e-4)


def test_the_hard_teachers_gradient_reaches_only_the_distillation_head():
    student = deit()
    learning = Distillation(Teacher(_plain(), SMALL, _few().class_names, SMALL), alpha=1.0)
    fitted = learning.student(student)
    fitted.compile(**learning.compile({"optimizer": "sgd", "loss": SoftmaxCrossEntropy()}))
    before = {name: student.get_layer(name).get_weights()[0] for name in ("head", "head_dist")}
    fitted.fit(learning.targets(batches(_few(), SMALL, 48)), verbose=0)
    after = {name: student.get_layer(name).get_weights()[0] for name in before}
    assert np.array_equal(before["head"], after["head"])
    assert not np.array_equal(before["head_dist"], after["head_dist"])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("distilled") / "run"
    keras_vit.train(
        "deit_tiny_distilled_patch16_224",
        _few(),
        folder,
        weights=None,
        image_size=16,
        overrides=DISTILLED,
        epochs=2,
        validation=_few(),
        teacher=_plain(),
        teacher_preprocessing=SMALL,
    )
    return folder


def test_a_run_tells_of_its_teacher_and_keeps_the_averaged_answer(run):
    told = json.loads((run / "run.json").read_text())["configuration"]["distillation"]
    assert (told["teacher"], told["kind"], told["alpha"]) == ("plain", "hard", 0.5)
    for name in ("model.keras", "checkpoints/best.keras"):
        model = keras_vit.load(run / name)
        images = np.random.default_rng(0).normal(size=(3, 16, 16, 3)).astype("float32")
        heads = [
            one_head(model, head).predict_on_batch(images) for head in ("class", "distillation")
        ]
        found = model.predict_on_batch(images)
        np.testing.assert_allclose(found, np.mean(heads, axis=0), rtol=1e-5, atol=1e-5)
        assert not np.allclose(heads[0], heads[1], atol=1e-2)


@pytest.mark.parametrize("head", ["class", "distillation"])
def test_either_head_is_exported_and_saved_alone(run, head, tmp_path):
    one = keras_vit.load(run / "model.keras").one_head(head)
    keras_vit.export_model(one, tmp_path / "m.onnx")
    one.save(tmp_path / "m.keras")
    files = [keras_vit.evaluate(tmp_path / name, _few()) for name in ("m.onnx", "m.keras")]
    assert files[0].top1 == files[1].top1 == keras_vit.evaluate(one, _few()).top1
    assert keras_vit.load(tmp_path / "m.keras").labels == _few().class_names


def test_a_head_of_a_plain_model_is_misuse():
    with pytest.raises(UsageError, match="plain has no two heads"):
        one_head(_plain(), "class")
    with pytest.raises(UsageError, match="head must be one of class, distillation"):
        deit().one_head("dist")


def test_one_head_has_no_classifier_to_reset():
    with pytest.raises(UsageError, match="change the whole model, then take one of its heads"):
        deit().one_head("class").reset_classifier(3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"distillation": "soft"}, "distillation is of a teacher: give it, too"),
        ({"alpha": 0.1}, "alpha is of a teacher"),
        ({"teacher": "t.onnx", "temperature": 2.0}, "temperature is of soft distillation"),
        ({"teacher": "t.onnx", "distillation": "warm"}, "must be one of hard, soft"),
        ({"teacher": "t.onnx", "alpha": 2.0}, "alpha lies between 0 and 1"),
    ],
)
def test_misuse_is_found_before_anything_is_loaded(arguments, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        keras_vit.train("no such model", "no such data", tmp_path / "m.keras", **arguments)


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend", ["tensorflow", "jax", pytest.param("torch", marks=pytest.mark.parity)]
)
def test_an_onnx_teacher_teaches_every_backend(backend, tmp_path):
    keras_vit.train(
        _plain(), _few(96), tmp_path / "t.keras", epochs=3, preprocessing=SMALL, validation=_few()
    )
    teacher = tmp_path / "t.onnx"
    keras_vit.export_model(keras_vit.load(tmp_path / "t.keras"), teacher)
    script = Path(__file__).with_name("distillation_run.py")
    done = subprocess.run(
        [sys.executable, str(script), str(teacher), str(tmp_path / "run")],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
