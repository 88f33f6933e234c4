"""Tensor names of CvT: microsoft/CvT's own, and Hugging Face's.

Confirmed by listing the state dicts of microsoft/CvT lib/models/cls_cvt.py and of transformers
models/cvt/modeling_cvt.py, whose versions 4 and 5 have the same names.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_vit.weights.huggingface import describe_classes
from keras_vit.weights.name_map import NO_BATCHES, Constant, Layout, Row

# Ours, microsoft's, Hugging Face's, kind.
_Line = tuple[str, str, str, str]


def _dense(ours: str, official: str, huggingface: str) -> list[_Line]:
    return [
        (f"{ours}/kernel", f"{official}.weight", f"{huggingface}.weight", "linear"),
        (f"{ours}/bias", f"{official}.bias", f"{huggingface}.bias", "vector"),
    ]


def _norm(ours: str, official: str, huggingface: str) -> list[_Line]:
    return [
        (f"{ours}/gamma", f"{official}.weight", f"{huggingface}.weight", "vector"),
        (f"{ours}/beta", f"{official}.bias", f"{huggingface}.bias", "vector"),
    ]


def _embedding(stage: str, kind: str) -> list[_Line]:
    """The token embedding of one stage, or of all for `"{}"`."""
    ours, official = f"stages_{stage}_embed", f"stage{stage}.patch_embed"
    huggingface = f"cvt.encoder.stages.{stage}.embedding.convolution_embeddings"
    proj = f"{huggingface}.projection"
    return [
        (f"{ours}/proj/kernel", f"{official}.proj.weight", f"{proj}.weight", kind),
        (f"{ours}/proj/bias", f"{official}.proj.bias", f"{proj}.bias", "vector"),
        *_norm(f"{ours}/norm", f"{official}.norm", f"{huggingface}.normalization"),
    ]


_OURS, _OFFICIAL = "stages_{}_blocks_{}", "stage{}.blocks.{}"
_HUGGINGFACE = "cvt.encoder.stages.{}.layers.{}"


def _projection(part: str, word: str) -> list[_Line]:
    """The convolution, its BatchNorm with statistics, and the linear map, to query, key or value."""
    ours, official = f"{_OURS}/attn/conv_proj_{part}", f"{_OFFICIAL}.attn.conv_proj_{part}"
    attention = f"{_HUGGINGFACE}.attention.attention"
    huggingface = f"{attention}.convolution_projection_{word}.convolution_projection"
    bn, their_bn = f"{official}.bn", f"{huggingface}.normalization"
    convolution = f"{huggingface}.convolution.weight"
    return [
        (f"{ours}/conv/kernel", f"{official}.conv.weight", convolution, "depthwise"),
        *_norm(f"{ours}/bn", bn, their_bn),
        (f"{ours}/bn/moving_mean", f"{bn}.running_mean", f"{their_bn}.running_mean", "vector"),
        (f"{ours}/bn/moving_variance", f"{bn}.running_var", f"{their_bn}.running_var", "vector"),
        *_dense(
            f"{_OURS}/attn/proj_{part}",
            f"{_OFFICIAL}.attn.proj_{part}",
            f"{attention}.projection_{word}",
        ),
    ]


_TABLE = (
    (
        "stages_{}_embed/cls_token",
        "stage{}.cls_token",
        "cvt.encoder.stages.{}.cls_token",
        "vector",
    ),
    *_embedding("0", "first_conv"),
    *_embedding("{}", "conv"),
    *_norm(f"{_OURS}/norm1", f"{_OFFICIAL}.norm1", f"{_HUGGINGFACE}.layernorm_before"),
    *_projection("q", "query"),
    *_projection("k", "key"),
    *_projection("v", "value"),
    *_dense(
        f"{_OURS}/attn/proj",
        f"{_OFFICIAL}.attn.proj",
        f"{_HUGGINGFACE}.attention.output.dense",
    ),
    *_norm(f"{_OURS}/norm2", f"{_OFFICIAL}.norm2", f"{_HUGGINGFACE}.layernorm_after"),
    *_dense(f"{_OURS}/mlp/fc1", f"{_OFFICIAL}.mlp.fc1", f"{_HUGGINGFACE}.intermediate.dense"),
    *_dense(f"{_OURS}/mlp/fc2", f"{_OFFICIAL}.mlp.fc2", f"{_HUGGINGFACE}.output.dense"),
    *_norm("norm", "norm", "layernorm"),
    *_dense("head", "head", "classifier"),
)


_METHODS = {"conv": "dw_bn", "average": "avg", "linear": "linear"}


def cvt_config(arguments: Mapping[str, Any], labels: Sequence[str] | None) -> dict[str, Any]:
    """The config.json of a CvtForImageClassification, or without classes of a CvtModel.

    Its keys are those of transformers, models/cvt/configuration_cvt.py.
    """
    count = len(arguments["depth"])

    def each(value: Any) -> list[Any]:
        return list(value) if isinstance(value, list | tuple) else [value] * count

    methods = [_METHODS[method] for method in each(arguments["projection"])]
    patches = [kind == "patch" for kind in each(arguments["token_embedding"])]
    windows = zip(
        patches, *(arguments[f"embed_{x}"] for x in ("kernel", "stride", "padding")), strict=True
    )
    sizes = [
        (stride, 0) if patch else (kernel, padding) for patch, kernel, stride, padding in windows
    ]
    return {
        "model_type": "cvt",
        "architectures": ["CvtForImageClassification" if arguments["num_classes"] else "CvtModel"],
        "num_channels": arguments["in_chans"],
        "patch_sizes": [size for size, _ in sizes],
        "patch_stride": list(arguments["embed_stride"]),
        "patch_padding": [padding for _, padding in sizes],
        "embed_dim": list(arguments["embed_dim"]),
        "num_heads": list(arguments["num_heads"]),
        "depth": list(arguments["depth"]),
        "mlp_ratio": each(arguments["mlp_ratio"]),
        "qkv_bias": each(arguments["qkv_bias"]),
        "cls_token": [False] * (count - 1) + [arguments["class_token"]],
        "qkv_projection_method": methods,
        "kernel_qkv": each(arguments["proj_kernel"]),
        "padding_kv": each(arguments["proj_padding"]),
        "padding_q": each(arguments["proj_padding"]),
        "stride_kv": each(arguments["stride_kv"]),
        "stride_q": [1] * count,
        **dict.fromkeys(("attention_drop_rate", "drop_rate", "drop_path_rate"), [0.0] * count),
        "layer_norm_eps": arguments["norm_eps"],
        **describe_classes(arguments, labels),
    }


def _layout(rows: list[Row], head: str, config: Any = None) -> Layout:
    """A layout of these rows; torch's counter of batches, which nothing reads, is written as 0."""
    beside = [row for row in rows if row.ours.endswith("/bn/moving_mean")]
    counters = (row.names[0].replace("running_mean", "num_batches_tracked") for row in beside)
    constants = tuple(
        Constant(row.ours, counter, NO_BATCHES)
        for row, counter in zip(beside, counters, strict=True)
    )
    return Layout(tuple(rows), (head,), constants=constants, config=config)


# The positions of the paper's ablation have a name in microsoft's code alone (`no_weight_decay`).
_POSITIONS = Row("stages_{}_embed/pos_embed", "stage{}.pos_embed")

LAYOUTS = {
    "official": _layout(
        [_POSITIONS, *(Row(ours, official, kind) for ours, official, _, kind in _TABLE)], "head."
    ),
    "huggingface": _layout(
        [Row(ours, huggingface, kind) for ours, _, huggingface, kind in _TABLE],
        "classifier.",
        cvt_config,
    ),
}
