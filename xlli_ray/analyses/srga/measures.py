"""The numbers of `srga`: from Gram matrices to table rows. Their meaning: `srga.analysis`, `srga.tables` and `stats.srga`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from xlli_ray.analyses.shared.study_access import View
from xlli_ray.analyses.srga.params import default_components
from xlli_ray.analyses.srga.sets import READS, ImageSet, Sets, grams, kept_contents, sets_of
from xlli_ray.analyses.srga.tables import ALL
from xlli_ray.errors import AnalysisError, counted
from xlli_ray.stats.bootstrap import generator
from xlli_ray.stats.ggd import Fit
from xlli_ray.stats.intervals import FEWEST
from xlli_ray.stats.srga import (
    Errors,
    Resampled,
    SetFit,
    chance,
    divergence,
    errors,
    fit_scores,
    half_differences,
    index_of,
    reach,
    resample_gram,
    scores_of,
    warnings,
)
from xlli_ray.stats.subsampling import Dealt, dealt, orders
from xlli_ray.store.records.manifest import Cell

if TYPE_CHECKING:
    from xlli_ray.analyses.srga.params import Params

BINS = 61
"""Bins of a histogram of scores, over ±`REACH` standard deviations of the kept ones."""
REACH = 5.0
FEW = 300
"""The authors recommend more patches than this."""
FEW_IMAGES = 20
"""With fewer images than this (effective number), the standard error is rough."""
SHOWN = 4
"""Sets of one model in the figures of fits and spectra: the reference, and those with the highest indices."""
_NAN = float("nan")
_Row = dict[str, Any]


NO_ERRORS = Errors(_NAN, _NAN, _NAN)


@dataclass(frozen=True)
class Estimate:
    """The index of one model and set, with what it was computed from."""

    item: ImageSet
    state: str
    reason: str
    set_fit: SetFit | None = None
    halves: Resampled | None = None
    histogram: tuple[np.ndarray, np.ndarray] | None = None
    """Centres of bins, float64 (BINS,), and the density of the kept scores in each."""
    kl: float = _NAN
    srga: float = _NAN
    errors: Errors = NO_ERRORS

    @property
    def compared(self) -> bool:
        """Whether it takes part in rankings and means."""
        return self.state == "ok"


@dataclass(frozen=True)
class ModelSets:
    """All sets of one model."""

    model: str
    layer: str
    kept: int
    struck: int
    images: int
    sets: dict[str, Estimate]


class Measures:
    """All results of `srga`, computed model by model, with one set's Gram matrix in memory at a time."""

    def __init__(self, view: View, params: Params, seed: int) -> None:
        cells = {cell.model: cell for cell in view.cells if cell.kind in READS}
        self.groups: Sets = sets_of(view, list(cells.values()), params.reference)
        self.components = params.components or default_components(len(self.groups.reference.rows))
        self.view, self.params, self.seed = view, params, seed
        self._psnr = self._restored()
        self.by_model: dict[str, ModelSets] = {}
        self.refused: dict[str, str] = {}
        for model in view.models:
            if model.id in cells:
                self._look_at(cells[model.id])
        if not self.by_model:
            raise AnalysisError("no model can be measured: " + "; ".join(f"{m}: {text}" for m, text in self.refused.items()))
        self.models = list(self.by_model)

    def _look_at(self, cell: Cell) -> None:
        array = self.view.array(cell.id)
        dtype = {reader.meta.dtype for reader in array.readers}
        if "float16" in dtype and not self.params.allow_float16:
            raise AnalysisError(
                f"{cell.id} is stored as float16, whose rounding lifts the tail of the spectrum and with it the index: store "
                "`dtype: float32`, or set `allow_float16: true`"
            )
        kept, lost = kept_contents(array, self.groups)
        samples = int(kept.sum())
        if not samples:
            self.refused[cell.model] = "no content was measured in every set; reasons: `xlli query STUDY \"from failures\"`"
            return
        if samples <= self.components:
            self.refused[cell.model] = (
                f"{counted(samples, 'sample')} in each set, {counted(self.components, 'component')} need at least "
                f"{self.components + 1}: use more patches, or `components: {max(1, samples // 2)}` or fewer"
            )
            return
        estimates = {item.label: self._estimate(item, matrix, kept) for item, matrix in grams(array, cell.kind, self.groups, lost)}
        sets = {item.label: estimates[item.label] for item in self.groups.all if item.label in estimates}
        for item in self.groups.all:
            if item.label not in sets:
                sets[item.label] = Estimate(item, "refused", lost.get(item.label, "not measured"))
        reference = sets[self.params.reference]
        sets = {label: self._against(reference, one) for label, one in sets.items()}
        images = len({image for image, good in zip(self.groups.reference.images, kept) if good})
        self.by_model[cell.model] = ModelSets(cell.model, cell.what, samples, int((~kept).sum()), images, sets)

    def _estimate(self, item: ImageSet, matrix: np.ndarray, kept: np.ndarray) -> Estimate:
        whole = matrix[np.ix_(kept, kept)]
        if not np.isfinite(whole).all():
            return Estimate(item, "refused", "NaN in the Gram matrix of samples recorded as measured: run `xlli verify`")
        params = self.params
        scores, eigenvalues = scores_of(whole, self.components, params.solver)
        fit, dropped = fit_scores(scores, refine=params.refine)
        set_fit = SetFit(fit, len(whole), self.components, dropped, eigenvalues / len(whole))
        drawn, about = self._orders(item, kept)
        some = resample_gram(whole, drawn, about, self.components, params.solver, refine=params.refine)
        return Estimate(item, "", "; ".join(warnings(set_fit)), set_fit, some, None if fit.degenerate else _histogram(scores, fit))

    def _orders(self, item: ImageSet, kept: np.ndarray) -> tuple[np.ndarray, Dealt]:
        """Orders of the kept samples, int (resamples, kept), and how they split into halves: drawn once for all sets with the reference's
        contents, of every model."""
        images: Sequence[str] = item.images if self.params.draw == "images" else item.contents
        key = "contents" if self.groups.paired(item) else f"contents of {item.label}"
        place = np.cumsum(kept) - 1
        drawn = orders(images, self.params.resamples, generator(self.seed, key))
        orders_kept = np.array([place[order[kept[order]]] for order in drawn], np.int64).reshape(-1, int(kept.sum()))
        return orders_kept, dealt([image for image, good in zip(images, kept) if good], orders_kept)

    def _against(self, reference: Estimate, one: Estimate) -> Estimate:
        """The estimate with its index against the reference."""
        if one.set_fit is None:
            return one
        if reference.set_fit is None:
            why = f"the reference cannot be used: {reference.reason}"
            return Estimate(one.item, "refused", why, one.set_fit, one.halves, one.histogram)
        paired = self.groups.paired(one.item)
        state = "ok" if paired else "unpaired"
        if one.item.label == reference.item.label:
            state = "reference"
        reason = [one.reason] if one.reason else []
        if one.set_fit.fit.degenerate or reference.set_fit.fit.degenerate:
            state = "degenerate"
            reason = reason or [f"the reference is degenerate: {reference.reason}"]
        elif not paired:
            reason.append("other contents than the reference: compare with its floor only")
        value = index_of(reference.set_fit.fit, one.set_fit.fit)
        assert reference.halves is not None
        assert one.halves is not None
        about = errors(value, reference.halves, one.halves, paired=paired, level=self.params.level)
        kl = divergence(reference.set_fit.fit, one.set_fit.fit)
        return Estimate(one.item, state, "; ".join(reason), one.set_fit, one.halves, one.histogram, kl, value, about)

    def _restored(self) -> dict[tuple[str, int], float]:
        """(model, row) → PSNR."""
        if not any(cell.kind == "restore" for cell in self.view.cells):
            return {}
        table = self.view.sql("select model, row, psnr_y from restore where status = 'ok' and isfinite(psnr_y)")
        return {(model, row): value for model, row, value in zip(*(table[name].to_pylist() for name in ("model", "row", "psnr_y")))}

    def psnr(self, model: str, item: ImageSet) -> float:
        """Mean over a set; NaN without targets, or if a tenth of the samples have none (the index would be of other samples)."""
        known = [self._psnr[model, row] for row in item.rows.tolist() if (model, row) in self._psnr]
        return float(np.mean(known)) if 10 * len(known) > 9 * len(item.rows) else _NAN

    def sets(self) -> list[_Row]:
        """Rows of `srga`."""
        out = []
        for one in self.by_model.values():
            for label, estimate in one.sets.items():
                item, set_fit = estimate.item, estimate.set_fit
                row: _Row = {
                    "model": one.model, "label": label, "family": "reference" if label == self.params.reference else item.family,
                    "level": item.level, "srga": estimate.srga, "low": estimate.errors.low, "high": estimate.errors.high,
                    "floor": estimate.errors.floor, "psnr_y": self.psnr(one.model, item), "kl": estimate.kl, "state": estimate.state,
                    "reason": estimate.reason, "struck": one.struck, "images": one.images, "layer": one.layer,
                    "height": self.groups.height, "width": self.groups.width, "clipped": False, "under_floor": False,
                }  # fmt: skip
                if label == self.params.reference:
                    floor = _NAN if estimate.halves is None else chance(estimate.halves, self.params.level)
                    row |= {"low": _NAN, "high": _NAN, "floor": floor}
                if set_fit is not None:
                    row |= {"sigma": set_fit.sigma, "alpha": set_fit.alpha, "ratio": set_fit.fit.ratio, "dropped": set_fit.dropped,
                            "clipped": set_fit.fit.clipped, "n": set_fit.samples, "k": set_fit.components, "rank": set_fit.rank,
                            "under_floor": estimate.state in ("ok", "unpaired") and estimate.srga <= estimate.errors.floor}  # fmt: skip
                out.append(row)
        return out

    @cached_property
    def families_of(self) -> dict[str, list[str]]:
        """Family → labels of the sets on which all models can be compared; finally all of them together."""
        labels = [item.label for item in self.groups.others if all(one.sets[item.label].compared for one in self.by_model.values())]
        family = {item.label: item.family for item in self.groups.others}
        out: dict[str, list[str]] = {}
        for label in labels:
            out.setdefault(family[label], []).append(label)
        return {**out, ALL: labels} if len(out) > 1 else out

    def _mean(self, model: str, labels: Sequence[str]) -> tuple[float, np.ndarray, Dealt]:
        """Index and its half differences (splits,), each the mean over the sets, and how the samples were split into halves."""
        one = self.by_model[model]
        reference = one.sets[self.params.reference].halves
        assert reference is not None
        some = [one.sets[label] for label in labels]
        differences = np.array([half_differences(reference, item.halves) for item in some if item.halves is not None])
        return float(np.mean([item.srga for item in some])), differences.mean(axis=0), reference.dealt

    def _difference(self, model: str, other: str, labels: Sequence[str]) -> _Row:
        (a, a_halves, mine), (b, b_halves, theirs) = self._mean(model, labels), self._mean(other, labels)
        half = reach(a_halves - b_halves, mine.least(theirs), self.params.level)
        return {"difference": a - b, "low": a - b - half, "high": a - b + half, "floor": half, "apart": bool(abs(a - b) > half)}

    def pairs(self) -> list[_Row]:
        """Rows of `srga_pairs`: every pair, in the recipe's order; families, then their sets."""
        out = []
        for i, model in enumerate(self.models):
            for other in self.models[i + 1 :]:
                for family, labels in self.families_of.items():
                    about = {"model": model, "other": other, "family": family}
                    out.append({**about, "label": None, **self._difference(model, other, labels)})
                    if family != ALL:
                        out += [{**about, "label": label, **self._difference(model, other, [label])} for label in labels]
        return out

    def families(self) -> list[_Row]:
        """Rows of `srga_families`, sorted by the index within each family."""
        out = []
        for family, labels in self.families_of.items():
            rows = []
            for model in self.models:
                value, halves, about = self._mean(model, labels)
                half = reach(halves, about, self.params.level)
                apart = [self._difference(model, other, labels) for other in self.models if other != model]
                below = sum(row["apart"] and row["difference"] > 0 for row in apart)
                above = sum(row["apart"] and row["difference"] < 0 for row in apart)
                ends = {"low": _not_below_zero(value - half), "high": value + half}
                places = {"first": 1 + below, "last": len(self.models) - above}
                rows.append({"model": model, "family": family, "sets": len(labels), "srga": value, **ends, **places})
            out += sorted(rows, key=lambda row: row["srga"])
        return out

    def spectra(self) -> list[_Row]:
        """Rows of `srga_spectrum`."""
        out = []
        for one in self.by_model.values():
            for label, estimate in one.sets.items():
                if estimate.set_fit is None:
                    continue
                total = float(estimate.set_fit.spectrum.sum()) or 1.0
                for i, value in enumerate(estimate.set_fit.spectrum[: self.components].tolist()):
                    out.append({"model": one.model, "label": label, "component": i + 1, "variance": value, "share": value / total})
        return out

    def _shown(self, one: ModelSets) -> list[Estimate]:
        """The reference and the sets with the highest indices, in the recipe's order."""
        fitted = [estimate for estimate in one.sets.values() if estimate.histogram is not None]
        ranked = sorted((e for e in fitted if e.state in ("ok", "unpaired")), key=lambda e: -e.srga)[: SHOWN - 1]
        return [e for e in fitted if e.state == "reference" or e in ranked]

    def drawn_fits(self) -> list[tuple[str, str, np.ndarray, np.ndarray, Fit]]:
        """(model, label, bin centres, densities, fit) of the sets to draw."""
        return [(one.model, e.item.label, *e.histogram, e.set_fit.fit) for one in self.by_model.values() for e in self._shown(one)
                if e.histogram is not None and e.set_fit is not None]  # fmt: skip

    def drawn_spectra(self) -> list[tuple[str, str, np.ndarray]]:
        """(model, label, variances of all components) of the sets to draw."""
        return [(one.model, e.item.label, e.set_fit.spectrum) for one in self.by_model.values() for e in self._shown(one)
                if e.set_fit is not None]  # fmt: skip

    def values(self) -> dict[str, Any]:
        """The main numbers."""
        families = {
            family: {row["model"]: row["srga"] for row in self.families() if row["family"] == family} for family in self.families_of
        }
        return {"srga": {m: {label: e.srga for label, e in one.sets.items()} for m, one in self.by_model.items()}, "families": families}

    def flags(self) -> list[str]:
        """Warnings."""
        out = [f"{model} is not measured: {reason}" for model, reason in self.refused.items()]
        everything = [(one.model, e) for one in self.by_model.values() for e in one.sets.values()]
        for state, text in (("degenerate", "constant features, no index (a dead network does not generalize)"), ("refused", "no index")):
            if bad := [f"{model} {e.item.label} ({e.reason})" for model, e in everything if e.state == state]:
                out.append(f"{text}: {'; '.join(bad)}")
        if clipped := [f"{model} {e.item.label}" for model, e in everything if e.set_fit is not None and e.set_fit.fit.clipped]:
            out.append(f"alpha clipped at an end of the grid, index not to be relied on: {', '.join(clipped)}")
        if thin := [f"{model} {e.item.label} ({e.set_fit.rank})" for model, e in everything
                    if e.set_fit is not None and not e.set_fit.fit.degenerate and e.set_fit.rank < e.set_fit.components]:  # fmt: skip
            out.append(f"fewer than {self.components} components hold more than rounding: {', '.join(thin)}")
        if other := sorted({e.item.label for _, e in everything if e.state == "unpaired"}):
            out.append(
                f"contents other than those of {self.params.reference} score high by themselves and are not ranked: {', '.join(other)}"
            )
        out += self._gate()
        if under := [f"{model} {e.item.label} ({e.srga:.2f} ≤ {e.errors.floor:.2f})" for model, e in everything
                     if e.state in ("ok", "unpaired") and e.srga <= e.errors.floor]:  # fmt: skip
            out.append(f"not distinguishable from chance: {', '.join(under)}")
        return out

    def _gate(self) -> list[str]:
        """Models with a PSNR far below the best one's on the reference, for which a low index is no merit."""
        psnr = {model: self.psnr(model, self.groups.reference) for model in self.models}
        known = {model: value for model, value in psnr.items() if math.isfinite(value)}
        if len(known) < 2:
            return []
        best = max(known.values())
        low = [f"{model} ({value:.1f} dB)" for model, value in known.items() if value < best - self.params.gate]
        text = f"more than {self.params.gate:g} dB below the best model ({best:.1f} dB) on {self.params.reference}, a low index is no "
        return [f"{text}merit: {', '.join(low)}"] if low else []

    def notes(self) -> list[str]:
        """Notes."""
        groups, params = self.groups, self.params
        images = max(one.images for one in self.by_model.values())
        drawn = "images with all their patches" if params.draw == "images" else "patches, as if they were independent"
        kept = [one.kept for one in self.by_model.values()]
        chosen = "" if params.components else " (default: 300, or half of the samples if that is less)"
        intervals = f"Intervals: {100 * params.level:g} %, t over {'images' if params.draw == 'images' else 'patches'}, from "
        intervals += f"{params.resamples} splits of {drawn} into halves."
        out = [
            f"{counted(max(kept), 'sample')} of {counted(images, 'image')} in each of "
            f"{counted(len(groups.all), 'set')}, input {groups.height}×{groups.width}, "
            f"{counted(self.components, 'component')}{chosen}, solver {params.solver}. "
            + (intervals if params.resamples else "No intervals: `resamples: 0`.")
        ]
        if struck := {one.model: one.struck for one in self.by_model.values() if one.struck}:
            out.append("Contents that failed in one set are left out of all: " + ", ".join(f"{m} {n}" for m, n in struck.items()) + ".")
        if groups.left_out:
            listed = ", ".join(f"{name} ({rows})" for name, rows in groups.left_out.items())
            out.append(f"Samples of other input sizes are left out, since their features cannot be compared: {listed}.")
        if (few := min(kept)) <= FEW:
            out.append(f"Few samples ({few}): the authors recommend more than {FEW}. Compare within this study only.")
        out += self._few(images)
        if not self._psnr:
            out.append("No PSNR to read the index with: add a restore stage, or targets. A dead network scores 0, too.")
        if not self.families_of:
            out.append("No set can be compared for every model: no ranking.")
        return out

    def _few(self, images: int) -> list[str]:
        """How reliable intervals over so few images are."""
        first = next(iter(self.by_model.values())).sets[self.params.reference].halves
        if self.params.draw != "images" or first is None or first.dealt.effective >= FEW_IMAGES:
            return []
        worth = first.dealt.effective
        uneven = f", with unequal numbers of patches: equivalent to {worth:.1f} equal ones" if worth < 0.9 * images else ""
        less = "; none below 3" if images < FEWEST else ""
        return [f"Few images ({images}{uneven}): intervals are rough guides (docs/decisions/009-intervals.md){less}."]


def _not_below_zero(value: float) -> float:
    """The index is not negative; NaN stays."""
    return 0.0 if value < 0 else value


def _histogram(scores: np.ndarray, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """Centres and densities of all scores, in bins over ±REACH σ of the fit; those outside only count in the total."""
    edges = np.linspace(-REACH, REACH, BINS + 1) * fit.sigma
    counts, _ = np.histogram(scores, edges)
    return (edges[1:] + edges[:-1]) / 2, counts / (scores.size * np.diff(edges))
