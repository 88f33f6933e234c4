"""Real images in: where they come from, the checkpoint's own transform, and batches for `fit`.

The public names are resolved when they are first used; only `Batches` needs Keras.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pipeline import Augmentation as Augmentation
    from .pipeline import Batches as Batches
    from .sources import Dataset as Dataset
    from .sources import image_files as image_files
    from .sources import load as load
    from .sources import split as split
    from .transforms import eval_batch as eval_batch
    from .transforms import eval_image as eval_image
    from .transforms import normalize as normalize

_PUBLIC = {
    "Dataset": "sources",
    "load": "sources",
    "split": "sources",
    "image_files": "sources",
    "eval_image": "transforms",
    "eval_batch": "transforms",
    "normalize": "transforms",
    "Augmentation": "pipeline",
    "Batches": "pipeline",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'keras_vit.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"keras_vit.data.{_PUBLIC[name]}"), name)
