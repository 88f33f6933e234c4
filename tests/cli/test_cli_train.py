"""`keras-vit train` with a run folder: what a user sees of an interruption, and of going on."""

import json
import signal

import pytest

ARGUMENTS = ["--data", "digits", "--epochs", "4", "--set", "average=0.9", "--output", "run"]


@pytest.fixture(autouse=True)
def heard():
    """A shell's background jobs ignore SIGINT, and what they start inherits that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_folder_that_is_no_run_is_left_alone(cli, tiny, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").touch()
    result = cli("train", *tiny, *ARGUMENTS, "--force", cwd=tmp_path)
    assert (result.code, result.out) == (2, "")
    assert result.error == "run holds other things than a run; choose another name"


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_ends(cli, start_cli, tiny, tmp_path):
    process = start_cli("train", *tiny, *ARGUMENTS, cwd=tmp_path)
    assert process.stderr.readline().startswith("epoch 1/4")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    *_, kept, last = err.splitlines()
    assert kept == "run keeps the run: the same command with --resume goes on"
    assert last == "error: interrupted"

    unasked = cli("train", *tiny, *ARGUMENTS, cwd=tmp_path)
    assert unasked.code == 2
    assert unasked.error == (
        "run holds a run: pass --resume to continue it, or --force to begin anew"
    )

    other = cli("train", *tiny, *ARGUMENTS, "--flip", "--resume", cwd=tmp_path)
    assert other.code == 2
    assert other.error == (
        "run is a run of another configuration: recipe.augmentation.flip is false there and true "
        "here"
    )

    resumed = cli("train", *tiny, *ARGUMENTS, "--resume", cwd=tmp_path)
    assert resumed.code == 0, resumed.err
    epochs = [line.split(":")[0] for line in resumed.err.splitlines()]
    assert epochs == [f"epoch {i}/4" for i in range(5 - len(epochs), 5)] and len(epochs) < 4
    assert resumed.out.startswith("run/model.keras: accuracy ")
    assert resumed.out.count("\n") == 1

    again = cli("train", *tiny, *ARGUMENTS, "--resume", "--json", cwd=tmp_path)
    assert again.err == "run is a finished run: nothing was left to do\n"
    assert json.loads(again.out)["path"] == "run/model.keras"
    measured = cli("evaluate", "run/model.keras", "--data", "digits", "--json", cwd=tmp_path)
    assert f"accuracy {measured.json['top1']:.2%} on" in resumed.out
