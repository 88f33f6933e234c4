"""`evaluate` and `fewshot` in commands: what they print, write and refuse. Files run without Keras."""

import csv
import json

import pytest
from PIL import Image

import keras_vit
from keras_vit import data

DATA = ("--data", "val", "--split", "all")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two untrained models of ten classes as files, one with features, and real.json of images."""
    folder = tmp_path_factory.mktemp("measures")
    for name, width in (("small", 48), ("large", 96)):
        model = keras_vit.load(
            "vit_tiny_patch16_224",
            weights=None,
            image_size=16,
            patch_size=4,
            depth=1,
            embed_dim=width,
            num_heads=2,
            labels=list("0123456789"),
        )
        keras_vit.export_model(model, folder / f"{name}.onnx", verify=False)
    keras_vit.export_model(model, folder / "features.onnx", outputs=["features"], verify=False)
    digits = data.load("digits")
    for number in range(1, 21):
        file = folder / "val" / str(digits.labels[number]) / f"ILSVRC2012_val_{number:08d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.images[number]).save(file)
    (folder / "real.json").write_text(json.dumps([[k % 10, 3] if k % 4 else [] for k in range(20)]))
    (folder / "short.json").write_text("[[1]]")
    return folder


@pytest.fixture
def run(cli, folder, without_keras):
    """Runs a command there, where importing Keras is an error."""
    return lambda *args: cli(*args, cwd=folder, env=without_keras)


def test_several_models_are_a_table(run):
    result = run("evaluate", "small.onnx", "large.onnx", *DATA)
    assert result.code == 0, result.err
    header, *rows = (line.split() for line in result.out.splitlines())
    names = ["model", "top-1", "top-5", "loss", "images/s", "seconds", "parameters", "MACs"]
    assert header == names
    assert [row[0] for row in rows] == ["small.onnx", "large.onnx"]
    assert [row[6] for row in rows] == ["32.1K", "119K"]
    assert result.err == "20 images (all)\n"


def test_several_models_are_a_list_in_json(run, folder):
    reports = run("evaluate", "small.onnx", "large.onnx", *DATA, "--json").json
    expected = keras_vit.evaluate(
        [folder / "small.onnx", folder / "large.onnx"], folder / "val", split="all"
    )
    assert [one["confusion"] for one in reports] == [
        [list(row) for row in one.confusion] for one in expected
    ]


def test_one_model_is_one_object_with_a_line_a_row_of_the_matrix(run):
    result = run("evaluate", "small.onnx", *DATA, "--json")
    report = result.json
    assert [row.count("\n") for row in result.out.split('"confusion": [')[1:]] == [15]
    assert sum(map(sum, report["confusion"])) == report["count"] == 20
    assert [one["name"] for one in report["classes"]] == list("0123456789")


def test_accuracies_of_classes_on_request(run):
    plain = run("evaluate", "small.onnx", *DATA).out
    assert "taken for" not in plain
    whole = run("evaluate", "small.onnx", *DATA, "--per-class").out
    table = whole.split("\n\n")[1].splitlines()
    assert table[0].split() == ["class", "images", "top-1", "taken", "for"]
    assert [line.split()[0] for line in table[1:]] == list("0123456789")
    both = run("evaluate", "small.onnx", "large.onnx", *DATA, "--per-class").out
    assert both.split("\n\n")[1].split()[:4] == ["class", "images", "small.onnx", "large.onnx"]


def test_the_confusion_matrix_as_a_file(run, folder):
    args = ("evaluate", "small.onnx", *DATA, "--confusion", "matrix.csv")
    report = run(*args, "--json").json
    with (folder / "matrix.csv").open(newline="") as file:
        _, *rows = csv.reader(file)
    assert [[int(cell) for cell in row[1:]] for row in rows] == report["confusion"]
    again = run(*args)
    assert (again.code, again.error) == (2, "matrix.csv exists; pass --force to replace it")
    assert run(*args, "--force").code == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["small.onnx", "large.onnx", "--confusion", "m.csv"], "--confusion is of one model"),
        (["small.onnx", "--confusion", "m.txt"], "has to end in .csv"),
        (["small.onnx", "none.onnx"], "there is no file none.onnx"),
        (["small.onnx", "--real", "none.json"], "none.json: no such file"),
        (["small.onnx", "--real", "short.json"], "short.json has 1 images, the data an image 20"),
    ],
)
def test_what_is_refused(run, folder, args, message):
    result = run("evaluate", *args, *DATA)
    assert (result.code, result.out) == (2, "")
    assert message in result.error
    assert not list(folder.glob("m.*"))


def test_reassessed_labels(run):
    args = ("evaluate", "small.onnx", *DATA, "--real", "real.json")
    report = run(*args, "--json").json
    assert report["real_count"] == 15
    assert f"ReaL     {report['real']:.2%} (of 15 images)" in run(*args).out


def test_features_in_tables(run):
    result = run("fewshot", "features.onnx", "--data", "digits", "--shots", "1,5", "--seeds", "2")
    assert result.code == 0, result.err
    assert "least squares, l2 2^10, mean of 2 seeds" in result.out
    shots, neighbours = (part.splitlines()[1:] for part in result.out.split("\n\n")[1:])
    assert [line.split()[:2] for line in shots] == [["shots", "images"], ["1", "10"], ["5", "50"]]
    assert [line.split()[0] for line in neighbours] == ["k", "10", "20", "100", "200"]


def test_features_in_json(run, folder):
    args = ("--shots", "5,200", "--seeds", "1", "--knn", "none", "--l2", "8")
    result = run("fewshot", "features.onnx", "--data", "digits", *args, "--json")
    expected = keras_vit.fewshot(
        folder / "features.onnx", "digits", shots=[5, 200], seeds=1, knn=[], l2=8.0
    )
    report = result.json
    assert [one["top1"] for one in report["shots"]] == [one.top1 for one in expected.shots]
    assert report["neighbours"] == []
    assert result.err.endswith("a class has 139 training images, fewer than 200 shots\n")


def test_what_fewshot_refuses(run):
    result = run("fewshot", "small.onnx", "--data", "digits")
    assert (result.code, result.out) == (2, "")
    assert result.error == "small.onnx gives logits, not features: export it with that output"
    wrong = run("fewshot", "features.onnx", "--data", "digits", "--shots", "1,x")
    assert (wrong.code, wrong.out) == (2, "")
    assert "'1,x' is not a list of positive numbers such as 1,5,10,25" in wrong.error


def test_numbers_alone_share_a_line(capsys):
    from keras_vit.cli.output import print_json

    odd = {"a": ["1,\n 2", "[3]"], "b": [[1, -2.5, 1e-9], []], "c": [None, 1], "d": [{"e": [0]}]}
    print_json(odd)
    text = capsys.readouterr().out
    assert json.loads(text) == odd
    assert "[1, -2.5, 1e-09]" in text
