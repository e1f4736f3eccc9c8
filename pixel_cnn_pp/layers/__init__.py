"""Layers: shifted convolutions, activations, gated resnets and output heads."""
