"""Arrays: what a Zarr v3 array of ours is, how a shard is written, how rows are read."""
