"""The numbers of `ddr`: CHI of every layer, labelling and space, with intervals and nulls.

Their meaning: `ddr.analysis` and `ddr.tables`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from xlli_ray.analyses.ddr.layers import Layer, buckets_of, layer_name
from xlli_ray.analyses.ddr.samples import read_samples
from xlli_ray.analyses.shared.study_access import CellArray, View
from xlli_ray.errors import AnalysisError, closest, counted
from xlli_ray.stats.bootstrap import generator
from xlli_ray.stats.intervals import FEW, Interval
from xlli_ray.stats.separability import (
    Separation,
    Units,
    interval,
    left_out,
    regroup,
    relabelled,
    separation,
    shifts,
    shuffled,
)
from xlli_ray.store.records.manifest import Cell

if TYPE_CHECKING:
    from xlli_ray.analyses.ddr.params import Params

_NAN = float("nan")
_Row = dict[str, Any]
Key = tuple[str, str, str, str]
"""(model, layer, labels, space)."""


@dataclass(frozen=True)
class ChiEstimate:
    """CHI of one labelling in one space of one layer."""

    separation: Separation
    shifts: np.ndarray
    """float64 (clusters,): from `stats.separability.shifts`."""
    images: int
    interval: Interval
    null: np.ndarray | None = None


@dataclass(frozen=True)
class Place:
    """One layer of one model."""

    cell: Cell
    layer: str
    depth: int


class Measures:
    """Everything that `ddr` computes from the layers, one at a time. `measure` must be called before the tables are read."""

    def __init__(self, view: View, params: Params, seed: int) -> None:
        self.view, self.params, self.seed = view, params, seed
        self.places = places_of(view.cells, params.layers, [model.id for model in view.models])
        self.arrays: dict[str, CellArray] = {}
        for place in self.places:
            array = view.array(place.cell.id)
            if any(reader.valid.any() for reader in array.readers):
                self.arrays[place.cell.id] = array
        if not self.arrays:
            raise AnalysisError(f"stage {params.source} has no measured layer; reasons: `xlli query STUDY \"from failures\"`")
        self.places = [place for place in self.places if place.cell.id in self.arrays]
        sizes = buckets_of(self.arrays)
        self.bucket = max(sizes, key=lambda name: (sizes[name], name))
        self.other_sizes = sum(sizes.values()) - sizes[self.bucket]
        self.samples = read_samples(view, self.bucket, params.degradations)
        self.models = [model.id for model in view.models if any(place.cell.model == model.id for place in self.places)]
        self.estimates: dict[Key, ChiEstimate] = {}
        self.pairs: dict[tuple[str, str, tuple[int, int], str], ChiEstimate] = {}
        self.scores: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
        """(model, layer) → indices of the samples, and scores, of the layers to be embedded."""
        self.flags: list[str] = []
        self.notes: list[str] = []
        self.left_out = 0
        self.residuals: list[float] = []

    def embedded(self) -> list[Place]:
        """The layers to be embedded."""
        asked = self.params.embed_layers
        if asked == "last":
            return [[place for place in self.places if place.cell.model == model][-1] for model in self.models]
        return [place for place in self.places if matches(place.layer, asked)]

    def measure(self, embedded: Sequence[Place]) -> None:
        """Read each layer once and compute everything about it. `embedded`: layers whose scores are kept."""
        keep = {place.cell.id for place in embedded}
        for place in list(self.places):
            rng = generator(self.seed, "range", place.cell.id)
            try:
                layer = Layer(self.arrays[place.cell.id], self.bucket, self.samples.rows, self.params.components, rng)
            except AnalysisError as error:  # an unusable layer must not affect the others
                self.places.remove(place)
                self.flags.append(f"left out: {error}")
                continue
            self.left_out += layer.left_out
            self.residuals.append(layer.residual)
            where = self.samples.of(layer.rows)
            for space in layer.spaces:
                self._degradations(place, layer, where, space)
                for labels in self.params.labels:
                    if labels in ("content", "image"):
                        self._contents(place, layer, where, space, labels)
            if place.cell.id in keep:
                self.scores[place.cell.model, place.layer] = (where, layer.scores)
        self.models = [model for model in self.models if any(place.cell.model == model for place in self.places)]
        if not self.places:
            raise AnalysisError(f"no layer can be used; {self.flags[0]}")
        if not self.estimates:
            raise AnalysisError(
                "nothing to separate: CHI needs two classes, one of them with two samples. Add degradations, levels, or images to the "
                f"corpus, or other `labels` (requested: {', '.join(self.params.labels)})"
            )

    def _degradations(self, place: Place, layer: Layer, where: np.ndarray, space: str) -> None:
        """Type, level and pairs, all from one set of units with a class for each degradation label."""
        units = layer.units(space, self.samples.label[where], self.samples.cluster[where])
        if units is None:
            self._note(f"{space} space: too many classes and features to stream; left out")
            return
        present = np.unique(self.samples.label[where])  # units number only the labels that occur
        for labels, classes in self._groupings(present):
            base = regroup(units, np.where(classes < 0, -1, np.arange(len(classes))))
            rng = generator(self.seed, "null", place.cell.id, labels, space)
            some = self.params.permutations
            null = relabelled(base, some, rng, joined=classes[classes >= 0]) if some else None
            self._keep(place, labels, space, regroup(units, classes), null)
        for one, other in combinations(range(len(present)), 2):
            classes = np.full(len(present), -1)
            classes[[one, other]] = 0, 1
            pair = (int(present[one]), int(present[other]))
            both = regroup(units, classes)
            if both.count.sum() > 2:
                self.pairs[place.cell.model, place.layer, pair, space] = self._measured(both)

    def _groupings(self, present: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """(labelling, class of each degradation that occurs): `type`, and `level T` for each type T with several levels."""
        types = [self.samples.types[code] for code in present]
        if "type" in self.params.labels and len(set(types)) > 1:
            yield "type", np.array([list(self.samples.families).index(kind) for kind in types])
        for family in self.samples.families if "level" in self.params.labels else ():
            if types.count(family) > 1:
                yield f"level {family}", np.array([i if kind == family else -1 for i, kind in enumerate(types)])

    def _contents(self, place: Place, layer: Layer, where: np.ndarray, space: str, labels: str) -> None:
        label = self.samples.content[where] if labels == "content" else self.samples.image[where]
        if not 1 < len(np.unique(label)) < len(label):
            return
        units = layer.units(space, label, self.samples.cluster[where])
        if units is None:
            self._note(f"CHI by {labels} in the {space} space: {len(np.unique(label))} classes need too much memory; left out")
            return
        matrix, null = layer.matrix(space), None
        if self.params.permutations and matrix is not None:
            rng = generator(self.seed, "null", place.cell.id, labels, space)
            null = shuffled(matrix, label, self.samples.label[where], self.params.permutations, rng)
        self._keep(place, labels, space, units, null)

    def _keep(self, place: Place, labels: str, space: str, units: Units, null: np.ndarray | None) -> None:
        if units.classes > 1 and units.count.sum() > units.classes:
            self.estimates[place.cell.model, place.layer, labels, space] = self._measured(units, null)

    def _measured(self, units: Units, null: np.ndarray | None = None) -> ChiEstimate:
        value = separation(units)
        shift = shifts(value.chi, left_out(units, self.samples.clusters))
        return ChiEstimate(value, shift, units.clusters, interval(value.chi, shift, level=self.params.level), null)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    # -- tables --------------------------------------------------------------------------------------------------

    def place(self, model: str, layer: str) -> _Row:
        """The first columns of every table."""
        depth = next(place.depth for place in self.places if (place.cell.model, place.layer) == (model, layer))
        return {"model": model, "layer": layer, "depth": depth}

    def separations(self) -> list[_Row]:
        """Rows of `ddr`."""
        out = []
        for (model, layer, labels, space), item in self.estimates.items():
            value, null = item.separation, item.null
            known = null is not None and bool(np.isfinite(null).all()) and bool(np.isfinite(value.chi))
            out.append(
                {**self.place(model, layer), "labels": labels, "space": space, "samples": value.samples, "classes": value.classes,
                 "images": item.images, "chi": value.chi, "low": item.interval.low, "high": item.interval.high, "bd": value.between,
                 "wd": value.within, "share": value.share, "smallest": value.smallest,
                 "null_chi": float(null.mean()) if known and null is not None else _NAN,
                 "null_high": float(np.quantile(null, 0.95)) if known and null is not None else _NAN,
                 "p": (1 + float((null >= value.chi * (1 - 1e-9)).sum())) / (len(null) + 1) if known and null is not None else _NAN}
            )  # fmt: skip
        return out

    def pair_rows(self) -> list[_Row]:
        """Rows of `ddr_pairs`."""
        names = self.samples.labels
        return [
            {**self.place(model, layer), "label": names[one], "other": names[other], "space": space, "samples": item.separation.samples,
             "images": item.images, "chi": item.separation.chi, "low": item.interval.low, "high": item.interval.high,
             "bd": item.separation.between, "wd": item.separation.within, "share": item.separation.share}
            for (model, layer, (one, other), space), item in self.pairs.items()
        ]  # fmt: skip

    # -- flags and notes ---------------------------------------------------------------------------------------

    def say(self) -> tuple[list[str], list[str]]:
        """Flags and notes."""
        flags = list(self.flags)
        seen = {code for (_, _, pair, _) in self.pairs for code in pair}
        absent = [name for code, name in enumerate(self.samples.labels) if code not in seen and len(self.samples.labels) > 1]
        if absent:
            flags.append(f"no measured sample has the label: {', '.join(absent)}")
        equal = list(dict.fromkeys(f"{key[0]} {key[1]}" for key, item in self.estimates.items() if item.separation.within == 0))
        if equal:
            more = f" and {len(equal) - 6} more" if len(equal) > 6 else ""
            flags.append(f"identical points, no scatter within the classes, so no CHI: {', '.join(equal[:6])}{more}")
        alone = dict.fromkeys(key[2] for key, item in self.estimates.items() if item.separation.smallest == 1)
        if alone:
            flags.append(f"a class of one sample, whose scatter is 0 by definition, by {', '.join(alone)}")
        images = max(item.images for item in self.estimates.values())
        if len(self.samples.images) > self.samples.clusters:
            self._note(f"{len(self.samples.images)} images are divided into {self.samples.clusters} groups, each left out as a whole.")
        notes = [
            f"{counted(len(self.samples.contents), 'content')} of {counted(len(self.samples.images), 'image')}, "
            f"{counted(len(self.samples.labels), 'degradation')}, {counted(len(self.models), 'model')}, "
            f"{counted(len(self.places), 'layer')}. Intervals: {100 * self.params.level:g} %, t over images, "
            f"each left out once; nulls: {self.params.permutations} permutations.",
            "CHI of `pcaK` and of `full`, of pooled and of whole features, and of different n cannot be compared with each other.",
        ]
        if images < FEW:
            notes.append(f"Few images ({images}): intervals are rough.")
        if self.left_out:
            notes.append(f"{self.left_out} measured samples contain NaN or infinity in a layer and are left out there.")
        if self.other_sizes:
            notes.append(f"Input size {self.bucket} only; {self.other_sizes} values of other sizes have features of other lengths.")
        counts = np.bincount(self.samples.label, minlength=len(self.samples.labels))
        if len(set(counts.tolist())) > 1:
            notes.append("The degradations have different numbers of samples.")
        if max(self.residuals) > 0:
            notes.append(f"Scores from a range finder: up to {100 * max(self.residuals):.2g} % of the scatter is outside its directions.")
        if "type" in self.params.labels and not any(key[2] == "type" for key in self.estimates):
            notes.append("One type of degradation: there is nothing to separate by type.")
        if any(labels == "level" for labels in self.params.labels) and not any(key[2].startswith("level") for key in self.estimates):
            notes.append("No type has two levels: there is nothing to separate by level.")
        return flags, [*notes, *self.notes]


def matches(layer: str, globs: Any) -> bool:
    """Whether one of the patterns matches the layer, with or without its side; `all` matches every layer."""
    return globs == "all" or any(fnmatchcase(layer, glob) or fnmatchcase(f"{layer}.out", glob) for glob in globs)


def places_of(cells: Sequence[Cell], globs: Any, models: Sequence[str]) -> list[Place]:
    """The requested layers: models in the recipe's order, layers in depth order. Raises AnalysisError naming the nearest layers."""
    out: list[Place] = []
    for model in models:
        mine = [cell for cell in cells if cell.model == model and matches(layer_name(cell.what), globs)]
        out += [Place(cell, layer_name(cell.what), depth) for depth, cell in enumerate(mine)]
    names = list(dict.fromkeys(layer_name(cell.what) for cell in cells))
    for glob in globs if globs != "all" else ():
        if not any(matches(name, [glob]) for name in names):
            near = closest(glob, names, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise AnalysisError(f"ddr.layers: {glob!r} matches no stored layer. {hint}Layers: {', '.join(names[:12])}")
    return out
