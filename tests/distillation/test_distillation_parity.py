"""The loss against what deit/losses.py computes, in torch."""

import pytest
from distillation_cases import LABELS, SETTINGS, STUDENT, TEACHER

from keras_vit.distillation import DistillationLoss, joint_targets
from keras_vit.training import SoftmaxCrossEntropy

torch = pytest.importorskip("torch")
functional = torch.nn.functional

pytestmark = pytest.mark.parity


def _deit(labels, heads, teacher, kind: str, alpha: float, temperature: float) -> float:
    base, distilled = heads[:, 0], heads[:, 1]
    if kind == "hard":
        loss = functional.cross_entropy(distilled, teacher.argmax(dim=1))
    else:
        logs = [functional.log_softmax(x / temperature, dim=1) for x in (distilled, teacher)]
        total = functional.kl_div(*logs, reduction="sum", log_target=True)
        loss = total * temperature**2 / distilled.numel()
    return float(functional.cross_entropy(base, labels) * (1 - alpha) + loss * alpha)


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_loss_is_deits(settings):
    expected = _deit(*map(torch.from_numpy, (LABELS, STUDENT, TEACHER)), *settings)
    loss = DistillationLoss(SoftmaxCrossEntropy(), *settings)
    assert float(loss(joint_targets(LABELS, TEACHER), STUDENT)) == pytest.approx(expected, rel=1e-6)
