"""Every source gives one record, the same each time, and wrong ones say what is expected."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_vit.data import Dataset, image_files, load, split
from keras_vit.errors import KerasVitError, MissingPackageError, UsageError


def _picture(path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    for name, count in (("rose", 5), ("daisy", 10)):
        for i in range(count):
            _picture(tmp_path / "flowers" / name / f"{i}.png", i)
    return tmp_path / "flowers"


def test_importing_the_package_and_loading_data_needs_no_keras():
    code = (
        "import sys, keras_vit.data as d; d.load('digits'); d.eval_image; d.split;"
        "assert not {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_digits():
    digits = load("digits")
    assert digits.images.shape == (1797, 8, 8, 3) and digits.images.dtype == np.uint8
    assert digits.images.max() == 255 and digits.class_names == tuple("0123456789")
    assert len(digits.labels) == 1797


def test_digits_splits_are_fixed_disjoint_and_complete():
    train, again = load("digits", "train"), load("digits", "train")
    validation = load("digits", "validation")
    np.testing.assert_array_equal(train.images, again.images)
    assert (len(train), len(validation)) == (1438, 359)
    # Pinned: another split would change what evaluate reports of a saved model.
    assert validation.labels[:10].tolist() == [9, 6, 7, 0, 6, 8, 6, 8, 5, 2]
    rows = {image.tobytes() for image in train.images}
    assert not rows & {image.tobytes() for image in validation.images}


def test_missing_scikit_learn_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingPackageError, match=r"keras-vit-zoo\[data\]"):
        load("digits")


def test_class_folders_are_sorted(folder):
    data = load(folder)
    assert data.class_names == ("daisy", "rose") and len(data) == 15
    assert [p.name for p in data.images[:2]] == ["0.png", "1.png"]
    assert [p.parent.name for p in data.images] == [data.class_names[k] for k in data.labels]


def test_folder_split_is_stratified_and_stable(folder):
    validation = load(str(folder), "validation")
    np.testing.assert_array_equal(np.bincount(validation.labels), [2, 1])
    assert validation.images == load(folder, "validation").images
    assert not set(validation.images) & set(load(folder, "train").images)


def test_a_new_class_leaves_the_split_of_the_others_alone(folder):
    before = set(load(folder, "validation").images)
    _picture(folder / "tulip" / "0.png")
    _picture(folder / "tulip" / "1.png")
    assert before < set(load(folder, "validation").images)


def test_other_files_and_hidden_folders_are_no_images(folder):
    (folder / "rose" / "notes.txt").write_text("x")
    (folder / "rose" / "._0.png").write_text("x")
    (folder / ".cache").mkdir()
    assert len(load(folder)) == 15


def test_train_and_val_folders(tmp_path):
    for part, names in (("train", "abc"), ("val", "ac")):
        for name in names:
            _picture(tmp_path / part / name / "x.jpg")
    train, validation = load(tmp_path, "train"), load(tmp_path, "validation")
    assert train.class_names == validation.class_names == ("a", "b", "c")
    assert validation.labels.tolist() == [0, 2]
    assert len(load(tmp_path)) == 5


def test_a_validation_class_unknown_to_training_is_misuse(tmp_path):
    _picture(tmp_path / "train" / "a" / "x.jpg")
    _picture(tmp_path / "val" / "z" / "x.jpg")
    with pytest.raises(UsageError, match="class 'z' is not among the training classes"):
        load(tmp_path, "train")


def test_an_empty_class_folder_is_misuse(folder):
    (folder / "tulip").mkdir()
    with pytest.raises(UsageError, match="tulip: no image files"):
        load(folder)


def test_a_folder_without_class_folders_is_misuse(tmp_path):
    _picture(tmp_path / "a.png")
    with pytest.raises(UsageError, match="no class folders"):
        load(tmp_path)


def test_corrupt_files_are_skipped_and_listed_on_request(folder):
    bad = folder / "rose" / "2.png"
    bad.write_bytes(b"no image")
    assert len(load(folder)) == 15
    data = load(folder, on_corrupt="skip")
    assert len(data) == 14 and data.skipped == (bad,)
    assert bad not in data.images


def test_the_split_does_not_depend_on_the_corrupt_policy(folder):
    (folder / "rose" / "2.png").write_bytes(b"no image")
    kept = {p for s in ("train", "validation") for p in load(folder, s, on_corrupt="skip").images}
    for part in ("train", "validation"):
        assert set(load(folder, part).images) & kept == set(
            load(folder, part, on_corrupt="skip").images
        )


def test_nothing_but_corrupt_files_is_an_error(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").write_bytes(b"no image")
    with pytest.raises(KerasVitError, match="none of the 1 image files"):
        load(tmp_path, on_corrupt="skip")


def test_npz_of_images_and_labels(tmp_path):
    images = np.zeros((4, 6, 6), np.uint8)
    np.savez(tmp_path / "d.npz", images=images, labels=[0, 1, 0, 1], class_names=["no", "yes"])
    data = load(tmp_path / "d.npz")
    assert data.images.shape == (4, 6, 6, 1) and data.class_names == ("no", "yes")


def test_npz_in_keras_form_has_its_own_splits(tmp_path):
    images = np.zeros((4, 6, 6), np.uint8)
    parts = {"x_train": images, "y_train": [0, 1, 2, 3], "x_test": images[:2], "y_test": [[0], [1]]}
    np.savez(tmp_path / "mnist.npz", **parts)
    assert len(load(tmp_path / "mnist.npz", "train")) == 4
    validation = load(tmp_path / "mnist.npz", "validation")
    assert validation.labels.tolist() == [0, 1] and len(validation.class_names) == 4


def test_npz_with_other_arrays_says_what_is_expected(tmp_path):
    np.savez(tmp_path / "d.npz", pixels=np.zeros(3))
    with pytest.raises(UsageError, match="holds pixels; expected images and labels"):
        load(tmp_path / "d.npz")


def test_a_damaged_npz_is_one_line(tmp_path):
    (tmp_path / "d.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(KerasVitError, match=r"d\.npz: not a readable \.npz"):
        load(tmp_path / "d.npz")


def test_an_npz_with_pickles_is_refused(tmp_path):
    objects = np.array([{}], dtype=object)
    np.savez(tmp_path / "d.npz", images=objects, labels=objects)
    with pytest.raises(KerasVitError, match="not a readable"):
        load(tmp_path / "d.npz")


IMAGES = np.zeros((3, 4, 4, 3), np.uint8)


def test_arrays_and_datasets_pass_through():
    data = load((IMAGES, np.array([0, 1, 1])))
    assert isinstance(data, Dataset) and data.class_names == ("0", "1")
    assert load(data) is data
    assert load((IMAGES, [0, 1, 1], ["a", "b", "c"])).class_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ((IMAGES / 255, [0, 1, 1]), "images must be uint8"),
        ((IMAGES, [0, 1]), r"labels must be integers of shape \(3,\)"),
        ((IMAGES, [0.0, 1.0, 1.0]), "labels must be integers"),
        ((IMAGES, [0, 1, 2], ["a", "b"]), "labels run from 0 to 2, for 2 classes"),
        ((IMAGES, [0, 1, -1]), "labels run from -1"),
        ((IMAGES[:0], np.zeros(0, int)), "no images"),
        ("/no/such/folder", "no such data"),
        ("absent.npz", "no such file"),
        (3, "data is a name, a folder"),
    ],
)
def test_wrong_sources_are_misuse(spec, message):
    with pytest.raises(UsageError, match=message):
        load(spec)


def test_unknown_split_and_policy_are_misuse():
    with pytest.raises(UsageError, match="split 'test'"):
        load("digits", "test")
    with pytest.raises(UsageError, match="on_corrupt 'ignore'"):
        load("digits", on_corrupt="ignore")


def test_split_keeps_one_image_of_each_class_for_training():
    data = load((np.zeros((5, 4, 4), np.uint8), [0, 0, 1, 2, 2]))
    train, validation = split(data, 0.9, seed=0)
    assert set(train.labels.tolist()) == {0, 1, 2} and validation.labels.tolist() == [0, 2]


def test_split_by_another_seed_differs():
    digits = load("digits")
    first, second = split(digits, 0.2, 0)[1], split(digits, 0.2, 1)[1]
    assert not np.array_equal(first.images, second.images)


def test_split_that_leaves_nothing_is_misuse():
    with pytest.raises(UsageError, match="between 0 and 1"):
        split(load("digits"), 1.0, 0)
    with pytest.raises(UsageError, match="nothing to validate with"):
        split(load((IMAGES, [0, 1, 2])), 0.5, 0)


def test_image_files_of_files_and_folders(folder):
    files = image_files([folder / "rose" / "3.png", folder / "daisy"])
    assert len(files) == 11 and files[0].name == "3.png"


def test_image_files_that_are_not_there_are_misuse(tmp_path):
    with pytest.raises(UsageError, match="no such file or folder"):
        image_files(tmp_path / "x.jpg")
    with pytest.raises(UsageError, match="no image files"):
        image_files(tmp_path)
