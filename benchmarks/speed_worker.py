"""One contender of speed.py: builds a model and its step, and serves it.

Every contender takes NumPy images and gives NumPy logits (forward), or the loss (training), by the
call that its users would write: `predict_on_batch` and `train_on_batch` in Keras.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from harness import bind, serve

Step = Callable[[], Any]
SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}  # width, heads


def images(batch: int) -> np.ndarray:
    """The same for all contenders: (batch, 224, 224, 3)."""
    return np.random.default_rng(0).normal(size=(batch, 224, 224, 3)).astype(np.float32)


def keras_step(model: Any, task: str, batch: int, jit: bool) -> Step:
    """A step of a Keras model."""
    import keras

    x, y = images(batch), np.arange(batch) % 1000
    model.compile(
        optimizer=keras.optimizers.AdamW(1e-4, weight_decay=0.05),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit,
    )
    if task == "train":
        return lambda: model.train_on_batch(x, y)
    return lambda: model.predict_on_batch(x)


def keras_vit_model(spec: dict[str, Any]) -> Any:
    import keras_vit

    return keras_vit.load(spec["model"], weights=spec["weights"], dtype=spec["dtype"])


def keras_hub_model(spec: dict[str, Any]) -> Any:
    """keras-hub's ViT of the same size; its initial weights, since speed does not depend on them."""
    import keras_hub

    width, heads = SIZES[spec["model"].split("_")[1]]
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(224, 224, 3),
        patch_size=16,
        num_layers=12,
        num_heads=heads,
        hidden_dim=width,
        mlp_dim=4 * width,
        data_format="channels_last",
        dtype=spec["dtype"],
    )
    return keras_hub.models.ViTImageClassifier(backbone, 1000, dtype=spec["dtype"])


def timm_step(spec: dict[str, Any]) -> Step:
    """A step of timm in torch's eager mode, under autocast for mixed_bfloat16."""
    import timm
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(spec["threads"])
    x = torch.from_numpy(images(spec["batch"])).permute(0, 3, 1, 2).contiguous()
    y = torch.arange(spec["batch"]) % 1000
    model = timm.create_model(spec["model"])
    model.load_state_dict(load_file(spec["weights"]))
    mixed = torch.autocast("cpu", torch.bfloat16, enabled=spec["dtype"] == "mixed_bfloat16")
    if spec["task"] == "forward":
        model.eval()

        @torch.inference_mode()
        def forward() -> np.ndarray:
            with mixed:
                return model(x).float().numpy()

        return forward
    # The fused form is the fastest that torch has for AdamW on a CPU; eager loops are its default.
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.05, fused=True)

    def train() -> float:
        optimizer.zero_grad()
        with mixed:
            loss = torch.nn.functional.cross_entropy(model(x).float(), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return train


def build(spec: dict[str, Any]) -> Step:
    if spec["library"] == "timm":
        return timm_step(spec)
    backend = os.environ["KERAS_BACKEND"]
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(spec["threads"])
        tf.config.threading.set_inter_op_parallelism_threads(1)
    elif backend == "torch":
        import torch

        torch.set_num_threads(spec["threads"])
    make = {"keras_vit": keras_vit_model, "keras_hub": keras_hub_model}[spec["library"]]
    return keras_step(make(spec), spec["task"], spec["batch"], spec["jit"])


def main() -> None:
    spec = json.loads(sys.argv[1])
    bind(spec["threads"])
    step = build(spec)
    first = np.asarray(step(), dtype=np.float32)  # compiles, and shows that the numbers agree
    step()
    serve(step, {"first": first.ravel()[:1000].tolist()})


if __name__ == "__main__":
    main()
