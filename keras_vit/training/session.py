"""A run from its first step, or from where it was, to what it leaves: a file, or a folder."""

import contextlib
import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vit.config import ModelConfig
from keras_vit.data.dataset import Dataset
from keras_vit.models.model import VisionModel
from keras_vit.training.conclusion import page, provenance
from keras_vit.training.run import History, Listeners, Work, run
from keras_vit.training.run_folder import RunFolder, replace_durably, write_whole
from keras_vit.training.saving import save_trained
from keras_vit.training.training_report import Epoch, TrainingReport


@dataclass(frozen=True)
class Session:
    """What `train` has decided.

    Attributes:
        model: to train. config: of the model, before training.
        train, held_out: images to train on, and to validate with.
        work: what to do with them.
        description: `configuration` (what a run must share to be the same run), `environment`, and
            `source` (what the user called the data), plain JSON data.
        listeners: who is told on the way.
    """

    model: keras.Model
    config: ModelConfig
    train: Dataset
    held_out: Dataset
    work: Work
    description: Mapping[str, Any]
    listeners: Listeners

    def to_file(self, output: Path, overwrite: bool) -> TrainingReport:
        """Train, and save nothing but the model.

        Raises:
            UsageError, KerasVitError: as `run` and `save_trained`.
        """
        history = run(self.model, self.work, None, self.listeners)
        if self.work.team.leads:
            self._save(self.work.team.alone(self.model), output, history, overwrite)
        return self._report(output, None, history)

    def to_folder(self, folder: RunFolder, resume: bool) -> TrainingReport:
        """Train in a folder, from the beginning or from where the run in it has come to.

        Raises:
            UsageError, KerasVitError: as `run`, `RunFolder.locked` and `RunFolder.require_same`.
        """
        team = self.work.team
        with folder.locked() if team.leads else contextlib.nullcontext():
            if team.leads and not (resume and folder.exists):
                folder.begin({**self.description, "result": None})
            team.wait("the run is described")
            description = folder.described()
            folder.require_same(self.description["configuration"])
            if description["result"] is not None:
                return TrainingReport.from_dict(description["result"])
            if not team.leads:
                history = run(self.model, self.work, folder, self.listeners)
                return self._report(folder.model, folder.report, history)
            self._compare_versions(folder, description)
            folder.tidy()
            keeping = dataclasses.replace(self.listeners, best=self._keeper(folder))
            history = run(self.model, self.work, folder, keeping)
            return self._concluded(folder, description, history)

    def _concluded(
        self, folder: RunFolder, description: Mapping[str, Any], history: History
    ) -> TrainingReport:
        """What a finished run leaves in its folder."""
        model = self.work.team.alone(self.model)
        self._save(model, folder.model, history, overwrite=True)
        best = folder.best_of(history.best["epoch"])
        if best.exists():  # else the run was killed after this point, and went on
            replace_durably(best, folder.best)
        folder.keep_best()
        preprocessing = self.config.preprocessing
        text = page(model, self.held_out, preprocessing, self.work, history, description)
        write_whole(folder.report, text)
        report = self._report(folder.model, folder.report, history)
        folder.describe({**description, "result": report.to_dict()})
        return report

    def _save(self, model: keras.Model, output: Path, history: History, overwrite: bool) -> None:
        images = next(iter(self.work.held_out))[0]
        config = self._trained_config(history.epochs[-1])
        save_trained(model, config, output, overwrite, np.asarray(images))

    def _keeper(self, folder: RunFolder) -> Any:
        """A function that keeps the model of the best epoch so far."""

        def keep(best: Mapping[str, Any]) -> None:
            config = self._trained_config(
                {"epoch": best["epoch"], "val_accuracy": best["accuracy"]}
            )
            draft = folder.checkpoints / f".{folder.best.name}.draft.keras"
            model = self.model
            VisionModel(model.input, model.output, name=model.name, config=config).save(draft)
            replace_durably(draft, folder.best_of(best["epoch"]))

        return keep

    def _trained_config(self, row: Mapping[str, Any]) -> ModelConfig:
        origin = self.config.weights or "scratch"
        return dataclasses.replace(
            self.config,
            labels=self.train.class_names,
            weights=f"trained for {row['epoch']} epochs from {origin}",
            training=provenance(self.description, row),
        )

    def _report(self, path: Path, page: Path | None, history: History) -> TrainingReport:
        epochs = tuple(Epoch.of(row, self.work.epochs) for row in history.epochs)
        return TrainingReport(
            path=str(path),
            page=None if page is None else str(page),
            class_names=self.train.class_names,
            epochs=epochs,
            accuracy=epochs[-1].val_accuracy,
            loss=epochs[-1].val_loss,
            best_epoch=history.best["epoch"],
            best_accuracy=history.best["accuracy"],
            train_count=len(self.train),
            validation_count=len(self.held_out),
            skipped=len(self.train.skipped) + len(self.held_out.skipped),
            seconds=history.seconds,
        )

    def _compare_versions(self, folder: RunFolder, there: Mapping[str, Any]) -> None:
        """Say so where a run goes on with other versions than it began with."""
        old, new = (d["environment"]["versions"] for d in (there, self.description))
        changed = [
            f"{name} {old.get(name, 'none')}, now {new.get(name, 'none')}"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
        if changed:
            warnings.warn(
                f"{folder.path} was begun with {'; '.join(changed)}: it goes on, but not bit for bit",
                stacklevel=4,
            )
