"""TFRecord files: every image in its place, indices that are kept, and files that are none."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from keras_vit.config import Preprocessing
from keras_vit.data import batches, eval_batch, examples, load, plain_errors
from keras_vit.data import records as records_module
from keras_vit.errors import KerasVitError, UsageError

SMALL = Preprocessing(image_size=(16, 16), crop_pct=1.0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_VIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def encoded(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A TFRecord file of Examples; bytes and integers only."""
    import tensorflow as tf

    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            feature = {
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                if isinstance(value, bytes)
                else tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
                if isinstance(value, int)
                else tf.train.Feature(float_list=tf.train.FloatList(value=value))
                for name, value in row.items()
            }
            writer.write(
                tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
            )
    return path


@pytest.fixture(scope="module")
def digits() -> Any:
    return load("digits").take(np.arange(30))


@pytest.fixture
def folder(digits: Any, tmp_path: Path) -> Path:
    """Three files of ten digits, with features that nobody asks for."""
    for k in range(3):
        rows = [
            {"box": [0.5, 1.5], "id": b"x" * i, "image": encoded(digits.images[10 * k + i]),
             "label": int(digits.labels[10 * k + i])}
            for i in range(10)
        ]  # fmt: skip
        write(tmp_path / "digits" / f"train-{k:05}-of-00003", rows)
    return tmp_path / "digits"


def test_images_and_labels_are_those_that_were_written(digits, folder):
    data = load(f"tfrecord:{folder}/train-*")
    np.testing.assert_array_equal(data.labels, digits.labels)
    np.testing.assert_array_equal(eval_batch(data.images, SMALL), eval_batch(digits.images, SMALL))
    assert data.class_names == tuple("0123456789") and len(data) == 30


def test_the_index_is_kept_until_the_file_changes(folder, cache, digits, monkeypatch):
    scanned: list[Path] = []
    scan = records_module._scanned
    monkeypatch.setattr(
        records_module, "_scanned", lambda path, keys: scanned.append(path) or scan(path, keys)
    )
    for _ in range(2):
        load(f"tfrecord:{folder}/train-*")
    assert len(scanned) == 3 == len(list((cache / "records").iterdir()))
    changed = folder / "train-00001-of-00003"
    write(changed, [{"image": encoded(digits.images[0]), "label": 0}])
    data = load(f"tfrecord:{folder}/train-*")
    assert scanned[3:] == [changed] and len(data) == 21


def test_a_damaged_index_is_written_anew(folder, cache):
    before = load(f"tfrecord:{folder}/train-00000*").labels
    (note,) = (cache / "records").iterdir()
    note.write_bytes(note.read_bytes()[:100])
    with pytest.warns(UserWarning, match="is damaged and is written anew"):
        again = load(f"tfrecord:{folder}/train-00000*").labels
    np.testing.assert_array_equal(before, again)
    load(f"tfrecord:{folder}/train-00000*")


def test_a_cache_that_cannot_be_written_is_told(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERAS_VIT_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="set KERAS_VIT_CACHE"):
        assert len(load(f"tfrecord:{folder}/train-00000*")) == 10


def test_a_slice_and_a_choice_read_only_themselves(folder, monkeypatch):
    images = load(f"tfrecord:{folder}/train-*").images
    reads: list[Path] = []
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a: reads.append(self) or opened(self, *a))
    part = images[5:25].take(np.array([0, 19]))
    assert not reads and len(part) == 2
    assert [part[i].data for i in range(2)] == [images[5].data, images[24].data]


def test_records_are_trained_on(folder, digits):
    stream = batches(load(f"tfrecord:{folder}/train-*"), SMALL, 8, shuffle=True, seed=1)
    arrays = batches(digits, SMALL, 8, shuffle=True, seed=1)
    for ours, theirs in zip(stream, arrays, strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


def test_evaluation_reads_a_few_batches_ahead_and_no_more(folder, monkeypatch):
    import keras

    from keras_vit.training import evaluate

    reads, at_first_batch = [], []
    get = records_module.Records.__getitem__
    monkeypatch.setattr(
        records_module.Records,
        "__getitem__",
        lambda self, i: (isinstance(i, int) and reads.append(i)) or get(self, i),
    )
    images = keras.Input((16, 16, 3))
    model = keras.Model(images, keras.layers.Dense(10)(keras.layers.Flatten()(images)))
    report = evaluate(
        model,
        load(f"tfrecord:{folder}/train-*"),
        batch_size=2,
        preprocessing=SMALL,
        progress=lambda done, of: at_first_batch.append(len(reads)),
    )
    assert at_first_batch[0] <= 8 and report.count == 30 == len(reads)


def test_splits_are_stratified_and_complete(folder):
    pattern = f"tfrecord:{folder}/train-*"
    train, validation = (load(pattern, split, fraction=0.3) for split in ("train", "validation"))
    places = {(int(d.images.file[i]), int(d.images.offset[i])) for d in (train, validation)
              for i in range(len(d))}  # fmt: skip
    assert len(places) == 30 == len(train) + len(validation)
    assert set(validation.labels) == set(range(10))


@pytest.mark.parametrize("name", ["val-00000-of-00001", "validation.tfrecord", "test.tfrecord"])
def test_a_folder_with_its_own_validation_files(folder, digits, name):
    write(folder / name, [{"image": encoded(digits.images[7]), "label": 7}])
    data = {split: load(f"tfrecord:{folder}", split) for split in ("train", "validation", "all")}
    assert [len(data[s]) for s in data] == [30, 1, 31] and data["validation"].labels.tolist() == [7]
    assert data["train"].class_names == data["validation"].class_names
    np.testing.assert_array_equal(
        eval_batch(data["all"].images[30:], SMALL), eval_batch(digits.images[7:8], SMALL)
    )


def test_labels_of_imagenet_count_from_one_and_name_themselves(digits, tmp_path):
    rows = [
        {"image/encoded": encoded(digits.images[i]), "image/class/label": 1 + i % 3,
         "image/class/text": [b"tench", b"goldfish", b"shark"][i % 3]}
        for i in range(6)
    ]  # fmt: skip
    data = load(write(tmp_path / "x.tfrecord", rows))
    assert data.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert data.class_names == ("tench", "goldfish", "shark")


def test_class_names_from_a_list_or_a_file(folder, tmp_path):
    names = [f"digit {i}" for i in range(10)]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    for classes in (names, tmp_path / "names.txt"):
        data = load(f"tfrecord:{folder}/train-*", classes=classes)
        assert data.class_names == tuple(names)
    with pytest.raises(UsageError, match="labels run from 0 to 9, for 3 classes"):
        load(f"tfrecord:{folder}/train-*", classes=names[:3])


def test_a_damaged_image_is_named_in_mid_run(folder, digits):
    path = write(folder / "x.tfrecord", [
        {"image": encoded(digits.images[i])[: None if i else 50], "label": i} for i in range(4)
    ])  # fmt: skip
    data = load(path)
    with (
        pytest.raises(KerasVitError, match=r"x\.tfrecord, image at byte \d+: not a readable image"),
        plain_errors(),
    ):
        list(batches(data, SMALL, 2))
    clean = load(path, on_corrupt="skip")
    assert len(clean) == 3 and len(clean.skipped) == 1 and "image at byte" in str(clean.skipped[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"no records at all, but some text", "cut short, compressed or not of this format"),
        (b"\x05" + bytes(11) + b"\xff\xff\xff\xff\xff" + bytes(4), "no tf.train.Example"),
    ],
)
def test_what_is_no_tfrecord_file_is_one_line(tmp_path, content, message):
    path = tmp_path / "x.tfrecord"
    path.write_bytes(content)
    with pytest.raises(KerasVitError, match=message):
        load(path)


def test_a_file_cut_short_is_one_line(folder):
    path = folder / "train-00001-of-00003"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(KerasVitError, match=r"train-00001-of-00003: no whole TFRecord at byte \d+"):
        load(f"tfrecord:{folder}/train-*")


def test_records_without_images_say_what_they_have(tmp_path):
    path = write(tmp_path / "x.tfrecord", [{"text": b"a", "label": 1}])
    with pytest.raises(KerasVitError, match="its records have label, text; expected image/encoded"):
        load(path)


def test_no_files_is_misuse(tmp_path):
    with pytest.raises(UsageError, match="no such TFRecord files"):
        load(f"{tmp_path}/*.tfrecord")


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31, 2**62, -1])
def test_integers_of_any_length(value):
    import tensorflow as tf

    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    data = tf.train.Example(features=tf.train.Features(feature={"a": feature})).SerializeToString()
    assert examples.integer(data, examples.features(data, 0, len(data))["a"]) == value


def test_random_bytes_never_fail_in_another_way():
    rng = np.random.default_rng(0)
    for _ in range(300):
        data = rng.bytes(int(rng.integers(1, 60)))
        try:
            found = examples.features(data, 0, len(data))
        except ValueError:
            continue
        assert all(0 <= start <= end <= len(data) for _, start, end in found.values())
