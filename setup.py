"""Installs the package pixel_cnn_pp; the entry points run from the checkout."""

from setuptools import setup

setup(
    name="pixel_cnn_pp",
    version="0.1.0",
    description="PixelCNN++ for TensorFlow 2, a faithful port of openai/pixel-cnn",
    license="MIT",
    python_requires=">=3.11,<3.14",
    packages=["pixel_cnn_pp"],
    install_requires=[
        "tensorflow>=2.21",
        "tensorflow-datasets",
        # tensorflow-datasets imports it and does not declare it.
        "importlib_resources",
        "numpy",
        "absl-py",
    ],
    extras_require={
        # A later minor version of ruff may format differently.
        "test": ["pytest", "pytest-xdist", "hypothesis", "tensorboard", "ruff==0.17.*"],
        "tensorboard": ["tensorboard"],
        "gpu": ["tensorflow[and-cuda]>=2.21"],
    },
)
