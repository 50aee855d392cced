"""Parts of a run: any number, in any order, at once or one after another, with parts lost, and the study has the bytes of a plain run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import HERE, QUIET, digest

from xlli_ray.engine.run import part_run
from xlli_ray.engine.run.driver import Summary
from xlli_ray.engine.run.part_run import Part, Watch, run_part
from xlli_ray.errors import LeaseError, PlanError
from xlli_ray.recipe import Recipe
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records.lease import Lease, last_epoch

Make = Callable[..., Recipe]
Run = Callable[..., Summary]


def events(study: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in sorted(study.glob("events/*.jsonl")) for line in path.read_text().splitlines()]


def start(folder: Path, part: str) -> subprocess.Popen[str]:
    """A part as its own program."""
    command = [sys.executable, "-m", "xlli_ray", "run", str(folder / "recipe.yaml"), "--out", str(folder / "parts"), "--part", part]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])}
    return subprocess.Popen([*command, "--quiet"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_parts_in_any_order_and_a_plain_run_give_the_bytes_of_a_plain_run(
    recipe: Make, run: Run, tmp_path: Path, order: tuple[int, ...]
) -> None:
    whole = run(recipe(), "whole")
    done = [run_part(recipe(), str(tmp_path / "parts"), QUIET, Part(number, 3)) for number in order]
    assert sum(one.units_run for one in done) == whole.units
    assert max(one.units_run for one in done) - min(one.units_run for one in done) <= 1, "equal shares"
    assert done[-1].left == 0
    assert run(recipe(), "parts").units_run == 0
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")
    said = [one["part"] for one in events(tmp_path / "parts") if "part" in one]
    assert sorted(said) == ["1/3", "2/3", "3/3"], "each has its own log"


def test_a_part_that_runs_again_computes_nothing_twice(recipe: Make, tmp_path: Path) -> None:
    first = run_part(recipe(), str(tmp_path / "s"), QUIET, Part(2, 2))
    again = run_part(recipe(), str(tmp_path / "s"), QUIET, Part(2, 2))
    assert first.units_run > 0
    assert (again.units_run, again.left) == (0, first.left)
    assert last_epoch(open_objects(tmp_path / "s")) == 1, "the second found the plan and took no lease"


def test_what_a_lost_part_left_is_computed_by_the_plain_run(recipe: Make, run: Run, tmp_path: Path) -> None:
    run(recipe(), "whole")
    done = [run_part(recipe(), str(tmp_path / "parts"), QUIET, Part(number, 3)) for number in (1, 3)]
    assert run(recipe(), "parts").units_run == done[-1].left > 0
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")


def test_more_parts_than_units_leave_some_with_nothing_to_do(recipe: Make, run: Run, tmp_path: Path) -> None:
    units = run(recipe(), "whole").units
    done = [run_part(recipe(), str(tmp_path / "parts"), QUIET, Part(number, units + 2)) for number in range(1, units + 3)]
    assert sorted(one.units_run for one in done) == [0, 0, *[1] * units]


def test_a_part_stops_when_a_plain_run_takes_the_study_over(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_part(recipe(), str(tmp_path / "s"), QUIET, Part(1, 2))
    monkeypatch.setattr(part_run, "BEAT_SECONDS", 0.0)
    objects = open_objects(tmp_path / "s")
    watch = Watch(objects, last_epoch(objects))
    watch.check()
    Lease.acquire(objects).release()
    with pytest.raises(LeaseError, match="this part stops, what it finished is kept"):
        watch.check()


def test_a_changed_recipe_is_planned_anew_by_the_next_part(recipe: Make, tmp_path: Path) -> None:
    run_part(recipe(), str(tmp_path / "s"), QUIET, Part(1, 2))
    stages = [{"features": {"layers": ["head", "tail:input"]}}, {"restore": {}}, {"features": {"id": "again", "layers": ["head"]}}]
    done = run_part(recipe(stages=stages), str(tmp_path / "s"), QUIET, Part(1, 2))
    assert done.units_run > 0
    assert last_epoch(open_objects(tmp_path / "s")) == 2


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "a/b", "1/2/3", "-1/2", "1/9999999"])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="expected i/n with 1 ≤ i ≤ n"):
        Part.parse(text)


def test_options_that_need_a_whole_run_are_refused_beside_a_part() -> None:
    with pytest.raises(PlanError, match="--workers does not go with --part"):
        Part.parse("1/2", ["--workers"])


def test_parts_that_start_at_once_wait_for_the_one_that_plans(recipe: Make, run: Run, tmp_path: Path) -> None:
    run(recipe(), "whole")
    children = [start(tmp_path, part) for part in ("1/2", "2/2")]
    said = [child.communicate(timeout=200) for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    assert all(out.startswith("part ") for out, _ in said)
    assert run(recipe(), "parts").units_run == 0
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")


def test_a_part_that_is_told_to_end_says_run_again_and_the_next_try_goes_on(recipe: Make, run: Run, tmp_path: Path) -> None:
    """SIGTERM, as before a machine is taken away: exit code 75, which a script that requeues tests for."""
    run(recipe(), "whole")
    child = start(tmp_path, "1/1")
    until = time.monotonic() + 120
    while not list(tmp_path.glob("parts/lease/*.json")) and child.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 75, errors
    assert errors.splitlines()[-1].startswith("stopped; finished work is kept")
    run_part(recipe(), str(tmp_path / "parts"), QUIET, Part(1, 1))
    run(recipe(), "parts")
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")
