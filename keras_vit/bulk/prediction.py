"""One row an image into a table: killed at any moment, the same call goes on and ends with exactly that."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_vit.bulk.inputs import Inputs, inputs
from keras_vit.bulk.outputs import require_table, shard_path
from keras_vit.bulk.parts import Parts
from keras_vit.bulk.tables import Row, columns, write
from keras_vit.config import Preprocessing
from keras_vit.errors import KerasVitError, UsageError
from keras_vit.training.classifiers import Classifier, ModelLike, classifier, model_file
from keras_vit.training.run_folder import replace_durably
from keras_vit.training.scoring import probabilities

_BATCHES = 8  # of a part: at most so many are done again after a kill
_CORRUPT = ("fail", "skip")


@dataclass(frozen=True)
class BulkReport:
    """What a bulk prediction did.

    Attributes:
        path: of the table. count: its rows. found_done: of them, those that an earlier process had made.
        errors: rows of damaged images, which have nothing but `image` and `error`.
        seconds: of this process.
    """

    path: str
    count: int
    found_done: int
    errors: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


def predict_table(
    model: ModelLike,
    images: str | Path | Sequence[str | Path],
    output: Path,
    *,
    top: int,
    batch_size: int,
    preprocessing: Preprocessing | None,
    shard: tuple[int, int],
    on_corrupt: str,
    overwrite: bool,
    progress: Callable[[int, int], None] | None,
) -> BulkReport:
    """The arguments are those of `keras_vit.predict`."""
    if on_corrupt not in _CORRUPT:
        raise UsageError(f"on_corrupt must be one of {', '.join(_CORRUPT)}; got {on_corrupt!r}")
    require_table(output, shard, overwrite)
    path = shard_path(output, shard)
    found = inputs(images).shard(*shard)
    if not len(found):
        raise UsageError(f"there are fewer images than {shard[1]} workers")
    begun = time.perf_counter()
    classifying = classifier(model, preprocessing)
    top = min(top, classifying.classes)
    size = batch_size * _BATCHES
    job = {
        "model": classifying.name,
        "model_digest": _digest(model),
        "preprocessing": classifying.preprocessing.to_dict(),
        "images": len(found),
        "fingerprint": found.fingerprint(),
        "top": top,
        "images_of_a_part": size,
    }
    parts = Parts(path)
    starts = range(0, len(found), size)
    counts = [min(size, len(found) - start) for start in starts]
    done = 0
    with parts.locked():
        parts.begin(job, overwrite)
        for number, start in enumerate(starts):
            if parts.has(number):
                done += counts[number]
            else:
                stop = start + counts[number]
                parts.add(
                    number, _rows(classifying, found, start, stop, top, batch_size, on_corrupt)
                )
            if progress is not None:
                progress(start + counts[number], len(found))
        errors = sum("error" in row for row in parts.rows(counts))
        draft = parts.folder / f"whole{path.suffix}"
        write(draft, path.suffix, columns(top), parts.rows(counts))
        replace_durably(draft, path)
        parts.remove()
    return BulkReport(str(path), len(found), done, errors, time.perf_counter() - begun)


def _rows(
    classifying: Classifier,
    found: Inputs,
    start: int,
    stop: int,
    top: int,
    batch_size: int,
    on_corrupt: str,
) -> list[Row]:
    """The rows of images from one number to before another."""
    names = [found.name(index) for index in range(start, stop)]
    images: Sequence[Any] = found.part(start, stop)
    errors: Mapping[int, str] = {}
    try:
        answers = _answers(classifying, images, batch_size)
    except KerasVitError:
        if on_corrupt == "fail":
            raise
        errors = _damaged(classifying, images)
        if not errors:
            raise
        whole = [images[i] for i in range(len(images)) if i not in errors]
        answers = _answers(classifying, whole, batch_size) if whole else np.empty((0, top))
    labels = classifying.labels or tuple(map(str, range(classifying.classes)))
    left = iter(answers)
    return [
        {"image": name, "error": errors[i]}
        if i in errors
        else {"image": name, **_best(next(left), labels, top)}
        for i, name in enumerate(names)
    ]


def _answers(classifying: Classifier, images: Sequence[Any], batch_size: int) -> np.ndarray:
    return np.concatenate(list(classifying.logits(images, batch_size)))


def _damaged(classifying: Classifier, images: Sequence[Any]) -> dict[int, str]:
    """What is wrong with each image that cannot be read."""
    errors = {}
    for index in range(len(images)):
        try:
            classifying.steps.prepare([images[index]])
        except KerasVitError as error:
            errors[index] = str(error)
    return errors


def _best(logits: np.ndarray, labels: Sequence[str], top: int) -> Row:
    order = np.argsort(-logits, kind="stable")[:top]
    shares = probabilities(logits[None])[0]
    row: dict[str, Any] = {}
    for place, index in enumerate(order, 1):
        row |= {f"label_{place}": labels[index], f"probability_{place}": float(shares[index])}
    return row


def _digest(model: ModelLike) -> str | None:
    """Of a model's file or folder, so that no other one's answers come into the same table."""
    if not isinstance(model, str | os.PathLike) or not Path(model).exists():
        return None
    path = model_file(model)
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "blake2b").digest())
    return digest.hexdigest()
