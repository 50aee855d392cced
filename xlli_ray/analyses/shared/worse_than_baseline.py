"""Networks that are worse than the baseline of the same `restore` stage: bicubic upscaling, or the unchanged input at scale 1.

A network below the baseline usually has a wrong value range, scale or degradation rather than being that bad. Both are compared on the
samples that both have, separately for each degradation, with the photograph as the unit; one-channel networks with one-channel networks,
since luma and RGB are scored on different scales.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from xlli_ray.errors import counted
from xlli_ray.stats.intervals import ends
from xlli_ray.store.records.manifest import Manifest
from xlli_ray.store.tables.sql import PHOTOGRAPHS, text

NETWORK = "xlli_ray.models.networks.bicubic:make"


@dataclass(frozen=True)
class Loss:
    """By how much a network is below the baseline on one degradation, in dB, with the 95 % interval over photographs; None below three,
    and where it was not asked for."""

    label: str
    by: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Below:
    """A network whose mean PSNR on luma is under the baseline's for `count` of the `compared` degradations, most for `label`.

    `by`: the difference there in dB, > 0, mean over the photographs of `samples`.
    """

    stage: str
    model: str
    baseline: str
    label: str
    by: float
    samples: int
    count: int = 1
    compared: int = 1
    losses: Sequence[Loss] = ()
    """The degradations where it is below, the largest loss first."""

    @property
    def text(self) -> str:
        """For terminal and page: one line per network, however many degradations there are."""
        about = f"mean over photographs, of the same {counted(self.samples, 'sample')}): look at its range, scale and weights"
        if self.count == 1:
            return f"{self.model} is {self.by:.2f} dB below {self.baseline} (psnr_y, {self.label}, {about}"
        return (
            f"{self.model} is below {self.baseline} in {self.count} of {self.compared} degradations, most in {self.label}: "
            f"by {self.by:.2f} dB (psnr_y, {about}"
        )


def baselines(manifest: Manifest) -> dict[str, int]:
    """Models that are the baseline → their channels."""
    return {model.id: model.channels for model in manifest.models if model.network == NETWORK}


def below_baseline(manifest: Manifest, sql: Callable[[str], pa.Table], *, intervals: bool = False) -> list[Below]:
    """One per stage and network, sorted by name. `sql` runs one statement over the study's tables. `intervals`: with those of the losses,
    which load scipy: no run waits for that."""
    known = baselines(manifest)
    if not known or not any(cell.kind == "restore" for cell in manifest.cells):
        return []
    channels = {model.id: model.channels for model in manifest.models}
    names = ", ".join(map(text, sorted(known)))  # a join of every network with every other would be of all pairs of rows
    table = sql(
        "select stage, model, baseline, label, avg(by_db) as by_db, sum(n)::bigint as n,"
        " stddev_samp(by_db) as spread, count(*) as photographs from ("
        f"select a.stage, a.model, b.model as baseline, s.label, s.photograph,"
        " avg(b.psnr_y - a.psnr_y) as by_db, count(*) as n from restore a"
        f" join restore b on a.stage = b.stage and a.row = b.row join {PHOTOGRAPHS} s on s.row = a.row"
        f" where b.model in ({names}) and a.model not in ({names})"
        " and a.status = 'ok' and b.status = 'ok' and isfinite(a.psnr_y) and isfinite(b.psnr_y) group by all"
        ") group by stage, model, baseline, label order by all"
    )
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        if row["baseline"] in known and row["model"] not in known and channels.get(row["model"]) == known[row["baseline"]]:
            groups.setdefault((row["stage"], row["model"], row["baseline"]), []).append(row)
    out = []
    for (stage, model, baseline), rows in groups.items():
        if under := [row for row in rows if row["by_db"] > 0]:
            worst = max(under, key=lambda row: row["by_db"])
            losses = sorted((_loss(row, interval=intervals) for row in under), key=lambda loss: -loss.by)
            out.append(Below(stage, model, baseline, worst["label"], worst["by_db"], worst["n"], len(under), len(rows), losses))
    return out


def _loss(row: Mapping[str, Any], *, interval: bool) -> Loss:
    """`interval`: with the t interval of a difference, as everywhere (`stats.intervals`)."""
    if not interval or row.get("spread") is None:
        return Loss(row["label"], row["by_db"])
    mean, spread, photographs = (np.array([row[name]], np.float64) for name in ("by_db", "spread", "photographs"))
    low, high = (float(end[0]) for end in ends(mean, spread, np.zeros(1), photographs, difference=True))
    return Loss(row["label"], row["by_db"], *((low, high) if math.isfinite(low) else (None, None)))
