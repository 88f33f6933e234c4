"""Tensor names of plain ViTs: timm's, Google's and Hugging Face's.

timm's: confirmed by listing the state dicts of timm/models/vision_transformer.py and timm/models/deit.py;
the original DeiT and DeiT-III files share them (facebookresearch/deit, models.py and models_v2.py).
Google's: google-research/vision_transformer, vit_jax/models_vit.py; the released .npz files have the
numbers that flax gave its modules before linen. Hugging Face's: transformers, models/vit and models/deit;
the hub's files keep the names of version 4, those of version 5 are read too.
"""

from keras_vit.weights.huggingface import SETTINGS, deit_config, vit_config
from keras_vit.weights.name_map import Layout, Row


def dense(ours: str, theirs: str) -> tuple[Row, Row]:
    """The rows of a Dense that torch calls a Linear."""
    kernel = Row(f"{ours}/kernel", f"{theirs}.weight", "linear")
    return kernel, Row(f"{ours}/bias", f"{theirs}.bias")


def norm(ours: str, theirs: str) -> tuple[Row, Row]:
    """The rows of a LayerNorm."""
    return Row(f"{ours}/gamma", f"{theirs}.weight"), Row(f"{ours}/beta", f"{theirs}.bias")


TIMM = Layout(
    rows=(
        Row("embedding/cls_token", "cls_token"),
        Row("embedding/dist_token", "dist_token"),
        Row("embedding/reg_token", "reg_token"),
        Row("embedding/pos_embed", "pos_embed", "positions"),
        Row("patch_embed/proj/kernel", "patch_embed.proj.weight", "patch"),
        Row("patch_embed/proj/bias", "patch_embed.proj.bias"),
        Row("norm_pre/gamma", "norm_pre.weight"),
        Row("norm_pre/beta", "norm_pre.bias"),
        Row("blocks_{}/norm1/gamma", "blocks.{}.norm1.weight"),
        Row("blocks_{}/norm1/beta", "blocks.{}.norm1.bias"),
        Row("blocks_{}/attn/qkv/kernel", "blocks.{}.attn.qkv.weight", "linear"),
        Row("blocks_{}/attn/qkv/bias", "blocks.{}.attn.qkv.bias"),
        Row("blocks_{}/attn/q_norm/gamma", "blocks.{}.attn.q_norm.weight"),
        Row("blocks_{}/attn/q_norm/beta", "blocks.{}.attn.q_norm.bias"),
        Row("blocks_{}/attn/k_norm/gamma", "blocks.{}.attn.k_norm.weight"),
        Row("blocks_{}/attn/k_norm/beta", "blocks.{}.attn.k_norm.bias"),
        Row("blocks_{}/attn/proj/kernel", "blocks.{}.attn.proj.weight", "linear"),
        Row("blocks_{}/attn/proj/bias", "blocks.{}.attn.proj.bias"),
        Row("blocks_{}/ls1/gamma", "blocks.{}.ls1.gamma"),
        Row("blocks_{}/norm2/gamma", "blocks.{}.norm2.weight"),
        Row("blocks_{}/norm2/beta", "blocks.{}.norm2.bias"),
        Row("blocks_{}/mlp/fc1/kernel", "blocks.{}.mlp.fc1.weight", "linear"),
        Row("blocks_{}/mlp/fc1/bias", "blocks.{}.mlp.fc1.bias"),
        Row("blocks_{}/mlp/fc2/kernel", "blocks.{}.mlp.fc2.weight", "linear"),
        Row("blocks_{}/mlp/fc2/bias", "blocks.{}.mlp.fc2.bias"),
        Row("blocks_{}/ls2/gamma", "blocks.{}.ls2.gamma"),
        Row("norm/gamma", "norm.weight"),
        Row("norm/beta", "norm.bias"),
        Row("fc_norm/gamma", "fc_norm.weight"),
        Row("fc_norm/beta", "fc_norm.bias"),
        Row("attn_pool/latent", "attn_pool.latent"),
        *(
            row
            for name in ("q", "kv", "proj", "mlp/fc1", "mlp/fc2")
            for row in dense(f"attn_pool/{name}", f"attn_pool.{name.replace('/', '.')}")
        ),
        Row("attn_pool/norm/gamma", "attn_pool.norm.weight"),
        Row("attn_pool/norm/beta", "attn_pool.norm.bias"),
        Row("pre_logits/kernel", "pre_logits.fc.weight", "linear"),
        Row("pre_logits/bias", "pre_logits.fc.bias"),
        Row("head/kernel", "head.weight", "linear"),
        Row("head/bias", "head.bias"),
        Row("head_dist/kernel", "head_dist.weight", "linear"),
        Row("head_dist/bias", "head_dist.bias"),
    ),
    heads=("head.", "head_dist."),
    pre_heads=("pre_logits.",),
    ignored=(r"mask_token", r"pre_logits\..*"),
    # The original DeiT-III files.
    renames=((r"^(blocks\.\d+)\.gamma_([12])$", r"\1.ls\2.gamma"),),
)

_BLOCK = "Transformer/encoderblock_{}"
_ATTENTION = f"{_BLOCK}/MultiHeadDotProductAttention_1"

# Everything but what makes the patches: hybrids share it.
NPZ_TRANSFORMER = (
    Row("embedding/cls_token", "cls"),
    Row("embedding/pos_embed", "Transformer/posembed_input/pos_embedding", "positions"),
    Row("blocks_{}/norm1/gamma", f"{_BLOCK}/LayerNorm_0/scale"),
    Row("blocks_{}/norm1/beta", f"{_BLOCK}/LayerNorm_0/bias"),
    *(
        Row(
            f"blocks_{{}}/attn/qkv/{part}",
            tuple(f"{_ATTENTION}/{name}/{part}" for name in ("query", "key", "value")),
            "heads",
        )
        for part in ("kernel", "bias")
    ),
    Row("blocks_{}/attn/proj/kernel", f"{_ATTENTION}/out/kernel", "heads_out"),
    Row("blocks_{}/attn/proj/bias", f"{_ATTENTION}/out/bias"),
    Row("blocks_{}/norm2/gamma", f"{_BLOCK}/LayerNorm_2/scale"),
    Row("blocks_{}/norm2/beta", f"{_BLOCK}/LayerNorm_2/bias"),
    Row("blocks_{}/mlp/fc1/kernel", f"{_BLOCK}/MlpBlock_3/Dense_0/kernel", "same"),
    Row("blocks_{}/mlp/fc1/bias", f"{_BLOCK}/MlpBlock_3/Dense_0/bias"),
    Row("blocks_{}/mlp/fc2/kernel", f"{_BLOCK}/MlpBlock_3/Dense_1/kernel", "same"),
    Row("blocks_{}/mlp/fc2/bias", f"{_BLOCK}/MlpBlock_3/Dense_1/bias"),
    Row("norm/gamma", "Transformer/encoder_norm/scale"),
    Row("norm/beta", "Transformer/encoder_norm/bias"),
    Row("pre_logits/kernel", "pre_logits/kernel", "same"),
    Row("pre_logits/bias", "pre_logits/bias"),
    Row("head/kernel", "head/kernel", "same"),
    Row("head/bias", "head/bias"),
)

NPZ = Layout(
    rows=(
        Row("patch_embed/proj/kernel", "embedding/kernel", "same_patch"),
        Row("patch_embed/proj/bias", "embedding/bias"),
        *NPZ_TRANSFORMER,
    ),
    heads=("head/",),
    # Not ignored when a model lacks it: where it is as wide as the model, the classifier behind it would
    # fit and give nonsense. Whoever asks for a number of classes gets a new one.
    pre_heads=("pre_logits/",),
    renames=(
        (r"^(opt/target/|params/img/|params/)", ""),
        # linen starts to count again for every class of modules.
        (r"/MultiHeadDotProductAttention_0/", "/MultiHeadDotProductAttention_1/"),
        (r"(/encoderblock_\d+)/LayerNorm_1/", r"\1/LayerNorm_2/"),
        (r"/MlpBlock_0/", "/MlpBlock_3/"),
    ),
    ignored=(r"opt/state/.*",),
    numerics="source",
    requires={"global_pool": "token", "no_embed_class": False, "qkv_bias": True},
    suffix=".npz",
)

# In-memory names of version 5, and what they are on the hub.
VERSION_5_ATTENTION = (
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
)
_VERSION_5 = (
    (r"(^|\.)layers\.(\d+)\.", r"\1encoder.layer.\2."),
    *VERSION_5_ATTENTION,
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
# A base model's file has no prefix.
_BASE = r"(?=(?:embeddings|encoder|layernorm|pooler)\.)"


def _huggingface(prefix: str) -> tuple[Row, ...]:
    """The rows of a base model, whose names start with `prefix`."""
    block = f"{prefix}encoder.layer.{{}}"
    rows = [
        Row("embedding/cls_token", f"{prefix}embeddings.cls_token"),
        Row("embedding/pos_embed", f"{prefix}embeddings.position_embeddings", "positions"),
    ]
    layers = {
        "patch_embed/proj": f"{prefix}embeddings.patch_embeddings.projection",
        "blocks_{}/attn/proj": f"{block}.attention.output.dense",
        "blocks_{}/mlp/fc1": f"{block}.intermediate.dense",
        "blocks_{}/mlp/fc2": f"{block}.output.dense",
    }
    for ours, theirs in layers.items():
        kind = "patch" if ours == "patch_embed/proj" else "linear"
        rows += [Row(f"{ours}/kernel", f"{theirs}.weight", kind)]
        rows += [Row(f"{ours}/bias", f"{theirs}.bias")]
    norms = {
        "blocks_{}/norm1": f"{block}.layernorm_before",
        "blocks_{}/norm2": f"{block}.layernorm_after",
        "norm": f"{prefix}layernorm",
    }
    for ours, theirs in norms.items():
        rows += [Row(f"{ours}/gamma", f"{theirs}.weight"), Row(f"{ours}/beta", f"{theirs}.bias")]
    qkv = [f"{block}.attention.attention.{name}" for name in ("query", "key", "value")]
    rows += [
        Row("blocks_{}/attn/qkv/kernel", tuple(f"{name}.weight" for name in qkv), "linear"),
        Row("blocks_{}/attn/qkv/bias", tuple(f"{name}.bias" for name in qkv)),
    ]
    return tuple(rows)


_REQUIRED = {"class_token": True, "global_pool": "token", "no_embed_class": False}

# transformers' DeiTForImageClassificationWithTeacher.
_HUGGINGFACE_DISTILLED = Layout(
    rows=(
        *_huggingface("deit."),
        Row("embedding/dist_token", "deit.embeddings.distillation_token"),
        *dense("head", "cls_classifier"),
        *dense("head_dist", "distillation_classifier"),
    ),
    heads=("cls_classifier.", "distillation_classifier."),
    ignored=(r"deit\.pooler\..*", r"deit\.embeddings\.mask_token"),
    renames=(*_VERSION_5, (f"^{_BASE}", "deit.")),
    requires=_REQUIRED,
    settings=SETTINGS,
    config=deit_config,
)

# transformers' ViTModel, whose pooler is the pre-training head's dense layer.
HUGGINGFACE_BASE = Layout(
    rows=(*_huggingface(""), *dense("pre_logits", "pooler.dense")),
    heads=("classifier.",),
    pre_heads=("pooler.",),
    ignored=(r"embeddings\.mask_token",),
    renames=(*_VERSION_5, (r"^vit\.", "")),
    requires=_REQUIRED,
    settings=SETTINGS,
    config=vit_config,
)

# transformers' ViTForImageClassification, which the plain DeiT files of the hub are for too.
HUGGINGFACE = Layout(
    rows=(*_huggingface("vit."), *dense("head", "classifier")),
    heads=("classifier.",),
    ignored=(r"vit\.pooler\..*", r"vit\.embeddings\.mask_token"),
    renames=(*_VERSION_5, (f"^{_BASE}", "vit.")),
    variants=(_HUGGINGFACE_DISTILLED, HUGGINGFACE_BASE),
    requires=_REQUIRED,
    settings=SETTINGS,
    config=vit_config,
)

LAYOUTS = {"timm": TIMM, "npz": NPZ, "huggingface": HUGGINGFACE}
