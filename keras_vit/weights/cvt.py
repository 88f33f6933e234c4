"""Tensor names of CvT: microsoft/CvT's own, and Hugging Face's.

Confirmed by listing the state dicts of microsoft/CvT lib/models/cls_cvt.py and of transformers
models/cvt/modeling_cvt.py, whose versions 4 and 5 have the same names.
"""

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


def _layout(rows: list[Row], head: str) -> Layout:
    """A layout of these rows; torch's counter of batches, which nothing reads, is written as 0."""
    beside = [row for row in rows if row.ours.endswith("/bn/moving_mean")]
    counters = (row.names[0].replace("running_mean", "num_batches_tracked") for row in beside)
    constants = tuple(
        Constant(row.ours, counter, NO_BATCHES)
        for row, counter in zip(beside, counters, strict=True)
    )
    return Layout(tuple(rows), (head,), constants=constants)


# The positions of the paper's ablation have a name in microsoft's code alone (`no_weight_decay`).
_POSITIONS = Row("stages_{}_embed/pos_embed", "stage{}.pos_embed")

LAYOUTS = {
    "official": _layout(
        [_POSITIONS, *(Row(ours, official, kind) for ours, official, _, kind in _TABLE)], "head."
    ),
    "huggingface": _layout(
        [Row(ours, huggingface, kind) for ours, _, huggingface, kind in _TABLE], "classifier."
    ),
}
