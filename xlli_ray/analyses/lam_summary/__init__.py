"""Summary of a study's attribution maps: `analysis` is the stage."""
