"""Moves the work: plan, worker, pools, driver. The only package that knows Ray, and it only in `ray_pool` and `submit`."""
