"""The one door to a folder or a bucket: get, range, put, begin, create, list, delete."""
