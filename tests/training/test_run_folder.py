"""Where a run may begin or go on, and what is said where it may not."""

import json
import multiprocessing
from pathlib import Path

import pytest

from keras_vit.errors import KerasVitError, UsageError
from keras_vit.training.run_folder import RunFolder, is_folder, require_run

CONFIGURATION = {
    "model": {"name": "vit", "arguments": {"image_size": (32, 32), "depth": 2}},
    "recipe": {"learning_rate": 0.001, "average": None},
}


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    """Of a run that was begun."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.begin({"configuration": CONFIGURATION, "result": None})
    return folder


@pytest.mark.parametrize(
    ("name", "folder"), [("a.keras", False), ("a", True), ("a.h5", False), ("a/b", True)]
)
def test_a_name_without_suffix_is_a_folder(name, folder):
    assert is_folder(Path(name)) is folder


def test_a_folder_may_have_a_dot_in_its_name_once_it_exists(tmp_path):
    (tmp_path / "run.2").mkdir()
    assert is_folder(tmp_path / "run.2")


def test_a_new_folder_and_an_empty_one_are_fine(tmp_path):
    require_run(tmp_path / "new", resume=False, overwrite=False)
    (tmp_path / "empty").mkdir()
    require_run(tmp_path / "empty", resume=False, overwrite=False)
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]


def test_a_run_is_neither_begun_anew_nor_continued_unasked(folder):
    with pytest.raises(UsageError, match="resume=True to continue it, or overwrite=True to begin"):
        require_run(folder.path, resume=False, overwrite=False)
    require_run(folder.path, resume=True, overwrite=False)
    require_run(folder.path, resume=False, overwrite=True)


def test_resume_and_overwrite_exclude_each_other(folder):
    with pytest.raises(UsageError, match="choose one"):
        require_run(folder.path, resume=True, overwrite=True)


@pytest.mark.parametrize(("resume", "overwrite"), [(True, False), (False, True), (False, False)])
def test_a_folder_of_other_things_is_left_alone(tmp_path, resume, overwrite):
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(UsageError, match="holds other things than a run"):
        require_run(tmp_path, resume, overwrite)


def test_a_file_cannot_be_resumed(tmp_path):
    with pytest.raises(UsageError, match="keeps no checkpoints: give a run folder"):
        require_run(tmp_path / "m.keras", resume=True, overwrite=False)


def test_a_file_without_suffix_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(UsageError, match="is a file; choose another name"):
        require_run(tmp_path / "run", resume=True, overwrite=False)


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file; choose another name"):
        require_run(tmp_path / "file" / "runs" / "run", resume=False, overwrite=False)


def test_folders_above_a_run_are_made_with_it(tmp_path):
    output = tmp_path / "runs" / "flowers" / "first"
    require_run(output, resume=False, overwrite=False)
    assert not list(tmp_path.iterdir())
    with RunFolder(output).locked():
        assert output.is_dir()


def test_the_same_configuration_is_the_same_with_lists_for_tuples(folder):
    folder.require_same(json.loads(json.dumps(CONFIGURATION)))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("recipe", "learning_rate"), 0.01, "recipe.learning_rate is 0.001 there and 0.01 here"),
        (("recipe", "average"), 0.9, "recipe.average is null there and 0.9 here"),
        (("recipe", "new"), 1, "recipe.new is not set there and 1 here"),
        (
            ("model", "arguments", "image_size"),
            (48, 48),
            r"model.arguments.image_size is \[32, 32\] there and \[48, 48\] here",
        ),
    ],
)
def test_another_configuration_is_named_by_its_field(folder, path, value, message):
    changed = json.loads(json.dumps(CONFIGURATION))
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    with pytest.raises(UsageError, match=f"another configuration: {message}"):
        folder.require_same(changed)


def test_a_field_that_is_missing_is_another_configuration(folder):
    with pytest.raises(UsageError, match=r"recipe\.average is null there and not set here"):
        folder.require_same({**CONFIGURATION, "recipe": {"learning_rate": 0.001}})


def test_begun_anew_nothing_of_the_old_run_is_left(folder):
    (folder.checkpoints / "best-0001.keras").write_text("old")
    for path in (folder.model, folder.report, folder.log):
        path.write_text("old")
    folder.begin({"configuration": {}, "result": None})
    left = {p.name for p in folder.path.rglob("*")}
    assert left == {"run.json", "checkpoints", "tensorboard"}


def test_drafts_of_a_killed_process_are_not_other_things_and_go(folder):
    drafts = [folder.path / ".run.json.tmp", folder.checkpoints / ".last.safetensors.tmp"]
    for draft in drafts:
        draft.write_text("half")
    (folder.path / ".model.keras.x1.tmp").mkdir()
    assert not folder.foreign
    folder.tidy()
    assert {p.name for p in folder.path.rglob("*")} == {"run.json", "checkpoints", "tensorboard"}


def test_models_of_other_best_epochs_go(folder):
    for epoch in (1, 2, 5):
        folder.best_of(epoch).write_text("model")
    folder.keep_best(2, 5)
    assert sorted(p.name for p in folder.checkpoints.iterdir()) == [
        "best-0002.keras",
        "best-0005.keras",
    ]


def test_a_description_of_another_version_is_refused(folder):
    folder.describe({**folder.described(), "format": 99})
    with pytest.raises(KerasVitError, match="is of format 99, not 1"):
        folder.described()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\x00"])
def test_a_damaged_description_is_one_line(folder, text):
    folder.description.write_text(text)
    with pytest.raises(KerasVitError, match=r"run\.json cannot be read"):
        folder.described()


def _hold(path: Path, held, release) -> None:
    with RunFolder(path).locked():
        held.set()
        release.wait(60)


def test_two_processes_do_not_train_in_one_folder(folder):
    pytest.importorskip("fcntl")
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(folder.path, held, release))
    other.start()
    try:
        assert held.wait(60)
        with pytest.raises(UsageError, match="another process is training there"), folder.locked():
            pass
    finally:
        release.set()
        other.join()
    with folder.locked():
        assert not folder.foreign


def test_a_finished_run_says_so(folder):
    assert not folder.finished
    folder.describe({**folder.described(), "result": {"accuracy": 1.0}})
    assert folder.finished
