"""Writes zoo/labels/*.txt from the WordNet lemmas and identifiers that timm carries. Needs timm.

imagenet_synsets.txt is timm/data/_info/imagenet_synsets.txt (Apache-2.0): ImageNet-1k's WordNet
identifiers in the order of the logits, which is that of the ILSVRC 2012 folders sorted by name.

A class is called by its first lemma; where that is another class's too, by its first two, and where
those are as well, by the first with its WordNet identifier.
"""

from collections import Counter
from pathlib import Path

from timm.data import ImageNetInfo

LABELS = Path(__file__).parent.parent / "zoo" / "labels"
SETS = {
    "imagenet1k": "imagenet-1k",
    "imagenet12k": "imagenet-12k",
    "imagenet21k": "imagenet-21k-goog",
    "imagenet21k_miil": "imagenet-21k-miil",
    "imagenet22k": "imagenet-22k",
}

# ImageNet-1k has two cranes whose only lemma is "crane", and two maillots. These are torchvision's names.
KNOWN = {"imagenet1k": {"n02012849": "crane bird", "n03710721": "maillot tank suit"}}


def names(info: ImageNetInfo, known: dict[str, str]) -> list[str]:
    """One distinct name a class, in the order of the logits."""
    identifiers, lemmas = info.label_names(), info.label_descriptions()
    first = [
        known.get(i, text.split(",")[0].strip())
        for i, text in zip(identifiers, lemmas, strict=True)
    ]
    two = [", ".join(part.strip() for part in text.split(",")[:2]) for text in lemmas]
    numbered = [f"{name} ({i})" for name, i in zip(first, identifiers, strict=True)]
    counts = Counter(first)
    better = [b if counts[a] > 1 else a for a, b in zip(first, two, strict=True)]
    counts = Counter(better)
    return [c if counts[b] > 1 else b for b, c in zip(better, numbered, strict=True)]


def main() -> None:
    for stem, subset in SETS.items():
        lines = names(ImageNetInfo(subset), KNOWN.get(stem, {}))
        (LABELS / f"{stem}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{stem}: {len(lines)} names")
    synsets = ImageNetInfo(SETS["imagenet1k"]).label_names()
    (LABELS / "imagenet_synsets.txt").write_text("\n".join(synsets) + "\n", encoding="utf-8")
    print(f"imagenet_synsets: {len(synsets)} identifiers")


if __name__ == "__main__":
    main()
