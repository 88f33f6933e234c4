"""Prints what timm knows of the checkpoints named on stdin, as JSON; `--macs` counts those too.

A program of its own, because timm must not be imported after TensorFlow. The models are on PyTorch's
meta device: their shapes are real and their memory is not.
"""

import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

import timm
import torch
from timm.layers import StdConv2d, StdConv2dSame, resample_abs_pos_embed, resample_patch_embed
from timm.models.resnetv2 import ResNetV2
from timm.models.vision_transformer_hybrid import HybridEmbed
from torch.utils.flop_counter import FlopCounterMode


def configuration(name: str) -> Any:
    """timm's `PretrainedCfg`, of the default tag if `name` has none."""
    return timm.models.get_pretrained_cfg(name)


def built(name: str) -> Any:
    """timm's model, without memory or initial values."""
    with torch.device("meta"):
        return timm.create_model(name).eval()


def macs(model: Any) -> int:
    """Multiply-adds of one image, as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *model.pretrained_cfg["input_size"], device="meta"))
    return counter.get_total_flops() // 2


def numbers(model: Any) -> dict[str, Any]:
    """Arguments and parameters, read off the built model."""
    if isinstance(model, ResNetV2):
        arguments = resnet(model)
    elif isinstance(model.patch_embed, HybridEmbed):
        arguments = transformer(model) | below(model.patch_embed)
    else:
        arguments = transformer(model)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"arguments": arguments, "parameters": parameters}


def transformer(model: Any) -> dict[str, Any]:
    """Arguments of a ViT."""
    block = model.blocks[0]
    return {
        "image_size": list(model.patch_embed.img_size),
        "in_chans": model.patch_embed.proj.in_channels,
        "num_classes": model.num_classes,
        "patch_size": list(model.patch_embed.patch_size),
        "embed_dim": model.embed_dim,
        "depth": len(model.blocks),
        "num_heads": block.attn.num_heads,
        "mlp_ratio": block.mlp.fc1.out_features / model.embed_dim,
        "qkv_bias": block.attn.qkv.bias is not None,
        "qk_norm": not isinstance(block.attn.q_norm, torch.nn.Identity),
        "init_values": getattr(block.ls1, "init_values", None),
        "class_token": model.cls_token is not None,
        "dist_token": hasattr(model, "dist_token"),
        "reg_tokens": model.num_reg_tokens,
        "position_embedding": model.pos_embed is not None,
        "no_embed_class": model.no_embed_class,
        "pre_norm": not isinstance(model.norm_pre, torch.nn.Identity),
        "final_norm": not isinstance(model.norm, torch.nn.Identity),
        "fc_norm": not isinstance(model.fc_norm, torch.nn.Identity),
        "global_pool": model.global_pool,
        "act": {("GELU", "none"): "gelu"}[type(block.mlp.act).__name__, block.mlp.act.approximate],
        "norm_eps": only({norm.eps for norm in (block.norm1, block.norm2, model.norm)}),
        "pos_resize": resize(resample_abs_pos_embed),
        "patch_resize": resize(resample_patch_embed),
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
