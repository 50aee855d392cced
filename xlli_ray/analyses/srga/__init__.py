"""SRGA, the generalization index, of the networks of a study: `analysis` is the stage."""
