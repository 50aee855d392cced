"""Beside the page of a study: the explorer's program and its data, `report/data/<part>.js`.

Scripts, because from disk a browser lets a page load nothing else. What an earlier page had and this one has not is deleted.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from xlli_ray.report.explorer.parts import Parts
from xlli_ray.store.objects.client import Objects

BUNDLE = Path(__file__).parent / "bundle"
PROGRAM = ("explorer.js", "explorer.css")
FOLDER = "report/data"


def write_explorer(objects: Objects, parts: Parts) -> str:
    """Write program and data. Returns a digest of both: a page that names it belongs to them."""
    digest = hashlib.sha256()
    for name in PROGRAM:
        data = (BUNDLE / name).read_bytes()
        digest.update(data)
        objects.put(f"report/{name}", data)
    before = set(objects.list(FOLDER))
    for name, data in parts.scripts():
        digest.update(name.encode() + data)
        objects.put(f"{FOLDER}/{name}.js", data)
        before.discard(f"{FOLDER}/{name}.js")
    objects.delete(sorted(before))
    return digest.hexdigest()[:16]
