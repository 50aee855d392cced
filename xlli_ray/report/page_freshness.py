"""Whether the page in a study is the one that would be made now, so that a run with nothing to do draws no figure.

A page is made from the study's content, this program and the images that it shows; its mark is a hash over the first two. It is kept in
`report/views.json` with the page's sha256, and only if all images could be read: a page without them is made again. Only the holder of the
lease asks, right after `digests.json` was written, which stands for the content.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import xlli_ray
from xlli_ray.analyses.shared.freshness import asked_in
from xlli_ray.errors import StudyError
from xlli_ray.registry import ANALYSES, PROBES, SECTIONS, version_of
from xlli_ray.store.objects.client import Missing, Objects, exists
from xlli_ray.store.records.checksum_root import read_root
from xlli_ray.store.records.manifest import Manifest, identity_hash
from xlli_ray.store.records.seal import read_json
from xlli_ray.store.verify.common import PAGE_VIEWS
from xlli_ray.study import open_study
from xlli_ray.user_code import places_in

KEY = "report/index.html"
PARTS = "report/data/study.js"
"""The last part of the explorer's data that is written."""
DRAWN_WITH = ("matplotlib", "pillow", "duckdb", "jinja2", "numpy", "scipy")
"""Packages whose versions may change the page."""
SOURCES = (".py", ".j2", ".css", ".js")


def kept_page(place: str) -> str:
    """Where the page of the study at `place` is, if it is as it would be made now; else "". Only right after a run."""
    study = open_study(place)
    mark = page_mark(study.objects, study.manifest, place)
    return f"{study.objects.url.rstrip('/')}/{KEY}" if mark and is_current(study.objects, mark) else ""


def page_mark(objects: Objects, manifest: Manifest, place: str) -> str:
    """Hash of all that the page of this study at `place` is made from, but for the corpus; "" if that cannot be told: the study has no
    root yet, or code of others may draw on it."""
    try:
        root = read_root(objects)
    except StudyError:
        return ""
    if root is None or _others_draw(manifest):
        return ""
    content = {key: value for key, value in asdict(manifest).items() if key != "document"}
    listed = {key: digest for key, digest in root.objects.items() if key.startswith(("samples/", "tables/", "results/"))}
    software = {name: version_of(name) for name in DRAWN_WITH}
    return identity_hash(
        {"study": content, "objects": listed, "records": root.records, "place": place, "program": _program(), "software": software}
    )


def _others_draw(manifest: Manifest) -> bool:
    """Whether code that is not this package's may draw on the page, or make the images that it shows: its changes are not seen here."""
    analyses = asked_in(manifest)
    if any(record.code for record in manifest.kinds) or any(one.code for one in analyses) or places_in(manifest.recipe.get("corpus")):
        return True
    probes = {cell.kind for cell in manifest.cells}
    drawn = [(PROBES, probes), (ANALYSES, {one.kind for one in analyses}), (SECTIONS, probes | {one.kind for one in analyses})]
    places = [table[kind] for table, kinds in drawn for kind in kinds if kind in table]
    return not all(place.startswith("xlli_ray.") for place in places)


def is_current(objects: Objects, mark: str) -> bool:
    """Whether the page of this mark is there, whole."""
    try:
        made = read_json(objects.get(PAGE_VIEWS), PAGE_VIEWS, "").get("page")
        return bool(made == page_record(mark, objects.get(KEY)) and exists(objects, PARTS))
    except (Missing, StudyError):
        return False


def page_record(mark: str, page: bytes) -> dict[str, str]:
    """What `report/views.json` says of the page beside it."""
    return {"made_from": mark, "sha256": hashlib.sha256(page).hexdigest()}


def _program() -> str:
    """Hash over names, sizes and times of this package's files: an upgrade or an edit makes the page again."""
    return hashlib.sha256("\n".join(sorted(_files(Path(xlli_ray.__file__).parent))).encode()).hexdigest()[:16]


def _files(folder: Path, inside: str = "") -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(SOURCES):
                facts = entry.stat()
                yield f"{inside}{entry.name} {facts.st_size} {facts.st_mtime_ns}"
            elif entry.is_dir() and not entry.name.startswith("__") and entry.name != "web":  # sources of the bundle
                yield from _files(Path(entry.path), f"{inside}{entry.name}/")
