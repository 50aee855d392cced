"""Beside a page: the explorer's program and its data, `data/<part>.js`.

Scripts, because from disk a browser lets a page load nothing else. What an earlier page had and this one has not is deleted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from xlli_ray.report.explorer.encoding import script
from xlli_ray.report.explorer.held_samples import BUDGET, FEWEST, held_order
from xlli_ray.report.explorer.source import PartSource
from xlli_ray.store.objects.client import Objects
from xlli_ray.store.objects.many_puts import ManyPuts

BUNDLE = Path(__file__).parent / "bundle"
PROGRAM = ("explorer.js", "explorer.css")
PART_FILE = re.compile(r"(study|(names|thumbnails|column|sample|figure)-[0-9]+)\.js")


def write_explorer(objects: Objects, source: PartSource, folder: str = "report/") -> str:
    """Write program and data into `folder`, "" or ending in a slash. Returns a digest of both: a page that names it belongs to them."""
    digest = hashlib.sha256()
    before = {key for key in objects.list(f"{folder}data") if PART_FILE.fullmatch(key.removeprefix(f"{folder}data/"))}
    with ManyPuts(objects) as written:
        for name in PROGRAM:
            data = (BUNDLE / name).read_bytes()
            digest.update(data)
            written.put(f"{folder}{name}", data)
        for name, data in scripts(source):
            digest.update(name.encode() + data)
            before.discard(f"{folder}data/{name}.js")
            if name == "study":
                written.wait()  # it lists the others
            written.put(f"{folder}data/{name}.js", data)
    objects.delete(sorted(before))
    return digest.hexdigest()[:16]


def scripts(source: PartSource) -> Iterator[tuple[str, bytes]]:
    """(name, script) of every part that is written beside a page; `study` is the last, since it lists the others."""
    about = source.study([])
    rows = about["rows"]
    for kind, count in (("names", -(-rows // about["partRows"])), ("thumbnails", -(-about["thumbnails"] // about["thumbnailRows"])),
                        ("column", len(source.columns)), ("figure", len(about["figures"]))):  # fmt: skip
        for number in range(count):
            yield f"{kind}-{number}", script(f"{kind}-{number}", source.part(f"{kind}-{number}"))
    held: list[int] = []
    spent = 0
    for row in held_order(rows, source.columns):
        data = script(f"sample-{row}", source.part(f"sample-{row}"))
        if len(held) >= FEWEST and spent + len(data) > BUDGET:
            break
        held.append(row)
        spent += len(data)
        yield f"sample-{row}", data
    yield "study", script("study", source.study(held))
