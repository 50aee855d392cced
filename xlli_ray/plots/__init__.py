"""Figures as data (`view`), one file a kind, and the SVG that is made of them. Colours: `palette`."""
