"""The status of a run while it goes on: what its writer tells about itself, how a reader sees it with few requests, and its metrics."""
