"""What distillation changes of a training run: its outputs, its losses, its targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras

from keras_vit.config import Preprocessing
from keras_vit.data.calls import Calls
from keras_vit.data.host import tensorflow
from keras_vit.distillation.losses import (
    DistillationLoss,
    DistilledAccuracy,
    joint_targets,
    require_settings,
)
from keras_vit.distillation.teachers import Teacher
from keras_vit.errors import UsageError
from keras_vit.models.editing import two_heads
from keras_vit.training.classifiers import ModelLike

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Distillation:
    """A teacher, and how a student learns from it.

    The teacher's logits come with the batches, out of tf.data: so any runtime can teach a model of any
    backend, and `fit`, compiled or not, stays as it is. The defaults are those of DeiT's code; the paper's
    soft distillation has alpha 0.1 and temperature 3.

    Attributes:
        teacher: that is asked. kind, alpha, temperature: as in `DistillationLoss`.

    Raises:
        UsageError: a value out of its range.
    """

    teacher: Teacher
    kind: str = "hard"
    alpha: float = 0.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require_settings(self.kind, self.alpha, self.temperature)

    def student(self, model: keras.Model) -> keras.Model:
        """The model to `fit`, of the same layers.

        Of a distilled DeiT both heads, (B, 2, classes), of which the second learns from the teacher; of any
        other model its logits (B, classes), which learn from both.
        """
        heads = two_heads(model)
        output = model.output if heads is None else keras.ops.stack(heads, axis=1)
        return keras.Model(model.input, output)

    def compile(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of `compile` for it, of those for plain training: `loss` becomes the base."""
        loss = DistillationLoss(arguments["loss"], self.kind, self.alpha, self.temperature)
        return {**arguments, "loss": loss, "metrics": [DistilledAccuracy()]}

    def targets(self, batches: "tf.data.Dataset") -> "tf.data.Dataset":
        """Training batches (images, labels) with the teacher's logits beside the labels.

        Args:
            batches: float32 images as the student gets them, and labels (B,) or (B, classes), as
                `keras_vit.data.batches` and `Recipe.augment` give them.
        """
        tf = tensorflow()
        calls = Calls(lambda images, labels: joint_targets(labels, self.teacher(images)))

        def taught(images: Any, labels: Any) -> tuple[Any, Any]:
            found = tf.numpy_function(calls, [images, labels], tf.float32)
            width = labels.shape[1] if labels.shape.rank == 2 else 1
            return images, tf.ensure_shape(found, (labels.shape[0], width + self.teacher.classes))

        return batches.map(taught)

    def to_dict(self) -> dict[str, Any]:
        """What of it makes a run that run, plain JSON data."""
        return {
            "teacher": self.teacher.name,
            "teacher_parameters": self.teacher.parameters,
            "kind": self.kind,
            "alpha": self.alpha,
            "temperature": self.temperature,
        }


def require_distillation(
    teacher: ModelLike | None, kind: str | None, alpha: float | None, temperature: float | None
) -> None:
    """Refuse arguments of `train` that say nothing, before anything is loaded.

    Raises:
        UsageError: settings without a teacher, a temperature of hard distillation, or a wrong value.
    """
    given = {"distillation": kind, "alpha": alpha, "temperature": temperature}
    if teacher is None:
        for name, value in given.items():
            if value is not None:
                raise UsageError(f"{name} is of a teacher: give it, too")
        return
    settings = settings_of(kind, alpha, temperature)
    require_settings(**settings)
    if temperature is not None and settings["kind"] == "hard":
        raise UsageError("temperature is of soft distillation: pass distillation='soft', too")


def settings_of(kind: str | None, alpha: float | None, temperature: float | None) -> dict[str, Any]:
    """The settings that are given, as arguments of `Distillation`, and its defaults for the others."""
    given = {"kind": kind, "alpha": alpha, "temperature": temperature}
    defaults = {name: getattr(Distillation, name) for name in given}
    return defaults | {name: value for name, value in given.items() if value is not None}


def distillation_of(
    teacher: ModelLike | None,
    student: Preprocessing,
    names: Sequence[str],
    preprocessing: Preprocessing | None,
    settings: tuple[str | None, float | None, float | None],
) -> Distillation | None:
    """What the arguments of `train` ask for; None without a teacher.

    Args:
        teacher, student, names, preprocessing: as in `Teacher`. settings: those of `settings_of`.
    """
    if teacher is None:
        return None
    return Distillation(Teacher(teacher, student, names, preprocessing), **settings_of(*settings))
