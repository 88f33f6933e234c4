"""Tensor names of DINOv3 and what has its architecture: timm's, the authors' and Hugging Face's.

The authors': facebookresearch/dinov3, models/vision_transformer.py and layers/; LingBot-Vision's and EUPE's
files have the same. Hugging Face's: transformers, models/dinov3_vit; version 5 has a prefix more in memory.
"""

from keras_vit.weights.eva import TIMM, dense, like_timm
from keras_vit.weights.name_map import Row

# Of pre-training and distillation, and masks of biases. Of models without biases of queries and values
# those, which are zero where there is such a model: timm leaves them out, too.
OFFICIAL = like_timm(
    Row("blocks_{}/attn/q_bias", "blocks.{}.attn.qkv.bias", "first_third"),
    Row("blocks_{}/attn/v_bias", "blocks.{}.attn.qkv.bias", "last_third"),
    renames=(
        (r"^storage_tokens$", "reg_token"),
        (r"\.ls([12])\.gamma$", r".gamma_\1"),
        (r"\.mlp\.w1\.", ".mlp.fc1_g."),
        (r"\.mlp\.w2\.", ".mlp.fc1_x."),
        (r"\.mlp\.w3\.", ".mlp.fc2."),
    ),
    ignored=(
        r"rope_embed\.periods",
        r"(local_)?cls_norm\..*",
        r"projectors\..*",
        r"blocks\.\d+\.attn\.qkv\.bias(_mask)?",
    ),
    numerics="source",
)

_ATTENTION, _MLP = "blocks.{}.attention", "blocks.{}.mlp"
HUGGINGFACE = like_timm(
    Row(
        "blocks_{}/attn/qkv/kernel", tuple(f"{_ATTENTION}.{x}_proj.weight" for x in "qkv"), "linear"
    ),
    Row("blocks_{}/attn/q_bias", f"{_ATTENTION}.q_proj.bias"),
    Row("blocks_{}/attn/v_bias", f"{_ATTENTION}.v_proj.bias"),
    # `up_proj` is the value of a gated perceptron, and the first product of another.
    *dense("blocks_{}/mlp/fc1", f"{_MLP}.up_proj"),
    *dense("blocks_{}/mlp/fc1_x", f"{_MLP}.up_proj"),
    *dense("blocks_{}/mlp/fc1_g", f"{_MLP}.gate_proj"),
    *dense("blocks_{}/mlp/fc2", f"{_MLP}.down_proj"),
    *dense("head", "classifier"),
    heads=("classifier.",),
    renames=(
        (r"^(model\.|dinov3_vit\.)+", ""),
        (r"^embeddings\.(cls_token|mask_token)$", r"\1"),
        (r"^embeddings\.register_tokens$", "reg_token"),
        (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
        (r"^layer\.", "blocks."),
        (r"\.attention\.o_proj\.", ".attn.proj."),
        (r"\.layer_scale([12])\.lambda1$", r".gamma_\1"),
    ),
    ignored=(r"blocks\.\d+\.attention\.[qv]_proj\.bias",),
    settings={"norm_eps": "layer_norm_eps"},
)

LAYOUTS = {"timm": TIMM, "official": OFFICIAL, "huggingface": HUGGINGFACE}
