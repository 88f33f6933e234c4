"""Gradient checkpointing keeps less of the forward pass: bytes that torch's autograd holds."""

import os
import subprocess
import sys

import pytest

from keras_vit.layers import TransformerBlock

CODE = """
import torch
import numpy as np
import keras_vit

def held(checkpointing):
    model = keras_vit.load("vit_tiny_patch16_224", weights=None, image_size=64, patch_size=8, depth=4,
        embed_dim=48, num_classes=3, gradient_checkpointing=checkpointing)
    kept = {}
    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(torch.zeros(16, 64, 64, 3), training=True).sum()
    return sum(kept.values())

print(held(False), held(True))
"""


@pytest.mark.parity
@pytest.mark.slow
def test_less_is_held_for_the_gradients():
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=True,
    )
    whole, checkpointed = map(int, done.stdout.split())
    assert checkpointed < whole / 2


def test_dropout_that_would_differ_the_second_time_is_refused():
    with pytest.raises(ValueError, match="gradient_checkpointing needs"):
        TransformerBlock(1, proj_drop_rate=0.1, gradient_checkpointing=True)
