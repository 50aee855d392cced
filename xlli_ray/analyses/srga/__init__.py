"""SRGA, the generalization index, as a conclusion about the networks of a study: `analysis` is the stage."""
