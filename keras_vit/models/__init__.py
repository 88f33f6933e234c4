"""Models: one file a family, which draws a graph, and the class that carries it."""

from keras_vit.models.model import VisionModel

__all__ = ["VisionModel"]
