"""The run itself: `fit` from any step of any epoch on, with everything noted that it takes to go on.

An epoch that was begun is finished by a call of `fit` of its own, and all others by the next. The end
of a call may put averaged weights into the model, so the next one begins from the checkpoint.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_vit.data.pipeline import plain_errors
from keras_vit.distributed.team import Team
from keras_vit.errors import KerasVitError
from keras_vit.training.checkpoints import (
    Checkpoint,
    CheckpointFile,
    metrics_of,
    random_state,
    restore,
    restore_random_state,
    values,
    variables_of,
    weights_of,
)
from keras_vit.training.logs import Board, write_csv
from keras_vit.training.run_folder import RunFolder

_POINTS_PER_EPOCH, _POINTS = 20, 2000  # of the training loss between the ends of epochs


@dataclass
class History:
    """How far a run is, and what it has measured; plain data.

    Attributes:
        step: steps done, of all epochs.
        seconds: spent on them and on validation.
        epochs: a row each: `epoch` from 1, `step`, `seconds`, `learning_rate`, and what `fit` measured.
        points: rows in the middle of epochs: `step`, `loss` (mean since the one before) and
            `learning_rate`.
        best: `epoch` and `accuracy` of the most accurate one; empty before the first.
        ended: whether a callback has stopped the run.
    """

    step: int = 0
    seconds: float = 0.0
    epochs: list[dict[str, Any]] = field(default_factory=list)
    points: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    ended: bool = False


@dataclass(frozen=True)
class Work:
    """What a run does.

    Attributes:
        compile: of the model. callbacks: that belong to the recipe and to the caller.
        stream: from the number of steps done to the batches after it. held_out: validation batches.
        epochs, steps: how many epochs, of how many steps.
        every_steps, every_seconds: between checkpoints inside an epoch; None for never.
        fitted: from the model to the one of the same layers that `fit` gets.
        team: who trains together. whole: all validation batches, where `held_out` has only the part
            of this process of each.
    """

    compile: Mapping[str, Any]
    callbacks: Sequence[keras.callbacks.Callback]
    stream: Callable[[int], Any]
    held_out: Any
    epochs: int
    steps: int
    every_steps: int | None = None
    every_seconds: float | None = None
    fitted: Callable[[keras.Model], keras.Model] = lambda model: keras.Model(
        model.input, model.output
    )
    team: Team = field(default_factory=Team)
    whole: Any = None


@dataclass(frozen=True)
class Listeners:
    """Who wants to know.

    Attributes:
        epoch: gets the rows of all epochs so far, after each. step: gets (steps done, of all).
        best: gets the row of `History` of the best epoch so far, while the model has its weights.
    """

    epoch: Callable[[Sequence[Mapping[str, Any]]], None] = lambda rows: None
    step: Callable[[int, int], None] = lambda done, total: None
    best: Callable[[Mapping[str, Any]], None] = lambda best: None


def run(model: keras.Model, work: Work, folder: RunFolder | None, listeners: Listeners) -> History:
    """Train a model to the end of its work, from the checkpoint in `folder` where there is one.

    Args:
        model: afterwards it has the weights that the last epoch was validated with: averaged ones
            where the recipe averages. How it is compiled does not change.
        work: what to do. folder: a described one, to keep checkpoints and logs in; None keeps nothing.
        listeners: told on the way.

    Raises:
        KerasVitError: a loss that is not finite, damaged data, a folder that cannot be written. The
            newest checkpoint is one of before.
    """
    with work.team.scope():
        return _run(model, work, folder, listeners)


def _run(model: keras.Model, work: Work, folder: RunFolder | None, listeners: Listeners) -> History:
    # A second model of the same layers: the caller's stays as he compiled it, and what is saved holds
    # no optimizer state, which would triple the file.
    fitted = work.fitted(model)
    fitted.compile(**work.compile)
    team = work.team
    file = None if folder is None else CheckpointFile(folder.last, team.leads)
    folder = folder if team.leads else None
    newest = None if file is None else _flushed(file, team)
    history = History() if newest is None else History(**newest.record)
    evaluated = _Evaluated(history, listeners)
    if newest is not None:
        evaluated.weights = {n: newest.arrays[n] for n in weights_of(fitted) if n in newest.arrays}
    try:
        with _Journal(history, folder) as journal, plain_errors():
            recorder = _Recorder(work, history, file, journal, evaluated, listeners)
            callbacks = [evaluated, *work.callbacks, recorder]
            while not recorder.done:
                if newest is not None:
                    restore(variables_of(fitted), newest.arrays)
                _fit(fitted, work, history.step, recorder, newest, callbacks)
                newest = None if file is None or recorder.done else _flushed(file, team)
            if file is not None:
                file.wait()
    finally:
        if file is not None:
            file.close()
    restore(weights_of(fitted), evaluated.weights)
    return history


def _fit(
    fitted: keras.Model,
    work: Work,
    step: int,
    recorder: "_Recorder",
    newest: Checkpoint | None,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """One call of `fit`: the rest of an epoch that was begun, or all whole epochs that are left."""
    epoch, inside = divmod(step, work.steps)
    if inside:
        # The metrics have variables only after a batch: one of validation changes nothing else.
        fitted.test_on_batch(*next(work.held_out.as_numpy_iterator()))
    recorder.begin(newest, inside)
    fitted.fit(
        work.stream(step),
        validation_data=work.held_out,
        initial_epoch=epoch,
        epochs=epoch + 1 if inside else work.epochs,
        steps_per_epoch=work.steps - inside,
        shuffle=False,  # the stream is in its order
        callbacks=list(callbacks),
        verbose=0,
    )


def _flushed(file: CheckpointFile, team: Team) -> Checkpoint | None:
    """The newest checkpoint, the same for the whole team."""
    file.wait()
    team.wait("a checkpoint is written")
    found = file.read()
    team.wait("the checkpoint is read")
    return found


class _Evaluated(keras.callbacks.Callback):
    """Keeps the weights that were validated last, whatever put them into the model.

    It is the first of the callbacks: those that come after it take averaged weights out again.
    """

    def __init__(self, history: History, listeners: Listeners) -> None:
        super().__init__()
        self.history, self.listeners = history, listeners
        self.weights: dict[str, np.ndarray] = {}
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.epoch = epoch + 1

    def on_test_end(self, logs: Mapping[str, float] | None = None) -> None:
        model = self.model  # under JAX, asking for it brings its variables up to date
        self.weights = values(weights_of(model))
        accuracy = float((logs or {}).get("accuracy", np.nan))
        if accuracy > self.history.best.get("accuracy", -1.0):
            self.history.best = {"epoch": self.epoch, "accuracy": accuracy}
            self.listeners.best(self.history.best)


class _Recorder(keras.callbacks.Callback):
    """Counts, measures, writes checkpoints, and stops a run that has diverged. The last of all."""

    def __init__(
        self,
        work: Work,
        history: History,
        file: CheckpointFile | None,
        journal: "_Journal",
        evaluated: _Evaluated,
        listeners: Listeners,
    ) -> None:
        super().__init__()
        self.work, self.history, self.file, self.journal = work, history, file, journal
        self.evaluated, self.listeners = evaluated, listeners
        self.pending: Mapping[str, np.ndarray] = {}
        self.inside = 0
        self.total = work.epochs * work.steps
        self.stride = max(work.steps // _POINTS_PER_EPOCH, -(-self.total // _POINTS), 1)
        self.clock = self.kept = time.perf_counter()
        self.best = history.best.get("epoch")

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.history.ended or self.history.step >= self.total

    def begin(self, newest: Checkpoint | None, inside: int) -> None:
        """A call of `fit` comes that goes on from a checkpoint, `inside` steps into its epoch."""
        self.pending, self.inside = ({} if newest is None else newest.arrays), inside

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.clock = time.perf_counter()
        if self.inside:  # not before `fit`, which has just set them to zero
            restore(metrics_of(self.model), self.pending)
            self.inside = 0

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        if self.pending:  # not before the stream is open: PyTorch's loaders draw a number for that
            restore_random_state(self.pending)
            self.pending = {}

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        history = self.history
        history.step += 1
        inside = history.step % self.work.steps
        if inside % self.stride == 0 or inside == 0:
            self._point(logs or {})
        if inside and self._due(inside):
            self._require_finite(logs or {}, ["loss"])
            self._tick()
            self._checkpoint(values(metrics_of(self.model)))
        self.listeners.step(history.step, self.total)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        logs = logs or {}
        self._require_finite(logs, [name for name in logs if name.endswith("loss")])
        history = self.history
        history.ended = bool(self.model.stop_training)
        self._tick()
        before = sum(row["seconds"] for row in history.epochs)
        history.epochs.append(
            {
                "epoch": epoch + 1,
                "step": history.step,
                "seconds": round(history.seconds - before, 3),
                "learning_rate": self._rate(),
                **{name: float(value) for name, value in logs.items()},
            }
        )
        self.journal.add_epoch()
        self._checkpoint({})
        self.listeners.epoch(history.epochs)

    def _point(self, logs: Mapping[str, Any]) -> None:
        """The mean loss since the last point, from the means of the epoch up to here and up to there."""
        steps, points = self.work.steps, self.history.points
        inside = (self.history.step - 1) % steps + 1
        mean = self._require_finite(logs, ["loss"])
        begin = self.history.step - inside
        last = points[-1] if points and points[-1]["step"] > begin else {"step": begin, "mean": 0.0}
        before = last["step"] - begin
        loss = (mean * inside - last["mean"] * before) / (inside - before)
        step = self.history.step
        points.append({"step": step, "loss": loss, "mean": mean, "learning_rate": self._rate()})
        self.journal.add_point()

    def _require_finite(self, logs: Mapping[str, Any], names: Sequence[str]) -> float:
        measured = [float(logs[name]) for name in names]
        if not np.isfinite(measured).all():
            epoch = -(-self.history.step // self.work.steps)
            raise KerasVitError(f"the loss is not finite in epoch {epoch}: lower the learning rate")
        return measured[0]

    def _rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def _tick(self) -> None:
        now = time.perf_counter()
        self.history.seconds += now - self.clock
        self.clock = now

    def _due(self, inside: int) -> bool:
        """Whether it is time for a checkpoint inside the epoch."""
        if self.file is None or not self.file.writes:
            return False
        steps, seconds = self.work.every_steps, self.work.every_seconds
        return (steps is not None and inside % steps == 0) or (
            seconds is not None and time.perf_counter() - self.kept >= seconds
        )

    def _checkpoint(self, metrics: Mapping[str, np.ndarray]) -> None:
        if self.file is None or not self.file.writes:
            return
        self.kept = time.perf_counter()
        arrays = {**values(variables_of(self.model)), **metrics, **random_state()}
        if self.done:
            arrays |= self.evaluated.weights
        self.file.wait()
        # The checkpoint before is on the disk now: best models of before it are of no use any more.
        best = self.history.best.get("epoch")
        self.journal.keep_best([epoch for epoch in (self.best, best) if epoch])
        self.best = best
        self.file.write(Checkpoint(arrays, dataclasses.asdict(self.history)))


class _Journal:
    """`log.csv` and TensorBoard's files of a run folder; nothing without one."""

    def __init__(self, history: History, folder: RunFolder | None) -> None:
        self.history, self.folder = history, folder
        self.board = None
        if folder is not None:
            self.board = Board(folder.board, history.epochs, list(map(_shown, history.points)))
            if history.epochs:
                write_csv(folder.log, history.epochs)

    def __enter__(self) -> "_Journal":
        return self

    def __exit__(self, *error: object) -> None:
        if self.board is not None:
            self.board.close()

    def keep_best(self, epochs: Sequence[int]) -> None:
        """The models of other epochs go."""
        if self.folder is not None:
            self.folder.keep_best(*epochs)

    def add_point(self) -> None:
        """The newest point has come."""
        if self.board is not None:
            self.board.add_step(_shown(self.history.points[-1]))

    def add_epoch(self) -> None:
        """The newest epoch has come."""
        if self.board is not None and self.folder is not None:
            self.board.add_epoch(self.history.epochs[-1])
            write_csv(self.folder.log, self.history.epochs)


def _shown(point: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in point.items() if name != "mean"}
