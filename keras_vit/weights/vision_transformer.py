"""Tensor names of plain ViTs: timm's, which the original DeiT and DeiT-III files share.

Confirmed by listing the state dicts of timm/models/vision_transformer.py and timm/models/deit.py.
"""

from keras_vit.weights.name_map import Layout, Row

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
        Row("pre_logits/kernel", "pre_logits.fc.weight", "linear"),
        Row("pre_logits/bias", "pre_logits.fc.bias"),
        Row("head/kernel", "head.weight", "linear"),
        Row("head/bias", "head.bias"),
        Row("head_dist/kernel", "head_dist.weight", "linear"),
        Row("head_dist/bias", "head_dist.bias"),
    ),
    heads=("head.", "head_dist.", "pre_logits."),
    ignored=(r"mask_token", r"pre_logits\..*"),
)

LAYOUTS = {"timm": TIMM}
