"""Moves the work: `run` (scan, plan, units, analyses), `worker`, `pools`. Ray is known in `pools` and `submit`, and nowhere else."""
