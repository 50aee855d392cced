"""What was measured of each window, as arrays: the table `deletion` by window, network and order; numbers of the maps beside it.

Arrays are (windows, networks, methods), NaN where nothing was measured. A window is a row of the sample table, an index and a place, so
that two networks have the same window only where it lies in the same place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.analyses.shared.study_access import View
from xlli_ray.errors import AnalysisError
from xlli_ray.stats.intervals import UNLIMITED, Interval, Limits, intervals, photograph_means
from xlli_ray.store.tables.sql import photograph_of

if TYPE_CHECKING:
    from xlli_ray.analyses.faithfulness.params import Params

Values = NDArray[np.float64]
NEAREST, RANDOM, CONTROL = "nearest", "random", "control"
_WAYS = ("deletion", "insertion")
_INNER = re.compile(r"deletion_([0-9]+)")
_SQL = f"""
select d.model, d.row, d."window" as win, d.top, d."left" as lft, d.size, coalesce(d."of", '') as stage_of, d.ranking, d.deletion_auc,
       d.insertion_auc, d.distance, s.label, s.sample_id, {photograph_of('s')} as image, {{curves}}
from deletion d join samples s on d.row = s.row where d.status = 'ok' order by d.row, d."window", d.model, d."of", d.ranking, d.draw
"""


class Trials:
    """See the module docstring. `methods`: the stages of the deletion stage's maps, in its order."""

    def __init__(self, view: View, params: Params, methods: Sequence[str]) -> None:
        self.view, self.params, self.methods = view, params, list(methods)
        if any("of" not in dict(cell.columns) for cell in view.cells if cell.kind == "deletion"):
            raise AnalysisError(f"stage {params.deletion} was measured by a version without the column `of`: --replace {params.deletion}")
        names = [name for cell in view.cells if cell.kind == "deletion" for name, _ in cell.columns]
        self.percent = sorted({int(found[1]) for name in names if (found := _INNER.fullmatch(name))})
        """Shares of the pixels between the ends of the curves."""
        table = view.sql(_SQL.format(curves=", ".join(f"d.{way}_{percent}" for way in _WAYS for percent in self.percent)))
        data = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
        if not len(data["row"]):
            raise AnalysisError(f"stage {params.deletion} has measured no window; reasons: `xlli query STUDY \"from failures\"`")
        present = set(data["model"])
        self.models = [model.id for model in view.models if model.id in present]
        keys = np.stack([np.asarray(data[name], np.int64) for name in ("row", "win", "top", "lft", "size")], axis=1)
        self.windows, first, place = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        place = place.reshape(-1)
        self.label, self.sample_id = data["label"][first], data["sample_id"][first]
        self.labels = [label for label in view.labels if label in set(self.label)]
        images = {image: i for i, image in enumerate(sorted(set(data["image"])))}
        self.image, self.images = np.array([images[image] for image in data["image"][first]]), len(images)
        self.place = {(row, win, top, left, size): i for i, (row, win, top, left, size) in enumerate(self.windows.tolist())}
        self._pivot(data, place)

    def _pivot(self, data: dict[str, Any], place: NDArray[np.int64]) -> None:
        """Orders: the maps of all methods, their controls, nearest first, random (the mean over draws)."""
        count = len(self.methods)
        orders = {("map", method): i for i, method in enumerate(self.methods)}
        orders |= {(CONTROL, method): count + i for i, method in enumerate(self.methods)}
        orders |= {(NEAREST, ""): 2 * count, (RANDOM, ""): 2 * count + 1}
        rank = {model: i for i, model in enumerate(self.models)}
        model = np.array([rank[name] for name in data["model"]])
        order = np.array([orders.get((kind, of), -1) for kind, of in zip(data["ranking"], data["stage_of"])])
        use = order >= 0
        where = (place[use], model[use], order[use])
        number = np.zeros((len(self.windows), len(self.models), len(self.methods) * 2 + 2))
        np.add.at(number, where, 1)
        far = data["distance"].astype(np.float64)

        def mean(values: Values) -> Values:
            sums = np.zeros((*number.shape, *values.shape[1:]))
            np.add.at(sums, where, values[use])
            each = number.reshape(*number.shape, *[1] * (values.ndim - 1))
            return np.divide(sums, each, out=np.full(sums.shape, np.nan), where=each > 0)

        self._areas = {way: mean(data[f"{way}_auc"].astype(np.float64)) for way in _WAYS}
        with np.errstate(invalid="ignore", divide="ignore"):
            self._curves = {
                way: mean(np.stack([data[f"{way}_{percent}"].astype(np.float64) / far for percent in self.percent], axis=1))
                for way in _WAYS
            }
        self.still = int((mean(far)[..., 2 * count] == 0).sum())
        """Windows that do not change between image and baseline, over all networks."""

    def area(self, way: str) -> Values:
        """Areas under the curves of the maps."""
        return self._areas[way][..., : len(self.methods)]

    def gain(self, way: str, rival: str) -> Values:
        """How much better than the rival's the order of each map is; positive: better."""
        count = len(self.methods)
        part = {NEAREST: slice(2 * count, 2 * count + 1), RANDOM: slice(2 * count + 1, None), CONTROL: slice(count, 2 * count)}[rival]
        apart = self.area(way) - self._areas[way][..., part]
        return apart if way == "deletion" else -apart

    def curve(self, way: str, order: str) -> Values:
        """(windows, networks, shares): distance relative to that at the baseline. `order`: a method, nearest or random."""
        index = {NEAREST: 2 * len(self.methods), RANDOM: 2 * len(self.methods) + 1, **{name: i for i, name in enumerate(self.methods)}}
        return self._curves[way][:, :, index[order]]

    def empty(self) -> Values:
        """NaN everywhere."""
        return np.full((len(self.windows), len(self.models), len(self.methods)), np.nan)

    def placed(self, statement: str, names: Sequence[str]) -> dict[str, Values]:
        """Columns of a table with the columns model, method, row, win, top, lft and size, as arrays."""
        out = {name: self.empty() for name in names}
        rank, which = ({name: i for i, name in enumerate(some)} for some in (self.models, self.methods))
        for row in self.view.sql(statement).to_pylist():
            i = self.place.get(tuple(row[name] for name in ("row", "win", "top", "lft", "size")))
            if i is not None and row["model"] in rank and row["method"] in which:
                for name in names:
                    out[name][i, rank[row["model"]], which[row["method"]]] = np.nan if row[name] is None else row[name]
        return out

    @cached_property
    def numbers(self) -> dict[str, Values]:
        """Completeness and sparseness of maps of kind lam, infidelity where there is that stage; NaN elsewhere."""
        kinds = {cell.kind for cell in self.view.cells}
        place = 'row, "window" as win, top, "left" as lft, size'
        out = {name: self.empty() for name in ("completeness", "gini", "relative", "share", "noise_relative")}
        if "lam" in kinds:
            out |= self.placed(
                f"select model, stage as method, {place}, completeness, gini from lam where status = 'ok' and not undefined "
                "and what not like '%.%'", ("completeness", "gini"),
            )  # fmt: skip
        if "infidelity" in kinds:
            out |= self.placed(
                f"select model, \"of\" as method, {place}, relative, share, noise_relative from infidelity where status = 'ok'",
                ("relative", "share", "noise_relative"),
            )
        return out

    def averaged(
        self, values: Values, mask: NDArray[np.bool_], limits: Limits = UNLIMITED, *, difference: bool = False
    ) -> list[Interval]:
        """Mean over images, with its interval, of each column of (windows, …) values, the windows of an image averaged first."""
        flat = values.reshape(len(values), -1)[mask]
        means = photograph_means(flat, self.image[mask], self.images)
        return intervals(*means, level=self.params.level, limits=limits, difference=difference)
