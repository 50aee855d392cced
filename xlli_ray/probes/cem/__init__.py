"""Causal effect maps: what happens to a window of the output when a block of the input is replaced."""
