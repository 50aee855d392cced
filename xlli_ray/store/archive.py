"""A study as one object: where it lies, what is planned, and which records there are.

Whoever reads or drives a study holds one `Archive`. Its records are listed once, however many cells are asked for, and again:

- by the driver, before it deals out units (another driver may have been at work before its lease) and after they ran, so that what
  counts is what is there and not what was reported; what it packs or removes it says to the listing;
- by `xlli_ray.study.Study`, with each question, so that a notebook sees how far a run is that goes on beside it;
- by `xlli verify`, which believes nobody's list, at its start.

The plan is the one with which the archive was made: a driver that changes it makes the next archive, `planned`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import Objects, open_objects
from xlli_ray.store.records.documents import load_manifest
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.manifest import Manifest


@dataclass(frozen=True)
class Archive:
    """See the module."""

    objects: Objects
    manifest: Manifest
    records: Listing = field(default=None, repr=False, compare=False)  # type: ignore[assignment]
    """None: of `objects`, to be listed at the first question."""

    def __post_init__(self) -> None:
        if self.records is None:
            object.__setattr__(self, "records", Listing(self.objects))

    def __reduce__(self) -> tuple[Any, ...]:
        return Archive, (self.objects, self.manifest)

    def planned(self, manifest: Manifest) -> Archive:
        """The same study with another plan; both share what was listed."""
        return replace(self, manifest=manifest)

    def again(self) -> Archive:
        """The same study and plan, its records to be listed anew."""
        return Archive(self.objects, self.manifest)


def open_archive(place: str | Path) -> Archive:
    """The study at a path or URL. Raises StudyError when there is none."""
    objects = open_objects(place)
    manifest = load_manifest(objects)
    if manifest is None:
        raise StudyError(f"{objects.url}: no study is here (no study.json). Make one with `xlli run RECIPE --out {place}`.")
    return Archive(objects, manifest)
