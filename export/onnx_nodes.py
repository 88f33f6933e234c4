"""From a drawn graph to ONNX nodes: what nothing needs is left out, outputs get their names."""

from collections.abc import Sequence
from typing import Any

import onnx

from keras_vit.export.onnx_graph import Graph, Node, Value, Weight
from keras_vit.export.onnx_tokens import pick_early


def node_protos(
    graph: Graph, outputs: Sequence[Value], names: Sequence[str]
) -> tuple[list[onnx.NodeProto], list[Weight]]:
    """The nodes in their order, and the weights that they take.

    Args:
        outputs: of the graph. names: what they are called in the file.
    """
    nodes = needed(graph.nodes, outputs)
    nodes = pick_early(nodes, {value.name for value in outputs}, graph.is_constant)
    made = {value.name for node in nodes for value in node.outputs}
    renamed: dict[str, str] = {}
    copies = []
    for value, name in zip(outputs, names, strict=True):
        if value.name in made and value.name not in renamed:
            renamed[value.name] = name
        else:  # an input, a weight, or the same value twice
            copies.append((renamed.get(value.name, value.name), name))
    protos = [_proto(node, renamed) for node in nodes]
    protos += [onnx.helper.make_node("Identity", [old], [new], name=new) for old, new in copies]
    used = {name for proto in protos for name in proto.input}
    return protos, [weight for name, weight in graph.weights.items() if name in used]


def needed(nodes: Sequence[Node], outputs: Sequence[Value]) -> list[Node]:
    """The nodes that the outputs depend on, in the same order."""
    wanted = {value.name for value in outputs}
    kept = []
    for node in reversed(nodes):
        if any(value.name in wanted for value in node.outputs):
            kept.append(node)
            wanted.update(value.name for value in node.inputs if value is not None)
    return kept[::-1]


def _proto(node: Node, renamed: dict[str, str]) -> onnx.NodeProto:
    def called(value: Any) -> str:
        return "" if value is None else renamed.get(value.name, value.name)

    return onnx.helper.make_node(
        node.op,
        [called(value) for value in node.inputs],
        [called(value) for value in node.outputs],
        name=node.name,
        **node.attributes,
    )
