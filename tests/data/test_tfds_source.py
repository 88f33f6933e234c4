"""TensorFlow Datasets by name: any split, read by random access, and what is not there told in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_vit.config import Preprocessing
from keras_vit.data import eval_batch, load
from keras_vit.errors import UsageError
from keras_vit.export.calibration import calibration

tfds = pytest.importorskip("tensorflow_datasets")

SMALL = Preprocessing(image_size=(8, 8), crop_pct=1.0)


def prepare(folder: Path, name: str, splits: dict[str, int], features: Any = None) -> None:
    """Write a data set of digits in TFDS' format, two files a split."""
    import tensorflow as tf

    digits = load("digits")
    features = tfds.features.FeaturesDict(
        features
        or {
            "image": tfds.features.Image(shape=(8, 8, 3)),
            "label": tfds.features.ClassLabel(names=[f"digit {i}" for i in range(10)]),
        }
    )
    folder = folder / name / "1.2.3"
    folder.mkdir(parents=True)
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=name, filetype_suffix="tfrecord"
    )
    infos, at = [], 0
    for split, count in splits.items():
        lengths = [count // 3, count - count // 3]
        of_split = template.replace(split=split)
        for shard, length in enumerate(lengths):
            path = of_split.sharded_filepath(shard_index=shard, num_shards=len(lengths))
            with tf.io.TFRecordWriter(str(path)) as writer:
                for i in range(at, at + length):
                    row = {"image": digits.images[i], "label": int(digits.labels[i])}
                    writer.write(features.serialize_example(row))
            at += length
        infos.append(
            tfds.core.SplitInfo(
                name=split, shard_lengths=lengths, num_bytes=0, filename_template=of_split
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=infos, filename_template=template
    )


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tfds")
    prepare(folder, "kv_two", {"train": 60, "test": 20})
    prepare(folder, "kv_three", {"train": 40, "validation": 10, "test": 10})
    prepare(folder, "kv_one", {"train": 50})
    tfds.core.add_data_dir(str(folder))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("KERAS_VIT_CACHE", str(tmp_path))


@pytest.mark.parametrize("expression", ["train", "train[10:30]", "train[:50%]+test[5:]", "all"])
def test_split_expressions_are_those_of_tfds(expression):
    in_order = tfds.ReadConfig(interleave_cycle_length=1)  # one file after the other
    theirs = tfds.load("kv_two", split=expression, read_config=in_order)
    expected = [(row["image"], row["label"]) for row in tfds.as_numpy(theirs)]
    for data in (load(f"tfds:kv_two#{expression}"), load("tfds:kv_two", expression)):
        if expression == "all":  # the word is ours: train and what validates
            assert len(data) == len(expected)
            continue
        np.testing.assert_array_equal(data.labels, [label for _, label in expected])
        np.testing.assert_array_equal(
            eval_batch(data.images, SMALL), np.stack([image for image, _ in expected])
        )


@pytest.mark.parametrize(
    ("name", "train", "validation"), [("kv_two", 60, 20), ("kv_three", 40, 10), ("kv_one", 40, 10)]
)
def test_own_splits_or_ours(name, train, validation):
    sizes = [len(load(f"tfds:{name}", split)) for split in ("train", "validation", "all")]
    assert sizes == [train, validation, train + validation]


def test_a_split_of_its_own_is_split_by_us():
    train, validation = (load("tfds:kv_two#train[:50]", s) for s in ("train", "validation"))
    assert (len(train), len(validation)) == (40, 10)


@pytest.mark.parametrize(("spec", "count"), [("tfds:kv_two", 60), ("tfds:kv_two#train[:40]", 40)])
def test_exports_are_calibrated_on_what_is_trained_on(spec, count):
    found = calibration(spec, (8, 8, 3), "normalize", SMALL)
    np.testing.assert_array_equal(found.images, load("digits").images[:count])


def test_class_names_and_versions():
    assert load("tfds:kv_two:1.2.3", "validation").class_names[3] == "digit 3"
    assert len(load("tfds:kv_two:1.*.*", "validation")) == 20


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("tfds:no_such_data", {}, "TensorFlow Datasets has no 'no_such_data'"),
        ("tfds:kv_two#dev", {}, "has no split 'dev'; it has train, test"),
        ("tfds:kv_two:test", {}, "'test' is no version; a split is written tfds:kv_two#test"),
        ("tfds:", {}, r"tfds:NAME\[/CONFIG\]\[:VERSION\]\[#SPLIT\]"),
        ("tfds:kv_two#train[60:]", {}, "holds no images"),
        ("tfds:kv_two#train", {"split": "test"}, "split 'test' is not one of"),
    ],
)
def test_what_is_not_there_is_misuse(spec, options, message):
    with pytest.raises(UsageError, match=message):
        load(spec, **options)


def test_a_data_set_that_is_not_prepared_says_how():
    with pytest.raises(UsageError, match=r"`tfds build cifar10`.*TFDS_DATA_DIR.*download=True"):
        load("tfds:cifar10")


def test_download_prepares(monkeypatch):
    called = []
    builder = tfds.builder_cls("mnist")
    monkeypatch.setattr(
        builder, "download_and_prepare", lambda self, **_: called.append(self.name) or 1 / 0
    )
    with pytest.raises(Exception, match="tfds:mnist cannot be prepared: division by zero"):
        load("tfds:mnist", download=True)
    assert called == ["mnist"]


def test_data_without_one_class_are_misuse(folder):
    features = {
        "image": tfds.features.Image(shape=(8, 8, 3)),
        "label": tfds.features.Scalar(np.int64),
    }
    prepare(folder, "kv_numbers", {"train": 5}, features)
    with pytest.raises(
        UsageError, match="has no image with one class: its features are image, label"
    ):
        load("tfds:kv_numbers")
    with pytest.raises(UsageError, match="needs at least 32 images, and tfds:kv_numbers has 5"):
        calibration("tfds:kv_numbers", (8, 8, 3), "normalize", SMALL)
