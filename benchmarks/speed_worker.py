"""One contender of speed.py: builds a model and its steps, and serves them.

Every contender gives NumPy logits (forward) or the loss (training), by the call that its users would
write: in Keras `predict_on_batch`, and `fit` on a tf.data.Dataset. Training is what fine-tuning does:
AdamW with decay of the kernels alone, layer-wise rates, and a clipped global norm.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from harness import bind, serve

Run = Callable[[int], Any]  # so many steps; the last one's logits, or the loss
LEARNING_RATE, WEIGHT_DECAY, LAYER_DECAY, CLIP_NORM = 1e-4, 0.05, 0.75, 1.0
SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}  # width, heads


def images(batch: int) -> np.ndarray:
    """The same for all contenders: (batch, 224, 224, 3)."""
    return np.random.default_rng(0).normal(size=(batch, 224, 224, 3)).astype(np.float32)


def keras_run(spec: dict[str, Any], model: Any, optimizer: Any) -> Run:
    """Steps of a Keras model."""
    import keras

    x, y = images(spec["batch"]), np.arange(spec["batch"]) % 1000
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=spec["jit"],
    )
    if spec["task"] == "forward":
        return lambda steps: [model.predict_on_batch(x) for _ in range(steps)][-1]
    import tensorflow as tf

    # Untuned: where one processor is all there is, the end of an iterator waits for tf.data's tuner to wake,
    # as long again as it has run.
    options = tf.data.Options()
    options.autotune.enabled = False
    data = tf.data.Dataset.from_tensors((x, y)).repeat().with_options(options)
    return lambda steps: model.fit(data, steps_per_epoch=steps, verbose=0).history["loss"][-1]


def keras_vit_run(spec: dict[str, Any]) -> Run:
    import keras

    import keras_vit

    model = keras_vit.load(spec["model"], weights=spec["weights"], dtype=spec["dtype"])
    adamw = keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    optimizer = keras_vit.training.grouped(
        model, adamw, layer_decay=LAYER_DECAY, clip_norm=CLIP_NORM
    )
    return keras_run(spec, model, optimizer)


def keras_hub_run(spec: dict[str, Any]) -> Run:
    """keras-hub's ViT of the same size, one rate for all layers.

    Its initial weights, since speed does not depend on them.
    """
    import keras
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
    model = keras_hub.models.ViTImageClassifier(backbone, 1000, dtype=spec["dtype"])
    optimizer = keras.optimizers.AdamW(
        LEARNING_RATE, weight_decay=WEIGHT_DECAY, global_clipnorm=CLIP_NORM
    )
    return keras_run(spec, model, optimizer)


def timm_run(spec: dict[str, Any]) -> Run:
    """Steps of timm in torch's eager mode, under autocast for mixed_bfloat16."""
    import timm.optim
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

        return lambda steps: [forward() for _ in range(steps)][-1]
    # The fused form is the fastest that torch has for AdamW on a CPU; eager loops are its default.
    optimizer = timm.optim.create_optimizer_v2(
        model,
        "adamw",
        lr=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        layer_decay=LAYER_DECAY,
        fused=True,
    )

    def train() -> float:
        optimizer.zero_grad()
        with mixed:
            loss = torch.nn.functional.cross_entropy(model(x).float(), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        return loss.item()

    return lambda steps: [train() for _ in range(steps)][-1]


RUNS: dict[str, Callable[[dict[str, Any]], Run]] = {
    "timm": timm_run,
    "keras_vit": keras_vit_run,
    "keras_hub": keras_hub_run,
}


def prepare(spec: dict[str, Any]) -> None:
    """Sets the threads of the Keras backend's framework."""
    backend = os.environ["KERAS_BACKEND"]
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(spec["threads"])
        tf.config.threading.set_inter_op_parallelism_threads(1)
    elif backend == "torch":
        import torch

        torch.set_num_threads(spec["threads"])


def main() -> None:
    spec = json.loads(sys.argv[1])
    bind(spec["threads"])
    prepare(spec)
    run = RUNS[spec["library"]](spec)
    first = np.asarray(run(1), dtype=np.float32)  # compiles, and shows that the numbers agree
    run(1)
    serve(run, {"first": first.ravel()[:1000].tolist()})


if __name__ == "__main__":
    main()
