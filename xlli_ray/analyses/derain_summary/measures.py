"""The table `derain` as numbers by network, degradation and background. What they mean stands in `stats.deraining` and in `tables`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.analyses.derain_summary.params import TRAINED_ON, Params
from xlli_ray.analyses.shared.replicates import Group, groups_of
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.errors import AnalysisError, closest
from xlli_ray.stats import crossed
from xlli_ray.stats.crossed import Crossed
from xlli_ray.stats.intervals import FEWEST, SHARE, UNLIMITED, Limits
from xlli_ray.store.tables.sql import photograph_of

if TYPE_CHECKING:
    from xlli_ray.store.records.manifest import ModelRecord

COLUMNS = (
    "rho", "d_perp", "e_background", "e_rain_input", "e_rain_perfect", "e_rain_left", "mse_rain_gt", "mse_background_gt", "psnr_y",
    "psnr_y_rain", "psnr_y_background", "coverage", "corrupted", "inflated",
)  # fmt: skip
TRUTHS = ("corrupted", "inflated")
POSITIVE: Limits = (0.0, None)
LIMITS: Mapping[str, Limits] = {"d_perp": POSITIVE, "e_background": POSITIVE, "coverage": SHARE}
CLEAN = "clean"
Values = NDArray[np.float64]

_SQL = f"""
select d.model, s.label, d.row, {photograph_of('s')} as photograph,
       concat_ws('|', d.background, s.top, s."left") as pixels,
       {", ".join(f"cast(d.{name} as double) as {name}" for name in COLUMNS)}
from derain d join samples s on d.row = s.row where d.status = 'ok' order by d.model, d.row
"""


@dataclass(frozen=True)
class Rain:
    """What a group was trained on, and what not. Labels; `seen` is empty where it is not known."""

    seen: tuple[str, ...]
    unseen: tuple[str, ...]

    def of(self, label: str) -> str:
        """`seen`, `unseen` or ''."""
        return "seen" if label in self.seen else "unseen" if label in self.unseen else ""


class Measures:
    """One read of the table. `cube[column]`: float64 (models, labels, backgrounds), NaN where nothing was measured."""

    def __init__(self, view: View, params: Params) -> None:
        self.view, self.params = view, params
        table = view.sql(_SQL)
        if not table.num_rows:
            raise AnalysisError(f"stage {params.of} has no sample that was measured; `xlli query STUDY \"from failures\"` says why")
        data = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
        self.samples = len(set(data["row"].tolist()))
        present = set(data["model"])
        self.models: list[ModelRecord] = [model for model in view.models if model.id in present]
        self.labels = [label for label in view.labels if label in set(data["label"])]
        photograph = backgrounds(data["photograph"], data["pixels"])
        self.backgrounds = int(photograph.max()) + 1
        ranks = ({model.id: i for i, model in enumerate(self.models)}, {label: i for i, label in enumerate(self.labels)})
        place = (np.array([ranks[0][name] for name in data["model"]]), np.array([ranks[1][name] for name in data["label"]]), photograph)
        self.cube = {name: self._averaged(data[name].astype(np.float64), place) for name in COLUMNS if name not in TRUTHS}
        rainy = np.isfinite(data["e_rain_perfect"].astype(np.float64)) & (data["e_rain_perfect"] > 0)
        for name in TRUTHS:  # a sample without rain is neither
            self.cube[name] = self._averaged(np.where(rainy, data[name].astype(np.float64), np.nan), place)
        self.groups, self.left = groups_of(self.models, params) if params.by else ([_alone(model) for model in self.models], [])
        if not self.groups:
            raise AnalysisError(f"no network has all of the tags {', '.join(params.by)}")
        self.tags = {group.name: self._tags(group) for group in self.groups}
        self.notes: list[str] = []
        self.rain = {group.name: rain for group, rain in zip(self.groups, self._rains())}

    def _averaged(self, values: Values, place: tuple[NDArray[Any], ...]) -> Values:
        shape = (len(self.models), len(self.labels), self.backgrounds)
        sums, counts, finite = np.zeros(shape), np.zeros(shape), np.isfinite(values)
        np.add.at(sums, place, np.where(finite, values, 0.0))
        np.add.at(counts, place, finite)
        return np.divide(sums, counts, out=np.full(shape, np.nan), where=counts > 0)

    def _tags(self, group: Group) -> dict[str, Any]:
        first = next(model for model in self.models if model.id == group.members[0][0])
        return {tag: first.tags[tag] for tag in self.params.by}

    # -- which rain a group has seen --------------------------------------------------------------------------------

    def _rains(self) -> list[Rain]:
        seen = {model.id: self._seen(model) for model in self.models}
        self._check_seen(seen)
        out = []
        for group in self.groups:
            own = {seen[model] for model, _ in group.members}
            labels = own.pop() if len(own) == 1 else ()
            if own:
                self.notes.append(f"{group.name} holds networks that were trained on different rain: add the tag of it to `by`")
            others = [label for label in self.labels if label != CLEAN] if self.params.unseen is None else self.params.unseen
            unseen = tuple(label for label in others if label not in labels and label in self.labels) if labels else ()
            out.append(Rain(tuple(label for label in self.labels if label in labels), unseen))
        return out

    def _seen(self, model: ModelRecord) -> tuple[str, ...]:
        said = self.params.seen
        if isinstance(said, list):
            return tuple(said)
        if isinstance(said, dict):
            ((tag, labels),) = said.items()
            return tuple(labels.get(text(model.tags.get(tag)), ()))
        tag = said or TRAINED_ON
        return (text(model.tags[tag]),) if text(model.tags.get(tag)) in self.labels else ()

    def _check_seen(self, seen: Mapping[str, tuple[str, ...]]) -> None:
        said, listed = self.params.seen, ", ".join(self.labels)
        tag = said if isinstance(said, str) else next(iter(said)) if isinstance(said, dict) else None
        known = sorted({name for model in self.models for name in model.tags})
        if tag is not None and tag not in known:
            near = closest(tag, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise AnalysisError(f"seen: no network has the tag {tag!r}; {hint}Tags: {', '.join(known) or 'none'}")
        for label in dict.fromkeys(label for labels in seen.values() for label in labels):
            if label not in self.labels:
                raise AnalysisError(f"seen: no sample of the stage has the label {label!r}; labels: {listed}")
        if any(seen.values()):
            lacking = [model for model, labels in seen.items() if not labels]
            if lacking:
                self.notes.append(f"It is not known which rain was seen by {', '.join(lacking)}: `seen` maps tags to labels.")
            return
        if said is not None:
            values = ", ".join(sorted({text(model.tags.get(str(tag))) for model in self.models}))
            raise AnalysisError(f"seen: the tag {tag!r} ({values}) names none of the labels {listed}; write {{{tag}: {{value: [labels]}}}}")
        self.notes.append(
            f"Which rain was seen in training is not known: no network has a tag {TRAINED_ON} that is one of the labels ({listed}). Label "
            "the inputs, or say `seen`; until then there is no gap."
        )

    # -- numbers ----------------------------------------------------------------------------------------------------

    def trainings(self, group: Group, column: str, labels: Sequence[str]) -> tuple[list[Any], Values]:
        """Values of `replicate` of the trainings of a group, and (trainings, backgrounds): means over its networks and labels."""
        where = [self.labels.index(label) for label in labels]
        number = {model.id: i for i, model in enumerate(self.models)}
        members: dict[Any, list[int]] = {}
        for model, replicate in group.members:
            members.setdefault(replicate, []).append(number[model])
        cube = self.cube[column]
        return list(members), np.stack([cube[some][:, where].mean(axis=(0, 1)) for some in members.values()])

    def mean(self, group: Group, column: str, label: str) -> Crossed:
        """Of one group under one label."""
        _, values = self.trainings(group, column, [label])
        return crossed.mean(values, level=self.params.level, limits=LIMITS.get(column, UNLIMITED))

    def share(self, group: Group, column: str, labels: Sequence[str]) -> float:
        """Mean of a column of truths over all that was measured; NaN where nothing was."""
        _, values = self.trainings(group, column, labels)
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    def pair(self, group: Group, column: str, rain: Sequence[str], other: Sequence[str]) -> tuple[Values, Values, bool]:
        """Values under two rains, (trainings, backgrounds) each, and whether the columns are the same backgrounds."""
        one, two = (self.trainings(group, column, labels)[1] for labels in (rain, other))
        common = crossed.complete(one, two)
        apart = [crossed.complete(values)[0] for values in (one, two)]
        paired = common[0].shape[1] >= min(FEWEST, *(values.shape[1] for values in apart))
        first, second = common if paired else apart
        return first, second, paired

    def between(self, one: Group, other: Group, column: str, label: str) -> tuple[Crossed, bool]:
        """Difference of two groups on the same backgrounds, and whether over partners."""
        (names, a), (others, b) = (self.trainings(group, column, [label]) for group in (one, other))
        partners = [name for name in names if name in others]
        paired = len(partners) >= FEWEST
        if paired:
            a, b = a[[names.index(name) for name in partners]], b[[others.index(name) for name in partners]]
        a, b = crossed.complete(a, b)
        return crossed.difference(a, b, common_trainings=paired, level=self.params.level), paired


def backgrounds(photograph: NDArray[Any], pixels: NDArray[Any]) -> NDArray[np.int64]:
    """A number for each background, 0…: files of one sha256 are one, and files of equal pixels at an equal place are one.

    Rain100L and Rain100H hold 100 pairs of 91 backgrounds, and the same ones as different files. `photograph`: sha256 of the clean file;
    `pixels`: hash of the clean pixels of the sample, with the place of a patch. Each (rows,).
    """
    first: dict[str, str] = {}
    stands: dict[str, str] = {}

    def root(name: str) -> str:
        while stands.get(name, name) != name:
            name = stands[name]
        return name

    for name, seen in zip(photograph.tolist(), pixels.tolist()):
        stands.setdefault(name, name)
        one, other = sorted((root(name), root(first.setdefault(seen, name))))
        stands[other] = one
    roots = sorted({root(name) for name in stands})
    number = {name: i for i, name in enumerate(roots)}
    return np.array([number[root(name)] for name in photograph.tolist()], np.int64)


def text(value: Any) -> str:
    """A tag's value as recipes write it."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _alone(model: ModelRecord) -> Group:
    return Group(model.id, ((model.id, model.id),))
