"""A tf.data dataset of the user's own gets the same changes, again the same with the same seed."""

from typing import Any

import numpy as np
import pytest

from keras_vit.config import Preprocessing
from keras_vit.data import Augmentation, augmented, eval_batch, load, normalize
from keras_vit.errors import UsageError

SMALL = Preprocessing(image_size=(16, 16), crop_pct=1.0)
STRONG = Augmentation(
    crop="inception", flip=True, policy="rand-m9-mstd0.5-inc1", erasing=0.5, mixup=0.8, cutmix=1.0
)


@pytest.fixture(scope="module")
def digits() -> Any:
    return load("digits").take(np.arange(30))


def _dataset(digits: Any) -> Any:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((digits.images, digits.labels))


def _steps(*arguments: Any, **options: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(augmented(*arguments, **options).as_numpy_iterator())


def test_without_changes_it_is_the_evaluation(digits):
    steps = _steps(_dataset(digits), SMALL, 8, drop_remainder=False)
    images, labels = map(np.concatenate, zip(*steps, strict=True))
    np.testing.assert_array_equal(images, normalize(eval_batch(digits.images, SMALL), SMALL))
    np.testing.assert_array_equal(labels, digits.labels)
    assert [len(batch) for _, batch in steps] == [8, 8, 8, 6]


def test_dictionaries_as_tfds_has_them(digits):
    named = _dataset(digits).map(lambda image, label: {"id": 0, "image": image, "label": label})
    ours, theirs = _steps(named, SMALL, 8), _steps(_dataset(digits), SMALL, 8)
    np.testing.assert_array_equal(ours[1][0], theirs[1][0])


def test_images_of_several_sizes(digits):
    import tensorflow as tf

    def images() -> Any:
        for i in range(4):
            yield np.full((8 + i, 20, 3), 255, np.uint8), i

    spec = (tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int32))
    dataset = tf.data.Dataset.from_generator(images, output_signature=spec)
    (batch,) = _steps(dataset, SMALL, 4, augment=Augmentation(crop="inception"))
    assert (batch[0] == 1).all() and batch[1].tolist() == [0, 1, 2, 3]


def test_the_seed_decides_and_threads_do_not(digits):
    options = {"augment": STRONG, "classes": 10, "epochs": 2}
    runs = [
        _steps(_dataset(digits), SMALL, 10, seed=seed, threads=threads, **options)
        for seed, threads in ((1, 1), (1, 4), (2, 1))
    ]
    images = [np.concatenate([batch for batch, _ in run]) for run in runs]
    np.testing.assert_array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
    assert not np.array_equal(images[0][:30], images[0][30:])
    assert runs[0][0][1].shape == (10, 10) and runs[0][0][1].dtype == np.float32


def test_a_run_continues_from_its_middle(digits):
    options = {"augment": STRONG, "classes": 10, "epochs": 2}
    whole, rest = (_steps(_dataset(digits), SMALL, 8, start=s, **options) for s in (0, 4))
    assert len(whole) == 7 and len(rest) == 3
    for ours, theirs in zip(rest, whole[4:], strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augment": Augmentation(mixup=1.0)}, "pass classes="),
        ({"augment": Augmentation(repeats=3)}, "repeats need random access"),
        ({"epochs": 0}, "batch_size and epochs"),
    ],
)
def test_wrong_arguments_are_misuse(digits, options, message):
    with pytest.raises(UsageError, match=message):
        augmented(_dataset(digits), SMALL, 8, **options)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.batch(4),
        lambda data: data.map(lambda image, label: image),
        lambda data: data.map(lambda image, label: {"picture": image}),
        lambda data: data.map(lambda image, label: (image / 255, label)),
    ],
    ids=["batched", "no labels", "other names", "floats"],
)
def test_elements_of_another_kind_are_misuse(digits, change):
    with pytest.raises(UsageError, match="not batched: uint8"):
        augmented(change(_dataset(digits)), SMALL, 8)
