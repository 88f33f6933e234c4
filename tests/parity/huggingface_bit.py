"""transformers' side of the comparison of BiT, in a process of its own.

`python huggingface_bit.py FOLDER make` writes FOLDER/bit/ as `save_pretrained` does, and FOLDER/bit.npz
(images NHWC and logits). `python huggingface_bit.py FOLDER check` reads FOLDER/again/, which keras_vit
wrote, and prints as JSON what was missing or left over, and whether the logits have the same bits.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import BitConfig, BitForImageClassification


def exaggerate(model: torch.nn.Module) -> None:
    """Random weights; kernels that are standardised so small that the epsilon shows."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim == 4:
            parameter.data = 1e-3 * noise
        elif parameter.ndim == 2:
            parameter.data = 1.5 * noise / parameter.shape[1] ** 0.5
        else:
            parameter.data = parameter.data + 0.3 * noise


@torch.inference_mode()
def compute(model: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    return model.eval()(torch.from_numpy(images).permute(0, 3, 1, 2)).logits.numpy()


def make(folder: Path) -> None:
    config = BitConfig(depths=[2, 1, 1, 1], hidden_sizes=[128, 256, 512, 1024], num_labels=10)
    model = BitForImageClassification(config)
    exaggerate(model)
    model.save_pretrained(folder / "bit")
    images = np.random.default_rng(0).normal(0, 1, (2, 66, 97, 3)).astype(np.float32)
    np.savez(folder / "bit.npz", images=images, logits=compute(model, images))


def check(folder: Path) -> None:
    model, loading = BitForImageClassification.from_pretrained(
        folder / "again", output_loading_info=True
    )
    expected = np.load(folder / "bit.npz")
    same = np.array_equal(compute(model, expected["images"]), expected["logits"])
    print(json.dumps({"strict": not any(loading.values()), "same": bool(same)}))


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[2]](Path(sys.argv[1]))
