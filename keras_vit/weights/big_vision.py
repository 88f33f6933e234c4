"""Tensor names of big_vision's .npz files: FlexiViT, and the towers that pool by attention.

google-research/big_vision, models/vit.py and models/proj/flexi/vit.py. The modules are called as linen counts
them, positions are added before the class token joins, and all blocks may be one stack (`scan=True`).
"""

import dataclasses

from keras_vit.weights import vision_transformer
from keras_vit.weights.name_map import Layout, Row
from keras_vit.weights.rearranging import unstacked

_NAMES = {
    "Transformer/posembed_input/pos_embedding": "pos_embedding",
    "/MultiHeadDotProductAttention_1/": "/MultiHeadDotProductAttention_0/",
    "/LayerNorm_2/": "/LayerNorm_1/",
    "/MlpBlock_3/": "/MlpBlock_0/",
}


def _of_linen(row: Row) -> Row:
    """A row of the released ViTs with big_vision's name."""
    names = row.names
    for old, new in _NAMES.items():
        names = tuple(name.replace(old, new) for name in names)
    return dataclasses.replace(row, theirs=names)


_POOL = "MAPHead_0"
_ATTENTION = f"{_POOL}/MultiHeadDotProductAttention_0"
_MAP_HEAD = (
    Row("attn_pool/latent", f"{_POOL}/probe"),
    *(Row(f"attn_pool/q/{x}", f"{_ATTENTION}/query/{x}", "heads") for x in ("kernel", "bias")),
    *(
        Row(
            f"attn_pool/kv/{x}",
            (f"{_ATTENTION}/key/{x}", f"{_ATTENTION}/value/{x}"),
            "heads",
        )
        for x in ("kernel", "bias")
    ),
    Row("attn_pool/proj/kernel", f"{_ATTENTION}/out/kernel", "heads_out"),
    Row("attn_pool/proj/bias", f"{_ATTENTION}/out/bias"),
    Row("attn_pool/norm/gamma", f"{_POOL}/LayerNorm_0/scale"),
    Row("attn_pool/norm/beta", f"{_POOL}/LayerNorm_0/bias"),
    *(
        Row(f"attn_pool/mlp/fc{i + 1}/{x}", f"{_POOL}/MlpBlock_0/Dense_{i}/{x}", "same")
        for i in (0, 1)
        for x in ("kernel", "bias")
    ),
)

NPZ = Layout(
    rows=(*map(_of_linen, vision_transformer.NPZ.rows), *_MAP_HEAD),
    heads=("head/",),
    pre_heads=("pre_logits/",),
    renames=((r"^(opt/target/|params/img/|params/|img/)", ""),),
    changes=(unstacked(r"Transformer/encoderblock/(.*)", r"Transformer/encoderblock_{}/\1"),),
    # The tower of texts beside that of images (SigLIP), or the language model (PaliGemma).
    ignored=(r"opt/.*", r"(params/)?(txt|llm)/.*", r"[tb]", f"{_POOL}/.*"),
    numerics="source",
    requires={"no_embed_class": True, "qkv_bias": True},
    suffix=".npz",
)

LAYOUTS = {"timm": vision_transformer.TIMM, "npz": NPZ}
