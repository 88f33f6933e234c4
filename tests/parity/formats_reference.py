"""timm models' weights as their authors' files hold them, in a process of its own.

`python formats_reference.py FOLDER` writes for each case FOLDER/CASE.pth or .npz, made of a small timm
model with exaggerated weights, and FOLDER/CASE.outputs.npz: images NHWC, and what timm makes of them after
it has read that file itself, where it can.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from reference import exaggerate

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "num_heads": 3, "depth": 2}
State = dict[str, torch.Tensor]


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


def renamed(state: State, *pairs: tuple[str, str]) -> State:
    """With parts of the names replaced, in turn."""
    found = {}
    for name, tensor in state.items():
        for old, new in pairs:
            name = name.replace(old, new)
        found[name] = tensor
    return found


def openai(state: State) -> State:
    """openai/CLIP, clip/model.py, with something of the tower of texts."""
    names = renamed(
        state,
        ("patch_embed.proj", "conv1"),
        ("norm_pre", "ln_pre"),
        ("blocks.", "transformer.resblocks."),
        (".norm", ".ln_"),
        ("qkv.", "in_proj_"),
        ("attn.proj", "attn.out_proj"),
        ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj"),
    )
    tower = {
        name.replace("norm.", "ln_post."): tensor
        for name, tensor in names.items()
        if not name.startswith(("head", "cls_token", "pos_embed"))
    }
    tower["class_embedding"] = state["cls_token"][0, 0]
    tower["positional_embedding"] = state["pos_embed"][0]
    tower["proj"] = state["head.weight"].T.contiguous()
    texts = {
        "positional_embedding": noise(77, 48),
        "text_projection": noise(48, 20),
        "logit_scale": noise(1)[0],
        "token_embedding.weight": noise(50, 48),
        "ln_final.weight": noise(48),
        "transformer.resblocks.0.attn.in_proj_weight": noise(144, 48),
    }
    return {f"visual.{name}": tensor for name, tensor in tower.items()} | texts


def dinov2(state: State) -> State:
    """facebookresearch/dinov2: the class token's position apart, SwiGLU's own names."""
    found = dict(state, mask_token=noise(1, 48))
    if "reg_token" in state:
        found["register_tokens"] = found.pop("reg_token")
        position = noise(1, 1, 48)
        found["cls_token"] = state["cls_token"] - position
        found["pos_embed"] = torch.cat([position, state["pos_embed"]], 1)
    if state["blocks.0.mlp.fc1.weight"].shape[0] == 2 * state["blocks.0.mlp.fc2.weight"].shape[1]:
        found = renamed(found, ("mlp.fc1", "mlp.w12"), ("mlp.fc2", "mlp.w3"))
    return found


def tips(state: State) -> State:
    texts = {"text_encoder.token_embedding.weight": noise(50, 48), "temperature": noise(1)}
    return {f"vision_encoder.{name}": tensor for name, tensor in dinov2(state).items()} | texts


def dino(state: State) -> dict[str, Any]:
    student = {f"module.backbone.{name}": tensor + 1 for name, tensor in state.items()}
    teacher = {f"backbone.{name}": tensor for name, tensor in state.items()}
    head = {"head.mlp.0.weight": noise(64, 48), "head.last_layer.weight_v": noise(99, 64)}
    return {"student": student, "teacher": teacher | head, "epoch": 100}


def mae(state: State) -> dict[str, Any]:
    decoder = {"mask_token": noise(1, 1, 32), "decoder_blocks.0.norm1.weight": noise(32)}
    return {"model": {**state, **decoder, "decoder_pos_embed": noise(1, 17, 32)}}


def ijepa(state: State) -> dict[str, Any]:
    encoder = {f"module.{name}": tensor for name, tensor in state.items()}
    return {"encoder": encoder, "target_encoder": encoder, "predictor": {"x": noise(3)}}


def open_clip(state: State) -> State:
    texts = {"text.token_embedding.weight": noise(50, 48), "logit_scale": noise(1)[0]}
    return {f"visual.trunk.{name}": tensor for name, tensor in state.items()} | texts


def big_vision(state: State) -> dict[str, np.ndarray]:
    """google-research/big_vision, models/vit.py: flax' shapes, one tensor a block."""
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    found = {"pos_embedding": arrays["pos_embed"]}
    if "cls_token" in arrays:
        found["cls"] = arrays["cls_token"]
    found["embedding/kernel"] = arrays["patch_embed.proj.weight"].transpose(2, 3, 1, 0)
    found["embedding/bias"] = arrays["patch_embed.proj.bias"]

    def dense(theirs: str, ours: str) -> None:
        found[f"{theirs}/kernel"] = arrays[f"{ours}.weight"].T
        found[f"{theirs}/bias"] = arrays[f"{ours}.bias"]

    def norm(theirs: str, ours: str) -> None:
        found[f"{theirs}/scale"] = arrays[f"{ours}.weight"]
        found[f"{theirs}/bias"] = arrays[f"{ours}.bias"]

    def heads(theirs: str, ours: str, names: tuple[str, ...]) -> None:
        for i, name in enumerate(names):
            rows = slice(48 * i, 48 * (i + 1))
            kernel = arrays[f"{ours}.weight"][rows].T
            found[f"{theirs}/{name}/kernel"] = kernel.reshape(48, 3, 16)
            found[f"{theirs}/{name}/bias"] = arrays[f"{ours}.bias"][rows].reshape(3, 16)

    def out(theirs: str, ours: str) -> None:
        found[f"{theirs}/out/kernel"] = arrays[f"{ours}.weight"].T.reshape(3, 16, 48)
        found[f"{theirs}/out/bias"] = arrays[f"{ours}.bias"]

    for i in range(2):
        block, ours = f"Transformer/encoderblock_{i}", f"blocks.{i}"
        attention = f"{block}/MultiHeadDotProductAttention_0"
        norm(f"{block}/LayerNorm_0", f"{ours}.norm1")
        heads(attention, f"{ours}.attn.qkv", ("query", "key", "value"))
        out(attention, f"{ours}.attn.proj")
        norm(f"{block}/LayerNorm_1", f"{ours}.norm2")
        dense(f"{block}/MlpBlock_0/Dense_0", f"{ours}.mlp.fc1")
        dense(f"{block}/MlpBlock_0/Dense_1", f"{ours}.mlp.fc2")
    norm("Transformer/encoder_norm", "norm")
    if "attn_pool.latent" in arrays:
        attention = "MAPHead_0/MultiHeadDotProductAttention_0"
        found["MAPHead_0/probe"] = arrays["attn_pool.latent"]
        heads(attention, "attn_pool.q", ("query",))
        heads(attention, "attn_pool.kv", ("key", "value"))
        out(attention, "attn_pool.proj")
        norm("MAPHead_0/LayerNorm_0", "attn_pool.norm")
        dense("MAPHead_0/MlpBlock_0/Dense_0", "attn_pool.mlp.fc1")
        dense("MAPHead_0/MlpBlock_0/Dense_1", "attn_pool.mlp.fc2")
    if "head.weight" in arrays:
        dense("head", "head")
    return found


def scanned(state: State) -> dict[str, np.ndarray]:
    """The same with all blocks in one stack, in a model of images and texts."""
    arrays = big_vision(state)
    block = "Transformer/encoderblock_0/"
    stacks = {
        name.replace(block, "Transformer/encoderblock/"): np.stack(
            [array, arrays[name.replace(block, "Transformer/encoderblock_1/")]]
        )
        for name, array in arrays.items()
        if name.startswith(block)
    }
    rest = {name: array for name, array in arrays.items() if "/encoderblock_" not in name}
    tower = {f"params/img/{name}": array for name, array in (rest | stacks).items()}
    texts = {"params/txt/Embed_0/embedding": np.ones((5, 48), np.float32)}
    return tower | texts | {"params/t": np.ones(1, np.float32), "params/b": np.ones(1, np.float32)}


GATED = {"mlp_ratio": 2 * 128 / 48}
# case: the model, its arguments, how its weights are written, and whether timm reads that.
CASES: dict[str, tuple[str, dict[str, Any], Callable[[State], dict[str, Any]], bool]] = {
    "openai": ("vit_base_patch32_clip_quickgelu_224.openai", {"num_classes": 20}, openai, True),
    "dinov2": ("vit_small_patch14_dinov2.lvd142m", {}, dinov2, True),
    "dinov2-registers": ("vit_small_patch14_reg4_dinov2.lvd142m", {}, dinov2, True),
    "dinov2-gated": ("vit_giant_patch14_reg4_dinov2.lvd142m", GATED, dinov2, True),
    "tips": ("vit_base_patch14_reg1_tipsv2.webli", {}, tips, True),
    "dino": ("vit_small_patch16_224.dino", {}, dino, False),
    "mae": ("vit_base_patch16_224.mae", {}, mae, False),
    "ijepa": ("vit_huge_patch14_gap_224.in1k_ijepa", {}, ijepa, True),
    "open_clip": ("vit_base_patch16_siglip_224.webli", {}, open_clip, False),
    "flexivit": ("flexivit_small.1200ep_in1k", {"num_classes": 7}, big_vision, True),
    "siglip": ("vit_base_patch16_siglip_256.webli", {}, big_vision, True),
    "siglip-scanned": ("vit_base_patch16_siglip_256.v2_webli", {}, scanned, True),
    "siglip-gap": ("vit_base_patch16_siglip_gap_256.v2_webli", {}, scanned, True),
}


def main(folder: Path) -> None:
    images = np.random.default_rng(0).normal(0, 1, (2, 32, 32, 3)).astype(np.float32)
    for case, (name, more, written, readable) in CASES.items():
        arguments = {**SMALL, **more}
        model = timm.create_model(name, pretrained=False, **arguments).eval()
        exaggerate(model)
        if "openai" in case:
            model.head.bias.data.zero_()
        contents = written(model.state_dict())
        npz = isinstance(next(iter(contents.values())), np.ndarray)
        file = folder / f"{case}.{'npz' if npz else 'pth'}"
        if npz:
            np.savez(file, **contents)
        else:
            torch.save(contents, file)
        if readable:
            classes = more.get("num_classes", 0)
            overlay = {"file": str(file), "custom_load": npz, "num_classes": classes}
            published = {"pretrained": True, "pretrained_cfg_overlay": overlay}
            model = timm.create_model(name, **published, **arguments).eval()
        with torch.inference_mode():
            outputs = model(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
        np.savez(folder / f"{case}.outputs.npz", images=images, outputs=outputs)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
