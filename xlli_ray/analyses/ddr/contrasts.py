"""The ratios of `ddr`: two CHI on the same images, each left out once, of networks, depths, labellings or levels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise, product
from typing import Any

import numpy as np

from xlli_ray.analyses.ddr.measures import ChiEstimate, Measures, matches
from xlli_ray.analyses.ddr.tables import LAST
from xlli_ray.stats.separability import above_one, interval

_NAN = float("nan")
_Row = dict[str, Any]


def contrasts(measures: Measures) -> list[_Row]:
    """Rows of `ddr_contrasts`."""
    return [*_models(measures), *_depths(measures), *_labels(measures), *_levels(measures)]


def _contrast(measures: Measures, kind: str, one: Sequence[ChiEstimate], other: Sequence[ChiEstimate], about: _Row) -> _Row | None:
    """A ratio of two CHI, each a geometric mean over some layers; None if it is undefined."""
    values = [[item.separation.chi for item in side] for side in (one, other)]
    if not all(np.isfinite(value) and value > 0 for side in values for value in side):
        return None
    top, below = (float(np.exp(np.mean(np.log(side)))) for side in values)
    sides = [np.array([item.shifts for item in side]) for side in (one, other)]
    some = np.logical_or.reduce([np.isfinite(side).any(axis=0) for side in sides])
    # an image that one CHI does not have affects only the other
    shift = np.where(some, np.nan_to_num(sides[0]).mean(axis=0) - np.nan_to_num(sides[1]).mean(axis=0), np.nan)
    images = min(item.images for item in (*one, *other))
    ratio_interval = interval(top / below, shift, level=measures.params.level)
    above = above_one(top / below, shift)
    return {"kind": kind, "other": None, "layer": None, "depth": None, "chi": top, "other_chi": below, "ratio": top / below,
            "low": ratio_interval.low, "high": ratio_interval.high, "above": above, "images": images, **about}  # fmt: skip


def _models(measures: Measures) -> Iterator[_Row]:
    """Two models at layers of the same name, by type; and at their last layers, by type and for each pair of degradations."""
    last = {place.cell.model: place.layer for place in measures.places}
    names = measures.samples.labels
    for one, other in combinations(measures.models, 2):
        about: _Row = {"model": one, "other": other, "subject": one, "against": other}
        for (model, layer, labels, space), item in measures.estimates.items():
            if model != one or labels != "type":
                continue
            sides = {layer: measures.estimates.get((other, layer, labels, space))}
            if layer == last[one]:
                sides[LAST] = measures.estimates.get((other, last[other], labels, space))
            for where, twin in sides.items():
                place = {"layer": LAST, "depth": None} if where == LAST else measures.place(one, layer)
                extra = {**about, **place, **about, "labels": labels, "space": space}
                if twin is not None and (row := _contrast(measures, "models", [item], [twin], extra)) is not None:
                    yield row
        for (model, layer, pair, space), item in measures.pairs.items():
            twin = measures.pairs.get((other, last[other], pair, space))
            if model == one and layer == last[one] and twin is not None:
                extra = {**about, "layer": LAST, "labels": f"{names[pair[0]]} – {names[pair[1]]}", "space": space}
                if (row := _contrast(measures, "models", [item], [twin], extra)) is not None:
                    yield row


def _depths(measures: Measures) -> Iterator[_Row]:
    """Last third of the layers against the first; the parameter `depth` chooses the layers."""
    for model in measures.models:
        layers = [place.layer for place in measures.places if place.cell.model == model and matches(place.layer, measures.params.depth)]
        third = -(-len(layers) // 3)
        if len(layers) < 2:
            continue
        for labels, space in dict.fromkeys((key[2], key[3]) for key in measures.estimates if key[0] == model):
            thirds = layers[-third:], layers[:third]
            sides = [[measures.estimates.get((model, layer, labels, space)) for layer in some] for some in thirds]
            whole = [[item for item in side if item is not None] for side in sides]
            if any(len(some) != third for some in whole):
                continue
            about = {"model": model, "labels": labels, "space": space, "subject": f"{layers[-third]} … {layers[-1]}",
                     "against": f"{layers[0]} … {layers[third - 1]}"}  # fmt: skip
            if (row := _contrast(measures, "depth", whole[0], whole[1], about)) is not None:
                yield row


def _labels(measures: Measures) -> Iterator[_Row]:
    """CHI by type over CHI by content, and by image, at each layer."""
    for (model, layer, labels, space), item in measures.estimates.items():
        for against in ("content", "image") if labels == "type" else ():
            other = measures.estimates.get((model, layer, against, space))
            about = {**measures.place(model, layer), "labels": labels, "subject": "type", "against": against, "space": space}
            if other is not None and (row := _contrast(measures, "labels", [item], [other], about)) is not None:
                yield row


def _levels(measures: Measures) -> Iterator[_Row]:
    """Clean against a stronger degradation over clean against the next weaker one of its type."""
    clean, names = measures.samples.clean, measures.samples.labels
    if clean is None:
        return
    spaces = list(dict.fromkeys(key[3] for key in measures.pairs))
    for family in measures.samples.families:
        for weak, strong in pairwise(measures.samples.levels(family)):
            for place, space in product(measures.places, spaces):
                ends = [measures.pairs.get((place.cell.model, place.layer, (min(clean, code), max(clean, code)), space))
                        for code in (strong, weak)]  # fmt: skip
                levels = [item for item in ends if item is not None]
                if len(levels) < 2:
                    continue
                about = {**measures.place(place.cell.model, place.layer), "labels": "levels", "space": space,
                         "subject": f"{names[clean]} – {names[strong]}", "against": f"{names[clean]} – {names[weak]}"}  # fmt: skip
                if (row := _contrast(measures, "levels", levels[:1], levels[1:], about)) is not None:
                    yield row
