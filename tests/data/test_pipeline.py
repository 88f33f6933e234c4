"""Batches: the seed decides them, the epoch reorders them; cache, threads and workers change nothing."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from keras_vit.config import Preprocessing
from keras_vit.data import (
    Augmentation,
    batches,
    eval_batch,
    host,
    load,
    normalize,
    plain_errors,
    steps_per_epoch,
)
from keras_vit.errors import KerasVitError, UsageError

SMALL = Preprocessing(image_size=(16, 16), crop_pct=1.0)
STRONG = Augmentation(shift=0.25, flip=True)


@pytest.fixture(scope="module")
def digits():
    return load("digits").take(np.arange(50))


@pytest.fixture
def files(digits, tmp_path):
    for i, image in enumerate(digits.images[:12]):
        (tmp_path / str(i % 2)).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / str(i % 2) / f"{i}.png")
    return load(tmp_path)


def _steps(*arguments: Any, **options: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(batches(*arguments, **options).as_numpy_iterator())


def _images(*arguments: Any, **options: Any) -> np.ndarray:
    return np.concatenate([images for images, _ in _steps(*arguments, **options)])


def test_evaluation_batches_are_the_images_in_order(digits):
    steps = _steps(digits, SMALL, 16)
    images, labels = map(np.concatenate, zip(*steps, strict=True))
    assert len(steps) == 4 == steps_per_epoch(digits, 16, drop_remainder=False)
    np.testing.assert_array_equal(labels, digits.labels)
    np.testing.assert_array_equal(images, normalize(eval_batch(digits.images, SMALL), SMALL))


def test_training_batches_are_whole_and_reordered_each_epoch(digits):
    steps = _steps(digits, SMALL, 16, shuffle=True, epochs=2)
    assert [len(labels) for _, labels in steps] == [16] * 6 and steps_per_epoch(digits, 16) == 3
    first, second = (
        np.concatenate([images for images, _ in part]) for part in (steps[:3], steps[3:])
    )
    assert not np.array_equal(first, second)
    assert len({image.tobytes() for image in first}) == 48


def test_labels_stay_with_their_images(digits):
    labels = {
        normalize(image, SMALL).tobytes(): label
        for image, label in zip(eval_batch(digits.images, SMALL), digits.labels, strict=True)
    }
    for images, found in _steps(digits, SMALL, 16, shuffle=True):
        assert [labels[image.tobytes()] for image in images] == found.tolist()


def test_the_seed_decides_everything(digits):
    runs = [
        _images(digits, SMALL, 16, shuffle=True, augment=STRONG, seed=seed) for seed in (3, 3, 4)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


@pytest.mark.parametrize("augment", [STRONG, Augmentation(mixup=0.8, cutmix=1.0)])
@pytest.mark.parametrize("start", [1, 4, 5])
def test_a_run_continues_from_its_middle(digits, augment, start):
    options = {"shuffle": True, "augment": augment, "epochs": 2, "seed": 1}
    whole, rest = (_steps(digits, SMALL, 16, start=s, **options) for s in (0, start))
    assert len(rest) == 6 - start
    for ours, theirs in zip(rest, whole[start:], strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


def test_threads_change_nothing(digits):
    options = {"shuffle": True, "augment": STRONG, "seed": 1}
    one, many = (_images(digits, SMALL, 16, threads=threads, **options) for threads in (1, 7))
    np.testing.assert_array_equal(one, many)


def test_workers_together_see_every_batch(digits):
    options = {"shuffle": True, "augment": STRONG, "seed": 1, "epochs": 2}
    parts = [_steps(digits, SMALL, 16, shard=(i, 4), **options) for i in range(4)]
    for whole, *shares in zip(_steps(digits, SMALL, 16, **options), *parts, strict=True):
        assert [len(labels) for _, labels in shares] == [4] * 4
        for ours, theirs in zip(whole, zip(*shares, strict=True), strict=True):
            np.testing.assert_array_equal(ours, np.stack(theirs, axis=1).reshape(ours.shape))


def test_workers_share_the_last_smaller_batch(digits):
    parts = [_steps(digits.take(np.arange(47)), SMALL, 16, shard=(i, 2)) for i in range(2)]
    assert [len(labels) for part in parts for _, labels in part] == [8, 8, 8, 8, 8, 7]
    together = [np.concatenate([labels for _, labels in part]) for part in parts]
    np.testing.assert_array_equal(together[0], digits.labels[0:47:2])
    np.testing.assert_array_equal(together[1], digits.labels[1:47:2])


@pytest.mark.parametrize(
    ("batch_size", "shard", "message"),
    [
        (15, (0, 2), "15 images cannot be shared by 2"),
        (16, (2, 2), "shard"),
        (48, (0, 4), "the last batch has 2 images for 4 workers"),
    ],
)
def test_what_workers_cannot_share_is_misuse(digits, batch_size, shard, message):
    with pytest.raises(UsageError, match=message):
        batches(digits, SMALL, batch_size, shard=shard)


def test_files_are_the_same_with_and_without_cache(files):
    options = {"shuffle": True, "augment": STRONG, "seed": 1, "epochs": 2}
    cached, part, fresh = (
        _steps(files, SMALL, 4, cache_bytes=room, **options) for room in (2**20, 5000, 0)
    )
    for one, two, three in zip(cached, part, fresh, strict=True):
        np.testing.assert_array_equal(one[0], three[0])
        np.testing.assert_array_equal(two[0], three[0])


def test_the_cache_spares_the_files(files):
    stream = batches(files, SMALL, 4)
    before = [images for images, _ in stream.as_numpy_iterator()]
    for path in files.images:
        path.unlink()
    after = [images for images, _ in stream.as_numpy_iterator()]
    np.testing.assert_array_equal(before, after)


def test_flip_mirrors_about_half_and_changes_nothing_else(digits):
    before, after = (
        _images(digits, SMALL, 50, augment=augment) for augment in (None, Augmentation(flip=True))
    )
    same = (before == after).all((1, 2, 3))
    mirrored = (before[:, :, ::-1] == after).all((1, 2, 3))
    assert (same | mirrored).all() and 10 < mirrored.sum() < 40


def test_shift_moves_by_whole_pixels_within_its_reach():
    image = np.zeros((64, 16, 16, 3), np.uint8)
    image[:, 8, 8] = 255
    data = load((image, np.zeros(64, int)))
    moved = _images(data, SMALL, 64, augment=Augmentation(shift=0.125))
    rows, columns = (moved[..., 0] > 0).nonzero()[1:]
    assert len(rows) == 64
    assert set(rows) == set(columns) == {6, 7, 8, 9, 10}


def test_repeated_images_come_side_by_side_and_epochs_keep_their_length(digits):
    steps = _steps(digits, SMALL, 15, shuffle=True, augment=Augmentation(repeats=3))
    assert len(steps) == 3
    images = np.concatenate([images for images, _ in steps]).reshape(15, 3, -1)
    assert (images[:, 0] == images[:, 1]).all() and (images[:, 0] == images[:, 2]).all()
    assert len({image.tobytes() for image in images[:, 0]}) == 15


def test_repeated_images_are_changed_differently(digits):
    augment = Augmentation(repeats=3, shift=0.25)
    images = _steps(digits, SMALL, 45, shuffle=True, augment=augment)[0][0].reshape(15, 3, -1)
    assert (images[:, 0] != images[:, 1]).any(axis=1).sum() > 10


def test_mixed_labels_are_shares_of_classes(digits):
    augment = Augmentation(mixup=0.8, cutmix=1.0, label_smoothing=0.1)
    stream = batches(digits, SMALL, 10, shuffle=True, augment=augment)
    assert tuple(stream.element_spec[1].shape) == (10, 10)
    for _, labels in stream.as_numpy_iterator():
        assert labels.dtype == np.float32
        np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)


def test_shapes_are_known_before_the_first_batch(digits):
    training, evaluation = (
        batches(digits, SMALL, 16, shuffle=shuffle) for shuffle in (True, False)
    )
    assert tuple(training.element_spec[0].shape) == (16, 16, 16, 3)
    assert tuple(evaluation.element_spec[0].shape) == (None, 16, 16, 3)
    assert int(training.cardinality()) == 3 and int(evaluation.cardinality()) == 4


def test_a_corrupt_file_is_one_line_with_its_name(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").write_bytes(b"no image")
    with (
        pytest.raises(KerasVitError, match=r"x\.jpg: not a readable image [^\n]*$"),
        plain_errors(),
    ):
        _steps(load(tmp_path), SMALL, 2)


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), plain_errors():
        _ = 1 / 0


def test_a_batch_larger_than_the_data_is_the_data(digits):
    steps = _steps(digits, SMALL, 512, shuffle=True)
    assert steps_per_epoch(digits, 512) == 1 == len(steps) and len(steps[0][1]) == 50


@pytest.mark.parametrize(
    ("batch_size", "options", "message"),
    [
        (0, {}, "batch_size"),
        (16, {"epochs": 0}, "0 epochs"),
        (16, {"seed": -1}, "seed lies between"),
        (16, {"epochs": 2, "start": 9}, "2 epochs of 4 steps cannot start at step 9"),
    ],
)
def test_wrong_arguments_are_misuse(digits, batch_size, options, message):
    with pytest.raises(UsageError, match=message):
        batches(digits, SMALL, batch_size, **options)


@pytest.mark.parametrize(("backend", "hidden"), [("jax", [([], "GPU")]), ("tensorflow", [])])
def test_tensorflow_leaves_the_gpu_to_another_backend(backend, hidden, monkeypatch):
    import tensorflow as tf

    calls: list[Any] = []
    monkeypatch.setattr(host.keras.config, "backend", lambda: backend)
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *a: calls.append(a))
    assert host.tensorflow() is tf and calls == hidden


def test_augmentation_alone_needs_no_tensorflow():
    code = (
        "import sys; from keras_vit.data import Augmentation; Augmentation(flip=True).to_dict();"
        "assert not {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
