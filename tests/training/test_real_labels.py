"""Which entry of real.json belongs to which image, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from keras_vit.data.sources import Dataset
from keras_vit.errors import KerasVitError, UsageError
from keras_vit.training.real_labels import real_labels

ENTRIES = [[0], [1, 2], [], [2]]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "real.json"
    path.write_text(json.dumps(ENTRIES))
    return path


def of_files(*names: str, skipped: tuple[str, ...] = ()) -> Dataset:
    images, left_out = (tuple(map(Path, group)) for group in (names, skipped))
    return Dataset(images, np.zeros(len(names), np.int64), ("a",), left_out)


def numbered(*numbers: int) -> tuple[str, ...]:
    return tuple(f"val/n{9 - i:08d}/ILSVRC2012_val_{i:08d}.JPEG" for i in numbers)


def found(file, dataset, classes=3):
    return [sorted(entry) for entry in real_labels(file, dataset, classes)]


def test_images_in_class_folders_go_by_their_numbers(file):
    assert found(file, of_files(*numbered(4, 2, 1, 3))) == [[2], [1, 2], [0], []]


def test_some_of_the_numbered_images_are_enough(file):
    assert found(file, of_files(*numbered(4, 2))) == [[2], [1, 2]]


def test_other_names_go_by_their_order_and_not_their_folders(file):
    assert found(file, of_files("x/d.png", "y/a.png", "y/c.png", "z/b.png")) == [
        [2],
        [0],
        [],
        [1, 2],
    ]


def test_files_that_were_skipped_keep_their_places(file):
    dataset = of_files("b.png", "d.png", "c.png", skipped=("a.png",))
    assert found(file, dataset) == [[1, 2], [2], []]


def test_an_array_is_in_order(file):
    dataset = Dataset(np.zeros((4, 2, 2, 3), np.uint8), np.zeros(4, np.int64), ("a",))
    assert found(file, dataset) == ENTRIES


@pytest.mark.parametrize(
    ("dataset", "classes", "message"),
    [
        (of_files("a.png", "b.png"), 3, r'4 images, the data 2: give all .*split="all"'),
        (of_files(*numbered(5)), 3, "4 images, the data an image 5"),
        (of_files("x/a.png", "y/a.png", "b.png", "c.png"), 3, "several images have the same name"),
        (of_files(*numbered(1)), 2, "a class 2, the model 2 classes"),
    ],
)
def test_labels_of_other_images_or_classes_are_refused(file, dataset, classes, message):
    with pytest.raises(UsageError, match=message):
        real_labels(file, dataset, classes)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("[[1]", KerasVitError, "not JSON"),
        ('{"a": [1]}', UsageError, "a list of lists"),
        ("[[1], 2]", UsageError, "entry 1 is not a list of classes but 2"),
        ('[["tench"]]', UsageError, "entry 0"),
        ("[[-1]]", UsageError, "entry 0"),
        ("[]", UsageError, "a list of lists"),
    ],
)
def test_what_is_no_such_file_is_one_line(tmp_path, text, error, message):
    (tmp_path / "real.json").write_text(text)
    with pytest.raises(error, match=message):
        real_labels(tmp_path / "real.json", of_files("a.png"), 3)


def test_a_missing_file(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        real_labels(tmp_path / "real.json", of_files("a.png"), 3)
