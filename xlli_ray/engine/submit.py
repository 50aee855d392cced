"""Run a recipe on a cluster through Ray's Jobs API: submit, status, stop, follow.

The resolved recipe is sent as the job's working folder, together with the code that it names beside it (`FILE.py:Class`, and the other
Python files of that folder, which it may import); weights and corpus must be paths or URLs that the nodes see (verified by the run's
canary). Token authentication is Ray's own: `RAY_AUTH_MODE=token` with `RAY_AUTH_TOKEN` or `~/.ray/auth_token` here and on the cluster.
Anyone who can reach a Jobs API without it can run code there, so an address of another machine is refused unless a token is set.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from xlli_ray.engine.options import Options
from xlli_ray.engine.pools.cluster import has_token, try_port, use_token, within
from xlli_ray.engine.pools.slots import check_options
from xlli_ray.errors import EnvironmentFailure, PlanError, RecipeError
from xlli_ray.recipe import Recipe, load_recipe
from xlli_ray.store.objects.client import is_url, refuse_secrets
from xlli_ray.training.recipe import TrainRecipe, is_training
from xlli_ray.training.recipe import load_recipe as load_training
from xlli_ray.user_code import allowed, places_in

ANSWER_SECONDS = 20.0
"""Seconds for one response of the Jobs API, including sending a recipe of a few kilobytes."""
CODE_BYTES = 20 << 20
"""Largest total size of the Python files that are sent with a recipe."""
CLUSTER_DEVICES = ("auto", "cpu", "cuda")
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


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe | TrainRecipe:
    """The recipe of a study or of a training. Raises RecipeError."""
    return load_training(path, overrides=overrides) if is_training(path) else load_recipe(path, overrides=overrides)


def submit_recipe(
    recipe: Recipe | TrainRecipe, *, address: str, out: str, workers: int | None = None, device: str = "auto",
    gpus_per_worker: float = 0.0,
) -> str:  # fmt: skip
    """Submit `recipe` and return the job's id. `out` must be absolute or a URL. Raises EnvironmentFailure, PlanError, RecipeError,
    StudyError."""
    check_options(Options(workers=workers, device=device, gpus_per_worker=gpus_per_worker))
    if device not in CLUSTER_DEVICES:
        raise PlanError(f"--device {device}: a cluster assigns its GPUs; use {', '.join(CLUSTER_DEVICES)}")
    if not is_url(out) and not Path(out).is_absolute():
        raise RecipeError(f"--out {out}: give an absolute path that all nodes share, or s3://…: the job runs in another folder")
    if is_url(out):
        refuse_secrets(out)  # it would be in the job's command line, which everyone on the cluster can read
    client = _client(address)
    verb, sent = ("train", as_training(recipe)) if isinstance(recipe, TrainRecipe) else ("run", as_recipe(recipe))
    command = ["xlli", verb, "recipe.yaml", "--address", "auto", "--out", out]
    if workers is not None:
        command += ["--workers", str(workers)]
    if device != "auto":
        command += ["--device", device]
    if gpus_per_worker:
        command += ["--gpus-per-worker", str(gpus_per_worker)]
    with tempfile.TemporaryDirectory(prefix="xlli-job-") as folder:
        (Path(folder) / "recipe.yaml").write_text(yaml.safe_dump(sent, sort_keys=False))
        files = dict(code_beside(sent))
        if (size := sum(file.stat().st_size for file in files.values())) > CODE_BYTES:
            raise RecipeError(
                f"{len(files)} Python files beside the recipe hold {size >> 20} MiB, at most {CODE_BYTES >> 20} are sent with a job: keep "
                "what the recipe names in a folder of its own, or install it on the nodes"
            )
        for name, file in files.items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, Path(folder) / name)
        return _call(
            address,
            lambda: client.submit_job(
                entrypoint=shlex.join(command),
                runtime_env={"working_dir": folder},
                metadata={"study": recipe.name, "out": out},
            ),
        )


def code_beside(document: object) -> Iterator[tuple[str, Path]]:
    """(path from the recipe's folder, file) of the Python code that the recipe names and finds in its own folder, with the files beside it.

    Not what is installed, nor what is named by an absolute path: the nodes have the first, and must see the second.
    """
    folders = dict(allowed())
    for place in sorted(places_in(document)):
        path = Path(place.rpartition(":")[0])
        base = Path(folders.get(place, ""))
        if not folders.get(place) or path.is_absolute() or path.parts[:1] == ("~",) or ".." in path.parts:
            continue
        file = path if path.suffix == ".py" else Path(*place.partition(":")[0].split(".")).with_suffix(".py")
        package = base / file.parts[0]
        if path.suffix != ".py" and (package / "__init__.py").is_file():
            yield from ((str(one.relative_to(base)), one) for one in sorted(package.rglob("*.py")))
        elif (base / file).is_file():
            yield from ((str(one.relative_to(base)), one) for one in sorted((base / file).parent.glob("*.py")))


def as_recipe(recipe: Recipe) -> dict[str, Any]:
    """The resolved recipe in the form written by people: parses back to the same."""
    data = {key: value for key, value in recipe.dump().items() if value is not None}
    data["corpus"] = {key: value for key, value in data["corpus"].items() if value is not None}
    stages = []
    for stage in recipe.stages:
        usual = {"models": "all", "precision": "float32"}
        fields = {"id": stage.id, **{name: getattr(stage, name) for name in usual if getattr(stage, name) != usual[name]}, **stage.params}
        stages.append({stage.code or stage.kind: fields})
    return {**data, "stages": stages}


def as_training(recipe: TrainRecipe) -> dict[str, Any]:
    """A training recipe in the form written by people: parses to the same networks on a node, which has the code beside the recipe in the
    job's folder."""
    data = recipe.model_dump(mode="json", by_alias=True, exclude_unset=True)
    folders, ids = dict(allowed()), {entry["id"] for entry in data.get("grid", ())}
    for train in (data["train"], *(entry["train"] for entry in data.get("grid", ()) if "train" in entry)):
        if train.get("folder") is not None and train["folder"] in folders.values():
            del train["folder"]  # that of the recipe, which nobody wrote
        if isinstance(init := train.get("init"), str) and init not in ids and not init.startswith("builtin:"):
            train["init"] = str(Path(init).absolute())
    return data


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
