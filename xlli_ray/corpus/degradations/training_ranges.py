"""Degradations drawn for training: a range instead of a number, for any numeric parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from xlli_ray.corpus.degradations.degradation import Degradation
from xlli_ray.corpus.degradations.mixture import WORDS, Mixture, get, mixture_of, parse
from xlli_ray.errors import RecipeError

# A list [low, high] may stand for a number; `share` may be given.
DrawSpec = str | Mapping[str, Any]


def draw(spec: DrawSpec | Sequence[DrawSpec], rng: np.random.Generator) -> Mixture:
    """A mixture for one training sample: `{blur: [0, 4]}` draws its level uniformly, numbers are kept.

    Of a list of specs one is drawn first, all with the same probability, or by their `share`, the probability of that entry: `[clean,
    {noise: 20, share: 0.9}]`; entries without one have the rest in equal parts. Values are rounded to the six digits that labels carry
    (integers for integer parameters, ends included); a level of 0 drops its part. One number is taken from `rng`
    per range, in pipeline order and in the order of the parameters, whatever the result.
    """
    if isinstance(spec, Sequence) and not isinstance(spec, str):
        if not spec:
            raise RecipeError("degradations: the list is empty; expected at least one entry, e.g. [clean]")
        spec = spec[_entry(spec, rng)]
    spec = _without_share(spec)
    ranges = _ranges(spec)
    if ranges is None:
        return parse(spec)
    parts = []
    for kind, values in ranges:
        drawn = {name: _drawn(kind, name, value, rng) if isinstance(value, tuple) else value for name, value in values.items()}
        if drawn.get(kind.LEVEL) != 0.0:
            parts.append(kind.of(drawn))
    return mixture_of(parts)


def check_draw(spec: DrawSpec | Sequence[DrawSpec]) -> None:
    """Raise RecipeError unless `draw` accepts `spec`: to be called before training, not during it."""
    entries = spec if isinstance(spec, Sequence) and not isinstance(spec, str) else [spec]
    if not entries:
        raise RecipeError("degradations: the list is empty; expected at least one entry, e.g. [clean]")
    for entry in map(_without_share, entries):
        if _ranges(entry) is None:
            parse(entry)
    shares(entries)


def shares(entries: Sequence[DrawSpec]) -> list[float] | None:
    """Probability of each entry, None if no entry has one: all are equal. Raises RecipeError."""
    said = [entry.get("share") if isinstance(entry, Mapping) else None for entry in entries]
    given = [share for share in said if share is not None]
    if not given:
        return None
    if wrong := [share for share in given if not _is_number(share) or not 0 < share <= 1]:
        raise RecipeError(f"degradations: share {wrong[0]!r}; expected a probability above 0 and at most 1")
    silent = len(said) - len(given)
    rest = 1 - sum(given)
    if (rest < 1e-9) if silent else (abs(rest) > 1e-9):
        others = f"nothing is left for the {silent} without one" if silent else "expected 1, or an entry without a share that has the rest"
        raise RecipeError(f"degradations: the shares {', '.join(f'{share:g}' for share in given)} sum to {sum(given):g}; {others}")
    return [rest / silent if share is None else float(share) for share in said]


def _entry(entries: Sequence[DrawSpec], rng: np.random.Generator) -> int:
    """The entry to use. Without shares, the draw is the same as before shares were introduced."""
    if (probabilities := shares(entries)) is None:
        return int(rng.integers(len(entries)))
    place = float(rng.random())
    return next((i for i, reached in enumerate(accumulate(probabilities)) if place < reached), len(entries) - 1)


def _without_share(spec: DrawSpec) -> DrawSpec:
    return {name: value for name, value in spec.items() if name != "share"} if isinstance(spec, Mapping) else spec


def kinds_of(spec: DrawSpec) -> list[type[Degradation]]:
    """The degradations that one entry names."""
    return [get(name) for name in spec if name not in WORDS] if isinstance(spec, Mapping) else [type(part) for part in parse(spec).parts]


def _drawn(kind: type[Degradation], name: str, ends: tuple[float, float], rng: np.random.Generator) -> float:
    low, high = ends
    value = low
    if low < high:
        uniform = float(rng.random())
        value = math.floor(low + uniform * (high - low + 1)) if _whole(kind, name) else low + uniform * (high - low)
    return float(f"{value:g}")


def _ranges(spec: DrawSpec) -> list[tuple[type[Degradation], dict[str, Any]]] | None:
    """(degradation, its parameters with (low, high) for ranges) in pipeline order; None if `spec` has no range at all.

    The low end of a level may be 0, no degradation.
    """
    if not isinstance(spec, Mapping):
        return None
    ranges = []
    for name, value in spec.items():
        if name in WORDS:
            continue
        kind = get(name)
        given = kind.fields(value)
        ranges.append((kind, {field: _given(kind, field, entry) for field, entry in given.items()}))
    if not any(isinstance(value, tuple) for _, values in ranges for value in values.values()):
        return None
    if "label" in spec:
        raise RecipeError(f"degradation label {spec['label']!r}: a degradation that is drawn for each sample has no label; omit it")
    ranges.sort(key=lambda entry: (entry[0].ORDER, entry[0].NAME))
    for kind, values in ranges:
        for end in (0, 1):
            chosen = {field: value[end] if isinstance(value, tuple) else value for field, value in values.items()}
            if chosen.get(kind.LEVEL) != 0.0:
                kind.of(chosen)
    fields = {kind: list(kind.Params.model_fields) for kind, _ in ranges}
    return [(kind, {field: values[field] for field in fields[kind] if field in values}) for kind, values in ranges]


def _given(kind: type[Degradation], field: str, value: Any) -> Any:
    """A tuple (low, high) if a list replaces a number; lists that are parameter values themselves stay lists."""
    if not isinstance(value, list | tuple):
        return value
    return _range(kind, value) if kind.takes_range(field) else list(value)


def _range(kind: type[Degradation], value: Sequence[Any]) -> tuple[float, float]:
    if len(value) != 2 or not all(_is_number(end) for end in value) or not 0 <= value[0] <= value[1]:
        raise RecipeError(f"degradation {kind.NAME}: {list(value)!r} is not a range; expected [low, high] with 0 <= low <= high")
    return float(value[0]), float(value[1])


def _whole(kind: type[Degradation], field: str) -> bool:
    return kind.Params.model_fields[field].annotation in (int, int | None)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
