"""Tensor names of Sapiens2: timm's, and the authors' as timm's `checkpoint_filter_fn` reads them."""

from keras_vit.weights.eva import TIMM, like_timm

OFFICIAL = like_timm(
    renames=(
        (r"^storage_tokens$", "reg_token"),
        (r"^patch_embed\.projection\.", "patch_embed.proj."),
        (r"\.attn\.w([qkv])\.", r".attn.\1_proj."),
        (r"\.attn\.gamma\.weight$", ".gamma_1"),
        (r"\.ffn\.w12\.", ".mlp.fc1."),
        (r"\.ffn\.w3\.", ".mlp.fc2."),
        (r"(^|\.)ln([12])\.", r"\1norm\2."),
        (r"^norm1\.", "norm."),
    ),
    ignored=(r"rope_embed\..*",),
)

LAYOUTS = {"timm": TIMM, "official": OFFICIAL}
