"""Execution: `run` (scan, plan, units, analyses), `worker`, `pools`. Only `pools` and `submit` depend on Ray."""
