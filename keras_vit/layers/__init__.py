"""Keras layers of Vision Transformers, one idea a file; importing them registers them with Keras."""

from keras_vit.layers.activations import ACTIVATIONS, activation, gelu, gelu_tanh, quick_gelu
from keras_vit.layers.attention import Attention
from keras_vit.layers.drop_path import drop_path
from keras_vit.layers.initializers import SCHEMES, WeightInit, skip_initialization
from keras_vit.layers.layer_scale import LayerScale
from keras_vit.layers.mlp import MLP
from keras_vit.layers.patch_embedding import PatchEmbedding
from keras_vit.layers.pooling import POOLINGS, TokenPool
from keras_vit.layers.preprocess import Preprocess
from keras_vit.layers.token_embedding import TokenEmbedding
from keras_vit.layers.transformer_block import TransformerBlock

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "POOLINGS",
    "SCHEMES",
    "Attention",
    "LayerScale",
    "PatchEmbedding",
    "Preprocess",
    "TokenEmbedding",
    "TokenPool",
    "TransformerBlock",
    "WeightInit",
    "activation",
    "drop_path",
    "gelu",
    "gelu_tanh",
    "quick_gelu",
    "skip_initialization",
]
