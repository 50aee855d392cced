"""Pools of workers: this process, a private Ray, or an existing cluster."""
