"""Diffusion index of groups of networks, intervals over trainings: rows of `lam_groups` and `lam_group_pairs` (`shared.replicates`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xlli_ray.analyses.lam_summary.tables import ALL
from xlli_ray.analyses.shared.replicates import compared_groups, group_difference, group_mean, groups_of, network_means, notes

if TYPE_CHECKING:
    from xlli_ray.analyses.lam_summary.measures import Measures

_Row = dict[str, Any]


def group_rows(measures: Measures) -> tuple[list[_Row], list[_Row], list[str]]:
    """Rows of both tables, and notes; empty without `by`. Computed on the windows for which every network has a DI."""
    params = measures.params
    if not params.by:
        return [], [], []
    groups, left = groups_of([model for model in measures.view.models if model.id in measures.models], params)
    means: list[_Row] = []
    pairs: list[_Row] = []
    for label in [*measures.labels, *([ALL] if len(measures.labels) > 1 else [])]:
        mask = np.ones(len(measures.windows), bool) if label == ALL else measures.label == label
        by_network, images = network_means(measures.di[mask], measures.image[mask], measures.images)
        values = dict(zip(measures.models, by_network.tolist()))
        about = {"label": label, "images": images}
        means += [{"group": group.name, **about, **group_mean(group, values, level=params.level, limits=(0.0, 100.0)).row("di")}
                  for group in groups]  # fmt: skip
        for one, other in compared_groups(groups):
            item = group_difference(one, other, values, level=params.level)
            pairs.append({"group": one.name, "other": other.name, **about, **item.row("difference"), "paired": item.paired})
    return means, pairs, notes(groups, left, params)
