"""The model that keras_vit hands out: a Functional Keras model that knows where it comes from."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras

from keras_vit.config import ModelConfig
from keras_vit.errors import UsageError

# Not from keras_vit.layers: _registration may import this module while that package is half imported.
from keras_vit.layers.preprocess import Preprocess
from keras_vit.weights.report import LoadReport


@keras.saving.register_keras_serializable("keras_vit")
class VisionModel(keras.Model):
    """A `keras.Model` with its catalogue entry, preprocessing, labels and load report.

    Models made from it (`keras.Model(model.input, ...)`, `clone_model`) are plain Keras models.

    Args:
        inputs, outputs, name: as in `keras.Model`.
        config: what the model is. load_report: how its weights were read.
    """

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        name: str | None = None,
        *,
        config: ModelConfig | None = None,
        load_report: LoadReport | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(inputs, outputs, name=name, **kwargs)
        self._config, self._load_report = config, load_report

    @property
    def config(self) -> ModelConfig | None:
        """Name, builder arguments, preprocessing, numerics and labels; None for a clone."""
        return self._config

    @property
    def load_report(self) -> LoadReport | None:
        """Which tensors were loaded, resized, re-initialised or left unused; None without weights."""
        return self._load_report

    @load_report.setter
    def load_report(self, report: LoadReport | None) -> None:
        self._load_report = report

    @property
    def labels(self) -> tuple[str, ...] | None:
        """One name a class, or None."""
        return self._config.labels if self._config else None

    @property
    def preprocess(self) -> Preprocess:
        """A layer that turns any uint8 image batch into this model's input.

        Raises:
            UsageError: for a model without a configuration, such as a clone.
        """
        if self._config is None:
            raise UsageError("this model has no configuration, so its preprocessing is not known")
        return Preprocess(**self._config.preprocessing.to_dict())

    def reset_classifier(
        self, num_classes: int, labels: Sequence[str] | None = None
    ) -> "VisionModel":
        """A new model with copies of these weights and a new classifier; see `models.editing`."""
        from keras_vit.models.editing import reset_classifier

        return reset_classifier(self, num_classes, labels)

    def set_image_size(self, image_size: int | tuple[int, int]) -> "VisionModel":
        """A new model with copies of these weights for images of another size; see `models.editing`."""
        from keras_vit.models.editing import set_image_size

        return set_image_size(self, image_size)

    def keep_blocks(self, count: int) -> "VisionModel":
        """A new model with copies of the first `count` blocks' weights; see `models.editing`."""
        from keras_vit.models.editing import keep_blocks

        return keep_blocks(self, count)

    def one_head(self, head: str) -> "VisionModel":
        """This distilled model with its `"class"` or `"distillation"` head; see `models.editing`."""
        from keras_vit.models.editing import one_head

        return one_head(self, head)

    def export(
        self, filepath: Any, format: str = "tf_saved_model", verbose: Any = None, **kwargs: Any
    ) -> Any:
        """Writes a verified file; formats and arguments are those of `keras_vit.export_model`.

        Formats that keras_vit does not write, and models without a configuration, go to Keras.
        """
        from keras_vit.export import FORMATS, export_model

        if self._config is None or format not in FORMATS:
            return super().export(filepath, format=format, verbose=verbose, **kwargs)
        return export_model(self, filepath, format=format, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "vision": self._config.to_dict() if self._config else None,
            "load_report": self._load_report.to_dict() if self._load_report else None,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> Self:
        config = dict(config)
        vision, report = config.pop("vision", None), config.pop("load_report", None)
        model = super().from_config(config, custom_objects=custom_objects)
        model._config = ModelConfig.from_dict(vision) if vision else None
        model._load_report = LoadReport.from_dict(report) if report else None
        return model
