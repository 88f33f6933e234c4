"""Classifiers made of text: what CLIP and SigLIP do with the embeddings of class names."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_vit.errors import UsageError
from keras_vit.models.model import VisionModel


def zero_shot(
    model: VisionModel,
    text_embeddings: Any,
    *,
    scale: float = 100.0,
    bias: float = 0.0,
    labels: Sequence[str] | None = None,
) -> VisionModel:
    """An image tower with the cosine similarity to given texts as its logits.

    CLIP (arXiv:2103.00020) takes the softmax of `scale * cosine`, SigLIP (2303.15343) the sigmoid of
    `scale * cosine + bias`; both are learned with the towers, as `exp(logit_scale)` and `logit_bias`.

    Args:
        model: an image tower that gives its embedding, `(batch, dim)`: CLIP's with their projection as
            the head, SigLIP's with `num_classes=0`.
        text_embeddings: `(classes, dim)`, of the same checkpoint's text tower; they are normalised.
        scale, bias: of the cosine.
        labels: one name a class.

    Returns:
        A model of the same layers, which share their weights, to logits `(batch, classes)`. It is
        fine-tuned, saved and exported as any other.

    Raises:
        UsageError: for embeddings of another width, that are no matrix or not finite, or a number of
            labels that is not theirs.
    """
    texts = np.asarray(text_embeddings, np.float32)
    width = model.output.shape[-1]
    if texts.ndim != 2 or texts.shape[1] != width or len(model.output.shape) != 2:
        raise UsageError(
            f"{model.name} gives {model.output.shape}: text_embeddings must be (classes, {width}), "
            f"not {texts.shape}"
        )
    lengths = np.linalg.norm(texts, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.all() and math.isfinite(scale * bias)):
        raise UsageError("the text embeddings have to be finite, and none of them zero")
    if labels is not None and len(labels) != len(texts):
        raise UsageError(f"there are {len(texts)} text embeddings, but {len(labels)} labels")
    return _with_texts(model, scale * texts / lengths, bias, labels)


def _with_texts(
    model: VisionModel, kernel: np.ndarray, bias: float, labels: Sequence[str] | None
) -> VisionModel:
    head = layers.Dense(
        len(kernel),
        kernel_initializer="zeros",
        dtype=keras.dtype_policies.get(model.dtype_policy).variable_dtype,
        name="zero_shot",
    )
    cosine = layers.UnitNormalization(axis=-1, name="unit", dtype=head.dtype_policy)
    logits = head(cosine(model.output))
    head.kernel.assign(kernel.T)
    head.bias.assign(np.full(len(kernel), bias, np.float32))
    config = model.config and dataclasses.replace(
        model.config, labels=None if labels is None else tuple(labels)
    )
    return VisionModel(
        model.input, logits, name=model.name, config=config, load_report=model.load_report
    )
