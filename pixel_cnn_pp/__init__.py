"""PixelCNN++ for TensorFlow 2, a faithful port of openai/pixel-cnn."""

import os

# Keras reads it as it is first imported, before its keras.json.
_backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
if _backend == "tensorflow":
    os.environ["KERAS_BACKEND"] = _backend

    import keras

    _backend = keras.config.backend()
if _backend != "tensorflow":
    raise ImportError(
        f"KERAS_BACKEND={_backend}: pixel_cnn_pp needs the backend tensorflow; unset "
        "KERAS_BACKEND and import pixel_cnn_pp before keras, or set "
        "KERAS_BACKEND=tensorflow."
    )

from pixel_cnn_pp.model import PixelCNNPP
from pixel_cnn_pp.training.optimizer import OfficialAdam

__version__ = "0.2.0"  # setup.py reads it here.

__all__ = ["OfficialAdam", "PixelCNNPP", "__version__"]
