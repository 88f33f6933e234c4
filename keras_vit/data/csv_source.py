"""Image files and their classes in a table: a CSV file with the columns `path` and `label`."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_vit.data.dataset import Dataset
from keras_vit.errors import UsageError

_COLUMNS = ("path", "label")
_SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "validation"}


def csv_parts(path: Path, names: Sequence[str] | None) -> Mapping[str, Dataset]:
    """The images of a table: `train` and `validation` where it has a column `split`, else `all`.

    Args:
        path: comma-separated, UTF-8, with a first line that names the columns. `path` is relative to the
            file's own folder, `label` a class name, `split` (where there is one) train, val, validation
            or test.
        names: class names in the order of the labels; by default all that occur, sorted, as numbers if
            they are.

    Raises:
        UsageError: no such columns, an unknown class or split, no rows.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            table = csv.DictReader(stream)
            missing = [c for c in _COLUMNS if c not in (table.fieldnames or ())]
            if missing:
                raise UsageError(
                    f"{path}: no column {missing[0]!r} in its first line; expected path,label"
                )
            rows = list(table)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: not a readable CSV file ({error})") from None
    if not rows:
        raise UsageError(f"{path}: the table holds no images")
    for i, row in enumerate(rows, start=2):
        if not row["path"] or not row["label"]:
            raise UsageError(f"{path}, line {i}: a path or label is missing")
    classes = tuple(names) if names is not None else _sorted({row["label"] for row in rows})
    unknown = {row["label"] for row in rows} - set(classes)
    if unknown:
        raise UsageError(f"{path}: class {min(unknown)!r} is not among the classes given")
    parts: dict[str, list[dict[str, str]]] = {}
    for i, row in enumerate(rows, start=2):
        split = _SPLITS.get(row["split"]) if "split" in row else "all"
        if split is None:
            raise UsageError(
                f"{path}, line {i}: split {row['split']!r} is not one of {', '.join(_SPLITS)}"
            )
        parts.setdefault(split, []).append(row)
    if len(parts) == 1:
        parts = {"all": rows}
    return {
        part: Dataset(
            tuple(path.parent / row["path"] for row in chosen),
            np.array([classes.index(row["label"]) for row in chosen], np.int64),
            classes,
        )
        for part, chosen in parts.items()
    }


def _sorted(labels: set[str]) -> tuple[str, ...]:
    """Numbers in their order, else names in theirs."""
    if all(label.isdecimal() for label in labels):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))
