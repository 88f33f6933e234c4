"""Tensor names of SigLIP's image towers: timm's and open_clip's, big_vision's, transformers'.

mlfoundations/open_clip keeps a timm model in `visual.trunk.`; transformers, models/siglip: the tower alone or
in a whole SiglipModel, which version 4 calls `vision_model.` in either. A name with "gap" has no attention
pooling, and leaves a file's out, as timm does.
"""

import dataclasses

from keras_vit.weights import big_vision, vision_transformer
from keras_vit.weights.huggingface import SETTINGS, siglip_config
from keras_vit.weights.name_map import Layout, Row
from keras_vit.weights.rearranging import in_projection
from keras_vit.weights.vision_transformer import dense, norm

# Of a whole model: the tower of texts, and the scale and offset of the products.
_TEXTS = (r"text[._].*", r"logit_(scale|bias)")

TIMM = dataclasses.replace(
    vision_transformer.TIMM,
    renames=((r"^visual\.trunk\.", ""), *vision_transformer.TIMM.renames),
    ignored=(*vision_transformer.TIMM.ignored, *_TEXTS, r"attn_pool\..*"),
)

_BLOCK = "vision_model.encoder.layers.{}"
_QKV = [f"{_BLOCK}.self_attn.{name}_proj" for name in "qkv"]
_POOL = "vision_model.head"

HUGGINGFACE = Layout(
    rows=(
        Row(
            "embedding/pos_embed",
            "vision_model.embeddings.position_embedding.weight",
            "flat_positions",
        ),
        Row("patch_embed/proj/kernel", "vision_model.embeddings.patch_embedding.weight", "patch"),
        Row("patch_embed/proj/bias", "vision_model.embeddings.patch_embedding.bias"),
        *norm("blocks_{}/norm1", f"{_BLOCK}.layer_norm1"),
        *norm("blocks_{}/norm2", f"{_BLOCK}.layer_norm2"),
        Row("blocks_{}/attn/qkv/kernel", tuple(f"{name}.weight" for name in _QKV), "linear"),
        Row("blocks_{}/attn/qkv/bias", tuple(f"{name}.bias" for name in _QKV)),
        *dense("blocks_{}/attn/proj", f"{_BLOCK}.self_attn.out_proj"),
        *dense("blocks_{}/mlp/fc1", f"{_BLOCK}.mlp.fc1"),
        *dense("blocks_{}/mlp/fc2", f"{_BLOCK}.mlp.fc2"),
        *norm("norm", "vision_model.post_layernorm"),
        Row("attn_pool/latent", f"{_POOL}.probe"),
        Row("attn_pool/q/kernel", f"{_POOL}.attention.q_weight", "linear"),
        Row("attn_pool/q/bias", f"{_POOL}.attention.q_bias"),
        Row("attn_pool/kv/kernel", f"{_POOL}.attention.kv_weight", "linear"),
        Row("attn_pool/kv/bias", f"{_POOL}.attention.kv_bias"),
        *dense("attn_pool/proj", f"{_POOL}.attention.out_proj"),
        *norm("attn_pool/norm", f"{_POOL}.layernorm"),
        *dense("attn_pool/mlp/fc1", f"{_POOL}.mlp.fc1"),
        *dense("attn_pool/mlp/fc2", f"{_POOL}.mlp.fc2"),
        *dense("head", "classifier"),
    ),
    heads=("classifier.",),
    renames=((r"^(?=(embeddings|encoder|post_layernorm|head)\.)", "vision_model."),),
    changes=(
        in_projection(
            f"{_POOL}.attention.in_proj_", f"{_POOL}.attention.q_", f"{_POOL}.attention.kv_"
        ),
    ),
    ignored=(*_TEXTS, r"vision_model\.embeddings\.position_ids", r"vision_model\.head\..*"),
    numerics="huggingface",
    requires={"class_token": False, "num_classes": 0},
    settings=SETTINGS,
    config=siglip_config,
)

NPZ = dataclasses.replace(big_vision.NPZ, requires={"class_token": False, "qkv_bias": True})

LAYOUTS = {"timm": TIMM, "npz": NPZ, "huggingface": HUGGINGFACE}
