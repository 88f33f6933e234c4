"""A ViT in NumPy, float64, for the tests: from images and what is added to each block's attention."""

from typing import Any

import numpy as np
from scipy.special import erf


def arrays(model: Any) -> dict[str, np.ndarray]:
    """The weights by their paths."""
    return {v.path: np.asarray(v, np.float64) for v in model.weights}


def forward(
    weights: dict[str, np.ndarray],
    image: np.ndarray,
    heads: int,
    offsets: list[np.ndarray],
    moved: np.ndarray | float = 0.0,
    patch: int = 16,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The logits of one image `(height, width, channels)`, and each block's `(heads, tokens, tokens)`.

    `moved` is added to what the first block gives, `(tokens, dim)`.
    """

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return scaled * weights[f"{name}/gamma"] + weights[f"{name}/beta"]

    rows, columns = image.shape[0] // patch, image.shape[1] // patch
    cut = image.reshape(rows, patch, columns, patch, -1).swapaxes(1, 2).astype(np.float64)
    kernel = weights["patch_embed/proj/kernel"]
    tokens = cut.reshape(rows * columns, -1) @ kernel.reshape(-1, kernel.shape[-1])
    tokens += weights["patch_embed/proj/bias"]
    x = np.concatenate([weights["embedding/cls_token"][0], tokens])
    x = x + weights["embedding/pos_embed"][0]
    scores = []
    for i, offset in enumerate(offsets):
        name = f"blocks_{i}"
        qkv = dense(norm(x, f"{name}/norm1"), f"{name}/attn/qkv")
        query, key, value = qkv.reshape(len(x), 3, heads, -1).transpose(1, 2, 0, 3)
        logits = query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5
        soft = np.exp(logits - logits.max(-1, keepdims=True))
        soft /= soft.sum(-1, keepdims=True)
        scores.append(soft)
        mixed = ((soft + offset) @ value).swapaxes(0, 1).reshape(x.shape)
        x = x + dense(mixed, f"{name}/attn/proj")
        hidden = dense(norm(x, f"{name}/norm2"), f"{name}/mlp/fc1")
        x = x + dense(hidden * (1 + erf(hidden / 2**0.5)) / 2, f"{name}/mlp/fc2")
        x = x + moved * (i == 0)
    return dense(norm(x, "norm")[0], "head"), scores
