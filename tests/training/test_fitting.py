"""`train` on real digits: what it learns, what it writes, and that it never leaves half a file."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_vit
from keras_vit.config import Preprocessing
from keras_vit.data import load
from keras_vit.errors import KerasVitError, UsageError

SMALL = Preprocessing(image_size=(16, 16), crop_pct=1.0)


def _few(count: int = 64):
    return load("digits").take(np.arange(count))


def _empty(folder: Path) -> bool:
    return not list(folder.iterdir())


def test_it_learns_real_digits(trained):
    assert trained.report.accuracy > 0.9
    assert (trained.report.train_count, trained.report.validation_count) == (1438, 359)


def test_progress_reports_every_epoch(trained):
    assert trained.progress == trained.report.epochs
    assert [(e.number, e.total) for e in trained.progress] == [(i + 1, 6) for i in range(6)]
    assert trained.progress[-1].val_accuracy == trained.report.accuracy


def test_the_file_says_what_it_is(trained, model):
    assert model.labels == tuple("0123456789") == trained.report.class_names
    assert model.config.preprocessing.image_size == (32, 32)
    assert model.config.weights == "trained for 6 epochs from scratch"


def test_the_file_holds_no_optimizer_state(trained, model):
    assert not model.compiled
    assert trained.path.stat().st_size < 1.3 * 4 * model.count_params() + 100_000


def test_nothing_lies_beside_the_file(trained):
    assert [p.name for p in trained.path.parent.iterdir()] == [trained.path.name]


@pytest.mark.slow
def test_a_fresh_process_gets_the_same_logits(trained, model, tmp_path):
    images = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy as np, keras_vit\n"
        "model = keras_vit.load(sys.argv[1])\n"
        "np.save(sys.argv[3], model.predict_on_batch(np.load(sys.argv[2])))"
    )
    files = [trained.path, tmp_path / "images.npy", tmp_path / "logits.npy"]
    subprocess.run([sys.executable, "-c", code, *map(str, files)], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(files[2]), model.predict_on_batch(images), atol=1e-5)


def test_a_built_model_is_trained_in_place_and_stays_compiled(untrained, tmp_path):
    untrained.compile("sgd", loss="mse")
    optimizer, before = untrained.optimizer, keras.ops.convert_to_numpy(untrained.weights[0])
    keras_vit.train(untrained, _few(), tmp_path / "m.keras", epochs=1, labels=list("abcdefghij"))
    assert untrained.optimizer is optimizer and untrained.labels is None
    saved = keras_vit.load(tmp_path / "m.keras")
    assert saved.labels == tuple("abcdefghij") and not saved.compiled
    assert not np.array_equal(before, keras.ops.convert_to_numpy(untrained.weights[0]))
    for ours, theirs in zip(saved.weights, untrained.weights, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(ours), keras.ops.convert_to_numpy(theirs), ours.path
        )


def _plain(classes: int = 10) -> keras.Model:
    images = keras.Input((16, 16, 3))
    x = keras.layers.Dense(classes)(keras.layers.Flatten()(images))
    return keras.Model(images, x, name="plain")


def test_any_keras_model_trains_and_its_file_carries_preprocessing_and_labels(tmp_path):
    path = tmp_path / "plain.keras"
    keras_vit.train(_plain(), _few(), path, epochs=2, preprocessing=SMALL, validation=_few(10))
    saved = keras_vit.load(path)
    assert saved.config.preprocessing == SMALL and saved.labels == tuple("0123456789")


def test_a_plain_model_without_preprocessing_is_misuse(tmp_path):
    with pytest.raises(UsageError, match="plain carries no preprocessing"):
        keras_vit.train(_plain(), _few(), tmp_path / "m.keras")


def test_preprocessing_of_another_size_is_misuse(tmp_path):
    other = Preprocessing(image_size=(24, 24))
    with pytest.raises(UsageError, match=r"takes images \(16, 16, 3\)"):
        keras_vit.train(_plain(), _few(), tmp_path / "m.keras", preprocessing=other)


@pytest.mark.slow
def test_the_seed_decides_the_weights(tmp_path):
    def weights(seed: int, name: str) -> list[np.ndarray]:
        path = tmp_path / name
        keras_vit.train(
            "vit_tiny_patch16_224",
            _few(),
            path,
            weights=None,
            image_size=32,
            overrides={"depth": 1, "embed_dim": 48},
            epochs=1,
            shift=0.1,
            seed=seed,
        )
        return keras_vit.load(path).get_weights()

    first, second, other = weights(1, "a.keras"), weights(1, "b.keras"), weights(2, "c.keras")
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    assert not np.allclose(first[0], other[0], atol=1e-3)


def test_a_wrong_class_count_is_misuse(tmp_path):
    with pytest.raises(
        UsageError, match=r"plain has 4 outputs, the data 10 classes \(0, 1, 2, ..."
    ):
        keras_vit.train(_plain(4), _few(), tmp_path / "m.keras", preprocessing=SMALL)
    assert _empty(tmp_path)


def test_an_existing_output_is_kept_unless_asked(tmp_path):
    path = tmp_path / "m.keras"
    path.write_text("precious")
    with pytest.raises(UsageError, match=r"m\.keras exists; pass overwrite=True"):
        keras_vit.train(_plain(), _few(), path, preprocessing=SMALL)
    assert path.read_text() == "precious"
    keras_vit.train(_plain(), _few(), path, preprocessing=SMALL, epochs=1, overwrite=True)
    assert keras_vit.load(path).labels is not None


@pytest.mark.parametrize(
    ("name", "message"),
    [("m.h5", "has to end in .keras"), ("no/m.keras", "does not exist")],
)
def test_wrong_outputs_are_misuse(tmp_path, name, message):
    with pytest.raises(UsageError, match=message):
        keras_vit.train(_plain(), _few(), tmp_path / name, preprocessing=SMALL)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write")
def test_an_output_that_cannot_be_written_fails_before_training(tmp_path):
    with pytest.raises(KerasVitError, match="cannot write in /proc/self"):
        keras_vit.train(_plain(), "no data yet", "/proc/self/m.keras", preprocessing=SMALL)


def test_a_diverging_run_stops_and_leaves_nothing(tmp_path):
    model = _plain()
    model.layers[-1].kernel.assign(np.full(model.layers[-1].kernel.shape, np.nan))
    with pytest.raises(KerasVitError, match="not finite in epoch 1: lower the learning rate"):
        keras_vit.train(model, _few(), tmp_path / "m.keras", preprocessing=SMALL, epochs=3)
    assert _empty(tmp_path)


@pytest.fixture
def folder_with_a_corrupt_image(tmp_path) -> Path:
    from PIL import Image

    for i, image in enumerate(_few(20).images):
        path = tmp_path / "images" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (tmp_path / "images" / "a" / "4.png").write_bytes(b"no image")
    return tmp_path / "images"


def test_a_corrupt_image_is_one_line_and_leaves_nothing(folder_with_a_corrupt_image, tmp_path):
    (tmp_path / "out").mkdir()
    output = tmp_path / "out" / "m.keras"
    with pytest.raises(KerasVitError, match=r"a/4\.png: not a readable image"):
        keras_vit.train(_plain(2), folder_with_a_corrupt_image, output, preprocessing=SMALL)
    assert _empty(tmp_path / "out")


def test_a_corrupt_image_is_skipped_and_counted_on_request(folder_with_a_corrupt_image, tmp_path):
    report = keras_vit.train(
        _plain(2),
        folder_with_a_corrupt_image,
        tmp_path / "m.keras",
        preprocessing=SMALL,
        epochs=1,
        on_corrupt="skip",
    )
    assert report.skipped == 1 and report.train_count + report.validation_count == 19


def test_a_corrupt_image_met_in_the_middle_of_fit_keeps_its_one_line(
    folder_with_a_corrupt_image, tmp_path, monkeypatch
):
    monkeypatch.setattr("keras_vit.training.fitting._LOOKED_AT", 1)
    with pytest.raises(KerasVitError, match=r"a/4\.png: not a readable image") as caught:
        keras_vit.train(
            _plain(2),
            folder_with_a_corrupt_image,
            tmp_path / "m.keras",
            preprocessing=SMALL,
            batch_size=4,
            validation=(np.zeros((2, 8, 8, 3), np.uint8), [0, 1], ["a", "b"]),
        )
    assert "\n" not in str(caught.value)


def test_validation_data_of_other_classes_is_misuse(tmp_path):
    other = (np.zeros((4, 8, 8, 3), np.uint8), [0, 1, 0, 1])
    with pytest.raises(UsageError, match="the validation data has 2 classes"):
        keras_vit.train(
            _plain(), _few(), tmp_path / "m.keras", validation=other, preprocessing=SMALL
        )


def test_labels_that_do_not_fit_the_data_are_misuse(tmp_path):
    with pytest.raises(UsageError, match="2 labels for 10 classes"):
        keras_vit.train("vit_tiny_patch16_224", "digits", tmp_path / "m.keras", labels=["a", "b"])


def test_image_size_of_a_built_model_is_misuse(tmp_path):
    with pytest.raises(UsageError, match="for a model's name"):
        keras_vit.train(_plain(), _few(), tmp_path / "m.keras", image_size=32)
