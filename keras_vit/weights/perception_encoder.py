"""Tensor names of the Perception Encoder: timm's and the authors'.

The authors': facebookresearch/perception_models, core/vision_encoder/pe.py. PE-Core's files hold a tower of
texts too, and the names of the other have a prefix; those of PE-Lang and PE-Spatial have none.
"""

from keras_vit.weights.eva import TIMM, norm
from keras_vit.weights.name_map import Layout, Row
from keras_vit.weights.rearranging import in_projection, without_bias
from keras_vit.weights.vision_transformer import dense

_TEXTS = (
    r"(transformer|token_embedding|ln_final)\..*",
    r"positional_embedding|text_projection|logit_scale|attn_mask",
)


def _official(prefix: str, ignored: tuple[str, ...] = ()) -> Layout:
    """The authors' names behind a prefix."""
    ours, theirs = "blocks_{}", f"{prefix}transformer.resblocks.{{}}"
    pool, theirs_of_pool = "attn_pool", f"{prefix}attn_pool"
    return Layout(
        rows=(
            Row("embedding/cls_token", f"{prefix}class_embedding", "flat_token"),
            Row("embedding/pos_embed", f"{prefix}positional_embedding", "flat_positions"),
            Row("patch_embed/proj/kernel", f"{prefix}conv1.weight", "patch"),
            *norm("norm_pre", f"{prefix}ln_pre"),
            *norm(f"{ours}/norm1", f"{theirs}.ln_1"),
            Row(f"{ours}/attn/qkv/kernel", f"{theirs}.attn.in_proj_weight", "linear"),
            Row(f"{ours}/attn/qkv/bias", f"{theirs}.attn.in_proj_bias"),
            *dense(f"{ours}/attn/proj", f"{theirs}.attn.out_proj"),
            Row(f"{ours}/ls1/gamma", f"{theirs}.ls_1.gamma"),
            *norm(f"{ours}/norm2", f"{theirs}.ln_2"),
            *dense(f"{ours}/mlp/fc1", f"{theirs}.mlp.c_fc"),
            *dense(f"{ours}/mlp/fc2", f"{theirs}.mlp.c_proj"),
            Row(f"{ours}/ls2/gamma", f"{theirs}.ls_2.gamma"),
            *norm("norm", f"{prefix}ln_post"),
            Row(f"{pool}/latent", f"{theirs_of_pool}.probe"),
            *dense(f"{pool}/q", f"{theirs_of_pool}.q"),
            *dense(f"{pool}/kv", f"{theirs_of_pool}.kv"),
            *dense(f"{pool}/proj", f"{theirs_of_pool}.attn.out_proj"),
            *norm(f"{pool}/norm", f"{theirs_of_pool}.layernorm"),
            *dense(f"{pool}/mlp/fc1", f"{theirs_of_pool}.mlp.c_fc"),
            *dense(f"{pool}/mlp/fc2", f"{theirs_of_pool}.mlp.c_proj"),
            Row("head/kernel", f"{prefix}proj", "same"),
            Row("head/bias", f"{prefix}proj_bias"),
        ),
        heads=(f"{prefix}proj",),
        ignored=(r".*rope\..*", *ignored),
        renames=((r"^module\.", ""),),
        changes=(
            in_projection(
                f"{theirs_of_pool}.attn.in_proj_", f"{theirs_of_pool}.q.", f"{theirs_of_pool}.kv."
            ),
            without_bias(f"{prefix}proj", f"{prefix}proj_bias", axis=1),
        ),
        numerics="source",
    )


LAYOUTS = {"timm": TIMM, "official": _official("visual.", _TEXTS), "official_tower": _official("")}
