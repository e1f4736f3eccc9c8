"""Installs the package pixel_cnn_pp; the entry points run from the checkout."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
README = ROOT / "README.md"
PACKAGE = (ROOT / "pixel_cnn_pp" / "__init__.py").read_text(encoding="utf-8")
VERSION = re.search(r'^__version__ = "(.+?)"', PACKAGE, re.M)

setup(
    name="pixel_cnn_pp",
    version=VERSION[1],
    description="PixelCNN++ for TensorFlow 2, a faithful port of openai/pixel-cnn",
    long_description=README.read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    author="The pixel_cnn_pp authors",
    project_urls={
        "Official code": "https://github.com/openai/pixel-cnn",
        "Paper": "https://arxiv.org/abs/1701.05517",
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["pixel_cnn_pp", "pixel_cnn_pp.*"]),
    package_data={"pixel_cnn_pp": ["py.typed"]},
    install_requires=[
        "tensorflow>=2.21",
        "tensorflow-datasets",
        # tensorflow-datasets imports it and does not declare it.
        "importlib_resources",
        "numpy",
        "absl-py",
    ],
    extras_require={
        "test": [
            "pytest",
            "pytest-xdist",
            "hypothesis",
            # A later minor version may format differently.
            "ruff==0.17.*",
            # A test builds the wheel without the network.
            "setuptools",
            "wheel",
            # The gRPC client of docs/serving.md.
            "tensorflow-serving-api",
            "matplotlib",
            "pillow>=11",
            "tensorboard",
            # A test runs the notebook.
            "ipykernel",
            "nbclient",
            # Reads the Kubernetes example of docs/gpu.md.
            "pyyaml",
        ],
        "images": ["pillow>=11"],
        "plots": ["matplotlib"],
        "tensorboard": ["tensorboard"],
        "gpu": ["tensorflow[and-cuda]>=2.21"],
    },
)
