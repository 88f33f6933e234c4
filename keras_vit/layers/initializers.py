"""The papers' weight initialisations, by name and by the role of a weight.

`"jax"` is google-research/vision_transformer's (vit_jax/models_vit.py), the ViT paper's own;
`"timm"` is timm's default (timm/models/vision_transformer.py, `init_weights_vit_timm`), which DeiT
shares up to the class token's 1e-6.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator
from contextvars import ContextVar
from typing import Any

import keras

_kept: ContextVar[Collection[str] | None] = ContextVar("kept_roles", default=None)


@contextlib.contextmanager
def skip_initialization(keep: Collection[str] | None = ()) -> Iterator[None]:
    """Weights built inside are zeros, for a model whose weights are read from a file next.

    Args:
        keep: roles that are initialised all the same, such as `"head"`; None keeps all.
    """
    token = _kept.set(keep)
    try:
        yield
    finally:
        _kept.reset(token)


def _normal(stddev: float) -> Callable[[tuple[int, ...]], keras.initializers.Initializer]:
    return lambda shape: keras.initializers.RandomNormal(stddev=stddev)


def _glorot_columns(parts: int) -> Callable[[tuple[int, ...]], keras.initializers.Initializer]:
    """Glorot uniform of each of `parts` matrices that lie side by side in one kernel."""

    def build(shape: tuple[int, ...]) -> keras.initializers.Initializer:
        limit = (6 / (shape[-2] + shape[-1] / parts)) ** 0.5
        return keras.initializers.RandomUniform(-limit, limit)

    return build


def _by_width(shape: tuple[int, ...]) -> keras.initializers.Initializer:
    """Normal with a standard deviation of 1 / sqrt(width)."""
    return keras.initializers.RandomNormal(stddev=shape[-1] ** -0.5)


def _torch_conv(shape: tuple[int, ...]) -> keras.initializers.Initializer:
    """torch.nn.Conv2d's default: kaiming_uniform(a=sqrt 5), which is uniform in ±1/sqrt(fan in)."""
    fan_in = shape[0] * shape[1] * shape[2]
    return keras.initializers.RandomUniform(-(fan_in**-0.5), fan_in**-0.5)


def _torch_depthwise(shape: tuple[int, ...]) -> keras.initializers.Initializer:
    """The same for one input channel an output: a depthwise kernel (height, width, channels, 1)."""
    return _torch_conv((*shape[:2], 1))


def _he_fan_out(shape: tuple[int, ...]) -> keras.initializers.Initializer:
    """torch's kaiming_normal_(mode="fan_out", nonlinearity="relu")."""
    return keras.initializers.RandomNormal(stddev=(2 / (shape[0] * shape[1] * shape[3])) ** 0.5)


def _ones(shape: tuple[int, ...]) -> keras.initializers.Initializer:
    return keras.initializers.Ones()


def _zeros(shape: tuple[int, ...]) -> keras.initializers.Initializer:
    return keras.initializers.Zeros()


def _lecun_normal(shape: tuple[int, ...]) -> keras.initializers.Initializer:
    return keras.initializers.LecunNormal()


_SCHEMES: dict[str, dict[str, Callable[[tuple[int, ...]], keras.initializers.Initializer]]] = {
    # torch's trunc_normal_ cuts at ±2, not at two standard deviations: at 0.02 that is a plain normal.
    "timm": {
        "kernel": _normal(0.02),
        "qkv": _normal(0.02),
        "kv": _normal(0.02),
        "mlp_bias": _zeros,
        "patch": _torch_conv,
        "pos_embed": _normal(0.02),
        "token": _normal(1e-6),
        "dist_token": _normal(0.02),
        "latent": _by_width,
        "head": _normal(0.02),
        "conv": _he_fan_out,
        "last_norm": _ones,
    },
    "jax": {
        "kernel": _glorot_columns(1),
        "qkv": _glorot_columns(3),
        "kv": _glorot_columns(2),
        "mlp_bias": _normal(1e-6),
        "patch": _lecun_normal,
        "pos_embed": _normal(0.02),
        "token": _zeros,
        "dist_token": _zeros,
        "latent": _glorot_columns(1),  # big_vision models/vit.py, MAPHead
        "head": _zeros,
        "conv": _lecun_normal,
        "last_norm": _zeros,
    },
    # microsoft/CvT lib/models/cls_cvt.py: its convolutions keep torch's default.
    "cvt": {
        "kernel": _normal(0.02),
        "mlp_bias": _zeros,
        "patch": _torch_conv,
        "depthwise": _torch_depthwise,
        "pos_embed": _normal(0.02),
        "token": _normal(0.02),
        "head": _normal(0.02),
    },
    # timm/models/eva.py `init_weights`, but for what it divides by: `proj` and `fc2` of block i by
    # sqrt(2 i + 2). A new classifier gives next to nothing.
    "eva": {
        "kernel": _normal(0.02),
        "qkv": _normal(0.02),
        "kv": _normal(0.02),
        "mlp_bias": _zeros,
        "patch": _torch_conv,
        "pos_embed": _normal(0.02),
        "token": _normal(0.02),
        "latent": _by_width,
        "head": _normal(0.02e-3),
    },
    # Of BiT alone: timm/models/resnetv2.py, and bit_pytorch/models.py with `zero_head`.
    "timm_resnetv2": {"conv": _he_fan_out, "head": _normal(0.01)},
    "bit": {"conv": _torch_conv, "head": _zeros},
}
SCHEMES = tuple(_SCHEMES)


@keras.saving.register_keras_serializable("keras_vit")
class WeightInit(keras.initializers.Initializer):
    """The initial value of one weight.

    Args:
        scheme: `"timm"`, `"jax"`, of EVA and its heirs `"eva"`, of CvT `"cvt"`, or of BiT `"timm_resnetv2"`
            or `"bit"`.
        role: what the weight is: `"kernel"`, `"qkv"`, `"kv"`, `"mlp_bias"`, `"patch"`, `"pos_embed"`,
            `"token"`, `"dist_token"`, `"latent"` (a pooling's query), `"head"`, `"depthwise"`, `"conv"` (a
            standardised kernel) or `"last_norm"` (the scale that ends a residual branch).
    """

    def __init__(self, scheme: str, role: str) -> None:
        if scheme not in _SCHEMES:
            raise ValueError(f"weight_init must be one of {SCHEMES}. Received: {scheme!r}")
        self.scheme, self.role = scheme, role

    def __call__(self, shape: tuple[int, ...], dtype: Any = None, **kwargs: Any) -> Any:
        kept = _kept.get()
        if kept is not None and self.role not in kept:
            return keras.ops.zeros(shape, dtype)
        return _SCHEMES[self.scheme][self.role](tuple(shape))(shape, dtype)

    def get_config(self) -> dict[str, Any]:
        return {"scheme": self.scheme, "role": self.role}
