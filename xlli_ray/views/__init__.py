"""Samples, arrays and maps for display in notebooks: images, small HTML, files."""
