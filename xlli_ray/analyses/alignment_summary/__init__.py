"""Whether alignment helps a video network, by motion, and whether its attribution follows what moves: `analysis`."""
