"""Means of a probe's columns by groups of networks, over trainings."""
