"""Groups of networks and the trainings behind them: the fields `by` and `replicate` of every analysis that compares networks.

Networks that were trained in the same way with different seeds are replicates: what one of them shows may be due to its random weights and
crops. `by: [count]` groups the networks that have the same value of the tag `count`, and groups are compared instead of networks (forty
networks make 780 pairs). `replicate: seed` names the tag that distinguishes replicates; networks of a group with the same seed (with
different values of tags that are not in `by`) are averaged first and count as one training.

**The training is the unit.** Each network contributes one number: its mean over the images on which every network was measured. The mean
of a group has Student's t interval over its trainings, n − 1 degrees of freedom; fewer than three have no interval, as everywhere
(`stats.intervals`). It describes other trainings, evaluated on the same images. Hall's correction is not applied: means over many images
are hardly skewed, and three or five trainings could not show it.

**Differences.** Trainings with the same value of `replicate` are paired: they share everything that is drawn from the seed. With three
pairs or more, the interval is t over the differences of pairs, and trainings without a partner are left out. Otherwise it is Welch's t
for two groups of unequal variance (B. Welch, Biometrika 34, 1947), three trainings in each. Coverage: `tests/analyses/test_replicates.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from xlli_ray.errors import PlanError, closest, counted
from xlli_ray.stats.intervals import FEWEST, UNLIMITED, Interval, Limits, intervals, photograph_means
from xlli_ray.stats.network_pairs import compared
from xlli_ray.store.records.manifest import ModelRecord
from xlli_ray.store.tables.results import Column

_NAN = float("nan")
_Values = Mapping[str, float]


class Grouped(BaseModel):
    """Fields of an analysis that compares groups of networks. If they are not given, they are not serialized either."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    by: list[str] = Field(default_factory=list, description="tags: networks with equal values form a group; groups are compared")
    replicate: str | None = Field(default=None, description="tag that distinguishes trainings of a group, e.g. seed")

    @model_validator(mode="after")
    def _makes_sense(self) -> Grouped:
        if self.replicate is not None and not self.by:
            raise ValueError(f"replicate: {self.replicate} distinguishes the trainings of a group; name the tags that form a group in `by`")
        if self.replicate in self.by:
            raise ValueError(f"by: {self.replicate!r} is also `replicate`: each group would be one training")
        return self

    @model_serializer(mode="wrap")
    def _serialized(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omits these fields when unused, so that earlier results stay current."""
        content: dict[str, Any] = handler(self)
        return content if self.by else {name: value for name, value in content.items() if name not in ("by", "replicate")}


@dataclass(frozen=True)
class Group:
    """Networks with the same values of the tags in `by`. `members`: (model id, value of `replicate`, or the id if it has none)."""

    name: str
    members: tuple[tuple[str, Any], ...]

    def trainings(self, values: _Values) -> dict[Any, float]:
        """Value of `replicate` → mean over its networks that have a value."""
        by_replicate: dict[Any, list[float]] = {}
        for model, replicate in self.members:
            if np.isfinite(value := values.get(model, _NAN)):
                by_replicate.setdefault(replicate, []).append(value)
        return {replicate: float(np.mean(numbers)) for replicate, numbers in by_replicate.items()}


@dataclass(frozen=True)
class Over:
    """A mean or a difference of means over `trainings`; `low` and `high` are NaN if there is a `reason`. `paired`: over pairs."""

    mean: float
    low: float
    high: float
    trainings: int
    reason: str = ""
    paired: bool = False

    @property
    def interval(self) -> Interval:
        """For figures."""
        return Interval(self.mean, self.low, self.high, self.trainings, self.trainings, self.reason)

    def row(self, name: str) -> dict[str, Any]:
        """Columns of `MEAN` or `DIFFERENCE`; the number is called `name`."""
        return {name: self.mean, "low": self.low, "high": self.high, "trainings": self.trainings, "reason": self.reason}


GROUP = Column("group", "string", "tag values that the group's networks share")
OTHER = Column("other", "string", "the second group")
ENDS = (
    Column("low", "float64", "lower end of the interval over trainings; null if `reason` is not empty"),
    Column("high", "float64", "upper end of the interval"),
    Column("trainings", "int64", "trainings, or pairs of trainings, that the interval is over"),
    Column("reason", "string", "why there is no interval; empty if there is one"),
)
PAIRED = Column("paired", "bool", "true: over trainings with the same value of `replicate`; false: Welch's t of two groups")


def check_tags(grouped: Grouped, models: Sequence[ModelRecord], *, asked_by: str) -> None:
    """Raise PlanError for a tag that none of the networks has."""
    known = {tag for model in models for tag in model.tags}
    for field, tags in (("by", grouped.by), ("replicate", [grouped.replicate] if grouped.replicate else [])):
        for tag in tags:
            if tag not in known:
                near = closest(tag, known, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise PlanError(f"{asked_by}.{field}: no network has the tag {tag!r}; {hint}Tags: {', '.join(sorted(known)) or 'none'}")


def groups_of(models: Sequence[ModelRecord], grouped: Grouped) -> tuple[list[Group], list[str]]:
    """The groups in the order of `models`, and the ids of networks that lack one of the tags and are in no group."""
    members: dict[str, list[tuple[str, Any]]] = {}
    left: list[str] = []
    for model in models:
        wanted = [*grouped.by, *([grouped.replicate] if grouped.replicate else [])]
        if any(tag not in model.tags for tag in wanted):
            left.append(model.id)
            continue
        name = ", ".join(f"{tag}={_said(model.tags[tag])}" for tag in grouped.by)
        members.setdefault(name, []).append((model.id, model.tags[grouped.replicate] if grouped.replicate else model.id))
    return [Group(name, tuple(some)) for name, some in members.items()], left


def compared_groups(groups: Sequence[Group]) -> list[tuple[Group, Group]]:
    """Pairs (group, other): every pair of up to six groups; of more, the first with each of the others."""
    known = {group.name: group for group in groups}
    return [(known[one], known[other]) for one, other in compared(list(known))]


def network_means(values: np.ndarray, photograph: np.ndarray, photographs: int) -> tuple[np.ndarray, int]:
    """Each network's mean over the photographs on which all of them were measured, and their number.

    `values`: float64 (rows, networks), NaN where nothing was measured; the result of a network without values is NaN. `photograph`:
    int (rows,), 0…photographs − 1; whose rows are averaged first. Returns float64 (networks,).
    """
    known = np.isfinite(values).any(axis=0)
    out = np.full(values.shape[1], _NAN)
    rows = np.isfinite(values[:, known]).all(axis=1) if known.any() else np.zeros(len(values), bool)
    if rows.any():
        means, counts = photograph_means(values[rows][:, known], photograph[rows], photographs)
        out[known] = means[counts[:, 0] > 0].mean(axis=0)
        return out, int((counts[:, 0] > 0).sum())
    return out, 0


def group_mean(group: Group, values: _Values, *, level: float = 0.95, limits: Limits = UNLIMITED) -> Over:
    """Mean over the trainings of a group with Student's t. `values`: by model id."""
    numbers = np.array(list(group.trainings(values).values()), np.float64)
    if not len(numbers):
        return Over(_NAN, _NAN, _NAN, 0, "no network of the group has a value")
    (interval,) = intervals(numbers[:, None], level=level, limits=limits, difference=True)
    return Over(interval.mean, interval.low, interval.high, len(numbers), _few(len(numbers)))


def group_difference(one: Group, other: Group, values: _Values, *, level: float = 0.95) -> Over:
    """Mean of `one` minus mean of `other`, over pairs of trainings if there are three, else by Welch's t."""
    first, second = one.trainings(values), other.trainings(values)
    partners = [replicate for replicate in first if replicate in second]
    if len(partners) >= FEWEST:
        apart = np.array([first[replicate] - second[replicate] for replicate in partners])
        (interval,) = intervals(apart[:, None], level=level, difference=True)
        return Over(interval.mean, interval.low, interval.high, len(partners), paired=True)
    a, b = (np.array(list(some.values()), np.float64) for some in (first, second))
    fewest = min(len(a), len(b))
    if not fewest:
        return Over(_NAN, _NAN, _NAN, 0, "a group has no value")
    mean = float(a.mean() - b.mean())
    if fewest < FEWEST:
        return Over(mean, _NAN, _NAN, fewest, _few(fewest))
    half = _welch(a, b, level)
    return Over(mean, mean - half, mean + half, fewest)


def notes(groups: Sequence[Group], left: Sequence[str], grouped: Grouped) -> list[str]:
    """Notes on the groups, for a result."""
    trainings = sorted({len({replicate for _, replicate in group.members}) for group in groups})
    over = f"{trainings[0]}" if len(set(trainings)) == 1 else f"{trainings[0]} to {trainings[-1]}" if trainings else "0"
    apart = f"told apart by {grouped.replicate}" if grouped.replicate else "each network counting as one"
    out = [f"{counted(len(groups), 'group')} by {', '.join(grouped.by)}, of {over} trainings, {apart}. Intervals of groups are t over "
           "trainings and speak of other trainings, on the same images."]  # fmt: skip
    if left:
        out.append(f"In no group, since they lack a tag: {', '.join(left)}.")
    return out


def _welch(a: np.ndarray, b: np.ndarray, level: float) -> float:
    """Half the width of the interval of a difference of means."""
    from scipy.special import stdtrit

    errors = np.array([some.var(ddof=1) / len(some) for some in (a, b)])
    if not errors.sum():
        return 0.0
    freedom = errors.sum() ** 2 / (errors**2 / np.array([len(a) - 1, len(b) - 1])).sum()
    return float(stdtrit(freedom, (1 + level) / 2) * np.sqrt(errors.sum()))


def _few(trainings: int) -> str:
    return "" if trainings >= FEWEST else f"{counted(trainings, 'training')}: an interval takes {FEWEST}"


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
