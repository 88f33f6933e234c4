"""The config.json that transformers wants beside weights, written from a model's arguments and read back.

Its keys are those of transformers, models/vit/configuration_vit.py and models/deit/configuration_deit.py.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_vit.errors import CheckpointError

CONFIG_FILE = "config.json"
_MAX_CONFIG = 2**24  # the names of 21,843 classes, twice, take one

_ACTS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "quick_gelu": "quick_gelu"}
_ARGUMENT_OF_ACT = {**{theirs: ours for ours, theirs in _ACTS.items()}, "gelu_new": "gelu_tanh"}

# Keys of a config.json that say how its weights compute, by the builder's argument.
SETTINGS = {"norm_eps": "layer_norm_eps", "act": "hidden_act"}


def vit_config(arguments: Mapping[str, Any], labels: Sequence[str] | None) -> dict[str, Any]:
    """Of a ViTForImageClassification; with a pre-training head, of a ViTModel and its pooler.

    Without classes, the former gives the features as its logits.
    """
    name, pooler = "ViTForImageClassification", {}
    if arguments["representation_size"]:
        pooler = {"pooler_output_size": arguments["representation_size"], "pooler_act": "tanh"}
        name = "ViTModel"
    return {"model_type": "vit", "architectures": [name], **_config(arguments, labels), **pooler}


def deit_config(arguments: Mapping[str, Any], labels: Sequence[str] | None) -> dict[str, Any]:
    """Of a DeiTForImageClassificationWithTeacher: the distilled DeiT."""
    name = "DeiTForImageClassificationWithTeacher"
    return {"model_type": "deit", "architectures": [name], **_config(arguments, labels)}


def clip_config(arguments: Mapping[str, Any], labels: Sequence[str] | None) -> dict[str, Any]:
    """Of a CLIPVisionModelWithProjection; without a projection, of a CLIPVisionModel."""
    if not arguments["num_classes"]:
        return _tower("clip_vision_model", "CLIPVisionModel", arguments)
    config = _tower("clip_vision_model", "CLIPVisionModelWithProjection", arguments)
    return {**config, "projection_dim": arguments["num_classes"]}


def siglip_config(arguments: Mapping[str, Any], labels: Sequence[str] | None) -> dict[str, Any]:
    """Of a SiglipVisionModel, with its attention pooling or without."""
    config = _tower("siglip_vision_model", "SiglipVisionModel", arguments)
    return {**config, "vision_use_head": arguments["global_pool"] == "map"}


def mae_config(arguments: Mapping[str, Any], labels: Sequence[str] | None) -> dict[str, Any]:
    """Of a ViTMAEModel."""
    config = _tower("vit_mae", "ViTMAEModel", arguments)
    return {**config, "qkv_bias": arguments["qkv_bias"]}


def dinov2_config(arguments: Mapping[str, Any], labels: Sequence[str] | None) -> dict[str, Any]:
    """Of a Dinov2Model, or with registers of a Dinov2WithRegistersModel."""
    registers, gated = arguments["reg_tokens"], arguments.get("gated_mlp", False)
    kind = (
        ("dinov2_with_registers", "Dinov2WithRegistersModel")
        if registers
        else ("dinov2", "Dinov2Model")
    )
    return {
        **_tower(*kind, {**arguments, "act": "gelu" if gated else arguments["act"]}),
        "qkv_bias": arguments["qkv_bias"],
        # What is said is the width before two thirds of it are taken for the gate and for the value.
        "mlp_ratio": round(arguments["mlp_ratio"] * (1.5 if gated else 1)),
        "use_swiglu_ffn": gated,
        "layerscale_value": arguments["init_values"],
        **({"num_register_tokens": registers} if registers else {}),
    }


def dinov3_config(arguments: Mapping[str, Any], labels: Sequence[str] | None) -> dict[str, Any]:
    """Of a DINOv3ViTModel."""
    gated = arguments["mlp"] == "swiglu"
    return {
        **_tower("dinov3_vit", "DINOv3ViTModel", {**arguments, "act": "gelu"}),
        "hidden_act": "silu" if gated else _ACTS[arguments["act"]],
        "use_gated_mlp": gated,
        "query_bias": arguments["qkv_bias"],
        "key_bias": False,
        "value_bias": arguments["qkv_bias"],
        "layerscale_value": arguments["init_values"],
        "num_register_tokens": arguments["reg_tokens"],
        "rope_theta": arguments["rope_temperature"],
    }


def _tower(kind: str, architecture: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json of a model without classes."""
    classifier = (
        "id2label",
        "label2id",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "qkv_bias",
    )
    config = _config({**arguments, "num_classes": 0}, None)
    kept = {key: value for key, value in config.items() if key not in classifier}
    return {"model_type": kind, "architectures": [architecture], **kept}


def _config(arguments: Mapping[str, Any], labels: Sequence[str] | None) -> dict[str, Any]:
    return {
        "hidden_size": arguments["embed_dim"],
        "num_hidden_layers": arguments["depth"],
        "num_attention_heads": arguments["num_heads"],
        "intermediate_size": int(arguments["embed_dim"] * arguments["mlp_ratio"]),
        "hidden_act": _ACTS[arguments["act"]],
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": arguments["norm_eps"],
        "qkv_bias": arguments["qkv_bias"],
        "image_size": _side(arguments["image_size"]),
        "patch_size": _side(arguments["patch_size"]),
        "num_channels": arguments["in_chans"],
        **describe_classes(arguments, labels),
    }


def describe_classes(arguments: Mapping[str, Any], labels: Sequence[str] | None) -> dict[str, Any]:
    """What every config.json of a classifier has: the names of its classes, and the dtype."""
    names = labels or [f"LABEL_{i}" for i in range(arguments["num_classes"])]
    return {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
        "dtype": "float32",
    }


def _side(size: tuple[int, int]) -> int | list[int]:
    """transformers takes one number for a square."""
    return size[0] if size[0] == size[1] else list(size)


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    """Writes a config.json.

    Raises:
        CheckpointError: if it cannot be written.
    """
    try:
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from error


def read_settings(path: Path, settings: Mapping[str, str]) -> dict[str, Any]:
    """What a config.json says of the arithmetic; nothing where there is no such file.

    Args:
        path: the file.
        settings: keys of the file by argument of the model's builder, such as `SETTINGS`.

    Returns:
        The builder's arguments.

    Raises:
        CheckpointError: if the file is damaged or asks for what this library does not have.
    """
    if not settings or not path.is_file():
        return {}
    try:
        if path.stat().st_size > _MAX_CONFIG:
            raise ValueError("too large")
        config = dict(json.loads(path.read_bytes()))
        config = dict(config.get("vision_config", config))  # of a model that has texts, too
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is no model's config.json: {error}") from error
    found = {name: config[key] for name, key in settings.items() if key in config}
    if "act" in found:
        found["act"] = _act(path, found["act"])
    if "norm_eps" in found and not _is_epsilon(found["norm_eps"]):
        raise CheckpointError(
            f"{path}: layer_norm_eps is {found['norm_eps']!r}, not a small positive number"
        )
    return found


def _act(path: Path, name: Any) -> str:
    if not isinstance(name, str) or name not in _ARGUMENT_OF_ACT:
        known = ", ".join(_ARGUMENT_OF_ACT)
        raise CheckpointError(f"{path}: hidden_act is {name!r}, not one of {known}")
    return _ARGUMENT_OF_ACT[name]


def _is_epsilon(value: Any) -> bool:
    return isinstance(value, float) and 0 < value < 1
