"""The loss against the paper's formulas by hand, in float64."""

import keras
import numpy as np
import pytest
from distillation_cases import LABELS, SETTINGS, SHARES, STUDENT, TEACHER

from keras_vit.distillation import DistillationLoss, DistilledAccuracy, joint_targets
from keras_vit.errors import UsageError
from keras_vit.training import SigmoidCrossEntropy, SoftmaxCrossEntropy

HOT = np.eye(5)[LABELS]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def _by_hand(shares, class_logits, logits, teacher, kind, alpha, temperature) -> float:
    given = -(shares * _log_softmax(class_logits)).sum() / len(shares)
    if kind == "hard":
        answers = teacher.argmax(-1)
        found = -_log_softmax(logits)[np.arange(len(answers)), answers].mean()
    else:
        ours, theirs = _log_softmax(logits / temperature), _log_softmax(teacher / temperature)
        divergence = (np.exp(theirs) * (theirs - ours)).sum()
        found = divergence * temperature**2 / logits.size
    return (1 - alpha) * given + alpha * found


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(("labels", "shares"), [(LABELS, HOT), (SHARES, SHARES)])
def test_two_heads(settings, labels, shares):
    loss = DistillationLoss(SoftmaxCrossEntropy(), *settings)
    expected = _by_hand(shares, STUDENT[:, 0], STUDENT[:, 1], TEACHER, *settings)
    assert float(loss(joint_targets(labels, TEACHER), STUDENT)) == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("settings", SETTINGS)
def test_one_head_answers_for_both(settings):
    one = STUDENT[:, 0]
    loss = DistillationLoss(SoftmaxCrossEntropy(), *settings)
    expected = _by_hand(HOT, one, one, TEACHER, *settings)
    assert float(loss(joint_targets(LABELS, TEACHER), one)) == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("base", [SoftmaxCrossEntropy(0.1), SigmoidCrossEntropy()])
def test_labels_alone_are_the_base_loss_of_the_mean_of_the_heads(base):
    found = DistillationLoss(base, "soft", 0.9, 2.0)(LABELS, STUDENT)
    assert float(found) == pytest.approx(float(base(LABELS, STUDENT.mean(1))), rel=1e-6)


def test_without_weight_the_teacher_changes_nothing():
    loss = DistillationLoss(SoftmaxCrossEntropy(0.1), "soft", 0.0)
    expected = SoftmaxCrossEntropy(0.1)(LABELS, STUDENT[:, 0])
    assert float(loss(joint_targets(LABELS, TEACHER), STUDENT)) == pytest.approx(float(expected))


def test_a_student_like_its_teacher_has_no_soft_loss():
    loss = DistillationLoss(SoftmaxCrossEntropy(), "soft", 1.0, 2.0)
    assert float(loss(joint_targets(LABELS, TEACHER), TEACHER)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("labels", [LABELS, np.eye(5, dtype="float32")[LABELS]])
@pytest.mark.parametrize("taught", [True, False])
def test_accuracy_is_that_of_the_mean_of_the_heads(labels, taught):
    metric = DistilledAccuracy()
    metric.update_state(joint_targets(labels, TEACHER) if taught else labels, STUDENT)
    assert float(metric.result()) == pytest.approx(np.mean(STUDENT.mean(1).argmax(-1) == LABELS))


@pytest.mark.parametrize(
    "thing", [DistillationLoss(SoftmaxCrossEntropy(0.1), "soft", 0.3, 2.0), DistilledAccuracy("a")]
)
def test_they_survive_saving(thing):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(thing))
    assert again.get_config() == thing.get_config() and again.name == thing.name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("warm",), "distillation must be one of hard, soft; got 'warm'"),
        (("hard", 1.5), "alpha lies between 0 and 1; got 1.5"),
        (("soft", 0.5, 0.0), "temperature must be above 0; got 0.0"),
    ],
)
def test_wrong_settings_are_misuse(settings, message):
    with pytest.raises(UsageError, match=message):
        DistillationLoss(SoftmaxCrossEntropy(), *settings)
