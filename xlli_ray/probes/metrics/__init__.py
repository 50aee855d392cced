"""Metrics of `restore`: one metric or family per file (`registry.METRICS`, `metric.py`)."""

from __future__ import annotations

from xlli_ray.probes.metrics.metric import ALWAYS, Metric, Pair, metric_class, metric_classes

__all__ = ["ALWAYS", "Metric", "Pair", "metric_class", "metric_classes"]
