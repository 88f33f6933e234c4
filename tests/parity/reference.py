"""Makes timm models with exaggerated random weights and writes what they compute.

Runs in a process of its own, since torchvision crashes when it is imported after TensorFlow:
`python reference.py FOLDER REQUESTS`, with a JSON list of {"id", "name", "arguments", "adapt", "size"}, and
perhaps "theirs", arguments that timm alone has.
Writes FOLDER/ID.safetensors (the weights) and FOLDER/ID.npz: images NHWC, logits, features, and the
output of each block, of the first image, under the name that keras_vit has for it.
"layers", which timm fixes by name, shortens the stages. With "adapt", timm itself loads the file into a
model of those other arguments, and that one computes.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from timm.layers import StdConv2d, StdConv2dSame

# Transformer blocks, and a ResNet's stem and blocks, alone or below a Transformer.
BLOCK = re.compile(r"(patch_embed\.backbone\.)?(stem|(stages\.\d+\.)?blocks\.\d+)")


# What is not a kernel, though it has several axes.
ADDED = ("token", "pos_embed", "freqs", "latent")


def structured_images(count: int, size: tuple[int, int], channels: int = 3) -> np.ndarray:
    """Gratings and discs of several scales plus a little noise, in -2..2: (count, h, w, channels)."""
    rng = np.random.default_rng(0)
    y, x = np.meshgrid(*(np.linspace(-1, 1, side) for side in size), indexing="ij")
    images = []
    for _ in range(count):
        angle, frequency, cx, cy, radius = rng.uniform((0, 2, -1, -1, 0.2), (3, 20, 1, 1, 0.8))
        wave = np.sin(frequency * (x * np.cos(angle) + y * np.sin(angle)))
        disc = ((x - cx) ** 2 + (y - cy) ** 2 < radius**2).astype(float)
        tint = rng.uniform(-1, 1, (2, channels))
        noise = 0.1 * rng.standard_normal((*size, channels))
        images.append(wave[..., None] * tint[0] + disc[..., None] * tint[1] + noise)
    return np.stack(images).astype("float32")


def exaggerate(model: torch.nn.Module) -> None:
    """Random weights large enough that a wrong epsilon, activation or order shows in the logits."""
    generator = torch.Generator().manual_seed(0)
    standardized = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, (StdConv2d, StdConv2dSame))
    }
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if id(parameter) in standardized:  # small, so that the standardisation's epsilon matters
            parameter.data = 1e-3 * noise
        elif parameter.ndim >= 2 and not any(part in name for part in ADDED):
            fan_in = parameter[0].numel()
            parameter.data = 1.5 * noise / fan_in**0.5
        elif name.endswith("gamma"):  # layer scale starts at 1e-6, where no mistake would show
            parameter.data = 0.3 + 0.1 * noise
        else:
            parameter.data = parameter.data + 0.3 * noise


def shorten(model: torch.nn.Module, layers: list[int]) -> None:
    """Leaves so many blocks of each stage."""
    for stage, depth in zip(model.stages, layers, strict=True):
        stage.blocks = stage.blocks[:depth]


@torch.inference_mode()
def compute(model: torch.nn.Module, images: np.ndarray) -> dict[str, np.ndarray]:
    """Logits, pooled features and the output of every block, for NHWC images."""
    blocks: dict[str, np.ndarray] = {}
    hooks = []
    for name, module in model.named_modules():
        found = BLOCK.fullmatch(name)
        if found:

            def keep(*args: object, name: str = found[2].replace(".", "_")) -> None:
                blocks[name] = channels_last(args[2][:1])

            hooks.append(module.register_forward_hook(keep))
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    logits = model(tensor)
    for hook in hooks:
        hook.remove()
    features = model.forward_head(model.forward_features(tensor), pre_logits=True)
    return {
        "images": images,
        "logits": logits.numpy(),
        "features": features.numpy(),
        **blocks,
    }


def channels_last(output: torch.Tensor) -> np.ndarray:
    """A feature map as NHWC; tokens as they are. A copy: the next module may write into it."""
    return (output.permute(0, 2, 3, 1) if output.ndim == 4 else output).numpy().copy()


def main(folder: Path, requests: list[dict]) -> None:
    for request in requests:
        name, arguments = request["name"], request["arguments"]
        layers = arguments.pop("layers", None)
        arguments |= request.get("theirs", {})
        model = timm.create_model(name, pretrained=False, **arguments).eval()
        if layers:
            shorten(model, layers)
        exaggerate(model)
        file = folder / f"{request['id']}.safetensors"
        save_file(model.state_dict(), file)
        if request["adapt"]:
            published = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(file)}}
            model = timm.create_model(name, **published, **arguments | request["adapt"]).eval()
        channels = (request["arguments"] | request["adapt"]).get("in_chans", 3)
        size = request["size"] or model.patch_embed.img_size
        images = structured_images(2, size, channels)
        np.savez(file.with_suffix(".npz"), **compute(model, images))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
