"""Writes zoo/golden/*.json, the outputs that `keras-vit verify` compares with. Needs timm and transformers.

Weights are drawn from the tensors' names, so that outputs alone are kept. What is there is left as it is,
but for the architectures that are asked for. Usage: python tools/write_golden.py [pattern ...]
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from keras_vit import catalogue, zoo
from keras_vit.errors import KerasVitError
from keras_vit.verifying import (
    ask,
    ask_timm,
    drawn_weights,
    golden_request,
    reference_layout,
    timm_request,
)

FOLDER = Path(zoo.__file__).parent / "golden"
DIGITS = 7
MOST = 2e8  # parameters of a model that is not shortened


def rounded(value: Any) -> Any:
    """Floats to as many digits as float32 has."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def too_large(name: str) -> bool:
    """Whether a whole model would have to be run that takes gigabytes."""
    card = catalogue.info(name)
    shortened = {"depth", "layers"} & golden_request(card)["arguments"].keys()
    return not shortened and card.parameters > MOST


def goldens(names: list[str]) -> dict[str, Any]:
    """The entries of some architectures of a family."""
    cards = [catalogue.info(name) for name in names]
    requests = [golden_request(card) for card in cards]
    with tempfile.TemporaryDirectory() as folder:
        if reference_layout(cards[0]) == "timm":
            wanted = map(timm_request, names, requests)
            found = ask_timm(list(wanted), Path(folder))
        else:
            found = []
            for card, request in zip(cards, requests, strict=True):
                own = Path(folder) / card.architecture
                own.mkdir()
                found.append(ask(card, request, drawn_weights(card, request, own)))
    return {
        name: {**request, **rounded(reference)}
        for name, request, reference in zip(names, requests, found, strict=True)
    }


def main(patterns: list[str]) -> None:
    wanted = {catalogue.info(name).architecture for name in catalogue.list_models(patterns or "*")}
    families: dict[str, list[str]] = {}
    for name in catalogue.list_models():
        card = catalogue.info(name)
        families.setdefault(card.family, []).append(card.architecture)
    FOLDER.mkdir(exist_ok=True)
    for family, architectures in families.items():
        path = FOLDER / f"{family}.json"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        missing = [
            name
            for name in dict.fromkeys(architectures)
            if name in wanted and (patterns or name not in kept) and not too_large(name)
        ]
        entries = {name: kept[name] for name in kept if name in architectures}
        try:
            entries |= goldens(missing) if missing else {}
        except KerasVitError as error:
            print(f"{family}: {error}", flush=True)
        if entries:
            lines = (f"{json.dumps(key)}: {json.dumps(entries[key])}" for key in sorted(entries))
            path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        print(f"{family}: {len(entries)} of {len(set(architectures))}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
