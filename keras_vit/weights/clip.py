"""Tensor names of CLIP's image towers: timm's, OpenAI's and open_clip's, transformers'.

openai/CLIP, clip/model.py, and mlfoundations/open_clip, transformer.py, share the names; both files hold the
tower of texts too. transformers, models/clip: the tower alone, with its projection, or in a whole CLIPModel.
The projections have no bias.
"""

import dataclasses

from keras_vit.weights import vision_transformer
from keras_vit.weights.huggingface import SETTINGS, clip_config
from keras_vit.weights.name_map import Layout, Row
from keras_vit.weights.rearranging import without_bias
from keras_vit.weights.vision_transformer import dense, norm

# Of a whole model: the tower of texts, and the scale and offset of the products.
_TEXTS = (
    r"(transformer|token_embedding|ln_final|text_model)\..*",
    r"positional_embedding|text_projection(\.weight)?|logit_scale|logit_bias|attn_mask",
    r"input_resolution|context_length|vocab_size",
)

TIMM = dataclasses.replace(
    vision_transformer.TIMM,
    renames=((r"^visual\.trunk\.", ""), *vision_transformer.TIMM.renames),
    ignored=(*vision_transformer.TIMM.ignored, *_TEXTS),
)

_RESBLOCK = "visual.transformer.resblocks.{}"

OFFICIAL = Layout(
    rows=(
        Row("embedding/cls_token", "visual.class_embedding", "flat_token"),
        Row("embedding/pos_embed", "visual.positional_embedding", "flat_positions"),
        Row("patch_embed/proj/kernel", "visual.conv1.weight", "patch"),
        *norm("norm_pre", "visual.ln_pre"),
        *norm("blocks_{}/norm1", f"{_RESBLOCK}.ln_1"),
        Row("blocks_{}/attn/qkv/kernel", f"{_RESBLOCK}.attn.in_proj_weight", "linear"),
        Row("blocks_{}/attn/qkv/bias", f"{_RESBLOCK}.attn.in_proj_bias"),
        *dense("blocks_{}/attn/proj", f"{_RESBLOCK}.attn.out_proj"),
        *norm("blocks_{}/norm2", f"{_RESBLOCK}.ln_2"),
        *dense("blocks_{}/mlp/fc1", f"{_RESBLOCK}.mlp.c_fc"),
        *dense("blocks_{}/mlp/fc2", f"{_RESBLOCK}.mlp.c_proj"),
        *norm("norm", "visual.ln_post"),
        Row("head/kernel", "visual.proj", "same"),
        Row("head/bias", "visual.proj_bias"),
    ),
    heads=("visual.proj",),
    changes=(without_bias("visual.proj", "visual.proj_bias", axis=1),),
    ignored=_TEXTS,
    numerics="source",
    requires={"pre_norm": True, "global_pool": "token"},
)

_BLOCK = "vision_model.encoder.layers.{}"
_QKV = [f"{_BLOCK}.self_attn.{name}_proj" for name in "qkv"]

HUGGINGFACE = Layout(
    rows=(
        Row("embedding/cls_token", "vision_model.embeddings.class_embedding", "flat_token"),
        Row(
            "embedding/pos_embed",
            "vision_model.embeddings.position_embedding.weight",
            "flat_positions",
        ),
        Row("patch_embed/proj/kernel", "vision_model.embeddings.patch_embedding.weight", "patch"),
        *norm("norm_pre", "vision_model.pre_layrnorm"),  # transformers spells it so
        *norm("blocks_{}/norm1", f"{_BLOCK}.layer_norm1"),
        Row("blocks_{}/attn/qkv/kernel", tuple(f"{name}.weight" for name in _QKV), "linear"),
        Row("blocks_{}/attn/qkv/bias", tuple(f"{name}.bias" for name in _QKV)),
        *dense("blocks_{}/attn/proj", f"{_BLOCK}.self_attn.out_proj"),
        *norm("blocks_{}/norm2", f"{_BLOCK}.layer_norm2"),
        *dense("blocks_{}/mlp/fc1", f"{_BLOCK}.mlp.fc1"),
        *dense("blocks_{}/mlp/fc2", f"{_BLOCK}.mlp.fc2"),
        *norm("norm", "vision_model.post_layernorm"),
        Row("head/kernel", "visual_projection.weight", "linear"),
        Row("head/bias", "visual_projection.bias"),
    ),
    heads=("visual_projection.",),
    renames=((r"^(?=(embeddings|encoder|pre_layrnorm|post_layernorm)\.)", "vision_model."),),
    changes=(without_bias("visual_projection.weight", "visual_projection.bias", axis=0),),
    ignored=(*_TEXTS, r"vision_model\.embeddings\.position_ids"),
    numerics="huggingface",
    requires={"pre_norm": True, "global_pool": "token"},
    settings=SETTINGS,
    config=clip_config,
)

LAYOUTS = {"timm": TIMM, "official": OFFICIAL, "huggingface": HUGGINGFACE}
