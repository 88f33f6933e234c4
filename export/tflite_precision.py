"""A TFLite converter for lower precisions. TensorFlow only."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vit.export.ladder import Climb, Rung, Samples, climb
from keras_vit.export.sidecar import SIGNATURE

_LADDER = (
    Rung("", ()),
    Rung("the products of activations (BATCH_MATMUL)", ("BATCH_MATMUL",)),
    Rung(
        "norms and sums",
        ("ADD", "SUB", "MUL", "DIV", "NEG", "MEAN", "SUM", "SQUARED_DIFFERENCE", "RSQRT", "SQRT"),
    ),
    Rung("activation functions", ("GELU", "SOFTMAX", "LOGISTIC", "TANH", "RELU", "MAXIMUM")),
)


def prepare(converter: Any, precision: str) -> None:
    """Have a converter write float16 weights, or int8 weights for products in int8.

    Args:
        converter: a `tf.lite.TFLiteConverter`.
        precision: `"float32"` changes nothing; `"float16"`: weights alone, the runtime computes in
            float32 or float16; `"int8-dynamic"`: weights in int8, one scale an output, and what they
            are multiplied with is quantised as it comes.
    """
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]


def convert_static(converter: Any, samples: Samples, batch: int) -> tuple[bytes, Climb]:
    """Convert with all activations in int8 but those that cost decisions.

    The ranges are found once; each rung of the ladder is a quantisation with them.

    Args:
        converter: for float32, of a model with one input, `images`. samples: see `Samples`.
        batch: how many images the file takes at a time.

    Returns:
        the file, and how what it leaves in float32 was found.

    Raises:
        ExportError: no rung keeps the decisions.
    """

    def ranges() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        for images in _batches(samples.calibrating, batch):
            yield SIGNATURE, {"images": images}

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = ranges
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
        tf.lite.OpsSet.TFLITE_BUILTINS,
    ]
    options = tf.lite.experimental.QuantizationDebugOptions()
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=ranges, debug_options=options
    )
    files: list[bytes] = []

    def answer(rung: Rung) -> Mapping[str, np.ndarray]:
        debugger.options = tf.lite.experimental.QuantizationDebugOptions(
            denylisted_ops=list(rung.operators)
        )
        files.append(debugger.get_nondebug_quantized_model())
        return _run(files[-1], samples.held_out, batch)

    result = climb(_cumulative(), answer, samples)
    return files[result.chosen], result


def _cumulative() -> list[Rung]:
    """The ladder, each rung with all operators below it."""
    kept: tuple[str, ...] = ()
    rungs = []
    for rung in _LADDER:
        kept = (*kept, *rung.operators)
        rungs.append(Rung(rung.group, kept))
    return rungs


def _batches(images: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Whole batches; the last one is filled up with its last image."""
    rest = -len(images) % size
    images = np.concatenate([images, np.repeat(images[-1:], rest, axis=0)])
    for start in range(0, len(images), size):
        yield images[start : start + size]


def _run(content: bytes, images: np.ndarray, batch: int) -> dict[str, np.ndarray]:
    """Every output of a file by name."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=content, num_threads=2).get_signature_runner(SIGNATURE)
    found = [runner(images=given) for given in _batches(images, batch)]
    return {name: np.concatenate([one[name] for one in found])[: len(images)] for name in found[0]}
