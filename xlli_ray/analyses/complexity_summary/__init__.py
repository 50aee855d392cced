"""Complexity of sets as a conclusion: images, degradations and stored features, and which of the two sides is simpler: `analysis`."""
