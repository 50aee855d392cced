"""Infidelity: does an attribution account for what happens to its score?"""
