"""Keras layers of Vision Transformers, one idea a file; importing them registers them with Keras."""

from keras_vit.layers.activations import ACTIVATIONS, activation, gelu, gelu_tanh, quick_gelu, silu
from keras_vit.layers.attention import Attention
from keras_vit.layers.attention_pool import AttentionPool
from keras_vit.layers.bottleneck import Bottleneck
from keras_vit.layers.conv_attention import ConvAttention
from keras_vit.layers.conv_block import ConvTransformerBlock
from keras_vit.layers.conv_embedding import ConvEmbedding
from keras_vit.layers.conv_projection import PROJECTIONS, ConvProjection
from keras_vit.layers.drop_path import drop_path
from keras_vit.layers.eva_block import EvaBlock
from keras_vit.layers.gated_mlp import GatedMLP
from keras_vit.layers.group_norm import GroupNorm
from keras_vit.layers.initializers import SCHEMES, WeightInit, skip_initialization
from keras_vit.layers.layer_norm import LayerNormalization
from keras_vit.layers.layer_scale import LayerScale
from keras_vit.layers.mlp import MLP
from keras_vit.layers.patch_embedding import PatchEmbedding
from keras_vit.layers.pooling import POOLINGS, MapPool, TokenPool
from keras_vit.layers.preprocess import Preprocess
from keras_vit.layers.resnet_stem import ResNetStem
from keras_vit.layers.rotary import RotaryEmbedding
from keras_vit.layers.rotary_attention import RotaryAttention
from keras_vit.layers.standardized_conv import StandardizedConv2D
from keras_vit.layers.token_embedding import TokenEmbedding
from keras_vit.layers.token_map import TokenMap, TokenSlice
from keras_vit.layers.transformer_block import TransformerBlock
from keras_vit.layers.with_scores import WithScores

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "POOLINGS",
    "PROJECTIONS",
    "SCHEMES",
    "Attention",
    "AttentionPool",
    "Bottleneck",
    "ConvAttention",
    "ConvEmbedding",
    "ConvProjection",
    "ConvTransformerBlock",
    "EvaBlock",
    "GatedMLP",
    "GroupNorm",
    "LayerNormalization",
    "LayerScale",
    "MapPool",
    "PatchEmbedding",
    "Preprocess",
    "ResNetStem",
    "RotaryAttention",
    "RotaryEmbedding",
    "StandardizedConv2D",
    "TokenEmbedding",
    "TokenMap",
    "TokenPool",
    "TokenSlice",
    "TransformerBlock",
    "WeightInit",
    "WithScores",
    "activation",
    "drop_path",
    "gelu",
    "gelu_tanh",
    "quick_gelu",
    "silu",
    "skip_initialization",
]
