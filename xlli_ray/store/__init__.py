"""Where arrays (Zarr v3), tables (Parquet) and records live. The only package that knows Zarr.

`objects` is the one door to a folder or a bucket; `shard` and `layout` say what a Zarr array of ours is; `records` and `lease` say
what is done and by whom; `tables`, `read` and `verify` are for people. `docs/store-format.md` is the norm.
"""
