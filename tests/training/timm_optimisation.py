"""What timm computes for test_optimisation_parity: run as `python timm_optimisation.py FOLDER`.

Writes FOLDER/groups.json, schedules.json and arrays.npz. A process of its own, since torchvision must not
be imported after TensorFlow.
"""

import json
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from optimisation_cases import (
    CLASSES,
    LAMB,
    LOGITS,
    MODELS,
    SCHEDULES,
    SHARES,
    WEIGHTS,
    lamb_gradient,
)
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.optim import Lamb, param_groups_layer_decay
from timm.scheduler import CosineLRScheduler


def groups(name: str) -> dict[str, tuple[float, bool]]:
    """Scale of the rate and whether it decays, for each parameter."""
    model = timm.create_model(name, num_classes=5)
    unlisted = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["lr_scale"], group["weight_decay"] > 0)
        for group in param_groups_layer_decay(
            model, weight_decay=0.1, no_weight_decay_list=unlisted, layer_decay=0.65
        )
        for parameter in group["params"]
    }


def schedule(rate: float, steps: int, warmup: int, end: float, start: float, prefix: bool) -> list:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], rate)
    made = CosineLRScheduler(
        optimizer,
        t_initial=steps - warmup if prefix else steps,
        lr_min=end,
        warmup_t=warmup,
        warmup_lr_init=start,
        warmup_prefix=prefix,
        t_in_epochs=False,
    )
    rates = []
    for step in range(steps + 3):
        made.step_update(step)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def losses() -> dict[str, np.ndarray]:
    logits, classes = torch.tensor(LOGITS), torch.tensor(CLASSES)
    shares = torch.tensor(SHARES)
    found = {
        "smoothed": LabelSmoothingCrossEntropy(0.1)(logits, classes),
        "soft": SoftTargetCrossEntropy()(logits, shares),
        "binary": BinaryCrossEntropy(0.0)(logits, classes),
        "binary_smoothed": BinaryCrossEntropy(0.1)(logits, classes),
        "binary_soft": BinaryCrossEntropy(0.0)(logits, shares),
        "binary_threshold": BinaryCrossEntropy(0.0, target_threshold=0.0)(logits, shares),
        "binary_sum": BinaryCrossEntropy(0.0, sum_classes=True)(logits, shares),
    }
    return {name: value.numpy() for name, value in found.items()}


def lamb() -> dict[str, np.ndarray]:
    """The weights after each of several steps: one decays, one does not."""
    weights = [torch.tensor(w, requires_grad=True) for w in WEIGHTS]
    rate, decay, clip, epsilon, steps = LAMB
    optimizer = Lamb(
        [
            {"params": [weights[0]], "weight_decay": decay},
            {"params": [weights[1]], "weight_decay": 0.0},
        ],
        lr=rate,
        eps=epsilon,
        max_grad_norm=clip,
    )
    found = {}
    for step in range(steps):
        for i, weight in enumerate(weights):
            weight.grad = torch.tensor(lamb_gradient(step, i))
        optimizer.step()
        for i, weight in enumerate(weights):
            found[f"lamb_{step}_{i}"] = weight.detach().numpy().copy()
    return found


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "groups.json").write_text(json.dumps({name: groups(name) for name in MODELS}))
    (folder / "schedules.json").write_text(json.dumps([schedule(*case) for case in SCHEDULES]))
    np.savez(folder / "arrays.npz", **losses(), **lamb())
