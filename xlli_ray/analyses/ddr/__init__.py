"""DDR, deep degradation representations, as a conclusion about the layers of networks: `analysis` is the stage."""
