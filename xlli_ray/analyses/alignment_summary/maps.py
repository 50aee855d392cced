"""Rows of `alignment_maps`: which frames attribution is on, and whether it follows what moves, from the maps of `lam` and a flow stage.

The window's place is followed through the flow to the other frames (`stats.trajectory`); each frame's attribution has a centroid. Following
is not being there: a network may look beside the object in every frame. So the displacement of the centroids from the frame's own is
compared with that of the object, least squares through the origin, pooled over windows and frames:

    follows = Σ (c_k − c_t)·(p_k − p_t) / Σ |p_k − p_t|²

1 where attribution moves with the object, 0 where it stays at the place. Windows whose object moves less than a pixel say nothing and are
left out. The tracking error |c_k − p_k| stands beside it, with the motion that a map that stays would have as its error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.analyses.alignment_summary.comparisons import ends
from xlli_ray.analyses.alignment_summary.pooled_errors import said
from xlli_ray.analyses.shared.replicates import Group
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.stats import crossed
from xlli_ray.stats.crossed import Crossed
from xlli_ray.stats.intervals import SHARE
from xlli_ray.stats.trajectory import inside, trajectory
from xlli_ray.store.records.manifest import Cell
from xlli_ray.store.tables.sql import photograph_of

LEAST = 1.0
"""Motion in input pixels, root mean square, below which following cannot be told from staying."""
HALF = 0.5
FOLLOWS, STAYS, OPEN, STILL = "follows", "stays", "undecided", "no motion"
_Row = dict[str, Any]

_SQL = f"""
select l.model, l.what, l.row, l."window" as win, l.top, l."left" as lft, l.size, l.frame, l.centre_share, l.effective_frames, l.height,
       l.width, s.scale, {photograph_of('s')} as clip
from lam l join samples s on l.row = s.row
where l.status = 'ok' and not l.undefined and l.what not like '%.%' order by l.model, l.what, l.row, l."window"
"""


@dataclass
class Clip:
    """What the maps of one network say of one clip: sums over windows."""

    windows: int = 0
    moving: int = 0
    centre: float = 0.0
    frames: float = 0.0
    dot: float = 0.0
    squares: float = 0.0
    error: float = 0.0
    motion: float = 0.0


@dataclass
class Maps:
    """By model, by clip."""

    clips: dict[str, dict[str, Clip]] = field(default_factory=dict)

    def table(self, members: Sequence[Sequence[str]], names: Sequence[str], value: str, over: str) -> NDArray[np.float64]:
        """(trainings, clips): the sum `value` over the sum `over`, NaN where a clip has none."""
        out = np.full((len(members), len(names)), np.nan)
        for i, models in enumerate(members):
            for j, name in enumerate(names):
                some = [self.clips[model][name] for model in models if name in self.clips.get(model, {})]
                number = sum(getattr(clip, over) for clip in some)
                if number:
                    out[i, j] = sum(getattr(clip, value) for clip in some) / number
        return out


def read_maps(view: View, lam: Sequence[Cell], flow: Cell | None) -> Maps:
    """The maps of each network: for each window its frame's share, and where its centroids are against the object's path."""
    maps = Maps()
    centroids = {(cell.model, cell.what): view.array(cell.id, "centroid") for cell in lam if "." not in cell.what}
    after, before = (view.array(flow.id, name) if flow is not None else None for name in ("next", "previous"))
    paths: dict[tuple[int, int, int, int, int], NDArray[np.float64] | None] = {}
    for row in view.sql(_SQL).to_pylist():
        clip = maps.clips.setdefault(row["model"], {}).setdefault(row["clip"], Clip())
        clip.windows += 1
        clip.centre += row["centre_share"]
        clip.frames += row["effective_frames"]
        if after is None or before is None:
            continue
        key = (row["row"], row["frame"], row["top"], row["lft"], row["size"])
        if key not in paths:
            flows = after.row(row["row"]), before.row(row["row"])
            middle = tuple((row[name] + row["size"] / 2) / row["scale"] - 0.5 for name in ("top", "lft"))
            paths[key] = None if flows[0] is None or flows[1] is None else trajectory(
                (middle[0], middle[1]), row["frame"], flows[0].astype(np.float64), flows[1].astype(np.float64)
            )
        places = centroids[row["model"], row["what"]].row(row["row"])
        path = paths[key]
        if places is not None and path is not None:
            _follow(clip, places[row["win"]].astype(np.float64), path, row)
    return maps


def _follow(clip: Clip, places: NDArray[np.float64], path: NDArray[np.float64], row: _Row) -> None:
    """Add one window."""
    frame = row["frame"]
    use = inside(path, row["height"], row["width"]) & np.isfinite(places).all(axis=-1)
    use[frame] = False
    moved, seen = (path - path[frame])[use], (places - places[frame])[use]
    squares = float((moved**2).sum())
    if not len(moved) or not np.isfinite(places[frame]).all() or squares < LEAST**2 * len(moved):
        return
    clip.moving += 1
    clip.dot += float((moved * seen).sum()) / len(moved)
    clip.squares += squares / len(moved)
    clip.error += float(np.linalg.norm((places - path)[use], axis=-1).mean())
    clip.motion += float(np.linalg.norm(moved, axis=-1).mean())


def map_rows(maps: Maps, groups: Sequence[Group], level: float) -> list[_Row]:
    """Rows of `alignment_maps`, for the groups with maps."""
    out = []
    for group in groups:
        members: dict[Any, list[str]] = {}
        for model, replicate in group.members:
            if model in maps.clips:
                members.setdefault(replicate, []).append(model)
        if not members:
            continue
        models = list(members.values())
        names = list(dict.fromkeys(name for some in models for model in some for name in maps.clips[model]))

        def table(value: str, over: str, models: list[list[str]] = models, names: list[str] = names) -> NDArray[np.float64]:
            return maps.table(models, names, value, over)

        follows = _follows(table, level)
        share = crossed.mean(table("centre", "windows"), level=level, limits=SHARE)
        used = crossed.mean(table("frames", "windows"), level=level, limits=(1.0, None))
        error = crossed.mean(table("error", "moving"), level=level, limits=(0.0, None))
        moving = sum(clip.moving for some in models for model in some for clip in maps.clips[model].values())
        lead = follows if moving else share
        out.append({
            "group": group.name, **ends("centre_share", share), **ends("effective_frames", used),
            "motion": crossed.mean(table("motion", "moving")).mean, **ends("tracking_error", error), **ends("follows", follows),
            "verdict": verdict(follows, moving), "windows": moving, "clips": lead.photographs, "trainings": lead.trainings,
            "over": "trainings and clips" if lead.over == crossed.BOTH else "clips", "reason": said(lead.reason),
        })  # fmt: skip
    return out


def _follows(table: Any, level: float) -> Crossed:
    dot, squares = crossed.complete(table("dot", "moving"), table("squares", "moving"))
    return crossed.ratio(dot, squares, level=level) if dot.size else crossed.mean(dot, level=level)


def verdict(follows: Crossed, moving: int) -> str:
    """What the interval of `follows` says."""
    if not moving:
        return STILL
    if follows.low > HALF:
        return FOLLOWS
    return STAYS if follows.high < HALF else OPEN
