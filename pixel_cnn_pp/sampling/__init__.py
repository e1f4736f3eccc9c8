"""Sampling: the network run incrementally, a row and a pixel at a time."""
