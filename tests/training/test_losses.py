"""Labels as class numbers and as shares of classes give the same losses and accuracies."""

import keras
import numpy as np
import pytest

from keras_vit.training import Accuracy, SigmoidCrossEntropy, SoftmaxCrossEntropy

LOGITS = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
CLASSES = np.array([0, 1, 2, 3, 4, 0, 1, 2])
HOT = np.eye(5, dtype="float32")[CLASSES]


@pytest.mark.parametrize(
    "loss", [SoftmaxCrossEntropy(), SigmoidCrossEntropy(), SigmoidCrossEntropy(sum_classes=True)]
)
def test_one_hot_shares_are_class_numbers(loss):
    assert float(loss(CLASSES, LOGITS)) == pytest.approx(float(loss(HOT, LOGITS)), rel=1e-6)


def test_softmax_equals_keras():
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(CLASSES, LOGITS)
    assert float(SoftmaxCrossEntropy()(CLASSES, LOGITS)) == pytest.approx(float(expected), rel=1e-6)


def test_a_sum_over_classes_is_as_many_times_the_mean():
    mean, total = SigmoidCrossEntropy(), SigmoidCrossEntropy(sum_classes=True)
    assert float(total(CLASSES, LOGITS)) == pytest.approx(
        5 * float(mean(CLASSES, LOGITS)), rel=1e-6
    )


@pytest.mark.parametrize("labels", [CLASSES, HOT])
def test_accuracy(labels):
    metric = Accuracy()
    metric.update_state(labels, LOGITS)
    assert float(metric.result()) == np.mean(LOGITS.argmax(-1) == CLASSES)


@pytest.mark.parametrize(
    "thing", [SoftmaxCrossEntropy(0.2), SigmoidCrossEntropy(0.1, 0.0, True), Accuracy("top1")]
)
def test_they_survive_saving(thing):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(thing))
    assert again.get_config() == thing.get_config() and again.name == thing.name
