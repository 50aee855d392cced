"""What a run asks of its buckets, counted on the way to the server: the numbers of docs/store-format.md, "Requests". Two runs, one over
twice the images of the other, tell what an image and a unit cost from what a run costs."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from faulty import Faulty, Request
from helpers import image
from PIL import Image
from server import CORPUS, STUDIES, Server

from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import run_study
from xlli_ray.recipe import parse_recipe
from xlli_ray.study import open_study

QUIET = Options(workers=0, quiet=True)
LAYERS = ("head", "body")
ARRAYS = len(LAYERS)
CELLS = ARRAYS + 1
"""With `restore`, which has columns only."""
LISTS = {"run": 19, "again": 12, "status": 4}
"""Whatever the number of cells, units and samples, up to a thousand names a page: from ten cells on below two a cell."""


def kind_of(request: Request) -> str:
    """The method, LIST for lists, and what it is about."""
    method = "LIST" if "list-type=2" in request.path else request.method
    if request.path.startswith(f"/{CORPUS}"):
        return f"{method} image"
    if "?delete" in request.path:
        return "DELETE many"
    if method == "LIST":
        return "LIST"
    key = request.path.split("/", 3)[3]
    folder = "shard" if re.search(r"^arrays\.zarr/.*/(?!row|valid)[a-z]+/c/", key) else key.split("/")[0].split(".")[0]
    return f"{method} {'scan' if key.startswith('records/scan') else folder}"


def counted(proxy: Faulty, server: Server, tmp_path: Path, images: int) -> tuple[dict[str, Counter[str]], int]:
    """Requests of a first run, a run of the finished study, and `status`; and the units."""
    place, out = uuid.uuid4().hex, f"s3://{STUDIES}/{uuid.uuid4().hex}"
    folder = tmp_path / str(images)
    folder.mkdir()
    for i in range(images):
        Image.fromarray(image(i)).save(folder / f"{i:02d}.png")
    server.upload(folder, place)
    recipe = parse_recipe({
        "name": "toy", "baseline": False,
        "corpus": {"images": [f"s3://{CORPUS}/{place}/*.png"], "scale": 2, "degradations": ["clean", {"noise": 20}]},
        "models": [{"id": "small", "network": "toy:small"}],
        "stages": [{"features": {"layers": list(LAYERS)}}, {"restore": {}}],
        "batch": {"features": 2, "restore": 2},
    }, base=tmp_path)  # fmt: skip
    seen: Counter[str] = Counter()
    proxy.rule = lambda request: seen.update([kind_of(request)]) or ""  # type: ignore[func-returns-value]
    out_of: dict[str, Counter[str]] = {}
    for name, what in (
        ("run", lambda: run_study(recipe, out, QUIET)),
        ("again", lambda: run_study(recipe, out, QUIET)),
        ("status", lambda: open_study(out).status()),
    ):
        seen.clear()
        what()
        out_of[name] = Counter(seen)
    proxy.rule = lambda request: ""
    bucket = open_study(out).manifest.cells[0].buckets[0]
    return out_of, -(-bucket.rows // bucket.rows_per_unit)


def test_requests_of_a_run_a_unit_and_an_image_are_those_of_the_format(
    proxy: Faulty, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xlli_ray.engine import run_log
    from xlli_ray.store.records import lease

    monkeypatch.setattr(lease, "BEAT_SECONDS", 3600.0)  # what is put by the clock is not counted: beats of the lease,
    for name in ("SOONEST_SECONDS", "LATEST_SECONDS", "SEGMENT_SECONDS", "BEAT_SECONDS"):
        monkeypatch.setattr(run_log, name, 3600.0)  # statuses and segments of the log
    (few, units), (many, more_units) = (counted(proxy, server, tmp_path, images) for images in (4, 8))
    assert (units, more_units) == (4, 8)
    first: Mapping[str, int] = Counter(many["run"]) - Counter(few["run"])
    assert first == {
        "GET image": 2 * 4,  # once in the scan, once for its units
        "PUT shard": ARRAYS * 4,
        "PUT records": CELLS * 4,
        "GET lease": 2 * 4,
        "GET records": 3 * CELLS * 4,  # of units that are not packed yet: `valid`, the tables of scalars and of failures
    }
    assert many["run"]["LIST image"] == 1
    assert many["again"] == few["again"]
    assert many["status"] == few["status"]
    assert {name: seen["LIST"] for name, seen in few.items()} == LISTS
    assert not any(key.endswith("image") for key in many["again"]), "a finished study does not look at its corpus"


