"""More than one batch to test an artifact on: images of other sizes, and its other endpoints."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_vit.config import Preprocessing
from keras_vit.export.images import source_images


@dataclass(frozen=True)
class Case:
    """One batch.

    Attributes:
        signature: what is called. what: the inputs, for messages.
        inputs: images (batch, height, width, channels), or encoded files.
        expected: outputs by name.
    """

    signature: str
    what: str
    inputs: np.ndarray | Sequence[bytes]
    expected: Mapping[str, np.ndarray]


def images_of_sizes(
    size: tuple[int, int], channels: int, batch: int | None, count: int = 3
) -> Iterator[np.ndarray]:
    """uint8 batches of two sizes, one taller than `size`, one wider."""
    height, width = size
    for sides in ((height * 3 // 2 + 1, width * 3 // 4 + 1), (height * 2 // 3 + 1, width * 2)):
        yield _filled(source_images(*sides, channels)[[0, 2, 8][:count]], batch)


def encoded_images(values: Preprocessing, batch: int | None) -> tuple[list[bytes], np.ndarray]:
    """(files, what the model sees of them by Pillow): PNG and JPEG, each of another size.

    The JPEG has all its colours: decoders differ in how they enlarge those of smaller files.
    """
    from PIL import Image

    from keras_vit.data.transforms import eval_image

    files = []
    formats = [("PNG", {}), ("JPEG", {"quality": 90, "subsampling": 0}), ("PNG", {})]
    batches = images_of_sizes(values.image_size, len(values.mean), None)
    pictures = [picture for images in batches for picture in images]
    for picture, (format, options) in zip(pictures[::2], formats, strict=True):
        file = io.BytesIO()
        Image.fromarray(picture.squeeze()).save(file, format, **options)
        files.append(file.getvalue())
    seen = np.stack([eval_image(Image.open(io.BytesIO(file)), values) for file in files])
    chosen = np.arange(batch or len(files)) % len(files)
    return [files[index] for index in chosen], seen[chosen]


def _filled(images: np.ndarray, batch: int | None) -> np.ndarray:
    """As many as a fixed batch has."""
    return images if batch is None else images[np.arange(batch) % len(images)]


def stored(cases: Sequence[Case]) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """(arrays for an .npz file, the rest for JSON)."""
    arrays: dict[str, np.ndarray] = {}
    rest = []
    for number, case in enumerate(cases):
        one = isinstance(case.inputs, np.ndarray)
        inputs = [case.inputs] if one else [np.frombuffer(file, np.uint8) for file in case.inputs]
        for index, value in enumerate(inputs):
            arrays[f"case.{number}.in.{index}"] = np.asarray(value)
        for name, value in case.expected.items():
            arrays[f"case.{number}.out.{name}"] = value
        rest.append(
            {
                "signature": case.signature,
                "what": case.what,
                "files": None if one else len(inputs),
                "outputs": list(case.expected),
            }
        )
    return arrays, rest


def restored(arrays: Mapping[str, np.ndarray], rest: Sequence[Mapping[str, Any]]) -> list[Case]:
    """The inverse of `stored`."""
    return [
        Case(
            one["signature"],
            one["what"],
            arrays[f"case.{number}.in.0"]
            if one["files"] is None
            else [arrays[f"case.{number}.in.{i}"].tobytes() for i in range(one["files"])],
            {name: arrays[f"case.{number}.out.{name}"] for name in one["outputs"]},
        )
        for number, one in enumerate(rest)
    ]
