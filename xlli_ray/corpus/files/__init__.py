"""Files of a corpus: finding them, prefetching, and the meaning of read errors."""
