"""Tensor names of BiT: timm's, Google's .npz files', and Hugging Face's BitForImageClassification's.

Confirmed by timm/models/resnetv2.py, google-research/big_transfer bit_pytorch/models.py (`load_from`) and
by listing the state dict of transformers' model.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_vit.weights.huggingface import describe_classes
from keras_vit.weights.name_map import Layout, Row

BLOCK = "stages_{}_blocks_{}"


def torch_blocks(prefix: str, post_norm: bool = False) -> tuple[Row, ...]:
    """The rows of the residual blocks, which timm and Hugging Face call alike.

    Args:
        prefix: of a block's names, with two numbers.
        post_norm: whether the shortcut has a norm.
    """
    rows = [
        Row(f"{BLOCK}/downsample_conv/kernel", f"{prefix}.downsample.conv.weight", "conv"),
    ]
    for i in (1, 2, 3):
        rows += [
            Row(f"{BLOCK}/conv{i}/kernel", f"{prefix}.conv{i}.weight", "conv"),
            Row(f"{BLOCK}/norm{i}/gamma", f"{prefix}.norm{i}.weight"),
            Row(f"{BLOCK}/norm{i}/beta", f"{prefix}.norm{i}.bias"),
        ]
    if post_norm:
        rows += [
            Row(f"{BLOCK}/downsample_norm/gamma", f"{prefix}.downsample.norm.weight"),
            Row(f"{BLOCK}/downsample_norm/beta", f"{prefix}.downsample.norm.bias"),
        ]
    return tuple(rows)


TIMM = Layout(
    rows=(
        Row("stem/conv/kernel", "stem.conv.weight", "first_conv"),
        *torch_blocks("stages.{}.blocks.{}"),
        Row("norm/gamma", "norm.weight"),
        Row("norm/beta", "norm.bias"),
        Row("head/kernel", "head.fc.weight", "pointwise"),
        Row("head/bias", "head.fc.bias"),
    ),
    heads=("head.fc.",),
)

_UNIT = "resnet/block{+1}/unit{+1:02d}"

NPZ = Layout(
    rows=(
        Row("stem/conv/kernel", "resnet/root_block/standardized_conv2d/kernel", "same_first_conv"),
        Row(
            f"{BLOCK}/downsample_conv/kernel", f"{_UNIT}/a/proj/standardized_conv2d/kernel", "same"
        ),
        *(
            row
            for i, part in enumerate("abc", start=1)
            for row in (
                Row(
                    f"{BLOCK}/conv{i}/kernel", f"{_UNIT}/{part}/standardized_conv2d/kernel", "same"
                ),
                Row(f"{BLOCK}/norm{i}/gamma", f"{_UNIT}/{part}/group_norm/gamma", "same"),
                Row(f"{BLOCK}/norm{i}/beta", f"{_UNIT}/{part}/group_norm/beta", "same"),
            )
        ),
        Row("norm/gamma", "resnet/group_norm/gamma", "same"),
        Row("norm/beta", "resnet/group_norm/beta", "same"),
        Row("head/kernel", "resnet/head/conv2d/kernel", "same_pointwise"),
        Row("head/bias", "resnet/head/conv2d/bias", "same"),
    ),
    heads=("resnet/head/",),
    # Some files number the convolutions (big_vision/models/bit_paper.py).
    renames=((r"standardized_conv2d_\d+", "standardized_conv2d"),),
    numerics="source",
    suffix=".npz",
)


def bit_config(arguments: Mapping[str, Any], labels: Sequence[str] | None) -> dict[str, Any]:
    """The config.json of a BitForImageClassification, or without classes of a BitModel.

    Its keys are those of transformers, models/bit/configuration_bit.py. The widths are written multiplied:
    that code multiplies those of the blocks by its own width factor, but not those around them.
    """
    factor = arguments["width_factor"]
    return {
        "model_type": "bit",
        "architectures": ["BitForImageClassification" if arguments["num_classes"] else "BitModel"],
        "num_channels": arguments["in_chans"],
        "embedding_size": arguments["stem_chs"] * factor,
        "hidden_sizes": [width * factor for width in arguments["channels"]],
        "depths": list(arguments["layers"]),
        "width_factor": 1,
        "layer_type": "preactivation",
        "hidden_act": "relu",
        "global_padding": None,
        "num_groups": 32,
        "drop_path_rate": 0.0,
        **describe_classes(arguments, labels),
    }


HUGGINGFACE = Layout(
    rows=(
        Row("stem/conv/kernel", "bit.embedder.convolution.weight", "first_conv"),
        *torch_blocks("bit.encoder.stages.{}.layers.{}"),
        Row("norm/gamma", "bit.norm.weight"),
        Row("norm/beta", "bit.norm.bias"),
        Row("head/kernel", "classifier.1.weight", "linear"),
        Row("head/bias", "classifier.1.bias"),
    ),
    heads=("classifier.",),
    # A base model's file has no prefix.
    renames=((r"^(?=(?:embedder|encoder|norm)\.)", "bit."),),
    requires={"global_pool": "avg"},
    config=bit_config,
)

LAYOUTS = {"timm": TIMM, "npz": NPZ, "huggingface": HUGGINGFACE}
