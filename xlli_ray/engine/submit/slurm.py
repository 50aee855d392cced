"""A study on a SLURM cluster: sbatch with the shipped scripts, and what squeue says of a job; `slurm:JOB` names it.

`slurm` starts a Ray on the nodes of one job, `slurm-array` is a job array of `xlli run --part` without Ray and a concluding job. The script
gets the recipe's path, not its content: submit from a folder that the nodes share, as for any batch job. Its environment is that of this
process, with this installation's `xlli` first in PATH.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from xlli_ray.engine.submit.job import Job
from xlli_ray.engine.submit.programs import ask
from xlli_ray.engine.submit.templates import template
from xlli_ray.errors import EnvironmentFailure, PlanError, RecipeError

FORM = "slurm:"
WHERE = "Run this on a machine where SLURM's programs are: a login node of the cluster"
RAY, ARRAY = "slurm.sbatch", "slurm-array.sbatch"


@dataclass(frozen=True)
class Batch:
    """What `sbatch` is asked for; None and () leave it to the script."""

    array: bool = False
    nodes: int | None = None
    time: str | None = None
    parts: int | None = None
    """Tasks of the array."""
    more: tuple[str, ...] = ()
    """Options of sbatch as they are, such as `--partition=gpu`."""
    template: Path | None = None

    def options(self) -> list[str]:
        """Of sbatch. They win over the lines of the script."""
        said = {"nodes": self.nodes, "time": self.time, "array": None if self.parts is None else f"1-{self.parts}"}
        return [*(f"--{name}={value}" for name, value in said.items() if value is not None), *self.more]


def submit_batch(job: Job, recipe: str, overrides: Sequence[str], batch: Batch, *, dry: bool = False) -> str:
    """Submit it and return its name; `dry`: the command and the script instead. `recipe`: as `xlli run` takes it, on every node.

    Raises EnvironmentFailure, PlanError, RecipeError, StudyError."""
    job.check()
    if batch.array and job.verb == "train":
        raise PlanError("--kind slurm-array computes parts of a study, a training has none: use --kind slurm")
    if batch.array and job.workers is not None:
        raise PlanError("--workers does not go with --kind slurm-array: each task computes in one process; --parts is their number")
    script = template(ARRAY if batch.array else RAY, batch.template)
    sets = [word for one in overrides for word in ("--set", one)]
    said = ["sbatch", "--parsable", *batch.options(), str(script), recipe, job.out, *sets, *job.options()]
    if dry:
        return f"{shlex.join(said)}\n\n# {script}\n{script.read_text()}"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    for program in ("xlli", "ray"):
        if shutil.which(program, path=path) is None:
            raise EnvironmentFailure(2, f"{program} is not in PATH nor beside {sys.executable}: the job would not find it")
    answer = ask(said, WHERE, env={**os.environ, "PATH": path})
    number = answer.strip().splitlines()[-1].partition(";")[0] if answer.strip() else ""
    if not number.isdigit():
        raise EnvironmentFailure(71, f"sbatch gave no job number but {answer.strip()[:200]!r}")
    return f"{FORM}{number}"


@dataclass(frozen=True)
class Row:
    """A line of squeue: a job, or a task of an array."""

    number: str
    state: str
    reason: str
    used: str
    limit: str
    nodes: str

    @property
    def said(self) -> str:
        """`RUNNING: n[1-2], 0:35 of 4:00:00`"""
        if self.state == "RUNNING":
            return f"{self.state}: {self.nodes}, {self.used} of {self.limit}"
        return self.state if self.reason in ("None", "") else f"{self.state}: {self.reason}"


def _number(name: str) -> str:
    number = name.removeprefix(FORM)
    if not re.fullmatch(r"\d{1,12}", number):
        raise RecipeError(f"{name!r} is not a job: write slurm:JOB, as `xlli submit` printed it")
    return number


def _rows(*which: str) -> list[Row]:
    lines = ask(["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r|%M|%l|%N", *which], WHERE).splitlines()
    return [Row(*fields) for line in lines if len(fields := line.split("|")) == 6]


def _concluding(number: str) -> list[Row]:
    """The job that the array's first task has submitted, of the same user."""
    return _rows(f"--name={concluding_name(number)}")


def concluding_name(number: str) -> str:
    """As in the script."""
    return f"xlli-{number}-end"


def _known(number: str) -> list[Row]:
    """Empty when SLURM has forgotten the job, some minutes after its end."""
    try:
        return _rows(f"--jobs={number}")
    except EnvironmentFailure as error:
        if "invalid job id" in str(error).lower():
            return []
        raise


def batch_status(name: str) -> str:
    """`RUNNING: nodes, time`; of an array the number of tasks in each state, and its concluding job."""
    number = _number(name)
    if not (rows := _known(number)):
        with suppress(EnvironmentFailure):  # accounting is an option of SLURM
            asked = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={number}", "--format=State,ExitCode"]
            if lines := ask(asked, WHERE).split():
                return ", ".join(f"{count} × {state}" if count > 1 else state for state, count in Counter(lines).items())
        return "ENDED: SLURM no longer knows this job; `xlli status STUDY` says what is done"
    if not any("_" in row.number for row in rows):
        return rows[0].said
    counts = Counter(row.state for row in rows)
    said = ", ".join(f"{count} {state}" for state, count in counts.items())
    return "; ".join([said, *(f"concluding job {row.number}: {row.said}" for row in _concluding(number))])


def stop_batch(name: str) -> str:
    """Stop a job for good: what waits is taken out of the queue; what runs gets SIGTERM, ends in order, and is not queued again."""
    number = _number(name)
    stopped = False
    for row in [*_concluding(number), *_known(number)]:  # the first is waiting for the others to end, however they do
        if row.state in ("RUNNING", "SUSPENDED", "STOPPED"):
            ask(["scontrol", "update", f"jobid={row.number}", "requeue=0"], WHERE)
            ask(["scancel", "--signal=TERM", "--batch", row.number], WHERE)
            stopped = True
        elif row.state in ("PENDING", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"):
            ask(["scancel", row.number], WHERE)
            stopped = True
    return "stopping; finished work is kept" if stopped else "it had already ended"
