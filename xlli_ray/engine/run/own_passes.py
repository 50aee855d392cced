"""Which cells of a group are counted one by one: a group shares one forward pass, or what its cells need of each other."""

from __future__ import annotations

from collections.abc import Iterable

from xlli_ray.store.records.manifest import Cell


def with_own_passes(cells: Iterable[Cell]) -> set[str]:
    """Ids of the cells that a group counts one by one: those that need, or are needed by, another one of it, and samples alone. The others
    of a group share one forward pass."""
    listed = list(cells)
    group = {cell.id: cell.group for cell in listed}
    out = {cell.id for cell in listed if not cell.model}
    for cell in listed:
        if needs := [need for need in cell.needs if group.get(need) == cell.group]:
            out |= {cell.id, *needs}
    return out
