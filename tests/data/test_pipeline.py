"""Batches: the seed decides them, the epoch reorders them, the cache changes nothing."""

import numpy as np
import pytest
from PIL import Image

from keras_vit.config import Preprocessing
from keras_vit.data import Augmentation, Batches, eval_batch, load, normalize
from keras_vit.errors import KerasVitError, UsageError

SMALL = Preprocessing(image_size=(16, 16), crop_pct=1.0)
STRONG = Augmentation(shift=0.25, flip=True)


@pytest.fixture(scope="module")
def digits():
    return load("digits").take(np.arange(50))


def _epoch(batches: Batches) -> tuple[np.ndarray, np.ndarray]:
    batches.on_epoch_begin()
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def test_evaluation_batches_are_the_images_in_order(digits):
    batches = Batches(digits, SMALL, 16)
    images, labels = _epoch(batches)
    assert len(batches) == 4
    np.testing.assert_array_equal(labels, digits.labels)
    np.testing.assert_array_equal(images, normalize(eval_batch(digits.images, SMALL), SMALL))


def test_training_batches_are_whole_and_reordered_each_epoch(digits):
    batches = Batches(digits, SMALL, 16, shuffle=True)
    first, second = _epoch(batches), _epoch(batches)
    assert len(batches) == 3 and len(first[1]) == 48
    assert not np.array_equal(first[1], second[1])
    assert len({image.tobytes() for image in first[0]}) == 48


def test_the_seed_decides_everything(digits):
    runs = [
        Batches(digits, SMALL, 16, shuffle=True, augment=STRONG, seed=seed) for seed in (3, 3, 4)
    ]
    epochs = [(_epoch(run), _epoch(run))[1][0] for run in runs]
    np.testing.assert_array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], epochs[2])


def test_files_are_the_same_with_and_without_cache(digits, tmp_path):
    for i, image in enumerate(digits.images[:12]):
        (tmp_path / str(i % 2)).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / str(i % 2) / f"{i}.png")
    data = load(tmp_path)
    options = {"shuffle": True, "augment": STRONG, "seed": 1}
    cached = _epoch(Batches(data, SMALL, 4, **options))
    fresh = _epoch(Batches(data, SMALL, 4, cache_bytes=0, **options))
    np.testing.assert_array_equal(cached[0], fresh[0])
    np.testing.assert_array_equal(cached[1], fresh[1])


def test_flip_mirrors_about_half_and_changes_nothing_else(digits):
    plain = Batches(digits, SMALL, 50)
    flipped = Batches(digits, SMALL, 50, augment=Augmentation(flip=True))
    before, after = _epoch(plain)[0], _epoch(flipped)[0]
    same = (before == after).all((1, 2, 3))
    mirrored = (before[:, :, ::-1] == after).all((1, 2, 3))
    assert (same | mirrored).all() and 10 < mirrored.sum() < 40


def test_shift_moves_by_whole_pixels_within_its_reach():
    image = np.zeros((64, 16, 16, 3), np.uint8)
    image[:, 8, 8] = 255
    data = load((image, np.zeros(64, int)))
    moved = _epoch(Batches(data, SMALL, 64, augment=Augmentation(shift=0.125)))[0]
    rows, columns = (moved[..., 0] > 0).nonzero()[1:]
    assert len(rows) == 64
    assert set(rows) == set(columns) == {6, 7, 8, 9, 10}


def test_a_corrupt_file_stops_with_its_name(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").write_bytes(b"no image")
    with pytest.raises(KerasVitError, match=r"x\.jpg: not a readable image"):
        Batches(load(tmp_path), SMALL, 2)


def test_a_batch_larger_than_the_data_is_the_data(digits):
    batches = Batches(digits, SMALL, 512, shuffle=True)
    assert len(batches) == 1 and batches[0][0].shape == (50, 16, 16, 3)


def test_wrong_arguments_are_misuse(digits):
    with pytest.raises(UsageError, match="batch_size"):
        Batches(digits, SMALL, 0)
    with pytest.raises(UsageError, match="shift"):
        Augmentation(shift=1.5)
