"""One contender of input_pipeline.py: makes every training batch of a folder once a step, or trains.

A step is a whole pass: nothing is made ahead while the others run.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

from harness import bind, serve

SIZE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# mmax9: at the highest magnitude timm posterizes to 0 bits, which Pillow refuses since version 13.
POLICY = "rand-m9-mstd0.5-mmax9-inc1"
ERASING, MIXUP, CUTMIX, SMOOTHING = 0.25, 0.8, 1.0, 0.1

Step = Callable[[], Any]


def keras_vit_pass(spec: dict[str, Any]) -> Step:
    """Our pipeline, as `fit` takes it."""
    from keras_vit.config import Preprocessing
    from keras_vit.data import Augmentation, batches, load

    stream = batches(
        load(spec["folder"]),
        Preprocessing((SIZE, SIZE), MEAN, STD),
        spec["batch"],
        augment=Augmentation(
            flip=True,
            crop="inception",
            interpolation="random",
            policy=POLICY,
            erasing=ERASING,
            mixup=MIXUP,
            cutmix=CUTMIX,
            label_smoothing=SMOOTHING,
        ),
        shuffle=True,
        cache_bytes=0,
        threads=spec["workers"],
    )
    return lambda: [images.shape for images, _ in stream]


def timm_pass(spec: dict[str, Any], prefetcher: bool) -> Step:
    """timm's loader, as its train.py makes it: Mixup in the workers with its prefetcher, else after."""
    import timm.data
    import torch

    torch.set_num_threads(spec["threads"])
    mixing = {
        "mixup_alpha": MIXUP,
        "cutmix_alpha": CUTMIX,
        "label_smoothing": SMOOTHING,
        "num_classes": spec["classes"],
    }
    loader = timm.data.create_loader(
        timm.data.create_dataset("", spec["folder"], is_training=True),
        input_size=(3, SIZE, SIZE),
        batch_size=spec["batch"],
        is_training=True,
        use_prefetcher=prefetcher,
        re_prob=ERASING,
        re_mode="pixel",
        auto_augment=POLICY,
        interpolation="random",
        mean=MEAN,
        std=STD,
        num_workers=spec["workers"],
        collate_fn=timm.data.FastCollateMixup(**mixing) if prefetcher else None,
        device=torch.device("cpu"),
        persistent_workers=True,
    )
    mixup = None if prefetcher else timm.data.Mixup(**mixing)

    def run() -> None:
        for images, labels in loader:
            if mixup is not None:
                images, labels = mixup(images, labels)

    return run


def train_step(spec: dict[str, Any]) -> Step:
    """A training step of ViT-B, the images that it consumes."""
    from speed_worker import keras_vit_run

    run = keras_vit_run(
        {
            "model": "vit_base_patch16_224",
            "weights": None,
            "dtype": spec["dtype"],
            "task": "train",
            "batch": spec["train_batch"],
            "jit": False,
        }
    )
    return lambda: run(1)


def processor_seconds() -> float:
    """Of this process and of its children, which still run."""
    total = process_time()
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            user, system = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
            total += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return total


CONTENDERS: dict[str, Callable[[dict[str, Any]], Step]] = {
    "keras_vit": keras_vit_pass,
    "timm": lambda spec: timm_pass(spec, True),
    "timm-no-prefetcher": lambda spec: timm_pass(spec, False),
    "vit-b-step": train_step,
}


def main() -> None:
    spec = json.loads(sys.argv[1])
    bind(spec["threads"])
    step = CONTENDERS[spec["contender"]](spec)
    step()  # warm: traced, compiled, workers started
    serve(
        lambda steps: [step() for _ in range(steps)],
        {"contender": spec["contender"]},
        processor_seconds,
    )


if __name__ == "__main__":
    main()
