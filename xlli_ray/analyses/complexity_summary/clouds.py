"""The stored patches of a `complexity` stage: of which photograph and degradation each is, and which photographs make a subset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from xlli_ray.analyses.complexity_summary.params import Params
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.corpus.ids import drawn_key
from xlli_ray.errors import AnalysisError, counted
from xlli_ray.store.records.manifest import Cell


@dataclass(frozen=True)
class Subset:
    """Some of the photographs."""

    name: str
    photographs: np.ndarray
    """int64, by number, ascending."""
    count: int | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Stored:
    """One array of the stage for all measured samples, in the order of the sample table."""

    label: np.ndarray
    """(samples,) degradation labels."""
    photograph: np.ndarray
    """int64 (samples,): by number."""
    values: np.ndarray
    """float16 (samples, 2, …): image and residual."""

    def of(self, label: str, photographs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of some photographs under one label: values (n, 2, …), and the photograph of each, int64 (n,)."""
        chosen = (self.label == label) & np.isin(self.photograph, photographs)
        return self.values[chosen], self.photograph[chosen]


class Samples:
    """Rows of the sample table that were measured."""

    def __init__(self, view: View, cell: Cell) -> None:
        """Raises AnalysisError when nothing was measured."""
        table = view.sql(
            "select s.row, s.label, s.content, s.kind, coalesce(s.target_sha, s.source_sha, s.content) as image, "
            "case when s.target_sha is null then '' else s.source_sha end as given from complexity c join samples s using (sample_id) "
            "where c.status = 'ok' group by all order by s.row"
        )
        column = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
        if not len(column["row"]):
            raise AnalysisError("complexity_summary: no sample was measured; `xlli query STUDY \"from failures\"` says why")
        self.view, self.cell = view, cell
        self.row, self.label = column["row"].astype(np.int64), column["label"]
        self.images, number = np.unique(column["image"], return_inverse=True)
        self.photograph = number.reshape(-1)
        first = np.unique(self.photograph, return_index=True)[1]
        self.given = column["given"][first]
        """sha256 of the input file of each photograph that is a pair's target; "" else."""
        self.labels = [label for label in view.labels if (self.label == label).any()]

    def stored(self, name: str) -> Stored:
        """The array `name` of all samples."""
        known = {int(row): place for place, row in enumerate(self.row)}
        values: dict[int, np.ndarray] = {}
        for block in self.view.array(self.cell.id, name).blocks():
            for row, value, good in zip(block.table_rows.tolist(), block.values, block.valid):
                if good and row in known:
                    values[known[row]] = value
        order = sorted(values)
        if not order:
            raise AnalysisError(f"complexity_summary: no sample has an array {name}")
        return Stored(self.label[order], self.photograph[order], np.stack([values[place] for place in order]))

    def subsets(self, params: Params) -> Iterator[Subset]:
        """All photographs, and for each seed those that a training with `corpus.count` takes. AnalysisError where there are too few."""
        everything = np.arange(len(self.images))
        yield Subset("all", everything)
        if params.counts and max(params.counts) > len(everything):
            have = counted(len(everything), "image")
            raise AnalysisError(f"complexity_summary.counts: {max(params.counts)} images are asked for, and {have} were measured")
        for seed in params.seeds if params.counts else ():
            order = sorted(everything.tolist(), key=lambda i: drawn_key(seed, str(self.images[i]), str(self.given[i])))
            for count in params.counts:
                yield Subset(f"N{count}-seed{seed}", np.sort(order[:count]), count, seed)
