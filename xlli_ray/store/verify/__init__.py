"""Verification that a study is complete and intact."""
