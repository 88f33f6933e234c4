"""What transformers computes for a CvT, block by block, on the weights of a folder. No Keras.

A process of its own: `python -P -m keras_vit.transformers_reference`.
"""

import re
from typing import Any

import torch
import transformers

from keras_vit.export.child import serve
from keras_vit.golden import keeping_hook, seeded_images, summary

_BLOCK = re.compile(r"cvt\.encoder\.stages\.(\d+)\.layers\.(\d+)")


def reference(request: dict[str, Any]) -> dict[str, Any]:
    """Summaries of what a model of transformers gives; see `keras_vit.timm_reference`.

    Args:
        request: `folder`, with `config.json` and `model.safetensors`; `size`, (height, width) of the image.
    """
    model = transformers.AutoModelForImageClassification.from_pretrained(request["folder"]).eval()
    blocks: dict[str, Any] = {}
    for name, module in model.named_modules():
        found = _BLOCK.fullmatch(name)
        if found:
            module.register_forward_hook(
                keeping_hook(blocks, f"stages_{found[1]}_blocks_{found[2]}")
            )
    images = torch.from_numpy(seeded_images(1, *request["size"])).permute(0, 3, 1, 2)
    with torch.inference_mode():
        output = model(images).logits
    by = f"transformers {transformers.__version__}, torch {torch.__version__}"
    return {"by": by, "blocks": blocks, "output": summary(output.numpy())}


if __name__ == "__main__":
    serve(reference)
