"""The only access to a folder or a bucket: get, range, put, begin, create, list, delete."""
