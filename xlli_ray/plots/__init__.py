"""Figures as data (`view`), one file per kind, and their SVG. Colours: `palette`."""
