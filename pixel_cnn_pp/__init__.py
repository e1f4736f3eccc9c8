"""PixelCNN++ for TensorFlow 2, a faithful port of openai/pixel-cnn."""

from pixel_cnn_pp.model import PixelCNNPP

__all__ = ["PixelCNNPP"]
