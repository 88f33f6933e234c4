"""Tensor names of DINOv2 and of TIPS, which follows it: timm's, the authors', transformers'.

facebookresearch/dinov2, models/vision_transformer.py and layers/swiglu_ffn.py; google-deepmind/tips has the
same under `vision_encoder.` in a whole model. transformers, models/dinov2 and dinov2_with_registers. With
registers both add a position to the class token, which timm has added to the token itself.
"""

import dataclasses

from keras_vit.weights import vision_transformer
from keras_vit.weights.huggingface import dinov2_config
from keras_vit.weights.name_map import Layout, Row
from keras_vit.weights.rearranging import Change, class_position, gated_names, joined, mask_token
from keras_vit.weights.vision_transformer import dense, norm

TIMM = vision_transformer.TIMM

_REGISTERS = "embedding/reg_token"
_PLAIN = (".mlp.fc1.", ".mlp.fc2.")
# What TIPS has beside its image tower.
_TEXTS = (r"text_encoder\..*", r"temperature")


def _with_registers(layout: Layout, name: str, *changes: Change) -> Layout:
    """The layout, and as its variant the one of models with registers, called `name`."""
    rows = tuple(row for row in layout.rows if row.ours != _REGISTERS)
    plain = dataclasses.replace(layout, rows=rows)
    registers = dataclasses.replace(
        plain, rows=(*rows, Row(_REGISTERS, name)), changes=(*layout.changes, *changes)
    )
    return dataclasses.replace(plain, variants=(registers,))


OFFICIAL = _with_registers(
    Layout(
        rows=TIMM.rows,
        heads=("head.",),
        renames=((r"^vision_encoder\.", ""), (r"^(teacher\.)?backbone\.", "")),
        changes=(
            gated_names(_PLAIN, (".mlp.w12.", ".mlp.w3.")),
            mask_token("mask_token", "cls_token"),
        ),
        marks=("mask_token",),
        ignored=_TEXTS,
        numerics="source",
    ),
    "register_tokens",
    class_position("cls_token", "pos_embed"),
)

# Version 5 splits the first product of a gated perceptron, in memory.
_VERSION_5_GATED = (r"\.mlp\.down_proj\.", ".mlp.fc2.")

_BLOCK = "encoder.layer.{}"
_QKV = [f"{_BLOCK}.attention.attention.{name}" for name in ("query", "key", "value")]

HUGGINGFACE = _with_registers(
    Layout(
        rows=(
            Row("embedding/cls_token", "embeddings.cls_token"),
            Row("embedding/pos_embed", "embeddings.position_embeddings", "positions"),
            Row(
                "patch_embed/proj/kernel", "embeddings.patch_embeddings.projection.weight", "patch"
            ),
            Row("patch_embed/proj/bias", "embeddings.patch_embeddings.projection.bias"),
            *norm("blocks_{}/norm1", f"{_BLOCK}.norm1"),
            *norm("blocks_{}/norm2", f"{_BLOCK}.norm2"),
            Row("blocks_{}/attn/qkv/kernel", tuple(f"{name}.weight" for name in _QKV), "linear"),
            Row("blocks_{}/attn/qkv/bias", tuple(f"{name}.bias" for name in _QKV)),
            *dense("blocks_{}/attn/proj", f"{_BLOCK}.attention.output.dense"),
            Row("blocks_{}/ls1/gamma", f"{_BLOCK}.layer_scale1.lambda1"),
            Row("blocks_{}/ls2/gamma", f"{_BLOCK}.layer_scale2.lambda1"),
            *dense("blocks_{}/mlp/fc1", f"{_BLOCK}.mlp.fc1"),
            *dense("blocks_{}/mlp/fc2", f"{_BLOCK}.mlp.fc2"),
            *norm("norm", "layernorm"),
            *dense("head", "classifier"),
        ),
        heads=("classifier.",),
        renames=(
            (r"^dinov2(_with_registers)?\.", ""),
            *vision_transformer.VERSION_5_ATTENTION,
            _VERSION_5_GATED,
        ),
        changes=(
            gated_names(_PLAIN, (".mlp.weights_in.", ".mlp.weights_out.")),
            joined(r"(.*\.mlp)\.gate_proj\.(weight|bias)", r"\1.up_proj.\2", r"\1.fc1.\2"),
            mask_token("embeddings.mask_token", "embeddings.cls_token"),
        ),
        numerics="huggingface",
        requires={"num_classes": 0},
        settings={"norm_eps": "layer_norm_eps"},
        config=dinov2_config,
    ),
    "embeddings.register_tokens",
    class_position("embeddings.cls_token", "embeddings.position_embeddings"),
)

LAYOUTS = {"timm": TIMM, "official": OFFICIAL, "huggingface": HUGGINGFACE}
