"""The images of a scan's good rows: sorted, with files of equal bytes merged, and the labels of each.

A corpus is of one kind, except for the real sets of `pies`: they follow the generated ones, each under its own label. Given inputs may have
their own labels (`input_labels`), one each.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from xlli_ray.corpus.degradations import CLEAN, GIVEN, Mixture
from xlli_ray.corpus.ids import given_text, seen
from xlli_ray.corpus.input_labels import Columns, meaning_of
from xlli_ray.corpus.kinds.kind import kind_of
from xlli_ray.corpus.pies_like_set import real_label
from xlli_ray.corpus.spec import CorpusSpec

REAL_TYPE = "real"  # column `type` of all real sets


@dataclass(slots=True)
class Image:
    """An image from a scanned row. Both sizes are those of one sample; `target_size` is None without a target."""

    kind: str
    real: str
    uri: str
    target: str | None
    sha: str
    target_sha: str | None
    scale: int
    input_size: tuple[int, int]
    target_size: tuple[int, int] | None
    size: int | None
    boxes: array[int] | None
    made: bool
    frames: int
    extra: Mapping[str, Any]
    aliases: Sequence[str]
    mask: str | None = None
    mask_sha: str | None = None
    label: str = ""
    parameters: str = ""
    part: str = ""
    """Distinguishes samples made from the same bytes, beyond their patches; "" if these are all of them."""
    twin: int = 0
    """Number of preceding inputs with the same target and label."""

    @property
    def key(self) -> tuple[str, ...]:
        """Sort key of images; images with equal keys are one. Pairs with a label are sorted by target first, so that all labels have
        their contents in the same order."""
        both = (self.sha, self.target_sha or "")
        return (self.real, *(both[::-1] if self.label else both), self.label, self.mask_sha or "", self.part)

    @property
    def bytes(self) -> str:
        """Represents the input in content ids."""
        text = seen(self.sha, self.target_sha, self.label, self.twin)
        return f"{text}|{self.part}" if self.part else text

    @property
    def own(self) -> str:
        """Replaces its degradation in sample ids; "" if that is the degradation itself."""
        return given_text(self.label or GIVEN, self.sha, self.mask_sha) if self.label or self.mask_sha else ""


@dataclass(frozen=True)
class Label:
    """One degradation of a set."""

    name: str
    type: str
    mixture: Mixture
    identity: str


def images_of(rows: Iterable[dict[str, Any]]) -> list[Image]:
    """Good images sorted by real set (none first) and sha256; files of equal bytes merged."""
    by_files: dict[tuple[str, ...], Image] = {}
    for row in rows:
        if row["status"] != "ok":
            continue
        for image in map(_image, kind_of(row["kind"]).unfold(row)):
            other = by_files.setdefault(image.key, image)
            if other is not image:
                low, high = sorted((other, image), key=lambda one: (one.uri, one.target or "", one.extra.get("first_frame", 0)))
                low.aliases, by_files[image.key] = [*other.aliases, high.uri], low
    for image in by_files.values():
        if image.aliases:  # the same file may be listed twice, or one input may be paired with two equal targets
            image.aliases = sorted(set(image.aliases) - {image.uri})
    images = [by_files[key] for key in sorted(by_files)]
    twins: dict[tuple[str, str | None], int] = {}
    for image in images:
        if image.label:
            image.twin = twins.get((image.label, image.target_sha), 0)
            twins[image.label, image.target_sha] = image.twin + 1
    return images


def sets_of(images: Sequence[Image], spec: CorpusSpec) -> tuple[list[list[Label]], list[int] | None]:
    """The labels of each set of images, in the order of the table; and the set of each image, None if there is only one set."""
    if all(image.made for image in images if not image.real):
        sets = [[Label(mixture.label, mixture.type, mixture, mixture.identity) for mixture in spec.mixtures]]
        real = list(spec.pies.real) if spec.pies is not None else []
        sets += [[Label(real_label(name), REAL_TYPE, Mixture(), real_label(name))] for name in real]
        return sets, [real.index(image.real) + 1 if image.real else 0 for image in images] if real else None
    told = {image.label: image.parameters for image in images}
    first = {label: place for place, label in enumerate(kind_of(spec.kind).labels(spec.given))}
    order = sorted(told, key=lambda label: (first.get(label, len(first)), label != CLEAN, label))
    types = {label: meaning_of(parameters).type if parameters else label or GIVEN for label, parameters in told.items()}
    sets = [[Label(label or GIVEN, types[label], meaning_of(told[label]), label or GIVEN)] for label in order]
    place = {label: number for number, label in enumerate(order)}
    return sets, [place[image.label] for image in images] if len(order) > 1 else None


def _image(row: Mapping[str, Any]) -> Image:
    made = row.get("made", kind_of(row["kind"]).MADE)
    height, width, scale, size = row["height"], row["width"], row["scale"], row["size"]
    if size is not None:
        target: tuple[int, int] | None = (size, size)
        inner = (size // scale, size // scale) if scale else (size, size)
    elif made:
        inner = (height // scale, width // scale)
        target = (inner[0] * scale, inner[1] * scale)
    else:
        inner = (height, width)
        target = (row["target_height"], row["target_width"])
    cells = _cells_of(row.get("columns", ())) | row.get("extra", {})
    return Image(
        kind=sys.intern(row["kind"]),
        real=row.get("real", ""),  # missing in records of scans older than real sets
        uri=row["uri"],
        target=row["target"],
        sha=row["sha"],
        target_sha=row["target_sha"],
        scale=scale,
        input_size=_same(inner),
        target_size=_same(target) if made or row["target"] is not None else None,
        size=size,
        boxes=None if size is None else array("i", (edge for box in row["boxes"] for edge in box)),
        made=made,
        frames=row.get("extra", {}).get("frames", 0),
        extra=cells or _NOTHING,
        aliases=(),
        mask=row.get("mask"),
        mask_sha=row.get("mask_sha"),
        label=row.get("label", ""),
        parameters=row.get("parameters", ""),
        part=row.get("part", ""),
    )


@cache
def _same(size: tuple[int, int]) -> tuple[int, int]:
    """One object for all equal sizes."""
    return size


_NOTHING: Mapping[str, Any] = {}


def _cells_of(columns: Columns) -> dict[str, Any]:
    return {name: cell for name, _, cell in columns}
