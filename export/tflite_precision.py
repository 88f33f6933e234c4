"""A TFLite converter for lower precisions. TensorFlow only."""

from typing import Any

import tensorflow as tf


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
