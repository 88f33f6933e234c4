"""What `train` tells: a record of every epoch, and one of the whole run."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Epoch:
    """An epoch that has ended.

    Attributes:
        number, total: from 1 to `total`.
        seconds: of this epoch, its validation included.
        loss, accuracy: while training. val_loss, val_accuracy: at the end of the epoch.
    """

    number: int
    total: int
    seconds: float
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float

    @classmethod
    def of(cls, row: Mapping[str, Any], total: int) -> Self:
        """From a row of a run's history."""
        names = ("seconds", "loss", "accuracy", "val_loss", "val_accuracy")
        return cls(row["epoch"], total, **{name: row[name] for name in names})


@dataclass(frozen=True)
class TrainingReport:
    """What `train` did.

    Attributes:
        path: the saved model.
        page: the report page of a run folder, or None.
        class_names: its labels.
        epochs: one record each.
        accuracy, loss: on the validation images, of the saved weights.
        best_epoch, best_accuracy: of the most accurate epoch; a run folder has its model, too.
        train_count, validation_count: images.
        skipped: damaged files that were left out.
        seconds: of all epochs, validation included.
    """

    path: str
    page: str | None
    class_names: tuple[str, ...]
    epochs: tuple[Epoch, ...]
    accuracy: float
    loss: float
    best_epoch: int
    best_accuracy: float
    train_count: int
    validation_count: int
    skipped: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        epochs = tuple(Epoch(**epoch) for epoch in data["epochs"])
        return cls(**{**data, "class_names": tuple(data["class_names"]), "epochs": epochs})
