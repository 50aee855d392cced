"""Rows of `alignment_windows`, `alignment_motion` and `alignment_differences`, and what must be seen first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xlli_ray.analyses.alignment_summary.pooled_errors import Pixels, PooledErrors, all_of, said
from xlli_ray.analyses.shared.replicates import Group, compared_groups
from xlli_ray.stats import crossed
from xlli_ray.stats.bootstrap import generator
from xlli_ray.stats.crossed import Crossed
from xlli_ray.stats.intervals import refusal
from xlli_ray.stats.knot import knot_over_clips

RESAMPLES = 300
"""Of clips, for the place of the best knot."""
_Row = dict[str, Any]


def ends(name: str, found: Crossed) -> _Row:
    """A number with the ends of its interval, as columns."""
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


def pairs_of(groups: Sequence[Group], single: str | None) -> list[tuple[Group, Group]]:
    """The pairs that are compared, and each other group with the one that sees one frame only, which stands second."""
    alone = next((group for group in groups if group.name == single), None)
    rest = [group for group in groups if group is not alone]
    return [*compared_groups(rest), *((group, alone) for group in rest if alone is not None)]


def motion_rows(errors: PooledErrors, groups: Sequence[Group]) -> list[_Row]:
    """Rows of `alignment_motion`."""
    out = []
    for group in groups:
        for stratum, name in enumerate(errors.strata):
            for pixels in errors.ranges(stratum):
                found = errors.mean(group, pixels)
                low, high = errors.ends(pixels)
                about = {"group": group.name, "stratum": name, "motion_low": low, "motion_high": high}
                out.append({**about, **ends("psnr", found), **errors.about(pixels, found)})
    return out


def difference_rows(errors: PooledErrors, pairs: Sequence[tuple[Group, Group]]) -> list[_Row]:
    """Rows of `alignment_differences`."""
    out = []
    for one, other in pairs:
        for stratum, name in enumerate(errors.strata):
            for pixels in errors.ranges(stratum):
                found, paired = errors.difference(one, other, pixels)
                low, high = errors.ends(pixels)
                about = {"group": one.name, "other": other.name, "stratum": name, "motion_low": low, "motion_high": high}
                out.append({**about, **ends("difference", found), "paired": paired, **errors.about(pixels, found)})
    return out


def window_rows(errors: PooledErrors, pairs: Sequence[tuple[Group, Group]], windows: Sequence[float]) -> list[_Row]:
    """Rows of `alignment_windows`."""
    out = []
    stratum = all_of(errors.strata)
    for one, other in pairs:
        for window in windows:
            edge = errors.edges.index(window)
            inside, beyond = Pixels(stratum, 0, edge), Pixels(stratum, edge, len(errors.edges))
            near, _ = errors.difference(one, other, inside)
            far, _ = errors.difference(one, other, beyond)
            change = errors.change(one, other, inside, beyond)
            clips = int(((errors.pixels(inside) > 0) | (errors.pixels(beyond) > 0)).sum())
            out.append({
                "group": one.name, "other": other.name, "window": window, **ends("inside", near), **ends("beyond", far),
                **ends("change", change), "values_inside": int(errors.pixels(inside).sum()),
                "values_beyond": int(errors.pixels(beyond).sum()), "clips": clips, "trainings": near.trainings,
                "over": "trainings and clips" if near.over == crossed.BOTH else "clips", "reason": said(near.reason or far.reason),
            })  # fmt: skip
    return out


def knot_rows(errors: PooledErrors, pairs: Sequence[tuple[Group, Group]], window: float, seed: int) -> list[_Row]:
    """Rows of `alignment_knots`: over clips, for these trainings."""
    stratum, x = all_of(errors.strata), np.array(errors.motion)
    known = np.isfinite(x)
    inner = [edge for edge in errors.edges if np.nanmin(x) < edge < np.nanmax(x)]
    grid = np.array(inner or [window])  # bins tell no finer where a curve bends
    count = errors.count[stratum][known].T
    out = []
    for one, other in pairs:
        squared, against = (errors.by_clip(group, stratum)[:, known] for group in (one, other))
        found = knot_over_clips(squared, against, count, x[known], window, grid, resamples=RESAMPLES, level=errors.level,
                                rng=generator(seed, "knot", one.name, other.name))  # fmt: skip
        lacks = "" if np.isfinite(found.change) else "the motion does not reach to both sides of the window"
        out.append({
            "group": one.name, "other": other.name, "window": window, "slope": found.before, "bend": found.change,
            "bend_low": found.change_low, "bend_high": found.change_high, "best": found.best, "best_low": found.best_low,
            "best_high": found.best_high, "clips": len(count), "reason": lacks or said(refusal(len(count))),
        })  # fmt: skip
    return out


def flags(errors: PooledErrors, rows: Sequence[_Row]) -> list[str]:
    """What must be seen before any number."""
    out = []
    stratum = all_of(errors.strata)
    thin = []
    for window in dict.fromkeys(row["window"] for row in rows):
        beyond = Pixels(stratum, errors.edges.index(window), len(errors.edges))
        counts = errors.pixels(beyond)
        share = counts.sum() / max(1.0, errors.count[stratum].sum())
        if share < 0.01:
            moving = f"{100 * share:.2g} % of the pixels move" if share else "nothing moves"
            thin.append(f"{moving} {window:g} px or further")
    if thin:
        out.append(f"hardly any motion beyond the window: {'; '.join(thin)}. What happens there is decided by few pixels, or by none.")
    return out


def worse_than_single(rows: Sequence[_Row], single: str | None) -> list[str]:
    """Networks that lose by seeing the other frames."""
    lost = [f"{row['group']} ({row['difference']:+.2f} dB [{row['difference_low']:.2f}, {row['difference_high']:.2f}])"
            for row in rows if row["other"] == single and row["stratum"] == "all" and row["motion_low"] == 0
            and not np.isfinite(row["motion_high"]) and row["difference_high"] < 0]  # fmt: skip
    return [f"worse than {single}, which sees one frame only: {', '.join(lost)}"] if single is not None and lost else []
