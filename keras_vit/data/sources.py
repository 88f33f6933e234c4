"""Where images come from: one record, `Dataset`, whatever the source; no Keras.

`load` understands `"digits"`, a folder of class folders, a folder with train/ and val/, an .npz
file, arrays and a `Dataset`. Image files are listed here, and decoded by whoever uses them.
"""

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_vit.data.transforms import open_image
from keras_vit.errors import KerasVitError, UsageError, require

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".tif", ".tiff")

_TRAIN_FOLDER = "train"
_VALIDATION_FOLDERS = ("val", "validation", "test")
SPLITS = ("all", "train", "validation")
_ON_CORRUPT = ("fail", "skip")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images, decoded or not.

    Attributes:
        images: uint8 array (N, H, W, C) or N image files.
        labels: int64 array (N,), each an index into `class_names`.
        class_names: in the order of the labels.
        skipped: files that `load(..., on_corrupt="skip")` left out.
    """

    images: np.ndarray | tuple[Path, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    skipped: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Any:
        """One image: a uint8 array (H, W, C), or its file."""
        return self.images[index]

    def take(self, indices: np.ndarray) -> "Dataset":
        """The images at `indices`, in that order."""
        images = self.images
        chosen = (
            images[indices] if isinstance(images, np.ndarray) else tuple(images[i] for i in indices)
        )
        return replace(self, images=chosen, labels=self.labels[indices])


def load(
    spec: Any,
    split: str = "all",
    *,
    fraction: float = 0.2,
    seed: int = 0,
    on_corrupt: str = "fail",
) -> Dataset:
    """Find labelled images.

    Args:
        spec: `"digits"` (scikit-learn's 1797 handwritten digits, 8 x 8); a folder of class folders,
            or one with train/ and val/ (or validation/, test/) that hold such; an .npz with
            `images`, `labels` and optional `class_names`, or Keras' `x_train`, `y_train`, `x_test`,
            `y_test`; `(images, labels)` or `(images, labels, class_names)`; a `Dataset`.
        split: `"all"`, `"train"` or `"validation"`. Sources without splits of their own are split
            by `split(..., fraction, seed)`, the same images each time.
        fraction: share that validates, for those.
        seed: of that split.
        on_corrupt: `"fail"`: a damaged file is an error when it is read; `"skip"`: every file is
            read once now, and the damaged ones are left out and listed in `skipped`.

    Raises:
        UsageError: an unknown source, split or policy; folders or arrays of the wrong form.
        KerasVitError: an .npz that cannot be read.
    """
    if split not in SPLITS:
        raise UsageError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    if on_corrupt not in _ON_CORRUPT:
        raise UsageError(f"on_corrupt {on_corrupt!r} is not one of {', '.join(_ON_CORRUPT)}")
    chosen = _choose(_parts(spec), split, fraction, seed)
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


def _parts(spec: Any) -> Mapping[str, Dataset]:
    """The source's own splits: `train` and `validation`, or `all`."""
    if isinstance(spec, Dataset):
        return {"all": spec}
    if isinstance(spec, Sequence) and not isinstance(spec, str) and len(spec) in (2, 3):
        return {"all": _from_arrays(*spec)}
    if not isinstance(spec, str | Path):
        raise UsageError(
            f"data is a name, a folder, an .npz file or (images, labels); got {type(spec).__name__}"
        )
    if spec == "digits":
        return {"all": _digits()}
    path = Path(spec)
    if path.is_dir():
        return _folder(path)
    if path.suffix == ".npz":
        return _npz(path)
    raise UsageError(
        f"{spec}: no such data; give digits, a folder of class folders or an .npz file"
    )


def _choose(parts: Mapping[str, Dataset], name: str, fraction: float, seed: int) -> Dataset:
    if name in parts:
        return parts[name]
    if name == "all":
        return _joined([parts["train"], parts["validation"]])
    train, validation = split(parts["all"], fraction, seed)
    return train if name == "train" else validation


def _joined(parts: Sequence[Dataset]) -> Dataset:
    images: Any = [p.images for p in parts]
    return replace(
        parts[0],
        images=np.concatenate(images) if isinstance(images[0], np.ndarray) else sum(images, ()),
        labels=np.concatenate([p.labels for p in parts]),
    )


def _digits() -> Dataset:
    """UCI's Optical Recognition of Handwritten Digits, test part; grey 0..16 to 0..255."""
    require("sklearn", "data")
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return _from_arrays(np.repeat(images[..., None], 3, axis=-1), digits.target)


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
    if isinstance(dataset.images, np.ndarray):
        return dataset
    bad = np.array([not _decodes(path) for path in dataset.images], bool)
    if bad.all():
        raise KerasVitError(f"none of the {len(bad)} image files can be read")
    skipped = tuple(path for path, is_bad in zip(dataset.images, bad, strict=True) if is_bad)
    return replace(dataset.take(np.flatnonzero(~bad)), skipped=skipped)


def _decodes(path: Path) -> bool:
    try:
        open_image(path)
    except KerasVitError:
        return False
    return True
