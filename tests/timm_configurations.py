"""Prints what timm knows of the checkpoints named on stdin, as JSON; `--macs` counts those too.

A program of its own, because timm must not be imported after TensorFlow. The models are on PyTorch's
meta device: their shapes are real and their memory is not.
"""

import inspect
import json
import math
import sys
from collections.abc import Callable
from typing import Any

import timm
import torch
from timm.layers import (
    GluMlp,
    StdConv2d,
    StdConv2dSame,
    resample_abs_pos_embed,
    resample_patch_embed,
)
from timm.models.eva import Eva
from timm.models.resnetv2 import ResNetV2
from timm.models.vision_transformer_hybrid import ConvStem, HybridEmbed
from torch.utils.flop_counter import FlopCounterMode


def configuration(name: str) -> Any:
    """timm's `PretrainedCfg`, of the default tag if `name` has none."""
    return timm.models.get_pretrained_cfg(name)


def built(name: str) -> Any:
    """timm's model, without memory or initial values."""
    with torch.device("meta"):
        return timm.create_model(name).eval().requires_grad_(False)


def macs(model: Any) -> int:
    """Multiply-adds of one image, as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *model.pretrained_cfg["input_size"], device="meta"))
    return counter.get_total_flops() // 2


def numbers(model: Any) -> dict[str, Any]:
    """Arguments and parameters, read off the built model."""
    if isinstance(model, ResNetV2):
        arguments = resnet(model)
    elif isinstance(model, Eva):
        arguments = eva(model)
    elif isinstance(getattr(model.patch_embed, "backbone", None), ConvStem):
        arguments = transformer(model) | conv_stem(model.patch_embed.backbone)
        del arguments["patch_resize"]
    elif isinstance(model.patch_embed, HybridEmbed):
        arguments = transformer(model) | below(model.patch_embed)
    else:
        arguments = transformer(model)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"arguments": arguments, "parameters": parameters}


def transformer(model: Any) -> dict[str, Any]:
    """Arguments of a ViT; those that few have, where they are set."""
    block = model.blocks[0]
    norms = (block.norm1, block.norm2, model.norm, model.fc_norm)
    rare = {
        "gated_mlp": isinstance(block.mlp, GluMlp),
        "pool_include_prefix": model.pool_include_prefix,
    }
    return {
        **{name: value for name, value in rare.items() if value},
        "image_size": list(model.patch_embed.img_size),
        "in_chans": getattr(model.patch_embed.proj, "in_channels", None),
        "num_classes": model.num_classes,
        "patch_size": list(model.patch_embed.patch_size),
        "embed_dim": model.embed_dim,
        "depth": len(model.blocks),
        "num_heads": block.attn.num_heads,
        "mlp_ratio": block.mlp.fc2.in_features / model.embed_dim,
        "qkv_bias": block.attn.qkv.bias is not None,
        "qk_norm": not isinstance(block.attn.q_norm, torch.nn.Identity),
        "init_values": getattr(block.ls1, "init_values", None),
        "class_token": model.cls_token is not None,
        "dist_token": hasattr(model, "dist_token"),
        "reg_tokens": model.num_reg_tokens,
        "position_embedding": model.pos_embed is not None,
        "no_embed_class": model.no_embed_class,
        "pre_norm": not isinstance(model.norm_pre, torch.nn.Identity),
        "final_norm": not all(isinstance(norm, torch.nn.Identity) for norm in norms[2:]),
        "fc_norm": not isinstance(model.fc_norm, torch.nn.Identity),
        "global_pool": model.global_pool,
        "act": activation(block.mlp.act),
        "norm_eps": only({norm.eps for norm in norms if not isinstance(norm, torch.nn.Identity)}),
        "pos_resize": resize(resample_abs_pos_embed),
        "patch_resize": resize(resample_patch_embed),
    }


def eva(model: Any) -> dict[str, Any]:
    """Arguments of EVA and its heirs."""
    block = model.blocks[0]
    attn, mlp = block.attn, block.mlp
    kind = type(mlp).__name__
    return {
        "image_size": list(model.patch_embed.img_size),
        "in_chans": model.patch_embed.proj.in_channels,
        "num_classes": model.num_classes,
        "patch_size": list(model.patch_embed.patch_size),
        "patch_bias": model.patch_embed.proj.bias is not None,
        "embed_dim": model.embed_dim,
        "depth": len(model.blocks),
        "num_heads": attn.num_heads,
        **groups(model),
        **biases(attn),
        "qk_norm": has(attn.q_norm),
        "inner_norm": has(attn.norm),
        "mlp": {"Mlp": "mlp", "SwiGLU": "swiglu", "GluMlp": "swiglu_packed"}[kind],
        "mlp_ratio": mlp.fc2.in_features / model.embed_dim,
        "mlp_norm": has(mlp.norm),
        "act": "gelu",
        "norm": {"LayerNorm": "layer", "RmsNorm": "rms"}[type(block.norm1).__name__],
        "norm_eps": only({m.eps for m in model.modules() if hasattr(m, "eps")}),
        "post_norm": type(block).__name__ == "EvaBlockPostNorm",
        "init_values": getattr(block, "init_values", None),
        "mlp_layer_scale": not hasattr(block, "gamma_1")
        or (block.gamma_1 is None) == (block.gamma_2 is None),
        "class_token": model.cls_token is not None,
        "reg_tokens": 0 if model.reg_token is None else model.reg_token.shape[1],
        "position_embedding": model.pos_embed is not None,
        "no_embed_class": model.no_embed_class,
        **rotary(model.rope, attn),
        "pre_norm": has(model.norm_pre),
        "final_norm": has(model.norm) or has(model.fc_norm),
        "fc_norm": has(model.fc_norm),
        "global_pool": model.global_pool,
        **attention_pool(model.attn_pool),
        "pos_resize": resize(resample_abs_pos_embed),
        "patch_resize": resize(resample_patch_embed),
    }


def has(module: Any) -> bool:
    """Whether a module does something."""
    return not isinstance(module, torch.nn.Identity)


def biases(attn: Any) -> dict[str, Any]:
    """Of queries and values, and of keys, in EVA's two kinds of attention."""
    separate = attn.qkv is None
    queries = attn.q_proj if separate else attn.qkv
    keys = attn.k_proj if separate else attn.qkv
    return {
        "qkv_fused": not separate,
        "qkv_bias": queries.bias is not None or getattr(attn, "q_bias", None) is not None,
        "key_bias": keys.bias is not None,
    }


def groups(model: Any) -> dict[str, Any]:
    """Heads of keys and values, where there are fewer than of queries, and in which blocks."""
    heads = [getattr(block.attn, "num_kv_heads", None) for block in model.blocks]
    grouped = [i for i, n in enumerate(heads) if n and n != model.blocks[i].attn.num_heads]
    if grouped:
        first, stop = grouped[0], grouped[-1] + 1
        assert grouped == list(range(first, stop))
        return {"num_kv_heads": only({heads[i] for i in grouped}), "grouped_blocks": [first, stop]}
    return {"num_kv_heads": None, "grouped_blocks": [0, 0]}


def rotary(rope: Any, attn: Any) -> dict[str, Any]:
    """Arguments of the rotary positions."""
    kinds = {
        "NoneType": None,
        "RotaryEmbeddingCat": "index",
        "RotaryEmbeddingMixed": "index",
        "RotaryEmbeddingDinoV3": "centered",
    }
    grid = getattr(rope, "ref_feat_shape", None)
    return {
        "rope": kinds[type(rope).__name__],
        "rope_learned": hasattr(rope, "freqs"),
        "rope_temperature": float(getattr(rope, "temperature", 10000.0)),
        "rope_columns_first": getattr(rope, "grid_indexing", "ij") == "xy",
        "rope_interleaved": not attn.rotate_half,
        "rope_offset": float(getattr(rope, "grid_offset", 0.0)),
        "rope_reference_grid": None if grid is None else list(grid),
    }


def attention_pool(pool: Any) -> dict[str, Any]:
    """Arguments of the attention pooling, if there is one."""
    if pool is None:
        return {"attn_pool_heads": None, "attn_pool_ratio": None}
    ratio = pool.mlp.fc1.out_features / pool.mlp.fc1.in_features
    return {"attn_pool_heads": pool.num_heads, "attn_pool_ratio": ratio}


def activation(act: torch.nn.Module) -> str:
    """As keras_vit names it."""
    names = {"GELUTanh": "gelu_tanh", "QuickGELU": "quick_gelu", "SiLU": "silu"}
    return names.get(type(act).__name__) or {"none": "gelu"}[act.approximate]


def conv_stem(stem: Any) -> dict[str, Any]:
    """Arguments of a stem of convolutions, of which all but the last are normalised."""
    *normed, last = (part.conv for part in stem)
    norms = [part.bn for part in list(stem)[:-1]]
    assert all(conv.kernel_size == conv.stride for conv in (*normed, last))
    strides = [conv.stride[0] for conv in normed]
    return {
        "in_chans": normed[0].in_channels,
        "patch_size": [math.prod(strides) * last.stride[0]] * 2,
        "stem_channels": [conv.out_channels for conv in normed],
        "stem_strides": strides,
        "stem_norm_eps": only({norm.eps for norm in norms}),
        "stem_norm_momentum": 1 - only({norm.momentum for norm in norms}),
    }


def below(embed: Any) -> dict[str, Any]:
    """Arguments of the ResNet below a hybrid's Transformer."""
    arguments = convolutional(embed.backbone)
    arguments["stem_norm_eps"] = arguments.pop("norm_eps")
    return {**arguments, "patch_size": list(embed.proj.kernel_size)}


def resnet(model: Any) -> dict[str, Any]:
    """Arguments of a BiT."""
    arguments = convolutional(model)
    factor = arguments["stem_chs"] // 64
    widths = [stage.blocks[0].conv3.out_channels for stage in model.stages]
    assert widths == [width * factor for width in arguments["channels"]]
    return {
        **arguments,
        "stem_chs": 64,
        "width_factor": factor,
        "image_size": list(model.pretrained_cfg["input_size"][1:]),
        "num_classes": model.num_classes,
        "global_pool": model.head.global_pool.pool_type,
    }


def convolutional(model: Any) -> dict[str, Any]:
    """What BiT and the hybrids' backbones share; of the latter, the smallest is a stem alone."""
    stem, stages = getattr(model, "stem", model), getattr(model, "stages", ())
    modules = list(model.modules())
    convolutions = [m for m in modules if isinstance(m, (StdConv2d, StdConv2dSame))]
    norms = [module for module in modules if isinstance(module, torch.nn.GroupNorm)]
    assert only({norm.num_groups for norm in norms}) == 32
    paddings = {StdConv2d: "symmetric", StdConv2dSame: "same"}
    return {
        "in_chans": stem.conv.in_channels,
        "layers": [len(stage.blocks) for stage in stages],
        "channels": list(inspect.signature(ResNetV2).parameters["channels"].default),
        "stem_chs": stem.conv.out_channels,
        "padding": paddings[only({type(convolution) for convolution in convolutions})],
        "pool_padding": "zero" if hasattr(stem, "pad") else "same",
        "norm_eps": only({norm.eps for norm in norms}),
        "conv_eps": only({convolution.eps for convolution in convolutions}),
        "conv_form": "variance",
    }


def only(values: set[Any]) -> Any:
    """The one element of a set."""
    (value,) = values
    return value


def resize(function: Callable[..., Any]) -> str:
    """The default of one of timm's resizing functions, as keras_vit names it."""
    defaults = inspect.signature(function).parameters
    antialias = "_antialias" if defaults["antialias"].default else ""
    return defaults["interpolation"].default + antialias


def main() -> None:
    names = json.load(sys.stdin)
    answer = {}
    for name in names:
        architecture, model = name.partition(".")[0], built(name)
        answer[name] = {
            "default_tag": configuration(architecture).tag,
            "configuration": configuration(name).to_dict(),
            **numbers(model),
            "macs": macs(model) if "--macs" in sys.argv else None,
        }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
