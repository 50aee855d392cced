"""One run of a study: scan → plan → units → tables → analyses. Knows pools by their protocol only."""
