import json
from typing import Any

import numpy as np
import pytest

from keras_vit.errors import UsageError
from keras_vit.export import export_model, open_artifact
from keras_vit.export.sidecar import SAVED_MODEL_METADATA, sha256

LABELS = ("ant", "bee", "cow", "dog", "eel")

FORMATS = ("savedmodel", "tflite", "onnx")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(params=FORMATS)
def one(request: pytest.FixtureRequest, exported: Any) -> Any:
    """An exported file, of every format in turn."""
    return exported(request.param)


def test_report_says_what_was_measured(one: Any) -> None:
    report = one.report
    assert report.verified
    assert report.max_difference <= 1e-5
    assert report.relative_difference <= report.comparison.tolerance == 1e-4
    assert report.top1_agreement == 1.0
    assert report.comparison.images == 12
    assert report.batches == ((1,) if report.format == "tflite" else (1, 2, 7))
    assert report.batch == (1 if report.format == "tflite" else "dynamic")
    assert report.operators
    assert report.seconds["total"] >= report.seconds["convert"] > 0
    assert json.loads(json.dumps(report.to_dict()))["format"] == report.format


def test_interface(one: Any) -> None:
    batch = 1 if one.report.format == "tflite" else None
    artifact = open_artifact(one.path)
    assert [str(value) for value in artifact.inputs] == [
        f"images uint8 ({batch or '?'}, 32, 32, 3)"
    ]
    assert [str(value) for value in artifact.outputs] == [f"logits float32 ({batch or '?'}, 5)"]
    assert artifact.inputs == one.report.inputs
    assert artifact.outputs == one.report.outputs


def test_answers_like_the_model_on_unseen_images(
    one: Any, photographs: np.ndarray, answers: np.ndarray
) -> None:
    """The tolerance is what the verification promises: 1e-4 of the standard deviation."""
    logits = open_artifact(one.path).predict(photographs)
    assert logits.shape == (9, 5) and logits.dtype == np.float32
    assert np.abs(logits - answers).max() <= 1e-4 * answers.std()


def test_weights_are_there_once(one: Any) -> None:
    """A small model's graph is part of the file; a SavedModel has a file for the weights alone."""
    report = one.report
    weights = one.path / "variables" / "variables.data-00000-of-00001"
    size = weights.stat().st_size if report.format == "savedmodel" else report.size
    assert 0.99 < size / report.weight_bytes < 1.2


def test_sidecar_describes_the_artifact(one: Any, model: Any) -> None:
    data = json.loads((one.path.parent / f"{one.path.name}.json").read_text())
    assert data["name"] == model.config.name
    assert data["labels"] == list(LABELS)
    assert data["preprocessing"]["mode"] == "normalize"
    assert data["preprocessing"]["mean"] == list(model.config.preprocessing.mean)
    assert data["artifact"]["sha256"] == sha256(one.path)
    assert data["artifact"]["bytes"] == one.report.size
    assert data["report"]["verified"] is True
    assert data["report"]["path"] == one.path.name
    assert data["keras_vit"] and data["versions"]["keras"]


def test_artifact_knows_its_model(one: Any, model: Any) -> None:
    artifact = open_artifact(one.path)
    assert artifact.labels == LABELS
    assert artifact.preprocessing_mode == "normalize"
    assert artifact.preprocessing == model.config.preprocessing
    assert artifact.config["name"] == model.config.name


def test_nothing_else_is_left(one: Any) -> None:
    left = {path.name for path in one.path.parent.iterdir()}
    assert not [name for name in left if name.startswith(".")]


def test_onnx_holds_its_metadata(exported: Any) -> None:
    import onnx

    proto = onnx.load(exported("onnx").path)
    stored = {entry.key: json.loads(entry.value) for entry in proto.metadata_props}
    assert stored["keras_vit.labels"] == list(LABELS)
    assert stored["keras_vit.preprocessing"]["mode"] == "normalize"


def test_onnx_batch_is_called_batch(exported: Any) -> None:
    import onnx

    graph = onnx.load(exported("onnx").path).graph
    values = [*graph.input, *graph.output]
    assert [v.type.tensor_type.shape.dim[0].dim_param for v in values] == ["batch", "batch"]
    assert len(graph.input) == 1


def test_onnx_without_the_file_beside_it(exported: Any, tmp_path: Any) -> None:
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(exported("onnx").path.read_bytes())
    assert open_artifact(alone).labels == LABELS


def test_saved_model_holds_its_metadata(exported: Any) -> None:
    stored = json.loads((exported("savedmodel").path / SAVED_MODEL_METADATA).read_text())
    assert stored["labels"] == list(LABELS)


def test_tflite_has_builtin_operators_only(exported: Any) -> None:
    operators = exported("tflite").report.operators
    assert operators["GELU"] == 2
    assert not [name for name in operators if name.startswith("Flex")]


class TestRefusedBeforeAnyWork:
    """Each of these would take seconds if a conversion had begun; none leaves anything behind."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"format": "coreml"}, "unknown format"),
            ({"batch": 0}, "batch has to be a positive number"),
            ({"batch": "all"}, "batch has to be"),
            ({"preprocessing": "bake"}, "preprocessing has to be"),
            ({"input_dtype": "uint8"}, "needs preprocessing"),
            ({"preprocessing": "normalize", "input_dtype": "int8"}, "input_dtype has to be"),
            ({"image_size": (64, 64)}, "takes images of 32 x 32, not 64 x 64"),
            ({"labels": ["a", "b"]}, "2 labels for a model with 5 outputs"),
        ],
    )
    def test_argument(self, model: Any, tmp_path: Any, arguments: dict, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            export_model(model, tmp_path / "m", **arguments)
        assert list(tmp_path.iterdir()) == []

    def test_existing_output(self, model: Any, tmp_path: Any) -> None:
        (tmp_path / "m.onnx").write_text("mine")
        with pytest.raises(UsageError, match="exists"):
            export_model(model, tmp_path / "m.onnx")
        assert (tmp_path / "m.onnx").read_text() == "mine"

    @pytest.mark.parametrize(
        ("name", "format"),
        [("m", "tf_saved_model"), ("m.tflite", "litert"), ("m.onnx", "onnx")],
    )
    def test_by_way_of_keras_own_method(
        self, model: Any, tmp_path: Any, name: str, format: str
    ) -> None:
        """`model.export` is this export: Keras' own would overwrite."""
        (tmp_path / f"{name}.json").write_text("mine")
        with pytest.raises(UsageError, match=r"json exists; pass overwrite=True"):
            model.export(tmp_path / name, format=format)

    def test_not_a_model(self, tmp_path: Any) -> None:
        with pytest.raises(UsageError, match=r"keras\.Model, not str"):
            export_model("m.keras", tmp_path / "m.onnx")  # type: ignore[arg-type]

    def test_model_without_symbolic_inputs(self, tmp_path: Any) -> None:
        import keras

        class Own(keras.Model):
            def call(self, inputs: Any) -> Any:
                return inputs

        with pytest.raises(UsageError, match="no symbolic inputs"):
            export_model(Own(), tmp_path / "m.onnx")

    def test_model_of_something_else(self, tmp_path: Any) -> None:
        import keras

        words = keras.Input((16,))
        with pytest.raises(UsageError, match="one batch of images"):
            export_model(keras.Model(words, keras.layers.Dense(2)(words)), tmp_path / "m.onnx")

    def test_normalize_without_a_configuration(self, model: Any, tmp_path: Any) -> None:
        import keras

        plain = keras.Model(model.input, model.output)
        with pytest.raises(UsageError, match="pass a layer"):
            export_model(plain, tmp_path / "m.onnx", preprocessing="normalize")

    def test_layer_that_gives_another_size(self, model: Any, tmp_path: Any) -> None:
        import keras

        with pytest.raises(UsageError, match=r"gives images of \(64, 64, 3\)"):
            export_model(model, tmp_path / "m", preprocessing=keras.layers.Resizing(64, 64))

    @pytest.mark.usefixtures("few_objects")
    def test_quantised_model(self, tmp_path: Any) -> None:
        import keras

        images = keras.Input((8, 8, 3))
        quantised = keras.Model(images, keras.layers.Dense(2)(images))
        quantised.layers[-1].quantize("int8")
        with pytest.raises(UsageError, match="is quantised"):
            export_model(quantised, tmp_path / "m.onnx")
