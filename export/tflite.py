"""Write a TFLite (LiteRT) file from a SavedModel, with builtin operators only. TensorFlow only."""

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import tensorflow as tf

from keras_vit.errors import ExportError
from keras_vit.export.child import first_line
from keras_vit.export.ladder import Samples
from keras_vit.export.serving import Serving
from keras_vit.export.sidecar import SIGNATURE
from keras_vit.export.tflite_precision import convert_static, prepare


def write(
    serving: Serving,
    path: Path,
    precision: str = "float32",
    samples: str | None = None,
    search: str | None = None,
) -> str:
    """Write the file and return what wrote it, with its version.

    By way of a SavedModel: it keeps the signature's names and takes the least memory, where
    `from_concrete_functions` writes a file without weights, silently.

    Args:
        serving: the model. path: of the file. precision: see `prepare`.
        samples: for `"int8"`: a file of `Samples`. search: where to write what came of it, as JSON.

    Raises:
        ExportError: an operation that TFLite has no operator for, or decisions that int8 does not keep.
    """
    with TemporaryDirectory(dir=path.parent) as folder:
        tf.saved_model.save(serving.module, folder, signatures={SIGNATURE: serving.concrete})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            if samples is None or search is None:
                prepare(converter, precision)
                content = converter.convert()
            else:
                batch = serving.batch or 1
                content, found = convert_static(converter, Samples.load(Path(samples)), batch)
                Path(search).write_text(json.dumps({"note": found.note}))
        except ExportError:
            raise
        except Exception as error:
            raise ExportError(_explain(error)) from error
    path.write_bytes(content)
    return f"tensorflow {tf.__version__} TFLiteConverter"


def _explain(error: Exception) -> str:
    """Which operation stopped the converter, and where it is."""
    text = str(error)
    if missing := sorted(set(re.findall(r"'tf\.(\w+)' op is neither", text))):
        what = f"TFLite has no builtin operator for {', '.join(missing)}"
    else:
        reason = re.sub(r"loc\(.*\): ", "", first_line(error))
        what = f"the TFLite converter failed: {reason}"
    places = re.findall(r'"([^"@]+)@', text)  # layer/layer/operation@function
    return f"{what} (at {places[0]})" if places else what
