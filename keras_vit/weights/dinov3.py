"""Tensor names of DINOv3 and what has its architecture: timm's, the authors' and Hugging Face's.

The authors': facebookresearch/dinov3, models/vision_transformer.py and layers/; LingBot-Vision's and EUPE's
files have the same. Hugging Face's: transformers, models/dinov3_vit; version 5 has a prefix more in memory.
"""

from keras_vit.weights.eva import TIMM, like_timm
from keras_vit.weights.huggingface import dinov3_config
from keras_vit.weights.name_map import Layout, Row
from keras_vit.weights.rearranging import mask_token
from keras_vit.weights.vision_transformer import dense, norm

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

_BLOCK = "layer.{}"
HUGGINGFACE = Layout(
    rows=(
        Row("embedding/cls_token", "embeddings.cls_token"),
        Row("embedding/reg_token", "embeddings.register_tokens"),
        Row("patch_embed/proj/kernel", "embeddings.patch_embeddings.weight", "patch"),
        Row("patch_embed/proj/bias", "embeddings.patch_embeddings.bias"),
        *norm("blocks_{}/norm1", f"{_BLOCK}.norm1"),
        *norm("blocks_{}/norm2", f"{_BLOCK}.norm2"),
        Row(
            "blocks_{}/attn/qkv/kernel",
            tuple(f"{_BLOCK}.attention.{x}_proj.weight" for x in "qkv"),
            "linear",
        ),
        Row("blocks_{}/attn/q_bias", f"{_BLOCK}.attention.q_proj.bias"),
        Row("blocks_{}/attn/v_bias", f"{_BLOCK}.attention.v_proj.bias"),
        *dense("blocks_{}/attn/proj", f"{_BLOCK}.attention.o_proj"),
        Row("blocks_{}/ls1/gamma", f"{_BLOCK}.layer_scale1.lambda1"),
        Row("blocks_{}/ls2/gamma", f"{_BLOCK}.layer_scale2.lambda1"),
        # `up_proj` is the value of a gated perceptron, and the first product of another.
        *dense("blocks_{}/mlp/fc1", f"{_BLOCK}.mlp.up_proj"),
        *dense("blocks_{}/mlp/fc1_x", f"{_BLOCK}.mlp.up_proj"),
        *dense("blocks_{}/mlp/fc1_g", f"{_BLOCK}.mlp.gate_proj"),
        *dense("blocks_{}/mlp/fc2", f"{_BLOCK}.mlp.down_proj"),
        *norm("norm", "norm"),
        *dense("head", "classifier"),
    ),
    heads=("classifier.",),
    renames=((r"^(model\.|dinov3_vit\.)+", ""),),
    changes=(mask_token("embeddings.mask_token", "embeddings.cls_token", axes=3),),
    # Of models that have them, where ours has none.
    ignored=(r"layer\.\d+\.attention\.[qv]_proj\.bias",),
    requires={
        "num_classes": 0,
        "class_token": True,
        "rope": "centered",
        "final_norm": True,
        "key_bias": False,
        "qk_norm": False,
        "patch_bias": True,
        "num_kv_heads": None,
    },
    settings={"norm_eps": "layer_norm_eps"},
    config=dinov3_config,
)

LAYOUTS = {"timm": TIMM, "official": OFFICIAL, "huggingface": HUGGINGFACE}
