"""Further signatures of a SavedModel: uint8 images of any size, and JPEG or PNG files. TensorFlow only."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_vit.config import Preprocessing
from keras_vit.export.serving import Serving
from keras_vit.layers import Preprocess


def functions(wanted: Sequence[str], values: Preprocessing, serving: Serving) -> dict[str, Any]:
    """Signature name -> `tf.function`; the input is called as the signature is.

    Images in a batch of `"images"` have one size, as the tensor has, and another in another batch;
    those of `"bytes"` are decoded and resized one by one, and each may have its own.

    Args:
        wanted: `"images"`, `"bytes"`.
        values: what the checkpoint wants done to images.
        serving: the model, whose batch size they have.
    """
    batch, forward = serving.batch, serving.forward
    channels = len(values.mean)
    prepare = Preprocess(**values.to_dict(), dtype="float32", name="preprocess")
    prepared = tf.TensorSpec((*values.image_size, channels), tf.float32)

    @tf.function(
        input_signature=[tf.TensorSpec((batch, None, None, channels), tf.uint8, name="images")]
    )
    def images(images: Any) -> dict[str, Any]:
        return forward(prepare(images))

    def one(content: Any) -> Any:
        return prepare(_decoded(content, channels)[None])[0]

    @tf.function(input_signature=[tf.TensorSpec((batch,), tf.string, name="bytes")])
    def encoded(bytes: Any) -> dict[str, Any]:
        return forward(tf.map_fn(one, bytes, fn_output_signature=prepared))

    known = {"images": images, "bytes": encoded}
    return {name: known[name] for name in wanted}


def _decoded(content: Any, channels: int) -> Any:
    """A JPEG, PNG, GIF or BMP file as uint8 (height, width, channels)."""

    def jpeg() -> Any:
        # Pillow's inverse transform; TensorFlow's default is a faster one, up to three levels off.
        return tf.io.decode_jpeg(content, channels, dct_method="INTEGER_ACCURATE")

    def other() -> Any:
        return tf.io.decode_image(content, channels, expand_animations=False)

    image = tf.cond(tf.io.is_jpeg(content), jpeg, other)
    image.set_shape((None, None, channels))
    return image
