"""SavedModels: their endpoints, without Keras; their size; versions; XLA."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from baked_cases import answers_by_pillow, pictures
from PIL import Image

from keras_vit.data.transforms import eval_image, normalize
from keras_vit.errors import ExportError, UsageError
from keras_vit.export import export_model, open_artifact
from keras_vit.export.serving_options import ServingOptions, version_path, versions
from keras_vit.export.staging import folder_of


@pytest.fixture(scope="module")
def path(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1, compiled by XLA, of the small ViT."""
    base = tmp_path_factory.mktemp("served") / "flowers"
    report = export_model(
        model, base, preprocessing="normalize", xla=True, versioned=True, outputs=["logits", "top3"]
    )
    assert report.verified
    assert report.path == str(base / "1")
    return base / "1"


@pytest.fixture(scope="module")
def artifact(path: Path) -> Any:
    return open_artifact(path)


def encoded(image: np.ndarray, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format, **options)
    return file.getvalue()


def close(given: np.ndarray, expected: np.ndarray) -> None:
    assert given.shape == expected.shape
    assert np.abs(given - expected).max() <= 1e-4 * expected.std()


def test_endpoints(artifact: Any) -> None:
    assert set(artifact.endpoints) == {"serving_default", "images", "bytes"}


@pytest.mark.parametrize("size", [(32, 32), (40, 100), (77, 35)], ids=str)
def test_images_of_any_size(artifact: Any, model: Any, size: tuple[int, int]) -> None:
    images = pictures(size, 3)
    given = artifact.call("images", images)
    expected = answers_by_pillow(model, images)
    close(given["logits"], expected)
    assert given["top3_classes"].dtype == np.int32
    np.testing.assert_array_equal(given["top3_classes"], np.argsort(-expected, axis=1)[:, :3])


def test_files_of_many_kinds_and_sizes_in_one_batch(artifact: Any, model: Any) -> None:
    """As Pillow decodes them: colours of a JPEG in full and halved, grey, transparent, a palette."""
    one, two, three = (pictures(size, 1)[0] for size in [(40, 61), (90, 33), (50, 50)])
    alpha = np.dstack([three, three[..., :1]])
    palette = np.asarray(Image.fromarray(one).quantize(16).convert("RGB"))
    files = [
        encoded(one, "JPEG", quality=90, subsampling=0),
        encoded(two, "JPEG", quality=90, subsampling=2),
        encoded(two[..., 0], "JPEG"),
        encoded(three, "PNG"),
        encoded(three[..., 1], "PNG"),
        encoded(alpha, "PNG"),
        encoded(palette, "GIF"),
        encoded(one, "BMP"),
    ]
    values = model.config.preprocessing
    seen = np.stack([eval_image(Image.open(io.BytesIO(file)), values) for file in files])
    expected = np.asarray(model(normalize(seen, values), training=False))
    close(artifact.call("bytes", files)["logits"], expected)


def test_a_file_that_is_no_image(artifact: Any) -> None:
    with pytest.raises(Exception, match="Unknown image file format"):
        artifact.call("bytes", [b"GIF or not"])


def test_unknown_endpoint(artifact: Any) -> None:
    with pytest.raises(UsageError, match="no endpoint 'predict'; it has"):
        artifact.call("predict", [b""])


def test_the_model_is_compiled_and_stored_once(path: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    functions = proto.meta_graphs[0].graph_def.library.function
    convolving = [f for f in functions if any(node.op == "Conv2D" for node in f.node_def)]
    assert len(convolving) == 1
    assert convolving[0].attr["_XlaMustCompile"].b


@pytest.mark.slow
def test_a_whole_vit_tiny_adds_at_most_six_percent_to_its_weights(tmp_path: Path) -> None:
    """With both endpoints and the names of a thousand classes."""
    import keras_vit

    labels = [f"a class whose name is about as long as others, {i}" for i in range(1000)]
    model = keras_vit.load("vit_tiny_patch16_224", weights=None, labels=labels)
    report = export_model(model, tmp_path / "m", preprocessing="normalize", verify=False)
    weights = sum(int(np.prod(weight.shape)) * 4 for weight in model.weights)
    assert 1 < report.size / weights <= 1.06


def test_labels_lie_inside(path: Path, model: Any) -> None:
    assert (path / "assets.extra" / "labels.txt").read_text().splitlines() == list(model.labels)


def test_runs_where_keras_and_keras_vit_are_not_installed(
    path: Path, model: Any, tmp_path: Path
) -> None:
    """Every endpoint, as a server calls it."""
    images = pictures((44, 58))
    np.save(tmp_path / "images.npy", images)
    program = f"""
import json, sys
sys.modules["keras"] = sys.modules["keras_vit"] = None
import numpy as np, tensorflow as tf
loaded = tf.saved_model.load({str(path)!r})
images = np.load("images.npy")
files = tf.constant([tf.io.encode_png(image).numpy() for image in images])
answers = {{
    "images": loaded.signatures["images"](images=tf.constant(images)),
    "bytes": loaded.signatures["bytes"](bytes=files),
    "serving_default": loaded.signatures["serving_default"](images=tf.zeros((1, 32, 32, 3), tf.uint8)),
}}
print(json.dumps({{name: values["logits"].numpy().tolist() for name, values in answers.items()}}))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    given = {name: np.array(value) for name, value in json.loads(done.stdout).items()}
    expected = answers_by_pillow(model, images)
    close(given["images"], expected)
    close(given["bytes"], expected)
    assert given["serving_default"].shape == (1, 5)


def test_a_wrong_endpoint_is_found(
    model: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Files whose pixels are not Pillow's: what the export expects of them is changed, not the file."""
    from keras_vit.export import proving

    def darker(*arguments: Any) -> Any:
        files, seen = cases(*arguments)
        return files, np.where(seen > 9, seen - 9, seen)

    cases = proving.encoded_images
    monkeypatch.setattr(proving, "encoded_images", darker)
    with pytest.raises(ExportError, match=r"for PNG and JPEG files \(bytes\)"):
        export_model(model, tmp_path / "flowers", versioned=2, endpoints=["bytes"])
    assert list(tmp_path.iterdir()) == []


class TestVersions:
    @pytest.fixture
    def base(self, tmp_path: Path) -> Path:
        for name in ("1", "3", "12", ".4.tmp", "old"):
            (tmp_path / "m" / name).mkdir(parents=True)
        (tmp_path / "m" / "20.json").write_text("{}")
        return tmp_path / "m"

    def test_the_next_is_one_more_than_the_largest(self, base: Path) -> None:
        assert versions(base) == [1, 3, 12]
        assert version_path(base, True, False) == base / "13"

    def test_the_first(self, tmp_path: Path) -> None:
        assert version_path(tmp_path / "new", True, False) == tmp_path / "new" / "1"

    def test_a_number_of_ones_own(self, base: Path) -> None:
        assert version_path(base, 3, True) == base / "3"

    def test_the_next_replaces_nothing(self, base: Path) -> None:
        with pytest.raises(UsageError, match="replaces none; pass the number to replace"):
            version_path(base, True, True)

    def test_an_existing_number(self, path: Path, model: Any) -> None:
        with pytest.raises(UsageError, match=r"1 exists; pass overwrite=True"):
            export_model(model, path.parent, versioned=1)

    def test_a_folder_that_is_a_saved_model(self, path: Path, model: Any) -> None:
        with pytest.raises(UsageError, match="is a SavedModel itself"):
            export_model(model, path, versioned=True)

    def test_a_folder_that_is_missing_is_made_and_not_left(self, tmp_path: Path) -> None:
        with pytest.raises(OSError), folder_of(tmp_path / "m" / "1"):
            assert (tmp_path / "m").is_dir()
            raise OSError
        assert not (tmp_path / "m").exists()
        with folder_of(tmp_path / "m" / "1"):
            (tmp_path / "m" / "1").touch()
        assert (tmp_path / "m" / "1").exists()


class TestRefused:
    @pytest.mark.parametrize(
        "choice", [{"xla": True}, {"versioned": True}, {"endpoints": ["bytes"]}]
    )
    def test_of_other_formats(self, model: Any, tmp_path: Path, choice: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match="are a SavedModel's; the format is onnx"):
            export_model(model, tmp_path / "m.onnx", **choice)

    def test_unknown_endpoint(self, model: Any, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="'images' or 'bytes', not 'jpeg'"):
            export_model(model, tmp_path / "m", endpoints=["jpeg"])

    def test_endpoint_of_a_model_without_a_configuration(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match='"images": the model\'s preprocessing is not known'):
            ServingOptions(("images",)).chosen("savedmodel", None, 3, "none", "float32")

    def test_files_have_one_channel_or_three(self) -> None:
        from keras_vit.config import Preprocessing

        values = Preprocessing((8, 8), (0.5,) * 4, (0.5,) * 4)
        of_four = ServingOptions().chosen("savedmodel", values, 4, "none", "float32")
        assert of_four == ("images",)
        with pytest.raises(UsageError, match="image files do not have 4 channels"):
            ServingOptions(("bytes",)).chosen("savedmodel", values, 4, "none", "float32")
