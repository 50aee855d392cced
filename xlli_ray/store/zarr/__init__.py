"""Arrays: definition of our Zarr v3 arrays, writing of shards, reading of rows."""
