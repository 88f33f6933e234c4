"""Writes the attention maps of timm's ViT and Hugging Face's CvT, caught by hooks.

Runs in a process of its own, since torchvision crashes when it is imported after TensorFlow:
`python reference_attention.py FOLDER` writes FOLDER/{vit,cvt}.safetensors, the weights, and
FOLDER/{vit,cvt}.npz: images NHWC, and each block's softmax (batch, heads, queries, keys). timm's fused
attention is off, so that the dropout sees the softmax; transformers' CvT has no `output_attentions`, and
its dropout sees the softmax, too.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from transformers import CvtConfig, CvtForImageClassification


def randomize(model: torch.nn.Module) -> None:
    """Weights so large that the attention is far from even."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(0.5 + noise.abs())
        elif tensor.ndim >= 2 and "token" not in name and "pos_embed" not in name:
            tensor.copy_(1.5 * noise / tensor[0].numel() ** 0.5)
        elif tensor.is_floating_point():
            tensor.copy_(tensor + 0.3 * noise)


@torch.inference_mode()
def write(folder: Path, name: str, model: torch.nn.Module, dropouts: dict[str, Any]) -> None:
    model.eval()
    randomize(model)
    caught: dict[str, np.ndarray] = {}

    def hook(block: str) -> Callable[..., None]:
        return lambda module, inputs, output: caught.update({block: output.numpy()})

    for block, dropout in dropouts.items():
        dropout.register_forward_hook(hook(block))
    images = np.random.default_rng(0).normal(size=(2, 48, 48, 3)).astype("float32")
    model(torch.from_numpy(images).permute(0, 3, 1, 2))
    save_file(model.state_dict(), folder / f"{name}.safetensors")
    np.savez(folder / f"{name}.npz", images=images, **caught)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    vit = timm.create_model(
        "vit_small_patch16_224", img_size=48, depth=2, embed_dim=48, num_heads=3, num_classes=4
    )
    for block in vit.blocks:
        block.attn.fused_attn = False
    drops = {f"blocks_{i}": block.attn.attn_drop for i, block in enumerate(vit.blocks)}
    write(folder, "vit", vit, drops)

    # transformers indexes a stage's drop path rates by the stage, so stage 2 must have 3 blocks.
    stages = {"embed_dim": [16, 32, 48], "depth": [1, 2, 3], "num_heads": [1, 2, 3]}
    cvt = CvtForImageClassification(CvtConfig(num_labels=4, **stages))
    drops = {
        f"stages_{s}_blocks_{b}": layer.attention.attention.dropout
        for s, stage in enumerate(cvt.cvt.encoder.stages)
        for b, layer in enumerate(stage.layers)
    }
    write(folder, "cvt", cvt, drops)
