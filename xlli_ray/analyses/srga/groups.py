"""The index of groups of networks, with intervals over trainings: rows of `srga_groups` and `srga_group_pairs` (`shared.replicates`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xlli_ray.analyses.shared.replicates import compared_groups, group_difference, group_mean, groups_of, notes
from xlli_ray.analyses.srga.tables import ALL

if TYPE_CHECKING:
    from xlli_ray.analyses.srga.measures import Measures

_Row = dict[str, Any]


def group_rows(measures: Measures) -> tuple[list[_Row], list[_Row], list[str]]:
    """Rows of both tables and notes; empty without `by`. Each family of sets, followed by its sets."""
    params = measures.params
    if not params.by:
        return [], [], []
    groups, left = groups_of([model for model in measures.view.models if model.id in measures.by_model], params)
    means: list[_Row] = []
    pairs: list[_Row] = []

    def add(family: str, label: str | None, labels: Sequence[str]) -> None:
        values = {model: float(np.mean([one.sets[name].srga for name in labels])) for model, one in measures.by_model.items()}
        about = {"family": family, "label": label}
        means.extend({"group": group.name, **about, **group_mean(group, values, level=params.level, limits=(0.0, None)).row("srga")}
                     for group in groups)  # fmt: skip
        for one, other in compared_groups(groups):
            item = group_difference(one, other, values, level=params.level)
            pairs.append({"group": one.name, "other": other.name, **about, **item.row("difference"), "paired": item.paired})

    for family, labels in measures.families_of.items():
        add(family, None, labels)
        if family != ALL:
            for label in labels:
                add(family, label, [label])
    return means, pairs, notes(groups, left, params)
