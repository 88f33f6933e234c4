"""Trains timm's ViT and DeiT and Hugging Face's CvT in torch, and writes where they began and how they went.

`python reference_training.py FOLDER REQUEST`, in a process of its own, with JSON of {"id", "library", "name",
"config", "steps", "rate", "decay", "epsilon"}. Writes FOLDER/ID.safetensors (the weights before) and
FOLDER/ID.npz: images (steps, batch, h, w, c), labels (steps, batch) and the loss of every step.
"""

import json
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from transformers import CvtConfig, CvtForImageClassification

BATCH, DIFFERENT = (
    8,
    5,
)  # images, and batches that are given in turn: so few that the loss falls soon
ENLARGED = 8  # digits have 8 x 8 pixels, in 0..16


def batches(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Real digits in -1..1: (steps, batch, 64, 64, 3), and their labels."""
    digits = load_digits()
    chosen = np.random.default_rng(0).permutation(len(digits.target))[: DIFFERENT * BATCH]
    chosen = np.resize(chosen, (steps, BATCH))
    large = np.kron(digits.images[chosen] / 8 - 1, np.ones((ENLARGED, ENLARGED)))
    return np.repeat(large[..., None], 3, axis=-1).astype("float32"), digits.target[chosen]


def build(request: dict) -> torch.nn.Module:
    torch.manual_seed(0)
    if request["library"] == "timm":
        return timm.create_model(request["name"], pretrained=False, **request["config"])
    return CvtForImageClassification(CvtConfig(**request["config"]))


def logits(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    output = model(images)
    return output if isinstance(output, torch.Tensor) else output.logits


def train(
    model: torch.nn.Module, request: dict, images: np.ndarray, labels: np.ndarray
) -> list[float]:
    """The loss of every step with torch's AdamW, decaying what has two axes or more but no token."""
    model.train()
    decayed, others = [], []
    for name, parameter in model.named_parameters():
        kernel = parameter.ndim >= 2 and "token" not in name and "pos_embed" not in name
        (decayed if kernel else others).append(parameter)
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    hyper = {"lr": request["rate"], "weight_decay": request["decay"], "eps": request["epsilon"]}
    optimizer = torch.optim.AdamW(groups, **hyper)
    losses = []
    for x, y in zip(images, labels, strict=True):
        loss = torch.nn.functional.cross_entropy(
            logits(model, torch.from_numpy(x).permute(0, 3, 1, 2)), torch.from_numpy(y)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main(folder: Path, request: dict) -> None:
    images, labels = batches(request["steps"])
    model = build(request)
    save_file(model.state_dict(), folder / f"{request['id']}.safetensors")
    losses = train(model, request, images, labels)
    np.savez(folder / f"{request['id']}.npz", images=images, labels=labels, losses=losses)


if __name__ == "__main__":
    torch.set_num_threads(1)  # small products: more threads wait for each other
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
