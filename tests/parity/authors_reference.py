"""Files as the authors of EVA-02, DINOv3, RoPE-ViT, the Perception Encoder and Sapiens2 name their tensors.

`python authors_reference.py FOLDER`, in a process of its own, writes for each case FOLDER/CASE.pth and
FOLDER/CASE.npz: images NHWC and what timm makes of them, which has read that file with its own
`checkpoint_filter_fn`; "source" is that with DINOv3's periods rounded as in its files.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from reference import exaggerate, structured_images
from timm.models.eva import checkpoint_filter_fn

State = dict[str, torch.Tensor]
SMALL = {"depth": 2, "num_classes": 5}


def renamed(state: State, *pairs: tuple[str, str]) -> State:
    for pattern, replacement in pairs:
        state = {re.sub(pattern, replacement, name): value for name, value in state.items()}
    return state


def eva02(state: State) -> State:
    """Of an EVA-CLIP: the image tower behind a prefix, and a text tower."""
    state = renamed(
        state,
        (r"mlp\.norm\.", "mlp.ffn_ln."),
        (r"attn\.norm\.", "attn.inner_attn_ln."),
        (r"mlp\.fc1_g\.", "mlp.w1."),
        (r"mlp\.fc1_x\.", "mlp.w2."),
        (r"mlp\.fc2\.", "mlp.w3."),
        (r"attn\.([qv])_proj\.bias", r"attn.\1_bias"),
        (r"^", "visual."),
    )
    buffers = {f"visual.rope.freqs_{x}": torch.zeros(12, 16) for x in ("cos", "sin")}
    return state | buffers | {"logit_scale": torch.zeros(()), "text.proj": torch.zeros(4, 4)}


def eva02_pretrained(state: State) -> State:
    """Of masked image modelling: no classifier, and the norm of the tokens."""
    state = {name: value for name, value in state.items() if not name.startswith("head.")}
    state = renamed(state, (r"^fc_norm\.", "norm."), (r"mlp\.fc1\.", "mlp.w12."))
    state = renamed(state, (r"mlp\.fc2\.", "mlp.w3."))
    more = {"mask_token": (1, 1, 192), "lm_head.weight": (8, 192), "lm_head.bias": (8,)}
    return state | {name: torch.zeros(shape) for name, shape in more.items()}


def dinov3(state: State) -> State:
    found = {}
    for name, value in state.items():
        if name.endswith("q_bias"):
            values = state[name.replace("q_bias", "v_bias")]
            joint = torch.cat([value, torch.zeros_like(value), values])
            found[name.replace("q_bias", "qkv.bias")] = joint
            found[name.replace("q_bias", "qkv.bias_mask")] = torch.ones_like(joint)
        elif not name.endswith("v_bias"):
            found[name] = value
    found |= {"mask_token": torch.zeros(1, 384), "rope_embed.periods": torch.zeros(16)}
    found |= {"local_cls_norm.weight": torch.ones(384), "local_cls_norm.bias": torch.ones(384)}
    return renamed(
        found,
        ("^reg_token", "storage_tokens"),
        (r"gamma_([12])", r"ls\1.gamma"),
        (r"mlp\.fc1_g\.", "mlp.w1."),
        (r"mlp\.fc1_x\.", "mlp.w2."),
        (r"mlp\.fc2\.", "mlp.w3." if any("fc1_g" in name for name in state) else "mlp.fc2."),
    )


def perception_encoder(state: State) -> State:
    """With the projection as a matrix of its own, and the pooling's three products in one."""
    found = renamed(
        state,
        (r"^patch_embed\.proj", "conv1"),
        (r"^blocks", "transformer.resblocks"),
        ("^norm_pre", "ln_pre"),
        (r"^norm\.", "ln_post."),
        (r"\d\.norm([12])\.", lambda m: f"{m[0][0]}.ln_{m[1]}."),
        (r"^(trans.*)\.attn\.qkv\.", r"\1.attn.in_proj_"),
        (r"^(trans.*)\.attn\.proj\.", r"\1.attn.out_proj."),
        (r"mlp\.fc1\.", "mlp.c_fc."),
        (r"mlp\.fc2\.", "mlp.c_proj."),
        (r"^attn_pool\.norm\.", "attn_pool.layernorm."),
        (r"^attn_pool\.latent", "attn_pool.probe"),
        (r"^attn_pool\.proj\.", "attn_pool.attn.out_proj."),
    )
    for part in ("weight", "bias"):
        joint = [found.pop(f"attn_pool.{x}.{part}") for x in ("q", "kv")]
        found[f"attn_pool.attn.in_proj_{part}"] = torch.cat(joint)
    found["proj"] = found.pop("head.weight").T.contiguous()
    del found["head.bias"]
    found["class_embedding"] = found.pop("cls_token")[0, 0]
    found["positional_embedding"] = found.pop("pos_embed")[0]
    texts = {"transformer.resblocks.0.ln_1.weight": torch.ones(4), "logit_scale": torch.zeros(())}
    return renamed(found, ("^", "visual.")) | texts


def perception_encoder_tower(state: State) -> State:
    """PE-Lang's and PE-Spatial's: without a projection and a pooling, and without a prefix."""
    more = {"head.weight": torch.zeros(5, 192), "head.bias": torch.zeros(5)}
    for x, rows in (("q", 192), ("kv", 384)):
        more |= {
            f"attn_pool.{x}.weight": torch.zeros(rows, 192),
            f"attn_pool.{x}.bias": torch.zeros(rows),
        }
    whole = perception_encoder(state | more)
    whole = {
        name: value for name, value in whole.items() if "pool" not in name and name[7:] != "proj"
    }
    return {name[7:]: value for name, value in whole.items() if name.startswith("visual.")}


def sapiens2(state: State) -> State:
    return renamed(
        state,
        ("^reg_token", "storage_tokens"),
        (r"patch_embed\.proj\.", "patch_embed.projection."),
        (r"attn\.([qkv])_proj\.", r"attn.w\1."),
        ("gamma_1", "attn.gamma.weight"),
        (r"mlp\.fc1\.", "ffn.w12."),
        (r"mlp\.fc2\.", "ffn.w3."),
        (r"\.norm([12])\.", r".ln\1."),
        (r"^norm\.", "ln1."),
    ) | {"mask_token": torch.zeros(1, 768)}


CASES: dict[str, tuple[str, dict, Callable[[State], State]]] = {
    "eva02-clip": ("eva02_base_patch16_clip_224", {}, eva02),
    "eva02-pretrained": ("eva02_tiny_patch14_224", {"num_classes": 0}, eva02_pretrained),
    "dinov3": ("vit_small_patch16_dinov3_qkvb", {}, dinov3),
    "dinov3-gated": ("vit_small_plus_patch16_dinov3_qkvb", {}, dinov3),
    "perception-encoder": ("vit_pe_core_tiny_patch16_384", {}, perception_encoder),
    "perception-encoder-tower": (
        "vit_pe_spatial_tiny_patch16_512",
        {"num_classes": 0},
        perception_encoder_tower,
    ),
    "sapiens2": ("vit_base_patch16_sapiens2", {"num_kv_heads": 12}, sapiens2),
}


@torch.inference_mode()
def make(folder: Path, case: str) -> None:
    name, arguments, to_authors = CASES[case]
    patch = 14 if "14" in name else 16
    arguments = {**SMALL, "img_size": (4 * patch, 3 * patch), **arguments}
    model = timm.create_model(name, **arguments).eval()
    exaggerate(model)
    if case == "perception-encoder":
        model.head.bias.zero_()
    state = to_authors(model.state_dict())
    torch.save(state, folder / f"{case}.pth")
    again = timm.create_model(name, **arguments).eval()
    again.load_state_dict(checkpoint_filter_fn(dict(state), again))
    images = structured_images(2, (4 * patch, 3 * patch))
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    outputs = {"outputs": again(tensor).numpy()}
    if hasattr(again.rope, "periods"):
        again.rope.periods.copy_(again.rope.periods.bfloat16().float())
        outputs["source"] = again(tensor).numpy()
    np.savez(folder / f"{case}.npz", images=images, **outputs)


if __name__ == "__main__":
    for case in CASES:
        make(Path(sys.argv[1]), case)
