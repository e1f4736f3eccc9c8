"""Evaluation: scores, samples, completions and heat maps of a trained model."""
