"""The numbers of `lam_summary`: from the table `lam` to rows. Their meaning: `lam_summary.analysis` and `lam_summary.tables`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from xlli_ray.analyses.lam_summary.controls import RANDOMISED, SHIFTED, control_maps, control_rows, median
from xlli_ray.analyses.lam_summary.tables import ALL
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.errors import AnalysisError, counted
from xlli_ray.stats.bootstrap import bounds, deal, generator, resample, resampled_means
from xlli_ray.stats.intervals import FEW, FEWEST, SHARE, UNLIMITED, Interval, Limits, intervals, kind, photograph_means
from xlli_ray.stats.rank import permutation_p, spearman, spearman_rows
from xlli_ray.store.tables.sql import photograph_of

if TYPE_CHECKING:
    from xlli_ray.analyses.lam_summary.params import Params

SIZES = 12
"""With more input sizes than this, there are no rows for single sizes."""
PERCENT: Limits = (0.0, 100.0)
POSITIVE: Limits = (0.0, None)
CORRELATION: Limits = (-1.0, 1.0)
_NAN = float("nan")
_Row = dict[str, Any]

_SQL = f"""
select l.model, l.what, l.row, l.sample_id, l.status, l."window" as win, l.top, l."left" as lft, l.size, l.di, l.gini, l.area,
       l.error_estimate, l.completeness, l.nonfinite, l.undefined, l.height, l.width, l.mode,
       coalesce(l.control, case when l.what like '%.%' then split_part(l.what, '.', 2) else '' end) as control,
       s.label, {photograph_of('s')} as image
from lam l join samples s on l.row = s.row order by l.model, l.what, l.row, l."window"
"""


@dataclass(frozen=True)
class Group:
    """The windows of one average."""

    label: str
    height: int | None
    width: int | None
    mask: np.ndarray
    """bool (windows,)."""


class Measures:
    """All results of `lam_summary`, from one query of the table. Matrices are (windows, models), NaN where there is no map."""

    def __init__(self, view: View, params: Params, seed: int) -> None:
        self.view, self.params, self.seed = view, params, seed
        table = view.sql(_SQL)
        self.data = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
        own = (self.data["control"] == "") & (self.data["status"] == "ok")
        if not own.any():
            raise AnalysisError(f"stage {params.of} has no measured map; reasons: `xlli query STUDY \"from failures\"`")
        modes = sorted({str(mode) for mode in self.data["mode"][own]})
        if len(modes) > 1:
            raise AnalysisError(f"stage {params.of} has maps of several modes ({', '.join(modes)}), which are different measures")
        self.own = np.flatnonzero(own)
        present = set(self.data["model"][own])
        self.models = [model.id for model in view.models if model.id in present]
        self.labels = [label for label in view.labels if label in set(self.data["label"][own])]
        self.failed = int(((self.data["control"] == "") & (self.data["status"] != "ok")).sum())
        self._pivot()

    def _pivot(self) -> None:
        """Rows are windows, columns models. Two models have the same window if its sample, number, position and size are equal."""
        names = ("row", "win", "top", "lft", "size", "height", "width")
        keys = np.stack([np.asarray(self.data[name][self.own], np.int64) for name in names], axis=1)
        self.windows, first, place = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        self.place = place.reshape(-1)
        rank = {model: i for i, model in enumerate(self.models)}
        self.column = np.array([rank[model] for model in self.data["model"][self.own]])
        self.label = self.data["label"][self.own][first]
        images = sorted(set(self.data["image"][self.own]))
        number = {image: i for i, image in enumerate(images)}
        self.image = np.array([number[image] for image in self.data["image"][self.own][first]])
        self.images = len(images)
        self.pixels = (self.windows[:, 5] * self.windows[:, 6]).astype(np.float64)
        undefined = self.data["undefined"].astype(bool)
        self.di = self.matrix(np.where(undefined, np.nan, self.data["di"].astype(np.float64)))

    def matrix(self, column: np.ndarray) -> np.ndarray:
        """A column of the table as (windows, models)."""
        out = np.full((len(self.windows), len(self.models)), np.nan)
        out[self.place, self.column] = column[self.own].astype(np.float64)
        return out

    @cached_property
    def draws(self) -> np.ndarray:
        """Bootstrap draws of the images, for statistics that are not means over images: ρ of the models' means."""
        return resample(len(deal(np.zeros((self.images, 1)))), self.params.resamples, generator(self.seed, "images"))

    def intervals(
        self, values: np.ndarray, image: np.ndarray, limits: Limits = UNLIMITED, *, difference: bool = False
    ) -> list[Interval]:
        """Mean over images of each column of `values`, (rows, columns), with its interval; `image`: int (rows,). See `stats.intervals`."""
        means = photograph_means(values, image, self.images)
        return intervals(*means, level=self.params.level, limits=limits, difference=difference)

    @cached_property
    def psnr(self) -> np.ndarray | None:
        """float64 (windows, models): PSNR of the sample that contains the window; None without a restore stage."""
        if not any(cell.kind == "restore" for cell in self.view.cells):
            return None
        table = self.view.sql("select model, row, psnr_y from restore where status = 'ok' and isfinite(psnr_y)")
        rank = {model: i for i, model in enumerate(self.models)}
        known = {(row, rank[model]): value for model, row, value in zip(*(table[name].to_pylist() for name in ("model", "row", "psnr_y")))
                 if model in rank}  # fmt: skip
        rows = self.windows[:, 0].tolist()
        out = np.array([[known.get((row, i), np.nan) for i in range(len(self.models))] for row in rows])
        return out if np.isfinite(out).any() else None

    def groups(self) -> Iterator[Group]:
        """Labels × input sizes; several labels, or sizes, are also averaged together."""
        sizes = np.unique(self.windows[:, 5:7], axis=0)
        labels = [*self.labels, *([ALL] if len(self.labels) > 1 else [])]
        listed: list[tuple[int | None, int | None]] = [(int(h), int(w)) for h, w in sizes] if len(sizes) <= SIZES else []
        if len(sizes) > 1:
            listed.append((None, None))
        for label in labels:
            mine = np.ones(len(self.windows), bool) if label == ALL else self.label == label
            for height, width in listed:
                same = True if height is None else (self.windows[:, 5] == height) & (self.windows[:, 6] == width)
                if (mask := mine & same).any():
                    yield Group(label, height, width, mask)

    @property
    def sizes(self) -> int:
        """Number of input sizes."""
        return len(np.unique(self.windows[:, 5:7], axis=0))

    def summary(self) -> list[_Row]:
        """Rows of `lam_summary`."""
        gini, area = self.matrix(self.data["gini"]), self.matrix(self.data["area"])
        undefined, nonfinite = self.matrix(self.data["undefined"]), self.matrix(self.data["nonfinite"])
        error, residual = self.matrix(self.data["error_estimate"]), np.abs(self.matrix(self.data["completeness"]))
        defined = np.isfinite(self.di)
        parts = [(self.di, PERCENT), (self.di / 100 * self.pixels[:, None], POSITIVE)]
        parts += [(np.where(defined, some, np.nan), SHARE) for some in (gini, area)]
        if self.psnr is not None:
            parts.append((self.psnr, UNLIMITED))
        out = []
        for group in self.groups():
            mask = group.mask
            summaries = [self.intervals(part[mask], self.image[mask], limits) for part, limits in parts]
            for i, model in enumerate(self.models):
                if not (defined[mask, i].any() or (undefined[mask, i] == 1).any()):
                    continue
                di, extent, others, spread, *psnr = (some[i] for some in summaries)
                out.append(
                    {"model": model, "label": group.label, "height": group.height, "width": group.width, "images": di.photographs,
                     "windows": int(defined[mask, i].sum()), "di": di.mean, "di_low": di.low, "di_high": di.high,
                     "extent": extent.mean, "extent_low": extent.low, "extent_high": extent.high,
                     "gini": others.mean, "area": spread.mean, "psnr_y": psnr[0].mean if psnr else _NAN,
                     "undefined": int((undefined[mask, i] == 1).sum()), "nonfinite": int((nonfinite[mask, i] > 0).sum()),
                     "inexact": int((error[mask, i] > self.params.error_limit).sum()),
                     "error_estimate": median(error[mask, i]), "completeness": median(residual[mask, i])}
                )  # fmt: skip
        return out

    def pairs(self) -> list[_Row]:
        """Rows of `lam_pairs`: every pair of models, in the recipe's order."""
        where = [(i, k) for i in range(len(self.models)) for k in range(i + 1, len(self.models))]
        if not where:
            return []
        one, other = ([pair[side] for pair in where] for side in (0, 1))
        out = []
        for label in [*self.labels, *([ALL] if len(self.labels) > 1 else [])]:
            mask = np.ones(len(self.windows), bool) if label == ALL else self.label == label
            a, b, image = self.di[mask][:, one], self.di[mask][:, other], self.image[mask]
            means, _ = photograph_means(a - b, image, self.images)
            better = np.where(means > 0, 1.0, np.where(means < 0, 0.0, np.where(means == 0, 0.5, np.nan)))
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.log(a) - np.log(b)
            differences, ratios = (self.intervals(numbers, image, difference=True) for numbers in (a - b, ratio))
            for n, (i, k) in enumerate(where):
                item, factor = differences[n], ratios[n]
                if not item.photographs:
                    continue
                out.append(
                    {"model": self.models[i], "other": self.models[k], "label": label, "images": item.photographs,
                     "windows": item.values, "difference": item.mean, "low": item.low, "high": item.high,
                     "ratio": float(np.exp(factor.mean)), "ratio_low": float(np.exp(factor.low)),
                     "ratio_high": float(np.exp(factor.high)), "share": float(np.nanmean(better[:, n]))}
                )  # fmt: skip
        return out

    def _complete(self, label: str) -> tuple[list[int], np.ndarray, np.ndarray, np.ndarray]:
        """(models, DI, PSNR, image): one row per sample with both values for all models that have a PSNR."""
        assert self.psnr is not None
        mask = self.label == label
        models = [i for i in range(len(self.models)) if np.isfinite(self.psnr[mask, i]).any() and np.isfinite(self.di[mask, i]).any()]
        both = np.hstack([self.di[mask][:, models], self.psnr[mask][:, models]])
        whole = np.isfinite(both).all(axis=1)
        rows, place = np.unique(self.windows[mask, 0][whole], return_inverse=True)
        means, _ = photograph_means(both[whole], place.reshape(-1), len(rows))  # over each sample's windows
        image = np.zeros(len(rows), np.int64)
        image[place.reshape(-1)] = self.image[mask][whole]
        return models, means[:, : len(models)], means[:, len(models) :], image

    def against_psnr(self) -> list[_Row]:
        """Rows of `lam_psnr`."""
        out = []
        for label in self.labels:
            models, di, psnr, image = self._complete(label)
            images = len(set(image.tolist()))
            about = {"label": label, "models": len(models), "images": images}
            (within,) = self.intervals(spearman_rows(di, psnr)[:, None], image, CORRELATION)
            out.append({"scope": "within images", **about, "rho": within.mean, "low": within.low, "high": within.high, "p": _NAN})
            # both means over the same images, so that no model benefits from easier ones
            each, seen = photograph_means(np.hstack([di, psnr]), image, self.images)
            sums, counts = np.nan_to_num(each), (seen > 0).astype(np.float64)
            means = np.array([item.mean for item in intervals(each, seen)]).reshape(2, -1)
            rho, p, low, high = _NAN, _NAN, _NAN, _NAN
            if len(models) > 2 and len(image):
                rho = spearman(means[0], means[1])
                p = permutation_p(means[0], means[1], generator(self.seed, "permutations", label))
                drawn = resampled_means(deal(sums), deal(counts), self.draws)
                rhos = spearman_rows(drawn[:, : len(models)], drawn[:, len(models) :])[:, None]
                ends = bounds(rhos, level=self.params.level, clusters=None)
                low, high = (float(end[0]) for end in ends) if images >= FEWEST else (_NAN, _NAN)
            out.append({"scope": "across models", **about, "rho": rho, "low": low, "high": high, "p": p})
        return out

    def points(self) -> list[tuple[str, str, Interval, Interval]]:
        """(label, model, DI, PSNR) over the samples that `against_psnr` compares, for the figure.

        Images differ by many dB and many points of DI, models on one image by tenths, so the intervals are those of the deviation from the
        mean over the models, image by image: what is needed to compare two points.
        """
        out = []
        for label in self.labels if self.psnr is not None else []:
            models, di, psnr, image = self._complete(label)
            if not len(image):
                continue
            sides = []
            for values in (di, psnr):
                middle = values.mean(axis=1, keepdims=True)
                (level,) = self.intervals(middle, image)
                sides.append([Interval(item.mean + level.mean, item.low + level.mean, item.high + level.mean, item.photographs)
                              for item in self.intervals(values - middle, image, difference=True)])  # fmt: skip
            out += [(label, self.models[i], x, y) for i, x, y in zip(models, *sides)]
        return out

    def controls(self) -> tuple[list[_Row], list[_Row]]:
        """Rows of `lam_control_maps` and of `lam_controls`."""
        maps = control_maps(self.view, self.data, self.own, self.params)
        images = dict(zip(self.windows[:, 0].tolist(), self.image.tolist()))
        return maps, control_rows(maps, self.models, images)

    def flags(self, summary: Sequence[_Row], controls: Sequence[_Row]) -> list[str]:
        """Warnings."""
        out = []
        words = {RANDOMISED: f"survive randomised weights (ρ beyond position ≥ {self.params.survives:g})",
                 SHIFTED: f"do not follow their window (less than {self.params.follows:g} of its shift)"}  # fmt: skip
        for control, text in words.items():
            bad = [f"{row['model']} ({row['alike']} of {row['maps']})" for row in controls if row["control"] == control and row["flag"]]
            if bad:
                out.append(f"most maps {text}: {', '.join(bad)}")
        for name, text in (("undefined", "without DI (all zero or not finite)"),
                           ("nonfinite", "computed from gradients with NaN or infinity"),
                           ("inexact", f"with an estimated error above {100 * self.params.error_limit:g} %")):  # fmt: skip
            bad = [f"{model} ({count} of {total})" for model in self.models for count, total in [self._count(name, model)] if count]
            if bad:
                out.append(f"maps {text}: {', '.join(bad)}")
        return out

    def _count(self, name: str, model: str) -> tuple[int, int]:
        """(maps of which `name` is true, all maps) of one model."""
        mine = self.own[self.data["model"][self.own] == model]
        if name == "inexact":
            return int((self.data["error_estimate"][mine].astype(np.float64) > self.params.error_limit).sum()), len(mine)
        return int((self.data[name][mine].astype(np.float64) > 0).sum()), len(mine)

    def notes(self) -> list[str]:
        """Notes."""
        out = [f"{counted(self.images, 'image')}, {counted(len(self.windows), 'window')}, {counted(len(self.models), 'model')}. Intervals: "
               f"{kind(self.params.level)}; of differences and ratios: t."]  # fmt: skip
        if self.images < FEW:
            out.append(f"Few images ({self.images}): the coverage of the intervals is below their level.")
        if self.sizes > 1:
            out.append(
                f"The maps are of {self.sizes} input sizes, and DI depends on the size. Rows without height and width mix them: use "
                "`extent`, or at ratios and differences of models on the same windows."
            )
        if len(self.models) > 1 and not np.isfinite(self.di).all():
            lacking = int((~np.isfinite(self.di).all(axis=1)).sum())
            out.append(f"{lacking} of {counted(len(self.windows), 'window')} lack a map of some model and are left out of the pairs.")
        if self.failed:
            out.append(f"{counted(self.failed, 'map')} could not be measured; reasons: `failures`.")
        if self.psnr is None:
            out.append("No PSNR: there is no restore stage for these models, or no targets.")
        elif len(self.models) < 3:
            out.append("DI against PSNR is undefined for fewer than 3 models.")
        if not (self.data["control"] != "").any():
            out.append("No controls: add `controls: [randomised_weights, shifted_window]` to the lam stage before trusting a map.")
        return out
