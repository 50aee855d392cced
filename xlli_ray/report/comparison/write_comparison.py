"""The page of two studies: what is paired and how it differs, what is not the same, and the explorer over both."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

import xlli_ray
from xlli_ray.errors import StudyError, counted
from xlli_ray.report.comparison.joined_columns import Names
from xlli_ray.report.comparison.joined_parts import JoinedParts
from xlli_ray.report.comparison.not_the_same import UnlikeGroup, not_the_same
from xlli_ray.report.comparison.paired_means import PairedMean, paired_means
from xlli_ray.report.comparison.same_samples import SameSamples, same_samples
from xlli_ray.report.explorer.parts import Parts
from xlli_ray.report.explorer.write import PROGRAM, write_explorer
from xlli_ray.report.page import environment
from xlli_ray.report.page_means import LEVEL
from xlli_ray.report.page_model import head_of, words_of
from xlli_ray.report.page_parts.scalars import digits, number
from xlli_ray.report.snapshot import open_parts
from xlli_ray.stats.intervals import kind
from xlli_ray.store.objects.client import LocalObjects, exists, open_objects
from xlli_ray.store.records.manifest import NO_MODEL
from xlli_ray.study import Study, open_study

PAGE = "index.html"
COMPARED = ("sample_id", "content", "label")


@dataclass(frozen=True)
class Line:
    """One paired mean, as text."""

    stage: str
    label: str
    model: str
    column: str
    about: str
    head: str
    photographs: int
    values: int
    one: str
    other: str
    difference: str
    interval: str
    mark: str
    """`equal`: no pair differs; `apart`: the interval excludes zero; else ""."""


@dataclass(frozen=True)
class ComparisonPage:
    """Everything that the template shows."""

    names: Names
    places: tuple[str, str]
    same: SameSamples
    only: tuple[int, int]
    lines: Sequence[Line]
    sentences: Sequence[str]
    unlike: Sequence[UnlikeGroup]
    intervals: str
    explorer: str
    command: str
    version: str = xlli_ray.__version__

    @property
    def title(self) -> str:
        return " and ".join(self.names)


def write_comparison(one: str, other: str, out: str = "comparison") -> str:
    """Write the page of the studies at `one` and `other` into the folder or bucket prefix `out`. Returns its path or URL.

    Raises StudyError if there is no study, one has no samples yet, or `out` is a study or holds something else.
    """
    studies = [open_study(place).as_it_is() for place in (one, other)]
    objects = open_objects(out)
    if exists(objects, "study.json") or exists(objects, "training.json"):
        raise StudyError(f"{out} is a study: name another folder with --out")
    if isinstance(objects, LocalObjects) and objects.root.is_dir() and os.listdir(objects.root) and not exists(objects, PROGRAM[0]):
        raise StudyError(f"{out} has other files in it: name a new folder with --out")
    with open_parts(studies[0], one) as (_, first), open_parts(studies[1], other) as (_, second):
        for place, parts in ((one, first), (other, second)):
            if parts is None:
                raise StudyError(f"{place}: the corpus has not been scanned yet: there is nothing to compare")
        assert first is not None
        assert second is not None
        page = _gather((first, second), _names(studies, (one, other)), (one, other), out)
        explorer = write_explorer(objects, JoinedParts((first, second), page.names, page.same), "")
    page = replace(page, explorer=explorer)
    objects.put(PAGE, environment().get_template("comparison.html.j2").render(page=page).encode())
    return f"{objects.url.rstrip('/')}/{PAGE}"


def _names(studies: Sequence[Study], places: tuple[str, str]) -> Names:
    """Names of the studies, of their folders where these are the same, else A and B."""
    for one, other in ([study.manifest.name for study in studies], [PurePosixPath(place.rstrip("/")).name for place in places]):
        if one and other and one != other:
            return one, other
    return "A", "B"


def _gather(sides: tuple[Parts, Parts], names: Names, places: tuple[str, str], out: str) -> ComparisonPage:
    tables = [parts.context.study.sample_rows(0, parts.context.table.rows).select(COMPARED) for parts in sides]
    same = same_samples(*tables)
    means = paired_means(sides[0].context, sides[1].context, same)
    only = int((same.other < 0).sum()), int((same.one < 0).sum())
    manifests = [parts.context.study.manifest for parts in sides]
    weights = [{model.id: model.weights_sha256 for model in manifest.models} for manifest in manifests]
    retrained = {name for name in weights[0].keys() & weights[1].keys() if weights[0][name] != weights[1][name]}
    words = ["xlli", "report", *places, *(["--out", out] if out != "comparison" else [])]
    return ComparisonPage(
        names, places, same, only, [_line(mean) for mean in means], _sentences(means, same, names, retrained),
        not_the_same(*manifests), kind(LEVEL, difference=True), "",
        " ".join(map(shlex.quote, words)),
    )  # fmt: skip


def _apart(mean: PairedMean) -> bool:
    return not mean.alike and (mean.difference.low > 0 or mean.difference.high < 0)


def _line(mean: PairedMean) -> Line:
    size = digits([mean.one, mean.other])
    fine = size + (size == 2)  # networks differ by hundredths of a dB
    item = mean.difference
    ends = f"{number(item.low, fine, sign=True)} … {number(item.high, fine, sign=True)}" if np.isfinite(item.low) else item.reason
    return Line(
        mean.stage, mean.label, "" if mean.model == NO_MODEL else mean.model, mean.column.name, words_of(mean.column), head_of(mean.column),
        item.photographs, item.values, number(mean.one, size), number(mean.other, size),
        "0" if mean.alike else number(item.mean, fine, sign=True), "" if mean.alike else ends,
        "equal" if mean.alike else "apart" if _apart(mean) else "",
    )  # fmt: skip


def _sentences(means: Sequence[PairedMean], same: SameSamples, names: Names, other_weights: Collection[str]) -> list[str]:
    """What the table says, in one to three sentences. `other_weights`: networks whose weights differ between the studies."""
    both = same.by_id + same.by_content
    if not both:
        return [f"{names[0]} and {names[1]} have no sample in common, so nothing is paired; they stand side by side below."]
    if not means:
        return [f"{counted(both, 'sample')} are in both, but no network has the same column of one stage in both: nothing is paired."]
    equal = sum(mean.alike for mean in means)
    if equal == len(means):
        return [f"All {counted(len(means), 'paired mean')} are equal, value for value, over {counted(both, 'sample')} in both."]
    out = []
    first = next(mean for mean in means if not mean.alike)
    item = first.difference
    fine = digits([first.one, first.other])
    fine += fine == 2
    unit = f" {first.column.unit}" if first.column.unit else ""
    who = "" if first.model == NO_MODEL else f" of {first.model}"
    ends = f"95 % interval {number(item.low, fine, sign=True)} to {number(item.high, fine, sign=True)}; " if np.isfinite(item.low) else ""
    told = f"{number(abs(item.mean), fine)}{unit} {'lower' if item.mean < 0 else 'higher'} in {names[1]} than in {names[0]}"
    out.append(f"{first.column.name}{who} on {first.label} is {told} ({ends}{counted(item.photographs, 'photograph')}).")
    if retrained := [name for name in dict.fromkeys(mean.model for mean in means) if name in other_weights]:
        out[-1] += f" Not the same weights: {', '.join(retrained)}."
    apart = sum(map(_apart, means))
    out.append(
        f"Of {counted(len(means), 'paired mean')}, {equal} are equal value for value, and {apart} have an interval without zero "
        f"(unadjusted: of those without a true difference about one in twenty has)."
    )
    return out
