"""Storage of arrays (Zarr v3), tables (Parquet) and records. The only package that uses Zarr.

`objects` is the only access to a folder or a bucket; `zarr` defines our arrays, writes shards and reads rows; `records` say what is
planned, what is done and by whom; `tables` are for people; `verify` checks that a study is complete and intact. `docs/store-format.md` is
normative.
"""
