"""A driver that is killed in each phase of a run, for real: the next run goes on, and the end is that of an undisturbed one.

One process loads torch, and each run is a fork of it, which SIGKILL ends before the change of files that is named here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import HERE, digest

from xlli_ray.engine.run import scan_runner
from xlli_ray.engine.run.driver import Summary
from xlli_ray.recipe import Recipe, load_recipe
from xlli_ray.store.records import listing
from xlli_ray.store.records.seal import sealed_json
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import open_study

Run = Callable[..., Summary]
CHUNK, PACK = 2, 2

FORKS = """
import json, os, signal, sys, traceback
import matplotlib.figure, scipy.stats, torch
from xlli_ray.engine.options import Options
from xlli_ray.engine.run import driver, scan_runner
from xlli_ray.recipe import load_recipe
from xlli_ray.store.records import listing

recipe, out, kills = load_recipe(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
scan_runner.CHUNK, listing.PACK = map(int, sys.argv[4:6])

def run(event, part, after, replace):
    def hook(name, arguments):
        nonlocal after
        if name == event and any(isinstance(one, (str, os.PathLike)) and part in str(one) for one in arguments):
            after -= 1
            if after < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    driver.run_study(recipe, out, Options(workers=0, quiet=True, replace=tuple(replace)))

for kill in kills:
    pid = os.fork()
    if not pid:
        try:
            run(*kill)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def killed(recipe: Path, out: Path, kills: list[tuple[str, str, int, list[str]]]) -> list[int]:
    """How runs ended, one after another, each killed before the `after`-th (from 0) change `event` of a path with `part` in it."""
    command = [sys.executable, "-c", FORKS, str(recipe), str(out), json.dumps(kills), str(CHUNK), str(PACK)]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


def test_a_driver_killed_in_each_phase_of_a_study_and_of_a_replacement_costs_nothing_but_running_it_again(
    recipe: Callable[..., Recipe], run: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run goes on where the one before it was killed: in the scan's second chunk of three, in the sample table, and so on. With
    `--replace`: between records, between arrays, before the new plan is saved, and in the units after it."""
    monkeypatch.setattr(scan_runner, "CHUNK", CHUNK)
    monkeypatch.setattr(listing, "PACK", PACK)
    some = {"images": [f"{corpus}/0[0-5].png"], "scale": 4, "patches": {"size": 32, "min_std": 0}, "degradations": ["clean", {"noise": 20}]}
    stages = [{"restore": {}}, {"features": {"layers": ["head"], "dtype": "float32"}}, {"group_means": {"by": ["kind"]}}]
    recipe(corpus=some, stages=stages, models=[{"id": "net", "weights": "builtin:srresnet-gr-clean", "tags": {"kind": "a"}}])
    path, replace = tmp_path / "recipe.yaml", ["features"]
    kills: list[tuple[str, str, int, list[str]]] = [
        ("os.link", "records/scan-", 1, []),
        ("os.rename", "samples/part-", 0, []),
        ("os.link", "study/", 1, []),
        ("os.link", "zarr.json", 5, []),
        ("os.link", "records/restore", 1, []),
        ("os.rename", "pack-", 1, []),
        ("os.remove", ".arrow", 2, []),
        ("os.rename", "/valid/", 0, []),
        ("os.rename", "tables/", 1, []),
        ("os.rename", "tables/index.json", 0, []),
        ("os.rename", "result.json", 0, []),
        ("os.rename", "digests.json", 0, []),
        ("os.remove", "records/features", 1, replace),
        ("os.remove", "arrays.zarr/features", 3, replace),
        ("os.link", "study/", 0, replace),
        ("os.link", "records/features", 1, replace),
    ]
    assert killed(path, tmp_path / "study", kills) == [-9] * len(kills), "each was killed where it was to be"
    assert run(load_recipe(path), replace=tuple(replace)).failed == 0
    run(load_recipe(path), "undisturbed")
    assert digest(tmp_path / "study") == digest(tmp_path / "undisturbed")
    assert list(verify(open_study(tmp_path / "study").archive)) == []
    assert not [path for path in (tmp_path / "study").rglob("*.partial") if path.parent.name != "lease"]


def test_half_a_page_that_a_killed_run_left_is_swept_once_nobody_can_be_writing_it(
    recipe: Callable[..., Recipe], run: Run, tmp_path: Path
) -> None:
    """The page is written after the lease has ended, and also by those who never held it."""
    run(recipe(stages=[{"restore": {}}]))
    (tmp_path / "study/report/data").mkdir(parents=True)
    old, new = (tmp_path / f"study/report/data/.figure-{i}.js.0badcafe.partial" for i in (0, 1))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert run(recipe(stages=[{"restore": {}}])).complete
    assert (old.exists(), new.exists()) == (False, True)


def test_what_a_killed_driver_was_writing_beside_all_folders_is_swept(recipe: Callable[..., Recipe], run: Run, tmp_path: Path) -> None:
    assert run(recipe(stages=[{"restore": {}}])).failed == 0
    (tmp_path / "study/lease/000001.end").unlink()
    holder = tmp_path / "study/lease/000001.json"
    fields = json.loads(holder.read_text())
    del fields["seal"]
    holder.write_bytes(sealed_json({**fields, "pid": 2**22 + 1}))
    litter = [tmp_path / "study" / name for name in (".digests.json.0badcafe.partial", "study/.000001.000.json.0badcafe.partial")]
    for path in litter:
        path.write_bytes(b"half")
    assert run(recipe(stages=[{"restore": {}}])).complete
    assert not any(path.exists() for path in litter)
