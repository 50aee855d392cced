"""Computation of units: read → decode → batch → network → probes → shards and records. Independent of Ray."""
