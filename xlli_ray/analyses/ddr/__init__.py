"""DDR, deep degradation representations, of the layers of networks: `analysis` is the stage."""
