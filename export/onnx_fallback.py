"""Write an ONNX file through tf2onnx, and put right what it leaves: for models with layers that
`onnx_writer` has no rule for. TensorFlow and ONNX only.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tf2onnx

from keras_vit.errors import ExportError
from keras_vit.export.onnx_options import FALLBACK_OPSET
from keras_vit.export.serving import Serving
from keras_vit.export.sidecar import to_properties
from keras_vit.export.structure import unknown_operators

MAX_BYTES = 1_900_000_000
"""A protobuf, and so a file of this route, ends at 2 GiB; the rest is for the graph."""


def write(
    serving: Serving,
    path: Path,
    metadata: dict[str, Any],
    opset: int = FALLBACK_OPSET,
    layout: str = "nhwc",
) -> str:
    """Write the file and return what wrote it, with its version.

    Args:
        opset: of the operators, at most 18. layout: of the images, `"nhwc"` or `"nchw"`.

    Raises:
        ExportError: more weights than one file can hold, or an operation that ONNX does not have.
    """
    if serving.weight_bytes > MAX_BYTES:
        raise ExportError(
            f"{serving.weight_bytes / 1e9:.1f} GB of weights do not fit into one ONNX file (2 GB); "
            "export a SavedModel"
        )
    proto, _ = tf2onnx.convert.from_function(
        serving.function,
        input_signature=serving.function.input_signature,
        opset=opset,
        inputs_as_nchw=["images:0"] if layout == "nchw" else None,
        custom_op_handlers={"Erfc": (_erfc_as_erf, [])},
    )
    # tf2onnx only logs what it cannot convert, and leaves TensorFlow's operator in the file.
    if unknown := unknown_operators(proto):
        raise ExportError(f"tf2onnx cannot convert the model: {'; '.join(unknown)}")
    _name_free_axes(proto.graph)
    onnx.helper.set_model_props(proto, to_properties(metadata))
    onnx.save_model(proto, path)
    return f"tf2onnx {tf2onnx.__version__}"


def _erfc_as_erf(graph: Any, node: Any, name: str, _: list[Any]) -> None:
    """Erfc(x) -> 1 - Erf(x): ONNX has no Erfc, and TensorFlow writes the exact GELU with it.

    The difference cancels where erf is near 1, that is where GELU is near 0: the error of the GELU
    is half a unit of float32 rounding (6e-8) times its argument.
    """
    argument, output = node.input[0], node.output[0]
    shape, dtype = graph.get_shape(output), graph.get_dtype(output)
    graph.remove_node(name)
    one = graph.make_const(f"{name}_one", np.array(1, np.float32)).output[0]
    erf = graph.make_node("Erf", [argument], name=f"{name}_erf", shapes=[shape], dtypes=[dtype])
    graph.make_node(
        "Sub", [one, erf.output[0]], outputs=[output], name=name, shapes=[shape], dtypes=[dtype]
    )


def _name_free_axes(graph: Any) -> None:
    """Call the batch `batch` in every input and output; tf2onnx numbers it `unk__12`."""
    for value in [*graph.input, *graph.output]:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value"):
                dim.dim_param = "batch" if axis == 0 else f"{value.name}_{axis}"
