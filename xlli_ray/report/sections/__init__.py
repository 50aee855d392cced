"""Sections of the page, one for each stage."""
