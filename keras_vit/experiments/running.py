"""`experiment`: every variant of an experiment with every seed, and what comes of them."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_vit.errors import UsageError
from keras_vit.experiments.figures import as_file, figure
from keras_vit.experiments.pages import report
from keras_vit.experiments.results import Difference, differences, summary
from keras_vit.experiments.specs import Experiment, Stage, Variant, experiment_of
from keras_vit.experiments.stages import STAGES
from keras_vit.outputs import require_new_folder
from keras_vit.training.environment import environment
from keras_vit.training.logs import write_csv
from keras_vit.training.run_folder import plain, write_whole

_MODEL, _RESULT = "model.keras", "result.json"


@dataclass(frozen=True)
class ExperimentReport:
    """What an experiment found.

    Attributes:
        path: the folder with `table.csv`, `figure.svg`, `results.json` and `report.html`.
        experiment: what was run. rows: a run each. summary: a variant each. differences: the answers.
    """

    path: str
    experiment: Experiment
    rows: tuple[Mapping[str, Any], ...]
    summary: tuple[Mapping[str, Any], ...]
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return plain(
            {
                "path": self.path,
                "experiment": self.experiment.name,
                "scale": self.experiment.scale,
                "rows": self.rows,
                "summary": self.summary,
                "differences": [found.to_dict() for found in self.differences],
            }
        )


def experiment(
    name: str,
    output: str | Path,
    *,
    small: bool = False,
    seeds: int | None = None,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    overwrite: bool = False,
    progress: Callable[[str, int, Mapping[str, Any]], None] | None = None,
) -> ExperimentReport:
    """Run one of the papers' experiments, and write its table, figure, raw results and page.

    Every stage that is done is kept in `OUTPUT/work` with its model, under the digest of all that led to
    it: a call that was interrupted goes on where it was, and variants share what they have in common.

    Args:
        name: `keras_vit.list_experiments()` has them.
        output: a folder; it is made.
        small: at a scale that a CPU does in minutes, on data that come in packages; else on the paper's
            data and models, which TFDS and the hub must have here or be allowed to fetch.
        seeds: how often each variant is run; by default as the experiment has it.
        changes: arguments in place of the experiment's, by what a stage does:
            `{"train": {"data": "tfds:imagenette", "epochs": 30}}`.
        overwrite: write the results of a finished experiment again; stages that are done stay.
        progress: called after each run with its variant, its seed and what it measured.

    Raises:
        UsageError: no such experiment, a folder that holds the results of one, or wrong changes.
        KerasVitError: as the stages raise it.
    """
    made = experiment_of(name, "small" if small else "real", changes)
    count = made.seeds if seeds is None else seeds
    if count < 1:
        raise UsageError(f"seeds must be at least 1; got {count}")
    folder = Path(output)
    _require_folder(folder, overwrite)
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(count):
        for variant in made.variants:
            row = {"variant": variant.name, "seed": seed, **_measured(variant, seed, work)}
            rows.append(row)
            if progress is not None:
                progress(variant.name, seed, row)
    lines, found = summary(made, rows), differences(made, rows)
    drawn, computed = figure(made, rows), environment()
    done = ExperimentReport(str(folder), made, tuple(rows), tuple(lines), tuple(found))
    write_csv(folder / "table.csv", lines)
    write_whole(folder / "figure.svg", as_file(drawn))
    write_whole(folder / "report.html", report(made, rows, lines, found, drawn, computed))
    raw = {**done.to_dict(), "environment": computed, "stages": _described(made)}
    write_whole(folder / "results.json", json.dumps(raw, indent=2, ensure_ascii=False) + "\n")
    return done


def _require_folder(folder: Path, overwrite: bool) -> None:
    require_new_folder(folder)
    if (folder / "results.json").exists() and not overwrite:
        raise UsageError(f"{folder} holds results; pass overwrite=True to replace them")
    if folder.exists() and any(folder.iterdir()) and not (folder / "work").is_dir():
        raise UsageError(f"{folder} holds other things than an experiment; choose another name")


def _measured(variant: Variant, seed: int, work: Path) -> dict[str, Any]:
    """What the last stage measured, all stages before it being done."""
    folders: dict[str, Path] = {}
    measured: dict[str, Any] = {}
    for stage in variant.stages:
        folder = work / _digest(stage, seed, folders)
        measured = _done(stage, seed, folder, folders)
        if stage.name is not None:
            folders[stage.name] = folder
    return measured


def _done(stage: Stage, seed: int, folder: Path, folders: Mapping[str, Path]) -> dict[str, Any]:
    result = folder / _RESULT
    if not result.exists():
        folder.mkdir(exist_ok=True)
        arguments = {
            key: str(folders[value[1:]] / _MODEL) if _is_reference(value) else value
            for key, value in stage.arguments.items()
        }
        keras.utils.clear_session()
        found = STAGES[stage.do](folder / _MODEL, seed, **arguments)
        write_whole(result, json.dumps(found))
    return dict(json.loads(result.read_text(encoding="utf-8")))


def _digest(stage: Stage, seed: int, folders: Mapping[str, Path]) -> str:
    """Of all that a stage depends on; of an earlier stage's model that is this stage's digest."""
    arguments = {
        key: f"@{folders[value[1:]].name}" if _is_reference(value) else value
        for key, value in stage.arguments.items()
    }
    text = json.dumps([stage.do, arguments, seed, keras.backend.backend()], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("@")


def _described(made: Experiment) -> dict[str, Any]:
    """What every variant does, plain data."""
    return {
        variant.name: [
            {"do": stage.do, "as": stage.name, **stage.arguments} for stage in variant.stages
        ]
        for variant in made.variants
    }
