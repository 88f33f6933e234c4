"""Rows into a file: Parquet (by pyarrow), CSV or JSON Lines."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from keras_vit.errors import require

Row = Mapping[str, Any]
Write = Callable[[Path, Sequence[str], Iterable[Row]], None]

_GROUP = 65_536  # rows of Parquet that are kept together


def columns(classes: int) -> list[str]:
    """`image`, then `label_1`, `probability_1` and so on for the most probable classes, then `error`."""
    best = [f"{name}_{i}" for i in range(1, classes + 1) for name in ("label", "probability")]
    return ["image", *best, "error"]


def require_writer(path: Path) -> None:
    """Refuse a kind of file for which a package is missing.

    Raises:
        MissingPackageError: with the pip command that installs it.
    """
    if path.suffix == ".parquet":
        require("pyarrow", "parquet")


def write(path: Path, kind: str, names: Sequence[str], rows: Iterable[Row]) -> None:
    """Write a table; what is missing of a row is empty there.

    Args:
        path: of the file. kind: its suffix, of `SUFFIXES`. names: of the columns. rows: in their order.
    """
    _WRITERS[kind](path, names, rows)


def _jsonl(path: Path, names: Sequence[str], rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(line(row) for row in rows)


def line(row: Row) -> str:
    """A row of JSON Lines, with its end."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def _csv(path: Path, names: Sequence[str], rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _parquet(path: Path, names: Sequence[str], rows: Iterable[Row]) -> None:
    pyarrow = require("pyarrow", "parquet")
    parquet = require("pyarrow.parquet", "parquet")
    kinds = {
        name: pyarrow.float32() if name.startswith("probability") else pyarrow.string()
        for name in names
    }
    schema = pyarrow.schema(kinds)
    with parquet.ParquetWriter(path, schema) as writer:
        for group in _groups(rows):
            writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))


def _groups(rows: Iterable[Row]) -> Iterator[list[dict[str, Any]]]:
    left = iter(rows)
    while group := [dict(row) for row in islice(left, _GROUP)]:
        yield group


_WRITERS: Mapping[str, Write] = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}

SUFFIXES = tuple(_WRITERS)
"""Of the kinds of tables."""
