"""Proof that a study is whole."""
