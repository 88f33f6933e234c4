"""Writes every model's parameters and multiply-adds into the catalogue, and says what changed.

A new entry starts with the lines `parameters = 0` and `macs = 0`. The models are built at full size, but
without values, so that the largest fits any machine. Usage: python tools/write_counts.py [pattern ...]
"""

import re
import sys
from pathlib import Path

import keras

import keras_vit
from keras_vit import zoo
from keras_vit.catalogue import ModelCard
from keras_vit.counting import count_macs, count_parameters


def counts(name: str) -> dict[str, int]:
    """`parameters` and `macs` of a model of the catalogue."""
    # Keras initialises the pending variables when a scope without this argument ends: nothing else may
    # build models in this process.
    with keras.StatelessScope(initialize_variables=False):
        model = keras_vit.load(name, weights=None)
    return {"parameters": count_parameters(model), "macs": count_macs(model)}


def replace(text: str, card: ModelCard, numbers: dict[str, int]) -> str:
    """The TOML text with the numbers in the card's table, and every other character as it was."""
    header = f"[architectures.{card.architecture}.tags.{card.tag}]\n"
    start = text.index(header) + len(header)
    end = text.find("\n[", start)
    table = text[start:] if end < 0 else text[start:end]
    for key, number in numbers.items():
        table, found = re.subn(rf"(?m)^{key} = [\d_]+$", f"{key} = {number:_}", table)
        if found != 1:
            raise SystemExit(f"{card.name}: the table needs one line `{key} = 0`")
    return text[:start] + table + ("" if end < 0 else text[end:])


def main() -> None:
    folder = Path(zoo.__file__).parent
    for name in keras_vit.list_models(sys.argv[1:] or "*"):
        card, numbers = keras_vit.info(name), counts(name)
        path = folder / f"{card.family}.toml"
        text = path.read_text(encoding="utf-8")
        written = replace(text, card, numbers)
        if written != text:
            path.write_text(written, encoding="utf-8")
            print(f"{name}: {card.parameters:_} -> {numbers['parameters']:_} parameters, "
                  f"{card.macs:_} -> {numbers['macs']:_} MACs")  # fmt: skip


if __name__ == "__main__":
    main()
