"""Makes Hugging Face CvTs with exaggerated random weights and writes what they compute.

Runs in a process of its own, since TensorFlow and torchvision cannot share one:
`python reference_cvt.py FOLDER REQUESTS`, with a JSON list of {"id", "size", "config"}.
Writes FOLDER/ID.safetensors (the weights) and FOLDER/ID.npz (images NHWC, logits, a map a stage).
`python reference_cvt.py --load FOLDER REQUESTS` loads FOLDER/ID.again.safetensors strictly into the same
models, and prints, as JSON, the largest difference of their logits from those in FOLDER/ID.npz.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from reference import structured_images
from safetensors.torch import load_file, save_file
from transformers import CvtConfig, CvtForImageClassification


def exaggerate(model: torch.nn.Module) -> None:
    """Random weights and batch statistics large enough that any mistake shows in the logits."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(0.5 + noise.abs())
        elif tensor.ndim >= 2 and "cls_token" not in name:
            tensor.copy_(1.5 * noise / tensor[0].numel() ** 0.5)
        else:
            tensor.copy_(tensor + 0.3 * noise)


def build(config: dict) -> CvtForImageClassification:
    return CvtForImageClassification(CvtConfig(**config)).eval()


@torch.inference_mode()
def compute(model: CvtForImageClassification, images: np.ndarray) -> dict[str, np.ndarray]:
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    output = model(tensor, output_hidden_states=True)
    maps = {f"stage{s}": x.permute(0, 2, 3, 1) for s, x in enumerate(output.hidden_states)}
    return {name: value.numpy() for name, value in {"logits": output.logits, **maps}.items()}


def write(folder: Path, request: dict) -> None:
    model = build(request["config"])
    exaggerate(model)
    images = structured_images(3, request["size"], request["config"].get("num_channels", 3))
    save_file(model.state_dict(), folder / f"{request['id']}.safetensors")
    np.savez(folder / f"{request['id']}.npz", images=images, **compute(model, images))


def load(folder: Path, request: dict) -> float:
    model = build(request["config"])
    model.load_state_dict(load_file(folder / f"{request['id']}.again.safetensors"), strict=True)
    expected = np.load(folder / f"{request['id']}.npz")
    found = compute(model, expected["images"])
    return float(np.abs(found["logits"] - expected["logits"]).max())


if __name__ == "__main__":
    *_, folder, requests = sys.argv
    if sys.argv[1] == "--load":
        print(json.dumps({r["id"]: load(Path(folder), r) for r in json.loads(requests)}))
    else:
        for request in json.loads(requests):
            write(Path(folder), request)
