"""What a file is made of: its operators, and what in them its runtime could not run.

Each function reads a file without running it and returns how often each operator occurs, and what is
wrong, one line each.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_vit.errors import ExportError
from keras_vit.export.child import first_line
from keras_vit.export.sidecar import SIGNATURE

_FORBIDDEN_TFLITE = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"}
"""Operators that keep weights out of the file: the converter's weightless output is full of them."""

_FORBIDDEN_TENSORFLOW = {"PyFunc", "EagerPyFunc", "PyFuncStateless"}
"""Operations that call back into the Python process that wrote the file."""


def examine(path: Path, format: str) -> tuple[dict[str, int], list[str]]:
    """How often each operator occurs in an artifact, and its structural problems.

    Raises:
        ExportError: the file is damaged.
    """
    try:
        operators, problems = _EXAMINERS[format](path)
    except Exception as error:
        raise ExportError(f"{path} cannot be read as {format}: {first_line(error)}") from error
    return dict(sorted(operators.items())), problems


def tensor_ranks(path: Path) -> dict[str, int]:
    """How many axes each tensor of a TFLite file has, by its name."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graphs = (model.Subgraphs(index) for index in range(model.SubgraphsLength()))
    tensors = (graph.Tensors(index) for graph in graphs for index in range(graph.TensorsLength()))
    return {tensor.Name().decode(): tensor.ShapeLength() for tensor in tensors}


def _onnx(path: Path) -> tuple[Counter[str], list[str]]:
    import onnx

    proto = onnx.load(path, load_external_data=False)
    problems = unknown_operators(proto)
    try:
        # By path: the checker then also sees weights that are stored beside the file.
        onnx.checker.check_model(path, full_check=True)
    except Exception as error:
        problems.append(f"the ONNX checker refuses it: {str(error).strip().splitlines()[0]}")
    if proto.functions:
        problems.append(f"it has {len(proto.functions)} local functions, which were not examined")
    return Counter(node.op_type for node in _onnx_nodes(proto.graph)), problems


def unknown_operators(proto: Any) -> list[str]:
    """The operators of an ONNX model that are not in its opset, one line for each kind.

    The checker alone is no proof: it takes an unknown operator for a custom one.
    """
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    unknown = {
        (node.op_type, node.domain): node.name
        for node in _onnx_nodes(proto.graph)
        if not _in_schema(node, opsets)
    }
    return [
        f"operator {operator} (node {name!r}) is not in opset {opsets.get(domain)} of "
        f"{domain or 'ONNX'}"
        for (operator, domain), name in unknown.items()
    ]


def _onnx_nodes(graph: Any) -> Iterator[Any]:
    """Every node, those of subgraphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for subgraph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _onnx_nodes(subgraph)


def _in_schema(node: Any, opsets: dict[str, int]) -> bool:
    """Whether the operator is in the opset that the file declares, and not deprecated there."""
    import onnx

    if node.domain not in opsets:
        return False
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain)
    except onnx.defs.SchemaError:
        return False
    return not schema.deprecated


def _tflite(path: Path) -> tuple[Counter[str], list[str]]:
    from ai_edge_litert import schema_py_generated as schema

    builtin = {
        value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()
    }
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    codes = []
    problems = []
    for code in (model.OperatorCodes(index) for index in range(model.OperatorCodesLength())):
        # Old files number their operators in the deprecated field, which ends at 127.
        name = builtin.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "UNKNOWN")
        if code.CustomCode():
            name = code.CustomCode().decode(errors="replace")
            problems.append(f"operator {name} is not builtin")
        elif name in _FORBIDDEN_TFLITE:
            problems.append(f"operator {name}: the weights are not in the file")
        codes.append(name)
    graphs = (model.Subgraphs(index) for index in range(model.SubgraphsLength()))
    return Counter(
        codes[graph.Operators(index).OpcodeIndex()]
        for graph in graphs
        for index in range(graph.OperatorsLength())
    ), problems


def _savedmodel(path: Path) -> tuple[Counter[str], list[str]]:
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    graphs = [meta.graph_def for meta in proto.meta_graphs]
    nodes = [
        node
        for graph in graphs
        for part in (graph, *graph.library.function)
        for node in (part.node if part is graph else part.node_def)
    ]
    operators = Counter(node.op for node in nodes)
    problems = [
        f"operation {node.op} ({node.name!r}) calls back into Python"
        for node in nodes
        if node.op in _FORBIDDEN_TENSORFLOW
    ]
    if not any(SIGNATURE in meta.signature_def for meta in proto.meta_graphs):
        problems.append(f"it has no signature {SIGNATURE}")
    return operators, problems


def _keras(path: Path) -> tuple[Counter[str], list[str]]:
    import keras

    import keras_vit.models  # noqa: F401 registers the classes

    model = keras.saving.load_model(path, compile=False)
    return Counter(type(layer).__name__ for layer in model.layers), []


_EXAMINERS = {"onnx": _onnx, "tflite": _tflite, "savedmodel": _savedmodel, "keras": _keras}
