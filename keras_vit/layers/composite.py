"""What layers that hold other layers share: the dtype policy of each part, kept and restored."""

from collections.abc import Iterator
from typing import Any

import keras
from keras.dtype_policies import DTypePolicy, DTypePolicyMap


def part_policy(layer: keras.layers.Layer, name: str) -> DTypePolicy:
    """The policy for the part `name` of a composite `layer` that is being built.

    Keras' quantised Dense reads its own policy, which must not be a map: hence resolved here.
    """
    policy = layer.dtype_policy
    return policy[f"{layer.path}/{name}"] if isinstance(policy, DTypePolicyMap) else policy


def dtype_config(layer: keras.layers.Layer) -> dict[str, Any]:
    """The `dtype` entry of a composite layer's configuration.

    `model.quantize("int8")` changes the policy of the Dense layers inside a block. The block's
    configuration carries those policies by path, so that a quantised model reloads.

    Args:
        layer: a layer whose property `parts` lists its sublayers.

    Returns:
        `{"dtype": DTypePolicyMap}`, or `{}` where no part is quantised.
    """
    policy = layer.dtype_policy
    policies = DTypePolicyMap(
        policy.default_policy if isinstance(policy, DTypePolicyMap) else policy
    )
    for leaf in _leaves(layer):
        if leaf.dtype_policy.quantization_mode is not None:
            policies[leaf.path] = leaf.dtype_policy
    return {"dtype": keras.dtype_policies.serialize(policies)} if len(policies) else {}


def _leaves(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    for part in layer.parts if layer.built else ():
        if hasattr(part, "parts"):
            yield from _leaves(part)
        else:
            yield part
