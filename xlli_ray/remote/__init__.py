"""Buckets and web servers: the one client of corpora, weights and studies, with its settings, retries and messages."""
