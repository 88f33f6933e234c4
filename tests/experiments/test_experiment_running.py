"""What an experiment writes, and what it does again; the stages are stood in for."""

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

import keras_vit
from keras_vit.errors import UsageError
from keras_vit.experiments import running, stages
from keras_vit.experiments.results import differences, shown, summary
from keras_vit.experiments.specs import experiment_of


@pytest.fixture
def done(monkeypatch) -> list[str]:
    """The stages that were done: each leaves an empty model, and an accuracy of its own."""
    calls: list[str] = []

    def stage(output: Path, seed: int, **arguments):
        name = arguments["model"]
        calls.append(f"{name} {seed}")
        output.touch()
        accuracy = 0.5 + len(calls) / 1000
        sizes = {"parameters": 10, "images": 5, "validation_images": 3}
        return {"accuracy": accuracy, "loss": 1.0, "seconds": 2.0, **sizes}

    fakes = dict.fromkeys(stages.STAGES, stage)
    monkeypatch.setattr(running, "STAGES", fakes)
    return calls


def test_it_leaves_a_table_a_figure_the_raw_results_and_a_page(done, tmp_path):
    folder = tmp_path / "out"
    told = []
    report = keras_vit.experiment(
        "position-embedding", folder, small=True, seeds=2, progress=lambda *row: told.append(row)
    )
    assert len(done) == len(report.rows) == len(told) == 8
    names = {"table.csv", "figure.svg", "results.json", "report.html", "work"}
    assert {path.name for path in folder.iterdir()} == names
    with (folder / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["variant"] for row in rows] == [line["variant"] for line in report.summary]
    raw = json.loads((folder / "results.json").read_text())
    assert raw["scale"] == "small" and raw["rows"] == [dict(row) for row in report.rows]
    assert raw["stages"]["CvT without"][0]["data"] == "digits"
    assert {"versions", "hardware"} <= set(raw["environment"])
    marks = ElementTree.parse(folder / "figure.svg").getroot().iter()
    assert sum(mark.tag.endswith("circle") for mark in marks) == 8
    page = (folder / "report.html").read_text()
    for text in (
        "at a small scale, on digits",
        "seeds: 2",
        "DeiT without is",
        "on 3 images",
        "<svg",
    ):
        assert text in page


def test_what_is_done_is_not_done_again(done, tmp_path):
    keras_vit.experiment("resolution", tmp_path / "out", small=True, seeds=1)
    assert len(done) == 3  # the first stage of the three variants is the same
    with pytest.raises(UsageError, match="out holds results; pass overwrite=True"):
        keras_vit.experiment("resolution", tmp_path / "out", small=True, seeds=1)
    keras_vit.experiment("resolution", tmp_path / "out", small=True, seeds=1, overwrite=True)
    assert len(done) == 3
    changes = {"evaluate": {"batch_size": 8}}
    keras_vit.experiment(
        "resolution", tmp_path / "out", small=True, seeds=1, changes=changes, overwrite=True
    )
    assert len(done) == 4


def test_an_interrupted_experiment_goes_on(done, tmp_path):
    def stop(*row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keras_vit.experiment("few-shot", tmp_path / "out", small=True, seeds=1, progress=stop)
    before = len(done)
    report = keras_vit.experiment("few-shot", tmp_path / "out", small=True, seeds=1)
    assert before == 2 and len(done) == 1 + 8 and len(report.rows) == 8


def test_a_curve_has_every_point(done, tmp_path):
    keras_vit.experiment("few-shot", tmp_path / "out", small=True, seeds=2)
    marks = ElementTree.parse(tmp_path / "out" / "figure.svg").getroot().iter()
    kinds = [mark.get("class", "").split(" ")[0] for mark in marks]
    assert kinds.count("mark") == kinds.count("bar") == 8  # and how far its seeds are apart


def test_a_folder_of_other_things_is_misuse(done, tmp_path):
    (tmp_path / "precious").touch()
    with pytest.raises(UsageError, match="holds other things than an experiment"):
        keras_vit.experiment("few-shot", tmp_path, small=True)
    assert not done


def _rows(without: list[float]) -> list[dict]:
    pairs = {"DeiT with positions": [0.90, 0.91, 0.92], "DeiT without": without}
    return [
        {"variant": name, "seed": seed, "accuracy": value, "parameters": 7}
        for name, values in pairs.items()
        for seed, value in enumerate(values)
    ]


def test_means_and_spreads():
    made = experiment_of("position-embedding", "small")
    first = summary(made, _rows([0.8, 0.8, 0.8]))[0]
    assert first["accuracy"] == pytest.approx(0.91) and first["seeds"] == 3
    assert first["accuracy_deviation"] == pytest.approx(0.01)
    assert (shown(first, "accuracy"), shown(first, "parameters")) == ("91.00% ± 1.00%", "7")


@pytest.mark.parametrize(
    ("without", "verdict"),
    [
        ([0.8, 0.9, 0.91], "is below with each of 3 seeds (-10.00, -1.00, -1.00 points"),
        ([0.95, 0.95, 0.95], "is above with each of 3 seeds"),
        ([0.95, 0.9, 0.95], "is above with 2 and below with 1 of 3 seeds"),
        ([0.9, 0.9, 0.95], "is above with 1, level with 1 and below with 1 of 3 seeds"),
        ([0.9, 0.91, 0.92], "is level with each of 3 seeds"),
    ],
)
def test_a_difference_is_told_as_it_was_found(without, verdict):
    made = experiment_of("position-embedding", "small")
    rows = _rows(without) + [
        {"variant": name, "seed": 0, "accuracy": 0.5}
        for name in ("CvT without", "CvT with positions")
    ]
    found = differences(made, rows)[0]
    assert verdict in found.verdict
    assert found.mean == pytest.approx(sum(found.each) / 3)


@pytest.mark.slow
def test_few_images_are_those_of_the_few_shot_protocol():
    import numpy as np

    dataset = keras_vit.data.load("digits", "train")
    places = stages.few(dataset, 3, 1)
    draws = np.random.default_rng(1)
    for label in range(10):
        expected = draws.permutation(np.flatnonzero(dataset.labels == label))[:3]
        assert set(expected) <= set(places)
    assert len(places) == 30


@pytest.mark.slow
def test_a_small_experiment_runs_to_its_end(tmp_path):
    report = keras_vit.experiment(
        "resolution",
        tmp_path / "out",
        small=True,
        seeds=1,
        changes={"train": {"epochs": 1, "data": "digits"}, "evaluate": {"data": "digits"}},
    )
    assert [row["variant"] for row in report.rows] == [
        "small",
        "large, as it is",
        "large, fine-tuned",
    ]
    assert all(0 < row["accuracy"] <= 1 for row in report.rows)
