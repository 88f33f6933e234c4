"""Our training input against timm's loader with the same transforms and workers, and against what ViT-B eats.

    python benchmarks/input_pipeline.py --images 512 --batch 64 --workers 2

Makes a folder of JPEGs of ImageNet's usual size out of scikit-image's photographs, then runs whole passes
in turns: inception crop, flip, rand-m9-mstd0.5-inc1, erasing, Mixup and CutMix, 224 pixels, float32. Prints
images a second, the ratio of the times of a pass (below 1: we are faster), on the clock and of all
processors, and how many times faster the input is than a training step of ViT-B consumes it.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
from harness import Worker, interleave, summary
from PIL import Image

SIZE = (500, 375)
CLASSES = 4
PEERS = ("keras_vit", "timm", "timm-no-prefetcher")


def make_images(folder: Path, count: int) -> None:
    """JPEGs of parts of photographs, no two alike."""
    from skimage import data

    photographs = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    rng = np.random.default_rng(0)
    for i in range(count):
        photograph = Image.fromarray(photographs[i % CLASSES])
        width, height = photograph.size
        left, top = rng.integers(0, width // 4), rng.integers(0, height // 4)
        part = photograph.crop((left, top, left + width * 3 // 4, top + height * 3 // 4))
        path = folder / str(i % CLASSES) / f"{i:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.resize(SIZE, Image.Resampling.BICUBIC).save(path, quality=90)


def table(options: argparse.Namespace, folder: Path) -> str:
    """Markdown of a measured run."""
    spec = {**vars(options), "folder": str(folder), "classes": CLASSES}
    names = [*PEERS, "vit-b-step"] if options.dtype else list(PEERS)
    workers = {
        name: Worker("input_pipeline_worker.py", {**spec, "contender": name}, options.threads)
        for name in names
    }
    try:
        assert all(worker.ready for worker in workers.values())  # none still starts meanwhile
        samples = interleave({name: workers[name] for name in PEERS}, options.rounds, 1)
        wall, cpu = (summary(samples, "timm", clock) for clock in ("wall", "cpu"))
        whole = options.images // options.batch * options.batch
        lines = [
            "| | images/s | wall | CPU |",
            "| --- | --- | --- | --- |",
            *(
                f"| {name} | {whole / wall[name]['ms'] * 1e3:.0f} "
                + "".join(
                    f"| {r[name]['ratio']:.2f} ({r[name]['low']:.2f} ... {r[name]['high']:.2f}) "
                    for r in (wall, cpu)
                )
                + "|"
                for name in PEERS
            ),
        ]
        if options.dtype:
            step = statistics.median(workers["vit-b-step"].run(1).wall for _ in range(3))
            eaten = options.train_batch / step
            ours = whole / wall["keras_vit"]["ms"] * 1e3
            lines.append(
                f"\nA training step of ViT-B ({options.dtype}, batch {options.train_batch}) eats "
                f"{eaten:.1f} images/s; the input makes {ours / eaten:.1f} times as many."
            )
        return "\n".join(lines)
    finally:
        for worker in workers.values():
            worker.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument(
        "--workers", type=int, default=2, help="threads of ours, processes of timm's"
    )
    parser.add_argument("--threads", type=int, default=2, help="processors that each may use")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dtype", default="float32", help="of the training step; empty for none")
    parser.add_argument("--train-batch", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_images(Path(folder), options.images)
        print(table(options, Path(folder)))


if __name__ == "__main__":
    main()
