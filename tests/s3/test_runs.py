"""Corpus and study in buckets behind a faulty way: a run finishes or stops, and the same command ends in the undisturbed bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from faulty import FAULTS, Faulty, Request, Rule, at_random
from helpers import image
from PIL import Image
from server import CORPUS, STUDIES, Server

from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import run_study
from xlli_ray.errors import EnvironmentFailure
from xlli_ray.recipe import Recipe, load_recipe
from xlli_ray.store.objects.client import Objects, open_objects
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import open_study

PARTS = ("arrays.zarr", "tables", "samples", "results")
QUIET = Options(workers=0, quiet=True)


def digest(objects: Objects) -> dict[str, str]:
    """sha256 of every object that promise 1 speaks of: arrays, tables, samples, results."""
    keys = [key for part in PARTS for key in objects.list(part) if not key.endswith("index.json")]
    assert any(key.startswith("arrays.zarr") and "/c/" in key for key in keys)
    return {key: hashlib.sha256(objects.get(key)).hexdigest() for key in keys}


@dataclass(frozen=True)
class World:
    """`file`: a recipe over images in a bucket. `wanted`: what its undisturbed run into a local folder gives."""

    file: Path
    recipe: Recipe
    wanted: dict[str, str]


_MADE: dict[tuple[int, str], World] = {}


@pytest.fixture
def world(request: pytest.FixtureRequest, server: Server, proxy: Faulty, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Eight images of two sizes, or, as the parameter `many sizes`, 20 of 20, which lie in one bucket. Made once for each server; a fixture
    of the session could not use the proxy's environment."""
    which = getattr(request, "param", "two sizes")
    made = (server.port, which)
    if made not in _MADE:
        place = tmp_path_factory.mktemp("world")
        images_at = which.replace(" ", "-")
        (place / images_at).mkdir()
        for i in range(8 if which == "two sizes" else 20):
            size = ((48, 48) if i % 3 else (40, 56)) if which == "two sizes" else (40 + 2 * i, 48)
            Image.fromarray(image(i, *size)).save(place / images_at / f"{i:02d}.png")
        server.upload(place / images_at, images_at)
        for name, images in (("local", f"{place}/{images_at}/*.png"), ("s3", f"s3://{CORPUS}/{images_at}/*.png")):
            (place / f"{name}.yaml").write_text(yaml.safe_dump({
                "name": "toy",
                "baseline": False,
                "corpus": {"images": [images], "scale": 2, "degradations": ["clean", {"noise": 20}]},
                "models": [{"id": "small", "network": "toy:small"}],
                "stages": [{"features": {"layers": ["head"]}}, {"restore": {}}],
                "batch": {"features": 2, "restore": 2},
            }))  # fmt: skip
            run_study(load_recipe(place / f"{name}.yaml"), str(place / name), QUIET)
        wanted, local = digest(open_objects(place / "s3")), digest(open_objects(place / "local"))
        assert {key: value for key, value in wanted.items() if key.startswith("arrays")} == {
            key: value for key, value in local.items() if key.startswith("arrays")
        }, "where images lie changes no array"
        _MADE[made] = World(place / "s3.yaml", load_recipe(place / "s3.yaml"), wanted)
    return _MADE[made]


def anywhere() -> str:
    return f"s3://{STUDIES}/{uuid.uuid4().hex}"


def check_end(world: World, proxy: Faulty, out: str) -> None:
    """The way is good again; the same command ends in the undisturbed bytes, of a study that is whole."""
    proxy.rule = lambda request: ""
    summary = run_study(world.recipe, out, QUIET)
    assert (summary.failed, summary.rejected) == (0, 0)
    study = open_study(out)
    assert digest(study.objects) == world.wanted
    assert list(verify(study.archive)) == []


def test_a_resume_and_a_status_ask_a_bucket_at_most_twice_a_cell_what_is_there(world: World, proxy: Faulty) -> None:
    """Counted where they cost: on the way to the server, page by page."""
    asked: list[str] = []

    def note(request: Request) -> str:
        asked.extend([request.path] if request.method == "GET" and f"/{STUDIES}" in request.path and "list-type=2" in request.path else [])
        return ""

    out = anywhere()
    run_study(world.recipe, out, QUIET)
    study = open_study(out)
    study.objects.delete(list(study.objects.list("records/restore")))
    proxy.rule = note
    run_study(world.recipe, out, QUIET)
    resume = len(asked)
    asked.clear()
    assert study.status()["complete"]
    ours = [path for path in asked if "records" in path]
    cells = len(study.manifest.cells)
    assert 0 < resume <= 20, "a constant, and below twice the cells of any study of size"
    assert cells == 2
    assert len(ours) == 1, "of the records it asks once, whatever the number of cells"
    assert list(verify(study.archive)) == []


SEEDS = [*range(2), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 26))]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("world", ["two sizes", pytest.param("many sizes", marks=pytest.mark.slow)], indirect=True)
def test_a_run_over_a_bad_way_finishes_or_stops_and_ends_in_the_undisturbed_bytes(world: World, proxy: Faulty, seed: int) -> None:
    out = anywhere()
    proxy.rule = at_random(seed, (0.1, 0.25, 0.5)[seed % 3], (*FAULTS, "429") if seed % 2 else FAULTS)
    for _ in range(4):
        try:
            run_study(world.recipe, out, QUIET)
            break
        except EnvironmentFailure:
            continue
    assert sum(proxy.seen[fault] for fault in FAULTS) > 5
    check_end(world, proxy, out)


def outage(after: int, fault: str, where: Callable[[Request], bool] = lambda request: True) -> Rule:
    """From the `after`-th request of a kind on, every one fails."""
    met = [0]

    def rule(request: Request) -> str:
        met[0] += where(request)
        return fault if where(request) and met[0] > after else ""

    return rule


@pytest.mark.parametrize(
    ("after", "fault"),
    [
        (3, "reset"), (60, "403"), (140, "503"), (200, "cut"),
        *(pytest.param(after, fault, marks=pytest.mark.slow) for after in range(10, 260, 25) for fault in ("403", "503", "lost", "cut")),
    ],
)  # fmt: skip
def test_an_outage_of_everything_stops_the_run_and_the_same_command_goes_on(world: World, proxy: Faulty, after: int, fault: str) -> None:
    out = anywhere()
    proxy.rule = outage(after, fault)
    with pytest.raises(EnvironmentFailure):
        run_study(world.recipe, out, QUIET)
    assert proxy.seen[fault] > 0
    check_end(world, proxy, out)


@pytest.mark.parametrize(("after", "fault"), [(4, "403"), (12, "reset"), (12, "code:ExpiredToken:The provided token has expired.")])
def test_an_outage_of_the_corpus_alone_marks_nothing(world: World, proxy: Faulty, after: int, fault: str) -> None:
    """After 4 requests: in the scan; after 12: in the units."""
    out = anywhere()
    proxy.rule = outage(after, fault, lambda request: request.path.startswith(f"/{CORPUS}"))
    with pytest.raises(EnvironmentFailure, match="othing is marked") as caught:
        run_study(world.recipe, out, QUIET)
    if fault.startswith("code"):
        assert "AWS_SESSION_TOKEN" in str(caught.value)
    proxy.rule = lambda request: ""
    if after > 8:
        assert open_study(out).failures.num_rows == 0
    check_end(world, proxy, out)


def test_one_file_that_may_not_be_read_is_a_failed_row(world: World, proxy: Faulty) -> None:
    out = anywhere()
    proxy.rule = outage(1, "403", lambda request: request.path.startswith(f"/{CORPUS}/two-sizes/03.png"))
    summary = run_study(world.recipe, out, QUIET)
    assert (summary.failed, summary.rejected) == (2, 0)
    reasons = {row["reason"] for row in open_study(out).failures.to_pylist()}
    assert all("permission denied: s3://corpus/two-sizes/03.png" in reason for reason in reasons)
    proxy.rule = lambda request: ""
    assert run_study(world.recipe, out, Options(workers=0, quiet=True, retry_failed=True)).failed == 0
    check_end(world, proxy, out)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("workers", [0, 1])
def test_the_command_line_stops_with_3_and_one_message_or_finishes(world: World, proxy: Faulty, workers: int) -> None:
    """With real pauses, in processes of their own, on Ray, too."""
    out = anywhere()
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), str(root / "tests" / "engine")])
    command = [sys.executable, "-m", "xlli_ray", "run", str(world.file), "--out", out, "--workers", str(workers), "--quiet"]

    def call() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=280, check=False)

    for rule in (outage(4, "403", lambda request: request.path.startswith(f"/{CORPUS}")), outage(70, "reset"), at_random(7, 0.1)):
        proxy.rule = rule
        done = call()
        assert done.returncode in (0, 3), done.stderr
        assert "Traceback" not in done.stderr
        assert done.returncode == 0 or done.stderr.count("EnvironmentFailure") == 1
    check_end(world, proxy, out)
