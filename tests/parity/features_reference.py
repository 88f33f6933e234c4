"""timm's `forward_intermediates` of models with random weights.

`python features_reference.py FOLDER REQUESTS`, with a JSON list of {"id", "name", "arguments", "size",
"indices", "norm"}. Writes FOLDER/ID.safetensors and FOLDER/ID.npz: `map_I` NHWC and, where there are prefix
tokens, `prefix_I` for each index I; `error_NAME`, how far its float32 is from float64. "layers", which timm
fixes by name, shortens the stages.
"""

import json
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from reference import exaggerate, shorten, structured_images
from safetensors.torch import save_file


def intermediates(model: torch.nn.Module, images: np.ndarray, request: dict) -> dict:
    """`map_I` and `prefix_I`, in the model's precision."""
    dtype = next(model.parameters()).dtype
    options = {"return_prefix_tokens": True} if hasattr(model, "num_prefix_tokens") else {}
    found = model.forward_intermediates(
        torch.from_numpy(images).permute(0, 3, 1, 2).to(dtype),
        indices=request["indices"],
        norm=request["norm"],
        intermediates_only=True,
        **options,
    )
    arrays = {}
    for index, value in zip(request["indices"], found, strict=True):
        grid, prefix = value if isinstance(value, tuple) else (value, None)
        arrays[f"map_{index}"] = grid.permute(0, 2, 3, 1).numpy()
        if prefix is not None:
            arrays[f"prefix_{index}"] = prefix.numpy()
    return arrays


@torch.inference_mode()
def main(folder: Path, requests: list[dict]) -> None:
    for request in requests:
        layers = request["arguments"].pop("layers", None)
        model = timm.create_model(request["name"], **request["arguments"]).eval()
        if layers:
            shorten(model, layers)
        exaggerate(model)
        save_file(model.state_dict(), folder / f"{request['id']}.safetensors")
        images = structured_images(2, request["size"])
        arrays = intermediates(model, images, request)
        exact = intermediates(model.double(), images, request)
        errors = {
            f"error_{name}": np.abs(arrays[name] - exact[name]).max() / exact[name].std()
            for name in arrays
        }
        arrays |= {"images": images, **errors}
        np.savez(folder / f"{request['id']}.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
