"""`.keras` files of every version that was released load, and compute what they did then.

`tools/write_golden_models.py` writes them.
"""

import json
import zipfile
from pathlib import Path

import pytest

import keras_vit
from keras_vit.errors import CheckpointError
from keras_vit.golden import distance, seeded_images, summary

FILES = sorted((Path(__file__).parent / "golden" / "models").glob("*/*.keras"))


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}-{path.stem}" for path in FILES])
def test_a_saved_model_is_what_it_was(path: Path) -> None:
    expected = json.loads((path.parent / "outputs.json").read_text(encoding="utf-8"))[path.stem]
    model = keras_vit.load(path)
    assert model.labels == ("a", "b", "c")
    assert model.preprocess is not None
    assert distance(summary(model.predict_on_batch(seeded_images(1, 32, 32))), expected) < 1e-5


def test_a_file_of_a_newer_version_is_refused_with_the_reason(tmp_path: Path) -> None:
    newer = tmp_path / "newer.keras"
    with zipfile.ZipFile(FILES[0]) as old, zipfile.ZipFile(newer, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                assert config["config"]["vision"]["schema"] == 1
                config["config"]["vision"]["schema"] = 2
                data = json.dumps(config).encode()
            new.writestr(name, data)
    with pytest.raises(CheckpointError, match=r"saved by a newer keras_vit \(schema 2"):
        keras_vit.load(newer)
