"""Means of a probe's columns by group of networks, over trainings."""
