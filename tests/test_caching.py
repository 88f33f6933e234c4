"""What can be made again is kept, and a cache that fails is no failure."""

import json
from pathlib import Path

import pytest

from keras_vit import catalogue
from keras_vit.caching import cached_json
from keras_vit.weights.whole_file import draft_file


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_VIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def refuse() -> None:
    raise AssertionError("it was made again")


def test_kept_until_its_key_changes() -> None:
    assert cached_json("note.json", [1], lambda: {"a": 1}) == {"a": 1}
    assert cached_json("note.json", [1], refuse) == {"a": 1}
    assert cached_json("note.json", [2], lambda: {"a": 2}) == {"a": 2}
    assert cached_json("note.json", [2], refuse) == {"a": 2}


@pytest.mark.parametrize("damaged", ["", "[]", '{"key": [1]}', "{", "null"])
def test_a_damaged_note_is_made_again(folder: Path, damaged: str) -> None:
    folder.mkdir()
    (folder / "note.json").write_text(damaged)
    assert cached_json("note.json", [1], lambda: 5) == 5
    assert cached_json("note.json", [1], refuse) == 5


def test_a_folder_that_cannot_be_made_costs_time_alone(folder: Path) -> None:
    folder.write_text("a file")
    assert cached_json("note.json", [1], lambda: 5) == 5


def test_nothing_is_left_of_a_file_that_failed(folder: Path) -> None:
    folder.mkdir()
    with pytest.raises(ZeroDivisionError), draft_file(folder / "note.json") as draft:
        draft.write_bytes(b"half")
        raise ZeroDivisionError
    assert list(folder.iterdir()) == []


def test_the_catalogue_comes_back_from_the_cache_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cards() -> list[dict]:
        catalogue._catalogue.cache_clear()
        return [catalogue.info(name).to_dict() for name in catalogue.list_models()]

    parsed = cards()
    assert json.loads((folder / "catalogue.json").read_bytes())["data"]
    monkeypatch.setattr(catalogue, "_parsed", refuse)
    assert cards() == parsed
    catalogue._catalogue.cache_clear()
