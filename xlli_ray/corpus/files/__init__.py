"""Files of a corpus: which there are, reading them ahead, and what an error of reading means."""
