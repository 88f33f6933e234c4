"""What timm computes, block by block, on weights of a file or on such as anyone can draw again. No Keras.

A process of its own (`python -P -m keras_vit.timm_reference`), since timm crashes when it is imported
after TensorFlow.
"""

import re
from typing import Any

import timm
import torch

from keras_vit.errors import UsageError
from keras_vit.export.child import serve
from keras_vit.golden import keeping_hook, seeded_images, seeded_tensor, summary

# Transformer blocks, and a ResNet's stem and blocks, alone or below a Transformer.
_BLOCK = re.compile(r"(?:patch_embed\.backbone\.)?(stem|(?:stages\.\d+\.)?blocks\.\d+)")


def references(request: dict[str, Any]) -> dict[str, Any]:
    """`reference` of each of `request["models"]`, as `models`."""
    return {"models": [reference(model) for model in request["models"]]}


def reference(request: dict[str, Any]) -> dict[str, Any]:
    """Summaries of what a model of timm gives.

    Args:
        request: `name`; `arguments` of `timm.create_model`; `layers`, how many blocks of each stage to
            keep, or None; `weights`, a checkpoint, or None for drawn ones; `size`, (height, width) of
            the image.

    Returns:
        `by`: the versions; `blocks`: the summary of each, under the name that keras_vit has for its layer;
        `output`: the model's own summary.

    Raises:
        UsageError: timm has no such model, or does not take the file.
    """
    try:
        model = _model(request).eval()
    except (RuntimeError, KeyError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"timm cannot make {request['name']} of it: {reason}") from error
    if request["weights"] is None:
        state = model.state_dict()
        model.load_state_dict({name: _drawn(name, tensor) for name, tensor in state.items()})
    blocks: dict[str, Any] = {}
    for name, module in model.named_modules():
        found = _BLOCK.fullmatch(name)
        if found:
            module.register_forward_hook(keeping_hook(blocks, found[1].replace(".", "_")))
    images = torch.from_numpy(seeded_images(1, *request["size"])).permute(0, 3, 1, 2)
    with torch.inference_mode():
        output = model(images)
    by = f"timm {timm.__version__}, torch {torch.__version__}"
    return {"by": by, "blocks": blocks, "output": summary(output.numpy())}


def _model(request: dict[str, Any]) -> torch.nn.Module:
    if request["weights"] is not None:
        overlay = {"file": request["weights"], "custom_load": request["weights"].endswith(".npz")}
        return timm.create_model(
            request["name"], pretrained=True, pretrained_cfg_overlay=overlay, **request["arguments"]
        )
    model = timm.create_model(request["name"], **request["arguments"])
    for stage, depth in zip(getattr(model, "stages", ()), request["layers"] or (), strict=False):
        stage.blocks = stage.blocks[:depth]
    return model


def _drawn(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    return torch.from_numpy(seeded_tensor(name, tuple(tensor.shape)))


if __name__ == "__main__":
    serve(references)
