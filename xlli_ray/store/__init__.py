"""Where arrays (Zarr v3), tables (Parquet) and records live. The only package that knows Zarr.

`objects` is the one door to a folder or a bucket; `zarr` says what an array of ours is, writes shards and reads rows; `records` say what is
planned, what is done and by whom; `tables` are for people; `verify` proves that a study is whole. `docs/store-format.md` is the norm.
"""
