"""How many windows a sample can have: the size of the axis `window` of its arrays. Does not import torch."""

from __future__ import annotations

from collections.abc import Sequence

from xlli_ray.probes.lam.params import Chosen, Listed, Place


def most_windows(asked: Chosen | Listed | Sequence[Place], output: tuple[int, ...] | None) -> int:
    """The largest number of windows that a sample of this output size, (…, height, width), can have; 4 for a grid of unknown size."""
    if isinstance(asked, Listed):
        return max((len(places) for places in asked.places.values()), default=1)
    if not isinstance(asked, Chosen):
        return len(asked)
    if asked.choose == "grid":
        if output is None:
            return 4
        per_axis = [len(range(0, max(0, n - asked.size), asked.size)) for n in output[-2:]]
        return max(1, per_axis[0] * per_axis[1])
    return asked.per_sample
