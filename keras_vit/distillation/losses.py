"""The losses of DeiT's distillation (arXiv:2012.12877, section 4; deit/losses.py), as a Keras loss.

Labels and the teacher's logits travel side by side in one tensor, so that plain `fit` carries them on
every backend: (B, 1 + classes) with class numbers, (B, classes + classes) with shares of classes.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vit.errors import UsageError
from keras_vit.training.losses import matches

KINDS = ("hard", "soft")


@keras.saving.register_keras_serializable("keras_vit")
class DistillationLoss(keras.losses.Loss):
    """`(1 - alpha) * base + alpha * distillation`.

    Hard: cross-entropy with the teacher's answer. Soft: `temperature**2` times the Kullback-Leibler
    divergence of the softmax of the student's from that of the teacher's logits, both divided by the
    temperature. As in DeiT's code it is divided by the number of classes, which Hinton's is not.

    Logits are (B, classes), which answer for both, or those of two heads, (B, 2, classes): the first
    learns from the labels and the second from the teacher. Labels without a teacher's logits, as those
    of validation, give the base loss of the mean of the heads.

    Args:
        base: of labels and logits; a loss of one number an image.
        kind: `"hard"` or `"soft"`. alpha: weight of the distillation, 0 to 1.
        temperature: of the soft one, above 0.
        name, reduction, dtype: as in `keras.losses.Loss`.

    Raises:
        UsageError: a value out of its range.
    """

    def __init__(
        self,
        base: keras.losses.Loss,
        kind: str = "hard",
        alpha: float = 0.5,
        temperature: float = 1.0,
        name: str | None = "distillation",
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        require_settings(kind, alpha, temperature)
        self.base, self.kind = base, kind
        self.alpha, self.temperature = alpha, temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        labels, teacher = separate(y_true, y_pred.shape[-1])
        if teacher is None:
            return self.base.call(labels, mean_of_heads(y_pred))
        two = len(y_pred.shape) == 3
        from_labels, from_teacher = (y_pred[:, 0], y_pred[:, 1]) if two else (y_pred, y_pred)
        given = self.base.call(labels, from_labels)
        distilled = _hard if self.kind == "hard" else _soft
        found = distilled(from_teacher, teacher, self.temperature)
        return (1.0 - self.alpha) * given + self.alpha * found

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "base": keras.saving.serialize_keras_object(self.base),
            "kind": self.kind,
            "alpha": self.alpha,
            "temperature": self.temperature,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DistillationLoss":
        base = keras.saving.deserialize_keras_object(config["base"])
        return cls(**{**config, "base": base})


@keras.saving.register_keras_serializable("keras_vit")
class DistilledAccuracy(keras.metrics.MeanMetricWrapper):
    """`keras_vit.training.Accuracy` of the mean of the heads, of targets with a teacher's logits or not.

    Args:
        name, dtype: as in `keras.metrics.Metric`.
    """

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(_matches, name=name, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}


def _matches(y_true: Any, y_pred: Any) -> Any:
    labels, _ = separate(y_true, y_pred.shape[-1])
    return matches(labels, mean_of_heads(y_pred))


def _hard(student: Any, teacher: Any, temperature: float) -> Any:
    """(B,), of logits (B, classes)."""
    answers = ops.one_hot(ops.argmax(teacher, axis=-1), student.shape[-1], dtype=student.dtype)
    return -ops.sum(answers * ops.log_softmax(student, axis=-1), axis=-1)


def _soft(student: Any, teacher: Any, temperature: float) -> Any:
    """(B,), of logits (B, classes)."""
    found = ops.log_softmax(student / temperature, axis=-1)
    wanted = ops.log_softmax(ops.cast(teacher, student.dtype) / temperature, axis=-1)
    return temperature**2 * ops.mean(ops.exp(wanted) * (wanted - found), axis=-1)


def joint_targets(labels: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """What the loss takes: float32 (B, 1 + classes) or (B, 2 * classes).

    Args:
        labels: class numbers (B,), or shares (B, classes). teacher: logits (B, classes).
    """
    rows = labels.reshape(len(labels), -1)
    return np.concatenate([rows, teacher], axis=1, dtype=np.float32)


def separate(targets: Any, classes: int) -> tuple[Any, Any]:
    """The labels, (B,) or (B, classes), and the teacher's logits, (B, classes), or None without any."""
    if len(targets.shape) == 1 or targets.shape[-1] == classes:
        return targets, None
    labels, teacher = targets[:, :-classes], targets[:, -classes:]
    return (labels[:, 0] if labels.shape[-1] == 1 else labels), teacher


def mean_of_heads(logits: Any) -> Any:
    """(B, classes): what a student answers."""
    return ops.mean(logits, axis=1) if len(logits.shape) == 3 else logits


def require_settings(kind: str, alpha: float, temperature: float) -> None:
    """Refuse what no distillation is.

    Raises:
        UsageError: which value, and its range.
    """
    if kind not in KINDS:
        raise UsageError(f"distillation must be one of {', '.join(KINDS)}; got {kind!r}")
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha lies between 0 and 1; got {alpha}")
    if not temperature > 0:
        raise UsageError(f"temperature must be above 0; got {temperature}")
