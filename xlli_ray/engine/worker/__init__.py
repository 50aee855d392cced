"""What computes units: read → decode → batch → network → probes → shards and records. Knows nothing of Ray."""
