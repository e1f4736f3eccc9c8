"""Training: a run from its first step to its last, or resumed in between."""
