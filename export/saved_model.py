"""Write a SavedModel: the weights once, one signature, no Keras needed to load it. TensorFlow only."""

import json
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_vit.export.serving import Serving
from keras_vit.export.sidecar import SAVED_MODEL_METADATA, SIGNATURE


def write(serving: Serving, path: Path, metadata: dict[str, Any]) -> str:
    """Write the folder and return what wrote it, with its version."""
    tf.saved_model.save(serving, str(path), signatures={SIGNATURE: serving.concrete})
    extra = path / SAVED_MODEL_METADATA
    extra.parent.mkdir(exist_ok=True)
    extra.write_text(json.dumps(metadata, indent=1))
    return f"tensorflow {tf.__version__}"
