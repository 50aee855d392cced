"""Many trainings as Ray tasks: `xlli train` with `--workers`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xlli_ray.engine.options import Options
from xlli_ray.engine.pools.local import Lost
from xlli_ray.engine.pools.slots import check_options
from xlli_ray.engine.run.driver import import_path
from xlli_ray.engine.worker.tasks import WorkerSpec
from xlli_ray.errors import EnvironmentFailure
from xlli_ray.registry import allowed


def map_on_ray(function: Callable[[Any], Any], items: Sequence[Any], *, workers: int, address: str | None) -> list[Any]:
    """`[function(item) …]` on actors, each item at most three times. `function` must be importable by name."""
    from xlli_ray.engine.pools.ray_pool import RayPool

    check_options(Options(workers=workers, address=address))
    pool = RayPool(WorkerSpec("", 0, paths=import_path(), allowed=allowed()), workers=workers, address=address)
    jobs: deque[Any] = deque((function, item) for item in items)
    place = {id(job): number for number, job in enumerate(jobs)}
    results: list[Any] = [None] * len(items)
    lost: dict[int, int] = {}
    try:
        pool.wait_ready()
        for job, outcome in pool.run("call", jobs, lambda: None):
            number = place[id(job)]
            if not isinstance(outcome, Lost):
                results[number] = outcome
                continue
            lost[number] = lost.get(number, 0) + 1
            if lost[number] >= 3:
                raise EnvironmentFailure(12, f"training {number} lost its worker three times: {outcome.reason}")
            jobs.append(job)
    finally:
        pool.close()
    return results


def train_recipe(
    recipe: Path,
    out: Path,
    *,
    overrides: Sequence[str] = (),
    workers: int = 0,
    address: str | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Train what a training recipe asks for; returns the path of models.yaml. `say` gets a line of progress now and then (only without
    workers: theirs is in each folder's log.jsonl)."""
    from xlli_ray.training.run import train

    if workers == 0:
        return train(recipe, out, overrides=list(overrides), progress=None if say is None else lambda step: say(step.line), say=say)

    def mapped(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        return map_on_ray(function, items, workers=workers, address=address)

    return train(recipe, out, overrides=list(overrides), say=say, map_tasks=mapped)
