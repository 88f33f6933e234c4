"""Tensor names of EVA and its heirs: timm's and the authors'.

timm's: confirmed by listing the state dicts of timm/models/eva.py. The authors' of EVA, EVA-02 and EVA-CLIP:
baaivision/EVA, EVA-02/asuka/modeling_finetune.py and EVA-CLIP/rei/eva_clip/eva_vit_model.py, as timm's
`checkpoint_filter_fn` reads them.
"""

from collections.abc import Mapping

from keras_vit.weights.name_map import Layout, Row
from keras_vit.weights.vision_transformer import dense


def norm(ours: str, theirs: str) -> tuple[Row, Row, Row]:
    """Of a LayerNorm, or `scale` of an RMSNorm."""
    return (
        Row(f"{ours}/gamma", f"{theirs}.weight"),
        Row(f"{ours}/beta", f"{theirs}.bias"),
        Row(f"{ours}/scale", f"{theirs}.weight"),
    )


_ATTENTION = ("qkv", "q_proj", "k_proj", "v_proj", "proj")
_MLP = ("fc1", "fc1_g", "fc1_x", "fc2")

TIMM = Layout(
    rows=(
        Row("embedding/cls_token", "cls_token"),
        Row("embedding/reg_token", "reg_token"),
        Row("embedding/pos_embed", "pos_embed", "positions"),
        Row("patch_embed/proj/kernel", "patch_embed.proj.weight", "patch"),
        Row("patch_embed/proj/bias", "patch_embed.proj.bias"),
        Row("rope/freqs", "rope.freqs"),
        *norm("norm_pre", "norm_pre"),
        *norm("blocks_{}/norm1", "blocks.{}.norm1"),
        *norm("blocks_{}/norm2", "blocks.{}.norm2"),
        Row("blocks_{}/attn/q_bias", "blocks.{}.attn.q_bias"),
        Row("blocks_{}/attn/v_bias", "blocks.{}.attn.v_bias"),
        *(
            row
            for x in _ATTENTION
            for row in dense(f"blocks_{{}}/attn/{x}", f"blocks.{{}}.attn.{x}")
        ),
        *(
            row
            for x in ("q_norm", "k_norm", "norm")
            for row in norm(f"blocks_{{}}/attn/{x}", f"blocks.{{}}.attn.{x}")
        ),
        *(row for x in _MLP for row in dense(f"blocks_{{}}/mlp/{x}", f"blocks.{{}}.mlp.{x}")),
        *norm("blocks_{}/mlp/norm", "blocks.{}.mlp.norm"),
        Row("blocks_{}/ls1/gamma", "blocks.{}.gamma_1"),
        Row("blocks_{}/ls2/gamma", "blocks.{}.gamma_2"),
        *norm("norm", "norm"),
        *norm("fc_norm", "fc_norm"),
        Row("attn_pool/latent", "attn_pool.latent"),
        *(row for x in ("q", "kv", "proj") for row in dense(f"attn_pool/{x}", f"attn_pool.{x}")),
        *norm("attn_pool/norm", "attn_pool.norm"),
        *dense("attn_pool/mlp/fc1", "attn_pool.mlp.fc1"),
        *dense("attn_pool/mlp/fc2", "attn_pool.mlp.fc2"),
        *dense("head", "head"),
    ),
    heads=("head.",),
    ignored=(r"mask_token", r"(blocks\.\d+\.attn\.)?rope\.freqs_(cos|sin)"),
)


def like_timm(
    *rows: Row,
    renames: tuple[tuple[str, str], ...],
    ignored: tuple[str, ...] = (),
    heads: tuple[str, ...] = ("head.",),
    settings: Mapping[str, str] | None = None,
    numerics: str | None = None,
    marks: tuple[str, ...] = (),
) -> Layout:
    """A table for files whose names `renames` turn into timm's; only read, since they hold more than a model.

    Args:
        rows: stand in the place of timm's for the same variables.
        ignored: what those files hold beside, under the names that they get.
        heads, settings, numerics, marks: as in `Layout`.
    """
    named = {row.ours for row in rows}
    return Layout(
        rows=(*rows, *(row for row in TIMM.rows if row.ours not in named)),
        heads=heads,
        ignored=(*TIMM.ignored, *ignored),
        renames=renames,
        settings=settings or {},
        numerics=numerics,
        marks=marks,
        read_only=True,
    )


# The prefixes of EVA-CLIP's image tower, and the authors' names inside a block.
_RENAMES = (
    (r"^visual\.(trunk\.)?", ""),
    (r"\.mlp\.ffn_ln\.", ".mlp.norm."),
    (r"\.attn\.inner_attn_ln\.", ".attn.norm."),
    (r"\.mlp\.w12\.", ".mlp.fc1."),
    (r"\.mlp\.w1\.", ".mlp.fc1_g."),
    (r"\.mlp\.w2\.", ".mlp.fc1_x."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)
# Of a CLIP the text tower; of pre-training what predicts the masked patches.
_IGNORED = (r"(text|logit_scale|transformer|token_embedding|ln_final|positional_embedding).*",)
_BIASES = tuple(Row(f"blocks_{{}}/attn/{x}_proj/bias", f"blocks.{{}}.attn.{x}_bias") for x in "qv")
OFFICIAL = like_timm(*_BIASES, renames=_RENAMES, ignored=_IGNORED, numerics="source")

# A file of masked image modelling: timm begins the norm of pooled features with that of the tokens.
PRETRAINING = like_timm(
    *_BIASES,
    Row("fc_norm/gamma", "norm.weight"),
    Row("fc_norm/beta", "norm.bias"),
    renames=_RENAMES,
    ignored=(r"lm_head\..*",),
    marks=("mask_token", "lm_head.weight"),
    numerics="source",
)

LAYOUTS = {"timm": TIMM, "official": OFFICIAL, "pretraining": PRETRAINING}
