"""Runs in folders: interrupted anywhere they go on to the same bits, and the folder tells it all.

In this process, without the switch for deterministic operations: `test_killed_runs.py` has real kills.
"""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_vit
from keras_vit.config import Preprocessing
from keras_vit.data import load
from keras_vit.errors import KerasVitError, UsageError
from keras_vit.training.run_folder import RunFolder

# Fewer parameter groups are traced in less time.
LIGHT: dict[str, Any] = {"settings": {}}
SMALL = Preprocessing(image_size=(8, 8), crop_pct=1.0)
CONFIGURATION: dict[str, Any] = {
    "preprocessing": SMALL,
    "recipe": "plain",
    "settings": {"average": 0.8, "mixup": 0.3, "layer_decay": 0.7, "color_jitter": 0.2},
    "epochs": 3,
    "batch_size": 10,
    "learning_rate": 0.02,
    "shift": 0.2,
    "checkpoint_steps": 2,
}


def _model(units: int = 16) -> keras.Model:
    """With dropout and a normalisation that keeps averages of its own."""
    keras.utils.set_random_seed(3)
    images = keras.Input((8, 8, 3))
    x = keras.layers.Dense(units, activation="relu")(keras.layers.Flatten()(images))
    x = keras.layers.Dropout(0.3)(keras.layers.BatchNormalization()(x))
    return keras.Model(images, keras.layers.Dense(10)(x), name="small")


def _few(count: int = 80):
    return load("digits").take(np.arange(count))


def _train(folder: Path, **changes: Any) -> Any:
    arguments = {**CONFIGURATION, **changes}
    return keras_vit.train(
        arguments.pop("model", None) or _model(),
        arguments.pop("data", None) or _few(),
        folder,
        **{"validation": _few(40), **arguments},
    )


class _Stop(keras.callbacks.Callback):
    """Ctrl-C after so many steps of a call."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1


def _interrupted(folder: Path, steps: int, **changes: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(folder, resume=True, callbacks=[_Stop(steps)], **changes)


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, Any]:
    """A run that nothing interrupts, of three epochs of eight steps, and its report."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, _train(folder)


@pytest.fixture(scope="module")
def resumed(tmp_path_factory) -> tuple[Path, Any]:
    """One that is interrupted in the first epoch, right after it, and in the third."""
    folder = tmp_path_factory.mktemp("resumed") / "run"
    for steps in (5, 4, 11):
        _interrupted(folder, steps)
    return folder, _train(folder, resume=True)


@pytest.mark.parametrize("name", ["model.keras", "checkpoints/best.keras"])
def test_interruptions_do_not_change_a_bit(whole, resumed, name):
    weights = [keras_vit.load(folder / name).get_weights() for folder, _ in (whole, resumed)]
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_log_has_neither_gaps_nor_repetitions(whole, resumed):
    assert _rows(resumed[0]) == _rows(whole[0])
    assert [(row["epoch"], row["step"]) for row in _rows(whole[0])] == [
        ("1", "8"),
        ("2", "16"),
        ("3", "24"),
    ]


def test_the_reports_agree(whole, resumed):
    def told(report):
        times = {"seconds", "path", "page"}
        fields = {k: v for k, v in report.to_dict().items() if k not in times}
        return {**fields, "epochs": [{**e, "seconds": 0} for e in fields["epochs"]]}

    assert told(whole[1]) == told(resumed[1])


def test_tensorboard_has_every_epoch_once(resumed):
    import tensorflow as tf

    files = [str(p) for p in (resumed[0] / "tensorboard" / "validation").iterdir()]
    events = map(tf.compat.v1.Event.FromString, tf.data.TFRecordDataset(files).as_numpy_iterator())
    steps = [event.step for event in events for v in event.summary.value if v.tag == "epoch_loss"]
    assert steps == [1, 2, 3]


def test_the_folder_holds_what_was_promised_and_no_more(resumed):
    names = {str(p.relative_to(resumed[0])) for p in resumed[0].rglob("*") if p.is_file()}
    events = {name for name in names if name.startswith("tensorboard/")}
    assert len(events) == 2
    assert names - events == {
        ".lock",
        "run.json",
        "log.csv",
        "report.html",
        "model.keras",
        "checkpoints/last.safetensors",
        "checkpoints/best.keras",
    }


def test_the_saved_model_has_the_averaged_weights_that_were_validated(whole):
    folder, report = whole
    measured = keras_vit.evaluate(folder / "model.keras", _few(40))
    assert measured.top1 == pytest.approx(report.accuracy)


def test_the_model_of_the_best_epoch_is_as_good_as_the_log_says(whole):
    folder, report = whole
    accuracies = [epoch.val_accuracy for epoch in report.epochs]
    assert report.best_accuracy == max(accuracies)
    assert report.best_epoch == accuracies.index(max(accuracies)) + 1
    measured = keras_vit.evaluate(folder / "checkpoints" / "best.keras", _few(40))
    assert measured.top1 == pytest.approx(report.best_accuracy)


def test_the_saved_model_says_how_it_was_trained(whole):
    config = keras_vit.load(whole[0] / "model.keras").config
    training = config.training
    assert config.labels == tuple("0123456789") and config.preprocessing == SMALL
    assert training["recipe"]["settings"]["average"] == 0.8
    assert training["recipe"]["settings"]["seed"] == 0
    assert training["data"]["train_images"] == 80 and training["source"] == "Dataset"
    assert training["versions"]["keras"] == keras.__version__
    assert training["measured"]["val_accuracy"] == whole[1].accuracy
    assert training["measured"]["epoch"] == 3


def test_the_page_shows_the_run(whole):
    page = (whole[0] / "report.html").read_text()
    assert f"{whole[1].accuracy:.2%}" in page
    assert page.count("data:image/png") > 10 and 'class="matrix"' in page


def test_a_finished_run_gives_its_report_again(whole):
    folder, report = whole
    before = (folder / "model.keras").stat().st_mtime_ns
    again = _train(folder, resume=True, progress=lambda epoch: pytest.fail("trained again"))
    assert again == report
    assert (folder / "model.keras").stat().st_mtime_ns == before


def test_a_finished_run_is_not_replaced_unasked(whole):
    with pytest.raises(UsageError, match="resume=True to continue it, or overwrite=True"):
        _train(whole[0])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"epochs": 4}, r"recipe\.epochs is 3 there and 4 here"),
        ({"seed": 1}, r"recipe\.settings\.seed is 0 there and 1 here"),
        ({"settings": {}}, r"recipe\.settings\.layer_decay is 0\.7 there and 1\.0 here"),
        ({"shift": 0.1}, r"recipe\.augmentation\.shift is 0\.2 there and 0\.1 here"),
        ({"data": _few(90)}, r"data\.train_images is 80 there and 90 here"),
        ({"validation": _few(41)}, r"data\.validation_images is 40 there and 41 here"),
        ({"model": _model(17)}, r"model\.parameters is"),
        ({"labels": list("abcdefghij")}, r"data\.classes is"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_configuration_is_refused_by_the_name_of_its_field(whole, changes, field):
    with pytest.raises(UsageError, match=f"is a run of another configuration: {field}") as caught:
        _train(whole[0], resume=True, **changes)
    assert "\n" not in str(caught.value)


def test_other_images_under_the_same_labels_are_refused(whole):
    data = _few()
    changed = data.images.copy()
    changed[0, 0, 0, 0] ^= 1
    with pytest.raises(UsageError, match=r"data\.train_fingerprint is"):
        _train(whole[0], resume=True, data=(changed, data.labels, data.class_names))


def test_a_run_is_begun_anew_on_request(tmp_path):
    _interrupted(tmp_path / "run", 12, **LIGHT)
    report = _train(tmp_path / "run", overwrite=True, epochs=1, **LIGHT)
    assert [row["step"] for row in _rows(tmp_path / "run")] == ["8"]
    assert report.best_epoch == 1


def test_a_loss_that_is_not_finite_keeps_the_checkpoint_of_before(tmp_path):
    folder = tmp_path / "run"
    _interrupted(folder, 12, **LIGHT)
    before = RunFolder(folder).last.read_bytes()

    class Spoil(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            bias = self.model.trainable_variables[-1]
            bias.assign(np.full(bias.shape, np.nan))

    with pytest.raises(
        KerasVitError, match="the loss is not finite in epoch 2: lower the learning rate"
    ):
        _train(folder, resume=True, callbacks=[Spoil()], **LIGHT)
    assert RunFolder(folder).last.read_bytes() == before


def test_a_callback_may_end_the_run(tmp_path):
    class Enough(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.stop_training = True

    report = _train(tmp_path / "run", callbacks=[Enough()], **LIGHT)
    assert [epoch.number for epoch in report.epochs] == [1]
    assert _train(tmp_path / "run", resume=True, **LIGHT) == report


@pytest.mark.parametrize("place", ["save_trained", "page", "write_whole"])
def test_a_run_that_ends_before_all_is_written_ends_the_next_time(
    whole, tmp_path, monkeypatch, place
):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    run = RunFolder(folder)
    run.describe({**run.described(), "result": None})

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"keras_vit.training.session.{place}", stop)
        with pytest.raises(KeyboardInterrupt):
            _train(folder, resume=True)
    assert not run.finished
    report = _train(folder, resume=True, progress=lambda epoch: pytest.fail("trained again"))
    assert report.epochs == whole[1].epochs
    assert (run.best.exists(), run.report.exists()) == (True, True)
    for a, b in zip(
        *(keras_vit.load(f / "model.keras").get_weights() for f in (folder, whole[0])), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_damaged_checkpoint_is_one_line(tmp_path):
    folder = tmp_path / "run"
    _interrupted(folder, 9, **LIGHT)
    last = RunFolder(folder).last
    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(KerasVitError, match=r"last\.safetensors is damaged"):
        _train(folder, resume=True, **LIGHT)


def test_other_versions_are_told(tmp_path):
    folder = tmp_path / "run"
    _interrupted(folder, 9, **LIGHT)
    path = RunFolder(folder).description
    description = json.loads(path.read_text())
    description["environment"]["versions"]["keras"] = "3.1"
    path.write_text(json.dumps(description))
    with pytest.warns(UserWarning, match=r"begun with keras 3\.1, now .* not bit for bit"):
        _train(folder, resume=True, **LIGHT)


def test_images_in_the_wrong_range_are_told_once(tmp_path):
    few = _few()
    with pytest.warns(UserWarning, match="brightest pixel is 15 of 255") as caught:
        _train(
            tmp_path / "m.keras",
            data=(few.images // 16, few.labels),
            validation=few,
            epochs=1,
            **LIGHT,
        )
    assert len([w for w in caught if "wrong range" in str(w.message)]) == 1


@pytest.mark.parametrize("name", ["checkpoint_steps", "checkpoint_seconds"])
def test_checkpoints_at_no_distance_are_misuse(tmp_path, name):
    with pytest.raises(UsageError, match=f"{name} must be above 0; got 0"):
        _train(tmp_path / "run", **{name: 0})
    assert not list(tmp_path.iterdir())


def test_checkpoints_come_by_the_clock_too(tmp_path):
    folder = tmp_path / "run"
    _interrupted(folder, 3, checkpoint_steps=None, checkpoint_seconds=1e-6, **LIGHT)
    from keras_vit.training.checkpoints import CheckpointFile

    assert CheckpointFile(RunFolder(folder).last).read().record["step"] == 3
