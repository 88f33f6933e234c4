"""transformers' side of the comparison, in a process of its own.

`python huggingface_reference.py FOLDER make` writes for each case FOLDER/CASE/ (config.json and
model.safetensors, as `save_pretrained` writes them: version 4 names), FOLDER/CASE-v5.safetensors (the
names in memory) and FOLDER/CASE.npz (images NHWC and what the model makes of them).
`python huggingface_reference.py FOLDER check` reads FOLDER/CASE-again/, which keras_vit wrote, and prints
as JSON what was missing or left over, and whether the outputs have the same bits.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

SMALL = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 192,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 5,
}
CASES = {
    "vit": (transformers.ViTForImageClassification, transformers.ViTConfig, {}),
    "vit-features": (
        transformers.ViTForImageClassification,
        transformers.ViTConfig,
        {"num_labels": 0},
    ),
    # As google/vit-base-patch16-224-in21k: no classifier, and the pre-training head's dense layer.
    "vit-pooler": (transformers.ViTModel, transformers.ViTConfig, {"pooler_output_size": 40}),
    "vit-tanh": (
        transformers.ViTForImageClassification,
        transformers.ViTConfig,
        {"hidden_act": "gelu_pytorch_tanh", "qkv_bias": False, "layer_norm_eps": 1e-5},
    ),
    "deit-distilled": (
        transformers.DeiTForImageClassificationWithTeacher,
        transformers.DeiTConfig,
        {},
    ),
}


def exaggerate(model: torch.nn.Module) -> None:
    """Random weights, and embeddings so small that the epsilon of the first norm shows."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "embeddings" in name:
            parameter.data = 1e-3 * noise
        elif parameter.ndim >= 2:
            parameter.data = 1.5 * noise / parameter[0].numel() ** 0.5
        else:
            parameter.data = parameter.data + 0.3 * noise


@torch.inference_mode()
def compute(model: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    output = model(torch.from_numpy(images).permute(0, 3, 1, 2))
    return (output.logits if "logits" in output else output.pooler_output).numpy()


def make(folder: Path) -> None:
    images = np.random.default_rng(0).normal(0, 1, (2, 32, 32, 3)).astype(np.float32)
    for case, (model_class, config_class, arguments) in CASES.items():
        model = model_class(config_class(**SMALL | arguments)).eval()
        exaggerate(model)
        model.save_pretrained(folder / case)
        save_file(model.state_dict(), folder / f"{case}-v5.safetensors")
        np.savez(folder / f"{case}.npz", images=images, outputs=compute(model, images))


def check(folder: Path) -> None:
    found = {}
    for case, (model_class, _, _) in CASES.items():
        again = folder / f"{case}-again"
        model, loading = model_class.from_pretrained(again, output_loading_info=True)
        expected = np.load(folder / f"{case}.npz")
        outputs = compute(model.eval(), expected["images"])
        found[case] = {
            "strict": not any(loading.values()),
            "same": bool(np.array_equal(outputs, expected["outputs"])),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[2]](Path(sys.argv[1]))
