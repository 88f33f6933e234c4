"""What a model carries with it: its name, its builder's arguments, its preprocessing, its labels.

Frozen dataclasses, so that Keras neither tracks nor copies them, and plain data, so that they travel
in `.keras` files and in the JSON beside every exported artifact.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from keras_vit.errors import UsageError

_SCHEMA = 1
"""Of a saved `ModelConfig`; one more whenever an older keras_vit would misread what is new."""


@dataclass(frozen=True)
class Preprocessing:
    """How a checkpoint wants its images, in timm's terms.

    Attributes:
        image_size: (height, width) of the model's input, in pixels.
        mean, std: per channel, of images scaled to 0..1.
        interpolation: `"bicubic"` or `"bilinear"`, antialiased as Pillow does it.
        crop_pct: share of the resized image that the central crop keeps, in (0, 1].
        crop_mode: `"center"` (resize the shorter side, crop the centre) or `"squash"` (resize both).
    """

    image_size: tuple[int, int]
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: str = "bicubic"
    crop_pct: float = 0.9
    crop_mode: str = "center"

    @property
    def uncropped(self) -> tuple[int, int]:
        """(height, width) that the resize aims at, of which the crop keeps `crop_pct`."""
        height, width = self.image_size
        return math.floor(height / self.crop_pct), math.floor(width / self.crop_pct)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) after the resize, before the central crop, of an image of this size.

        Rounded as timm's `transforms_imagenet_eval` does it: for square inputs by torchvision's
        `Resize(int)`, which truncates the longer side, for others by timm's `ResizeKeepRatio`.
        """
        rows, columns = self.uncropped
        if self.crop_mode == "squash":
            return rows, columns
        if rows == columns:
            shorter = min(height, width)
            return (
                rows if height == shorter else int(rows * height / shorter),
                columns if width == shorter else int(columns * width / shorter),
            )
        ratio = min(height / rows, width / columns)
        return round(height / ratio), round(width / ratio)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; lists become tuples again."""
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**plain)


@dataclass(frozen=True)
class ModelConfig:
    """Everything that makes a model what it is, its weights apart.

    Attributes:
        name: `architecture.tag`.
        family: the catalogue's family, such as `"vit"`.
        arguments: the keyword arguments of the family's builder.
        preprocessing: what the checkpoint wants.
        numerics: `"timm"`, `"source"` or `"huggingface"`: whose arithmetic the model follows.
        labels: one name a class, in the order of the logits, or None.
        weights: where the weights came from, or None for a fresh initialisation.
        training: how `keras_vit.train` made the weights, plain JSON data: recipe, data, seed, versions,
            accuracy; None of weights that it did not make.
    """

    name: str
    family: str
    arguments: Mapping[str, Any]
    preprocessing: Preprocessing
    numerics: str = "timm"
    labels: tuple[str, ...] | None = None
    weights: str | None = None
    training: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {"schema": _SCHEMA, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            UsageError: for data of a newer keras_vit.
        """
        data = dict(data)
        schema = data.pop("schema", 1)
        if schema > _SCHEMA:
            raise UsageError(
                f"{data.get('name')} was saved by a newer keras_vit (schema {schema}, this one reads "
                f"{_SCHEMA}): pip install -U keras-vit-zoo"
            )
        labels = data.get("labels")
        return cls(
            **{
                **data,
                "arguments": {
                    k: tuple(v) if isinstance(v, list) else v for k, v in data["arguments"].items()
                },
                "preprocessing": Preprocessing.from_dict(data["preprocessing"]),
                "labels": None if labels is None else tuple(labels),
            }
        )
