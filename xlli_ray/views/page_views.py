"""`report/views.json`: the figures that a page draws for itself, as data, in the order in which they stand on it.

Views of results lie beside their tables (`results/<id>/<figure>.json`) and are not repeated here. Image panels are kept without the pixels
that can be read from the study's arrays and its corpus. The file is written with the page, by whoever writes that and whenever: its own
seal protects it, and nothing is concluded from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xlli_ray.errors import StudyError
from xlli_ray.plots.kinds import KINDS, from_json
from xlli_ray.plots.view import View, to_json
from xlli_ray.store.objects.client import Missing, Objects
from xlli_ray.store.records.seal import read_json, sealed_json
from xlli_ray.store.verify.common import PAGE_VIEWS as KEY

FORMAT = 1
WAY_OUT = "`xlli report` writes it again"


@dataclass(frozen=True)
class PageView:
    """One figure of the page."""

    section: str
    """Id of the stage or analysis; `corpus`, or `training` of a page of trainings."""
    caption: str
    view: View


def write_page_views(objects: Objects, views: Sequence[PageView], *, page: Mapping[str, str] | None = None) -> None:
    """Write the file; of kinds that are not this package's only the static figure on the page remains. `page`: what is said of the page
    beside it."""
    listed = [
        {"section": item.section, "caption": item.caption, "view": json.loads(to_json(item.view))}
        for item in views if type(item.view) in KINDS.values()
    ]  # fmt: skip
    objects.put(KEY, sealed_json({"format": FORMAT, "views": listed, **({"page": page} if page else {})}))


def read_page_views(objects: Objects) -> list[PageView]:
    """The figures of the page as it was last written; none where there is no page. Raises StudyError naming file and field."""
    where = f"{objects.url}/{KEY}"
    try:
        members = read_json(objects.get(KEY), where, WAY_OUT)
    except Missing:
        return []
    listed = members.get("views")
    if members.get("format") != FORMAT or not isinstance(listed, list):
        raise StudyError(f"{where}: format {members.get('format')}, this version reads {FORMAT}; {WAY_OUT}")
    return [_read(item, f"{where}: views[{i}]") for i, item in enumerate(listed)]


def _read(item: object, where: str) -> PageView:
    if not isinstance(item, dict) or not all(isinstance(item.get(name), str) for name in ("section", "caption")):
        raise StudyError(f"{where}: expected an object with section, caption and view; {WAY_OUT}")
    return PageView(item["section"], item["caption"], from_json(json.dumps(item.get("view")), where))
