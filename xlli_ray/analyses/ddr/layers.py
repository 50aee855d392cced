"""The layers of `ddr`, one at a time: from a cell to units of samples in each space.

Up to `MOST` samples, a layer is represented by its Gram matrix: it serves every labelling, subset, resample and null in the full space, and
its PCA in the space of the scores. Beyond that, scores come from a range finder and sums are streamed; then contents have no null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np

from xlli_ray.analyses.ddr.tables import FULL
from xlli_ray.analyses.shared.feature_gram import MEMORY, feature_gram, feature_rows, reader_of, valid_rows
from xlli_ray.analyses.shared.study_access import CellArray
from xlli_ray.errors import AnalysisError, counted
from xlli_ray.stats.gram import centred, pca
from xlli_ray.stats.reduce import range_pca
from xlli_ray.stats.separability import Sums, Units, number, units_of_gram, units_of_sums

MOST = 20_000
"""Most samples with a Gram matrix: 3.2 GB, and as much again centred, in the space of the scores, and for the eigenvectors."""


class Layer:
    """One layer of one model: its samples, their scores, and units in each space."""

    def __init__(self, array: CellArray, bucket: str, rows: np.ndarray | None, components: int, rng: np.random.Generator) -> None:
        """`rows`: of the sample table; None: all. Raises AnalysisError for fewer than three usable samples."""
        self._reader = reader_of(array, bucket)
        self._asked = rows
        self.width = int(np.prod(self._reader.meta.shape))
        self.residual = 0.0
        self.gram: np.ndarray | None = None
        known = len(valid_rows(self._reader, rows))
        if known <= MOST:
            self.rows, matrix = feature_gram(array, bucket, rows=rows)
            self._enough(array)
            self.gram = centred(matrix)
            self.components = min(components, len(self.rows) - 1, self.width)
            self.scores = pca(self.gram, self.components).scores
        else:
            self.rows = np.concatenate([taken for taken, _ in self._finite()])
            self._enough(array)
            self.components = min(components, len(self.rows) - 1, self.width)
            components_found = range_pca(lambda: (values for _, values in self._finite()), self.components, rng)
            self.scores, self.residual = components_found.scores, components_found.residual
        self.left_out = known - len(self.rows)
        """Number of measured samples that contain NaN or infinity."""

    def _enough(self, array: CellArray) -> None:
        if len(self.rows) < 3:
            raise AnalysisError(f"{array.cell.id}: only {counted(len(self.rows), 'sample')} measured; separability needs at least three")

    def _finite(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for taken, values in feature_rows(self._reader, self._asked):
            good = np.isfinite(values).all(axis=1)
            yield (taken, values) if good.all() else (taken[good], values[good])

    @property
    def space(self) -> str:
        """Name of the space of the scores."""
        return f"pca{self.components}"

    @property
    def spaces(self) -> tuple[str, str]:
        """The space of the main CHI first."""
        return self.space, FULL

    @cached_property
    def _of_scores(self) -> np.ndarray | None:
        return self.scores @ self.scores.T if self.gram is not None else None

    def matrix(self, space: str) -> np.ndarray | None:
        """Centred Gram matrix of the samples in a space, float64 (n, n); None if there are too many."""
        return self.gram if space == FULL else self._of_scores

    def units(self, space: str, label: np.ndarray, cluster: np.ndarray) -> Units | None:
        """Units of the samples. `label`, `cluster`: int (n,), of `rows`. None if streaming would need more than `MEMORY`."""
        matrix = self.matrix(space)
        if matrix is not None:
            return units_of_gram(matrix, label, cluster)
        unit, classes, groups = number(label, cluster)
        if space != FULL:
            sums = Sums(len(classes), self.components)
            sums.add(self.scores, unit)
            return units_of_sums(sums, classes, groups)
        if 8 * len(classes) * self.width > MEMORY:
            return None
        sums = Sums(len(classes), self.width)
        place = 0
        for taken, values in self._finite():
            sums.add(values, unit[place : place + len(taken)])
            place += len(taken)
        return units_of_sums(sums, classes, groups)


def layer_name(what: str) -> str:
    """`trunk.3.out` → `trunk.3`; an input keeps its side: `last.in`."""
    return what.removesuffix(".out")


def buckets_of(arrays: Mapping[str, CellArray]) -> dict[str, int]:
    """Number of measured samples of each input size, summed over cells: the size with most samples is analysed."""
    out: dict[str, int] = {}
    for array in arrays.values():
        for reader in array.readers:
            out[reader.bucket.name] = out.get(reader.bucket.name, 0) + int(reader.valid.sum())
    return out

