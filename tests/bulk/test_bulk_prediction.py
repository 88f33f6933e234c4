"""Bulk prediction by a small model: what the table says, and what interruptions do to it."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import keras_vit
from keras_vit.bulk import prediction
from keras_vit.config import ModelConfig, Preprocessing
from keras_vit.errors import KerasVitError, UsageError
from keras_vit.models.model import VisionModel

SMALL = Preprocessing(image_size=(8, 8), crop_pct=1.0)
BATCH = 4  # 32 images a part


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    draws = np.random.default_rng(0)
    for i in range(70):
        pixels = draws.integers(0, 256, (9, 10, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03}.png")
    return folder


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(1)
    images = keras.Input((8, 8, 3))
    logits = keras.layers.Dense(6)(keras.layers.Flatten()(images))
    return keras.Model(images, logits, name="plain")


def _predict(model, images, output, **changes):
    arguments = {"batch_size": BATCH, "preprocessing": SMALL, "output": output, "top": 2}
    return keras_vit.predict(model, images, **{**arguments, **changes})


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_what_predict_says(model, folder, tmp_path):
    report = _predict(model, folder, tmp_path / "t.csv")
    files = sorted(folder.iterdir())
    assert (report.count, report.found_done, report.errors) == (70, 0, 0)
    rows = _rows(tmp_path / "t.csv")
    assert [row["image"] for row in rows] == list(map(str, files))
    expected = keras_vit.predict(model, files, top=2, preprocessing=SMALL)
    for row, answers in zip(rows, expected, strict=True):
        assert [row["label_1"], row["label_2"]] == [label for label, _ in answers]
        for i, (_, share) in enumerate(answers, 1):
            assert float(row[f"probability_{i}"]) == pytest.approx(share, rel=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_workers_together_have_every_image_once(model, folder, tmp_path):
    for index in range(3):
        _predict(model, folder, tmp_path / "t.csv", shard=(index, 3))
    paths = sorted(tmp_path.iterdir())
    assert [path.name for path in paths] == [f"t-{i:05}-of-00003.csv" for i in range(3)]
    rows = [row["image"] for path in paths for row in _rows(path)]
    assert rows == list(map(str, sorted(folder.iterdir())))


def test_a_call_that_ended_early_goes_on(model, folder, tmp_path, monkeypatch):
    made = []

    def stopping(*arguments):
        if made:
            raise KeyboardInterrupt
        made.append(True)
        return rows(*arguments)

    rows = prediction._rows
    monkeypatch.setattr(prediction, "_rows", stopping)
    with pytest.raises(KeyboardInterrupt):
        _predict(model, folder, tmp_path / "t.csv")
    monkeypatch.setattr(prediction, "_rows", rows)
    assert not (tmp_path / "t.csv").exists()
    report = _predict(model, folder, tmp_path / "t.csv")
    assert (report.count, report.found_done) == (70, 32)
    assert [r["image"] for r in _rows(tmp_path / "t.csv")] == sorted(map(str, folder.iterdir()))


@pytest.fixture
def damaged(folder, tmp_path) -> Path:
    copy = tmp_path / "images"
    copy.mkdir()
    for path in sorted(folder.iterdir())[:6]:
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "002.png").write_bytes(b"no image")
    return copy


def test_a_damaged_image_fails_and_leaves_what_is_done(model, damaged, tmp_path):
    with pytest.raises(KerasVitError, match=r"002\.png: not a readable image"):
        _predict(model, damaged, tmp_path / "t.csv")
    assert not (tmp_path / "t.csv").exists()


def test_a_damaged_image_has_a_row_of_its_own_on_request(model, damaged, tmp_path):
    report = _predict(model, damaged, tmp_path / "t.csv", on_corrupt="skip")
    rows = _rows(tmp_path / "t.csv")
    assert report.errors == 1 and len(rows) == 6
    assert [bool(row["error"]) for row in rows] == [False, False, True, False, False, False]
    whole = keras_vit.predict(model, damaged / "003.png", top=1, preprocessing=SMALL)
    assert rows[3]["label_1"] == whole[0][0][0] and rows[2]["label_1"] == ""


def test_tfrecords(model, folder, tmp_path, monkeypatch):
    import tensorflow as tf

    monkeypatch.setenv("KERAS_VIT_CACHE", str(tmp_path / "cache"))
    files = sorted(folder.iterdir())[:5]
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        for path in files:
            data = tf.train.Feature(bytes_list=tf.train.BytesList(value=[path.read_bytes()]))
            features = tf.train.Features(feature={"image/encoded": data})
            writer.write(tf.train.Example(features=features).SerializeToString())
    _predict(model, tmp_path / "a.tfrecord", tmp_path / "t.csv")
    _predict(model, files, tmp_path / "u.csv")
    rows, expected = (_rows(tmp_path / name) for name in ("t.csv", "u.csv"))
    assert [r["label_1"] for r in rows] == [r["label_1"] for r in expected]
    assert len({r["image"] for r in rows}) == 5 and "a.tfrecord, image at byte" in rows[0]["image"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": "t.txt"}, "has to end in .parquet or .csv or .jsonl"),
        ({"shard": (2, 2)}, "shard is .index"),
        ({"on_corrupt": "hide"}, "on_corrupt must be one of"),
        ({"output": None, "shard": (0, 2)}, "shard is of a table"),
    ],
)
def test_misuse(model, folder, tmp_path, changes, message):
    name = changes.get("output", "t.csv")
    output = None if name is None else tmp_path / name
    with pytest.raises(UsageError, match=message):
        _predict(model, folder, **{**changes, "output": output})


def test_arrays_are_no_table(model, tmp_path):
    with pytest.raises(UsageError, match="not of arrays"):
        _predict(model, np.zeros((2, 8, 8, 3), np.uint8), tmp_path / "t.csv")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_mnist_killed_three_times_has_every_image_once(model, tmp_path):
    data = keras_vit.data.load("mnist5k", "all")
    images = tmp_path / "images"
    images.mkdir()
    for i, image in enumerate(data.images):
        Image.fromarray(image).save(images / f"{i:04}.png", compress_level=1)
    config = ModelConfig("plain", "custom", {}, SMALL)
    carrying = VisionModel(model.input, model.output, config=config)
    keras_vit.export_model(carrying, tmp_path / "m.onnx", preprocessing="normalize")
    command = [sys.executable, "-m", "keras_vit.cli", "predict", str(tmp_path / "m.onnx")]
    command += ["--input", str(images), "--output", str(tmp_path / "t.parquet"), "--json"]
    parts = tmp_path / "t.parquet.parts"
    seen = 0
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while process.poll() is None and len(list(parts.glob("*.jsonl"))) < seen + 3:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        seen = len(list(parts.glob("*.jsonl")))
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = parquet.read_table(tmp_path / "t.parquet").column("image").to_pylist()
    assert rows == sorted(map(str, images.iterdir())) and len(rows) == 5000
    assert f'"found_done": {seen * 256}' in ended.stdout
