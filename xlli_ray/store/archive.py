"""A study as one object: its location, its plan, and its records.

Every reader or driver of a study holds one `Archive`. Its records are listed once, for any number of cells, and again:

- by the driver, before it assigns units (another driver may have worked before its lease) and after they ran, so that stored records
  count, not reported ones; it reports what it packs or removes to the listing;
- by `xlli_ray.study.Study`, with each query, so that a notebook sees the progress of a concurrent run;
- by `xlli verify`, which does not trust an earlier list, at its start.

The plan is fixed when the archive is created: a driver that changes it creates a new archive with `planned`.
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
    """None: of `objects`, listed at the first query."""

    def __post_init__(self) -> None:
        if self.records is None:
            object.__setattr__(self, "records", Listing(self.objects))

    def __reduce__(self) -> tuple[Any, ...]:
        return Archive, (self.objects, self.manifest)

    def planned(self, manifest: Manifest) -> Archive:
        """The same study with another plan; both share the listing."""
        return replace(self, manifest=manifest)

    def again(self) -> Archive:
        """The same study and plan, with a new listing of its records."""
        return Archive(self.objects, self.manifest)


def open_archive(place: str | Path) -> Archive:
    """The study at a path or URL. Raises StudyError if there is none."""
    objects = open_objects(place)
    manifest = load_manifest(objects)
    if manifest is None:
        raise StudyError(f"{objects.url}: not a study (no study.json). Create one with `xlli run RECIPE --out {place}`.")
    return Archive(objects, manifest)
