"""Write a SavedModel: the variables once, named outputs, no Keras needed to load it. TensorFlow only."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_vit.export.serving import Serving
from keras_vit.export.sidecar import SAVED_MODEL_LABELS, SAVED_MODEL_METADATA, SIGNATURE


def write(
    serving: Serving, path: Path, metadata: dict[str, Any], more: Mapping[str, Any] | None = None
) -> str:
    """Write the folder and return what wrote it, with its version.

    Args:
        more: further signatures by name, `tf.function`s that call `serving.forward`.
    """
    signatures = {name: one.get_concrete_function() for name, one in (more or {}).items()}
    tf.saved_model.save(serving.module, str(path), {SIGNATURE: serving.concrete, **signatures})
    extra = path / SAVED_MODEL_METADATA
    extra.parent.mkdir(exist_ok=True)
    extra.write_text(json.dumps(metadata, indent=1))
    if metadata["labels"]:
        lines = "\n".join(metadata["labels"])
        (path / SAVED_MODEL_LABELS).write_text(lines + "\n", encoding="utf-8")
    return f"tensorflow {tf.__version__}"
