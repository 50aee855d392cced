"""Run the analyses of a recipe once the tables are written: only those whose inputs, parameters or VERSION changed.

A failure is reported and keeps the last result; the others still run. Errors of the environment (disk full, lease lost) stop the run, as
everywhere.
"""

from __future__ import annotations

import platform
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from threadpoolctl import threadpool_limits

from xlli_ray.analyses.shared.freshness import Asked, Task, resolve
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.engine.events import Events
from xlli_ray.errors import EnvironmentFailure, LeaseError, StudyError, XlliError, without_lead
from xlli_ray.recipe import Stage
from xlli_ray.registry import version_of
from xlli_ray.stats.bootstrap import key
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import Objects
from xlli_ray.store.records.digests import remember_digests
from xlli_ray.store.tables.results import Result, Stored, read_result, result_is_whole, write_failure, write_result

SOFTWARE = ("xlli_ray", "numpy", "scipy", "matplotlib", "pyarrow")


@dataclass(frozen=True)
class Ran:
    """Outcome of a recipe's analyses."""

    run: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    """(id, reason)."""
    flags: tuple[str, ...] = field(default_factory=tuple)
    """Of all current results, each prefixed with its analysis' id."""


def asked(stages: Sequence[Stage]) -> list[Asked]:
    """The recipe's analysis stages for `analyses.shared.freshness`."""
    return [Asked(stage.id, stage.kind, stage.params, stage.models, stage.code) for stage in stages]


def run_analyses(
    archive: Archive,
    wanted: Sequence[Asked],
    events: Events,
    *,
    check: Callable[[], None],
    again: Sequence[str] = (),
    threads: int = 1,
) -> Ran:
    """Run what is not current. `check` raises if the lease is lost; `again`: ids to run in any case (`--replace`).

    `threads`: for matrix products, as for workers in the recipe: sums over a different number of threads round differently.
    """
    objects = archive.objects
    done, failed, flags = [], [], []
    for analysis in wanted:
        check()
        start = time.monotonic()
        try:
            task = resolve(analysis, archive)
            remember_digests(archive.records, task.cells, {item.cell: item.digest for item in task.made.inputs})
            stored = _there(objects, analysis.id)
            current = stored is not None and stored.made.fingerprint == task.made.fingerprint and result_is_whole(objects, stored)
            if stored is None or not current or analysis.id in again:
                events.event("analysis", id=analysis.id, of=analysis.kind, fingerprint=task.made.fingerprint, state="begin")
                events.tell(f"analysis {analysis.id} …")
                with threadpool_limits(threads):
                    result = _compute(task, archive, events)
                check()
                stored = write_result(objects, task.made, task.cls.TABLES, result, _software())
                done.append(analysis.id)
                events.tell(f"analysis {analysis.id}: done in {time.monotonic() - start:.0f} s")
                events.event("analysis", id=analysis.id, state="end", seconds=round(time.monotonic() - start, 3))
            flags += [f"{analysis.id}: {without_lead(flag, analysis.id)}" for flag in stored.flags]
        except (EnvironmentFailure, LeaseError):
            raise
        except Exception as error:  # a failing analysis must not affect the others
            reason = without_lead(_reason(error), analysis.id)
            write_failure(objects, analysis.id, reason)
            failed.append((analysis.id, reason))
            events.event("analysis", id=analysis.id, state="failed", reason=reason, traceback=traceback.format_exc())
    return Ran(tuple(done), tuple(failed), tuple(flags))


def _there(objects: Objects, name: str) -> Stored | None:
    """The existing result, None also for an invalid one: it is made again."""
    try:
        return read_result(objects, name)
    except StudyError:
        return None


def _compute(task: Task, archive: Archive, events: Events) -> Result:
    name = task.made.analysis
    with View(archive, task.cells) as view, events.beating(lambda: f"analysis {name}: {view.standing}"):
        return task.cls.run(task.params, view, key(archive.manifest.seed, name))


def _software() -> dict[str, str]:
    """Versions of packages that can change a result's numbers or figures."""
    return {"python": platform.python_version(), **{name: version_of(name) for name in SOFTWARE}}


def _reason(error: Exception) -> str:
    """One line for people: our own errors unchanged, others with their location."""
    if isinstance(error, XlliError):
        return str(error)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/xlli_ray/" in frame.filename]
    place = f" ({frames[-1].filename.rsplit('/xlli_ray/', 1)[-1]}:{frames[-1].lineno})" if frames else ""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}{place}; the traceback is in the study's events"
