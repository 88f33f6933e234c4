"""transformers' DINOv2, DINOv3, CLIP, SigLIP and MAE, in a process of its own.

`python towers_reference.py FOLDER make` writes for each case FOLDER/CASE/ (config.json and
model.safetensors, as `save_pretrained` writes them), FOLDER/CASE-v5.safetensors (the names in memory)
and FOLDER/CASE.npz (images of two sizes, NHWC, and what the model makes of each).
`python towers_reference.py FOLDER check` reads FOLDER/CASE-again/, which keras_vit wrote, and prints as
JSON what was missing or left over, and how far the outputs are.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from huggingface_reference import exaggerate
from safetensors.torch import save_file

SIDES = (32, 48)
WIDTHS = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3}
PATCHES = {**WIDTHS, "image_size": 32, "patch_size": 8}
TOWER = {**PATCHES, "intermediate_size": 192}
DINOV3 = {**TOWER, "num_register_tokens": 4}
TEXTS = {**WIDTHS, "intermediate_size": 96, "vocab_size": 50}
BOTH = {"vision_config": TOWER, "text_config": TEXTS}


def pooled(model: Any, images: torch.Tensor) -> torch.Tensor:
    return model(images).pooler_output


def resized(model: Any, images: torch.Tensor) -> torch.Tensor:
    return model(images, interpolate_pos_encoding=True).pooler_output


def of_the_tower(model: Any, images: torch.Tensor) -> torch.Tensor:
    return resized(model.vision_model, images)


def projected(model: Any, images: torch.Tensor) -> torch.Tensor:
    return model.visual_projection(of_the_tower(model, images))


def class_token(model: Any, images: torch.Tensor) -> torch.Tensor:
    model.config.mask_ratio = 0.0  # a config.json of ours does not say
    return model(images, interpolate_pos_encoding=True).last_hidden_state[:, 0]


Case = tuple[type, Any, Callable[[Any, torch.Tensor], torch.Tensor]]
CASES: dict[str, Case] = {
    "dinov2": (hf.Dinov2Model, hf.Dinov2Config(**PATCHES), pooled),
    "dinov2-registers": (
        hf.Dinov2WithRegistersModel,
        hf.Dinov2WithRegistersConfig(**PATCHES, num_register_tokens=3),
        pooled,
    ),
    "dinov2-gated": (hf.Dinov2Model, hf.Dinov2Config(**PATCHES, use_swiglu_ffn=True), pooled),
    "dinov3": (hf.DINOv3ViTModel, hf.DINOv3ViTConfig(**DINOV3), pooled),
    "dinov3-gated": (
        hf.DINOv3ViTModel,
        hf.DINOv3ViTConfig(**DINOV3, use_gated_mlp=True, hidden_act="silu", layer_norm_eps=1e-6),
        pooled,
    ),
    "clip": (hf.CLIPVisionModel, hf.CLIPVisionConfig(**TOWER), resized),
    "clip-projected": (
        hf.CLIPVisionModelWithProjection,
        hf.CLIPVisionConfig(**TOWER, projection_dim=20),
        projected,
    ),
    "clip-whole": (hf.CLIPModel, hf.CLIPConfig(**BOTH, projection_dim=20), projected),
    "siglip": (hf.SiglipVisionModel, hf.SiglipVisionConfig(**TOWER), resized),
    "siglip-whole": (hf.SiglipModel, hf.SiglipConfig(**BOTH), of_the_tower),
    "mae": (hf.ViTMAEModel, hf.ViTMAEConfig(**TOWER), class_token),
}
# What a whole model is written back as.
AGAIN = {
    "clip-whole": hf.CLIPVisionModelWithProjection,
    "siglip-whole": hf.SiglipVisionModel,
}


def compute(case: str, model: Any, images: np.ndarray) -> np.ndarray:
    forward = CASES[case][2]
    if case in AGAIN and type(model) is not CASES[case][0]:
        forward = projected if case == "clip-whole" else resized
    with torch.inference_mode():
        return forward(model.eval(), torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()


def images(side: int) -> np.ndarray:
    return np.random.default_rng(side).normal(0, 1, (2, side, side, 3)).astype(np.float32)


def make(folder: Path) -> None:
    for case, (kind, config, _) in CASES.items():
        model = kind(config)
        exaggerate(model)
        model.save_pretrained(folder / case)
        save_file(model.state_dict(), folder / f"{case}-v5.safetensors")
        arrays = {f"images{side}": images(side) for side in SIDES}
        outputs = {f"outputs{side}": compute(case, model, images(side)) for side in SIDES}
        np.savez(folder / f"{case}.npz", **arrays, **outputs)


def check(folder: Path) -> None:
    found = {}
    for case in CASES:
        kind = AGAIN.get(case, CASES[case][0])
        model, loading = kind.from_pretrained(folder / f"{case}-again", output_loading_info=True)
        expected = np.load(folder / f"{case}.npz")["outputs32"]
        difference = np.abs(compute(case, model, images(32)) - expected).max() / expected.std()
        found[case] = {
            "strict": not any(loading.values()),
            "distance": float(difference),
            "loading": str(loading),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[2]](Path(sys.argv[1]))
