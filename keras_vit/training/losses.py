"""Losses and accuracy for labels that are class numbers, or after Mixup and CutMix shares of classes."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_vit")
class SoftmaxCrossEntropy(keras.losses.Loss):
    """Cross-entropy of a softmax of the logits.

    For labels (B,) equal to timm's `LabelSmoothingCrossEntropy`, for shares (B, classes) to its
    `SoftTargetCrossEntropy` (timm/loss/cross_entropy.py).

    Args:
        label_smoothing: share of the label that all classes get equally; shares stay as they are, since
            what mixed them has smoothed them.
        name, reduction, dtype: as in `keras.losses.Loss`.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        name: str | None = "softmax_cross_entropy",
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        shares = class_shares(y_true, y_pred, self.label_smoothing)
        return -ops.sum(shares * ops.log_softmax(y_pred, axis=-1), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable("keras_vit")
class SigmoidCrossEntropy(keras.losses.Loss):
    """Binary cross-entropy of each class by itself, from logits.

    Averaged over the classes, as timm's `BinaryCrossEntropy` (timm/loss/binary_cross_entropy.py) and
    DeiT-III have it; summed over them, as big_vision's `sigmoid_xent` and AugReg.

    Args:
        label_smoothing: of labels (B,), as in `SoftmaxCrossEntropy`.
        threshold: shares above it count as 1 and others as 0; None leaves them. DeiT-III: 0, so that
            each class of a mixed image is wholly there.
        sum_classes: sum over the classes and not their mean.
        name, reduction, dtype: as in `keras.losses.Loss`.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        threshold: float | None = None,
        sum_classes: bool = False,
        name: str | None = "sigmoid_cross_entropy",
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.label_smoothing, self.threshold = label_smoothing, threshold
        self.sum_classes = sum_classes

    def call(self, y_true: Any, y_pred: Any) -> Any:
        shares = class_shares(y_true, y_pred, self.label_smoothing)
        if self.threshold is not None:
            shares = ops.cast(shares > self.threshold, y_pred.dtype)
        each = ops.binary_crossentropy(shares, y_pred, from_logits=True)
        return ops.sum(each, axis=-1) if self.sum_classes else ops.mean(each, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "label_smoothing": self.label_smoothing,
            "threshold": self.threshold,
            "sum_classes": self.sum_classes,
        }


def class_shares(labels: Any, logits: Any, smoothing: float = 0.0) -> Any:
    """(B, classes) shares that sum to 1, of labels (B,), or of shares, which stay as they are."""
    if len(labels.shape) == len(logits.shape):
        return ops.cast(labels, logits.dtype)
    classes = logits.shape[-1]
    hot = ops.one_hot(ops.cast(labels, "int32"), classes, dtype=logits.dtype)
    return hot * (1.0 - smoothing) + smoothing / classes if smoothing else hot


@keras.saving.register_keras_serializable("keras_vit")
class Accuracy(keras.metrics.MeanMetricWrapper):
    """Share of images whose highest logit is the label's, or the largest share's.

    Args:
        name, dtype: as in `keras.metrics.Metric`.
    """

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(matches, name=name, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}


def matches(y_true: Any, y_pred: Any) -> Any:
    """Per image, 1.0 where the answer is right."""
    if len(y_true.shape) == len(y_pred.shape):
        y_true = ops.argmax(y_true, axis=-1)
    right = ops.equal(ops.cast(y_true, "int32"), ops.cast(ops.argmax(y_pred, axis=-1), "int32"))
    return ops.cast(right, "float32")
