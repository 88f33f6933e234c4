"""The inputs that test_optimisation_parity and timm_optimisation share."""

import numpy as np

_rng = np.random.default_rng(0)

MODELS = (
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "deit3_small_patch16_224",
    "vit_tiny_r_s16_p8_224",
    "resnetv2_50x1_bit",
)
# Rate, steps, warm-up, end, start of the warm-up, whether the decay begins after it.
SCHEDULES = (
    (1e-3, 50, 0, 0.0, 0.0, False),
    (1e-3, 50, 7, 1e-5, 1e-6, False),
    (1e-3, 50, 7, 1e-5, 1e-6, True),
    (0.5, 30, 29, 0.1, 0.0, True),
)
LOGITS = _rng.normal(size=(6, 9)).astype("float32") * 3
CLASSES = _rng.integers(0, 9, 6)
SHARES = _rng.dirichlet(np.full(9, 0.2), 6).astype("float32").round(2)
WEIGHTS = [_rng.normal(size=(4, 3)).astype("float32"), _rng.normal(size=5).astype("float32")]
LAMB = (0.05, 0.1, 1.0, 1e-6, 6)  # rate, weight decay, clip, epsilon, steps


def lamb_gradient(step: int, index: int) -> np.ndarray:
    rng = np.random.default_rng([step, index])
    return rng.normal(size=WEIGHTS[index].shape).astype("float32")
