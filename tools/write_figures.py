"""Makes README's figures: a ViT trained on handwritten digits, and what it looks at.

Usage: python tools/write_figures.py FOLDER. Trains in FOLDER unless a model of an earlier call is there; the
pictures go to tools/figures, 700 pixels wide.
"""

import subprocess
import sys
from pathlib import Path

from PIL import Image

from keras_vit.data import load

TRAIN = (
    "train vit_tiny_patch16_224 --weights none --data mnist5k --image-size 32 --recipe scratch --epochs 24 "
    "--set depth=4 --set patch_size=4 --set embed_dim=96 --set num_heads=3 -o digits.keras"
)
EXPLAIN = "explain digits.keras pictures --what rollout,attention,position,pca -o out --force"
FIGURES = ("rollout", "attention_1", "position", "pca")
SHOWN = (2, 4, 6, 8)
WIDTH = 700


def command(words: str, folder: Path) -> None:
    """Run `keras-vit` in a folder."""
    subprocess.run([sys.executable, "-m", "keras_vit.cli", *words.split()], cwd=folder, check=True)


def write_pictures(folder: Path) -> None:
    """The first held-out image of some digits."""
    folder.mkdir(exist_ok=True)
    held_out = load("mnist5k", "validation")
    labels = list(held_out.labels)
    for digit in SHOWN:
        image = held_out.images[labels.index(digit)].squeeze()
        Image.fromarray(image).save(folder / f"{digit}.png")


def shrink(source: Path, target: Path) -> None:
    """As a PNG of 256 colours."""
    with Image.open(source) as image:
        size = (WIDTH, round(image.height * WIDTH / image.width))
        small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    small.quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "digits.keras").exists():
        command(TRAIN, folder)
    write_pictures(folder / "pictures")
    command(EXPLAIN, folder)
    figures = Path(__file__).with_name("figures")
    figures.mkdir(exist_ok=True)
    for name in FIGURES:
        shrink(folder / "out" / f"{name}.png", figures / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
