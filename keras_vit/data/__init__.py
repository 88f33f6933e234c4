"""Real images in: where they come from, the checkpoint's own transform, and batches for `fit`.

The public names are resolved when they are first used; only `batches` and `augmented` need TensorFlow.
"""

from typing import TYPE_CHECKING

from keras_vit._lazy import lazy

if TYPE_CHECKING:
    from keras_vit.data.augmentation import Augmentation as Augmentation
    from keras_vit.data.augmenting import augmented as augmented
    from keras_vit.data.dataset import Dataset as Dataset
    from keras_vit.data.pipeline import batches as batches
    from keras_vit.data.pipeline import plain_errors as plain_errors
    from keras_vit.data.pipeline import steps_per_epoch as steps_per_epoch
    from keras_vit.data.sources import image_files as image_files
    from keras_vit.data.sources import load as load
    from keras_vit.data.sources import split as split
    from keras_vit.data.transforms import eval_batch as eval_batch
    from keras_vit.data.transforms import eval_image as eval_image
    from keras_vit.data.transforms import normalize as normalize

_PUBLIC = {
    "Dataset": "dataset",
    "load": "sources",
    "split": "sources",
    "image_files": "sources",
    "eval_image": "transforms",
    "eval_batch": "transforms",
    "normalize": "transforms",
    "Augmentation": "augmentation",
    "augmented": "augmenting",
    "batches": "pipeline",
    "steps_per_epoch": "pipeline",
    "plain_errors": "pipeline",
}

__all__ = [*_PUBLIC]

__getattr__ = lazy(__name__, _PUBLIC)
