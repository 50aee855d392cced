"""Run a recipe on a cluster through Ray's Jobs API: submit, status, stop, follow.

The resolved recipe is sent as the job's working folder, together with the code that it names beside it (`FILE.py:Class`, and the other
Python files of that folder, which it may import); weights and corpus must be paths or URLs that the nodes see (verified by the run's
canary). Token authentication is Ray's own: `RAY_AUTH_MODE=token` with `RAY_AUTH_TOKEN` or `~/.ray/auth_token` here and on the cluster.
Anyone who can reach a Jobs API without it can run code there, so an address of another machine is refused unless a token is set.
"""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from xlli_ray.engine.pools.cluster import has_token, try_port, use_token, within
from xlli_ray.engine.submit.job import Job
from xlli_ray.engine.submit.sent_recipe import files_of
from xlli_ray.errors import EnvironmentFailure, RecipeError

ANSWER_SECONDS = 20.0
"""Seconds for one response of the Jobs API, including sending a recipe of a few kilobytes."""
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def _client(address: str) -> Any:
    host = urlsplit(address).hostname or ""
    if host not in LOOPBACK and not has_token():
        raise EnvironmentFailure(
            1, f"{address}: no token. Start the cluster with RAY_AUTH_MODE=token and give its token here (RAY_AUTH_TOKEN, or "
            "~/.ray/auth_token; `ray get-auth-token --generate` creates one); without it anyone who can reach the port can run code.",
        )  # fmt: skip
    use_token(anywhere=True)
    try_port(*_host_and_port(address), address, "Is it the head's Jobs API (http://HEAD:8265), and is the cluster up?")
    from ray.exceptions import RayError  # a missing or wrong token
    from ray.job_submission import JobSubmissionClient

    try:
        return within(ANSWER_SECONDS, lambda: JobSubmissionClient(address))
    except (ConnectionError, RuntimeError, ValueError, RayError, TimeoutError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EnvironmentFailure(111, f"{address}: {text}. Is it the head's Jobs API (port 8265), and is the token right?") from error


def _host_and_port(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(address)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        port = None
    if port is None or not parts.hostname:
        raise EnvironmentFailure(22, f"{address}: write the head's Jobs API as http://HEAD:8265")
    return parts.hostname, port


def _call(address: str, function: Callable[[], Any]) -> Any:
    from ray.exceptions import RayError

    try:
        return within(ANSWER_SECONDS, function)
    except (ConnectionError, RuntimeError, RayError, TimeoutError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EnvironmentFailure(111, f"{address}: {text}") from error


def submit_job(job: Job, address: str) -> str:
    """Submit it and return its id. Raises EnvironmentFailure, PlanError, RecipeError, StudyError."""
    job.check()
    client = _client(address)
    with tempfile.TemporaryDirectory(prefix="xlli-job-") as folder:
        for name, content in files_of(job.recipe).items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_bytes(content)
        return _call(
            address,
            lambda: client.submit_job(
                entrypoint=shlex.join(job.command("recipe.yaml")),
                runtime_env={"working_dir": folder},
                metadata={"study": job.recipe.name, "out": job.out},
            ),
        )


def _split(job: str) -> tuple[str, str]:
    address, sign, name = job.partition("#")
    if not sign or not name:
        raise RecipeError(f"{job!r} is not a job: write http://head:8265#JOB, as `xlli submit` printed it")
    return address, name


def job_status(job: str) -> str:
    """`RUNNING: message` of a submitted job."""
    address, name = _split(job)
    client = _client(address)
    info = _call(address, lambda: client.get_job_info(name))
    return f"{info.status.value if hasattr(info.status, 'value') else info.status}: {info.message or ''}".rstrip(": ")


def stop_job(job: str) -> str:
    """Stop a submitted job; finished work is kept."""
    address, name = _split(job)
    client = _client(address)
    stopped = _call(address, lambda: client.stop_job(name))
    return "stopping; finished work is kept" if stopped else "it had already ended"


def follow_job(address: str, name: str, say: Callable[[str], None]) -> int:
    """Print the job's log as it grows; 0 if it succeeded."""
    client = _client(address)
    shown = 0
    while True:
        status = str(_call(address, lambda: client.get_job_status(name)))
        log = _call(address, lambda: client.get_job_logs(name))
        if len(log) > shown:
            say(log[shown:].rstrip("\n"))
            shown = len(log)
        if any(end in status for end in ("SUCCEEDED", "FAILED", "STOPPED")):
            say(f"job {name}: {status}")
            return 0 if "SUCCEEDED" in status else 1
        time.sleep(1.0)
