"""A study on Kubernetes: a RayJob of KubeRay made from the shipped file, applied with kubectl; `kuberay:NAMESPACE/NAME` names it.

The recipe, resolved, and the code beside it go into a ConfigMap, which head and workers mount. The cluster comes with the job and goes with
it; a driver that is lost is started again on a new cluster and goes on from the records (docs/recovery.md).
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from xlli_ray.engine.pools.slots import room_on
from xlli_ray.engine.submit.job import Job
from xlli_ray.engine.submit.programs import ask
from xlli_ray.engine.submit.sent_recipe import files_of
from xlli_ray.engine.submit.templates import template
from xlli_ray.errors import EnvironmentFailure, RecipeError

FORM = "kuberay:"
WHERE = "Install it and point it at the cluster (`kubectl get rayjobs` answers), or print what it would apply: --dry-run"
FOLDER = "/etc/xlli"
FILE = "rayjob.yaml"
CONFIG_BYTES = 900 << 10
"""A ConfigMap holds 1 MiB."""
NAME_LENGTH = 40
"""KubeRay takes 47 characters, since it adds its own to them."""


@dataclass(frozen=True)
class Kube:
    """Choices beside the file's; None leaves them to it."""

    image: str | None = None
    workers_max: int | None = None
    """Worker pods at most."""
    namespace: str = "default"
    template: Path | None = None


def submit_rayjob(job: Job, kube: Kube, *, dry: bool = False) -> str:
    """Apply it and return its name; `dry`: the manifest instead. Raises EnvironmentFailure, PlanError, RecipeError, StudyError."""
    job.check()
    if kube.image is None and kube.template is None:
        raise RecipeError("--kind kuberay needs --image: one with xlli_ray and Ray; docs/clusters/rayjob.yaml says how to make it")
    name = f"{re.sub('[^a-z0-9]+', '-', job.recipe.name.lower()).strip('-')[: NAME_LENGTH - 12] or 'study'}-{secrets.token_hex(3)}"
    manifest = yaml.dump_all(rayjob(job, kube, f"xlli-{name}"), Dumper=_Dumper, sort_keys=False, width=140)
    if dry:
        return manifest
    ask(["kubectl", "apply", "--filename=-"], WHERE, text=manifest)
    return f"{FORM}{kube.namespace}/xlli-{name}"


def rayjob(job: Job, kube: Kube, name: str) -> list[dict[str, Any]]:
    """The documents of the file, filled in: ConfigMap, RayJob, and what else it has. Raises RecipeError."""
    path = template(FILE, kube.template)
    try:
        documents = [one for one in yaml.safe_load_all(path.read_text()) if one]
        kinds = [one["kind"] for one in documents]
        config, ray = documents[kinds.index("ConfigMap")], documents[kinds.index("RayJob")]
        workers = ray["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
        files = files_of(job.recipe, CONFIG_BYTES)
        keys = {place: place if "/" not in place else f"file-{number}" for number, place in enumerate(files)}
        config["data"] = {keys[place]: content.decode() for place, content in files.items()}
        for one in (config, ray):
            one["metadata"] |= {"name": name, "namespace": kube.namespace}
        if kube.workers_max is not None:
            workers["maxReplicas"] = kube.workers_max
            workers["minReplicas"] = min(workers.get("minReplicas", 0), kube.workers_max)
        if job.workers is None:
            job = replace(job, workers=max(1, _room(workers, job)))
        ray["spec"]["entrypoint"] = shlex.join(job.command(f"{FOLDER}/recipe.yaml"))
        ray["spec"]["rayClusterSpec"]["rayVersion"] = version("ray")
        for pod in _pods(ray["spec"]):
            if kube.image is not None:
                pod["containers"][0]["image"] = kube.image
            for volume in pod.get("volumes", ()):
                if volume["name"] == "recipe":
                    volume["configMap"] = {"name": name, "items": [{"key": key, "path": place} for place, key in keys.items()]}
    except RecipeError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, yaml.YAMLError) as error:
        raise RecipeError(f"--template {path}: not a ConfigMap and a RayJob like docs/clusters/rayjob.yaml ({error!r})") from error
    return [_plain(one) for one in documents]


class _Dumper(yaml.SafeDumper):
    """Text of several lines as such, for people."""


_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)
)


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    """Without shared parts, which YAML would write as anchors."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    return copy


def _pods(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The pods' specs, of head, workers and submitter."""
    cluster = spec["rayClusterSpec"]
    yield cluster["headGroupSpec"]["template"]["spec"]
    for group in cluster["workerGroupSpecs"]:
        yield group["template"]["spec"]
    if "submitterPodTemplate" in spec:
        yield spec["submitterPodTemplate"]["spec"]


def _room(group: dict[str, Any], job: Job) -> int:
    """Workers that fit in all pods that there may be."""
    limits = group["template"]["spec"]["containers"][0]["resources"]
    limits = limits.get("requests", {}) | limits.get("limits", {})
    have = {"CPU": _quantity(limits["cpu"]), "GPU": _quantity(limits.get("nvidia.com/gpu", 0))}
    room = room_on(have, threads=job.threads, gpus=job.gpus_per_worker)
    if not room:
        raise RecipeError(
            f"no worker of {job.threads} threads and {job.gpus_per_worker:g} GPUs fits in a pod of {have['CPU']:g} CPUs and "
            f"{have['GPU']:g} GPUs: write a copy of docs/clusters/rayjob.yaml with larger ones and give it as --template"
        )
    return room * int(group["maxReplicas"])


def _quantity(text: object) -> float:
    """Of Kubernetes: `2`, `"2"`, `500m`."""
    said = str(text)
    return float(said[:-1]) / 1000 if said.endswith("m") else float(said)


def _split(name: str) -> tuple[str, str]:
    namespace, slash, job = name.removeprefix(FORM).partition("/")
    if not all(re.fullmatch("[a-z0-9]([-a-z0-9.]*[a-z0-9])?", one) for one in (namespace, job)) or not slash:
        raise RecipeError(f"{name!r} is not a job: write kuberay:NAMESPACE/NAME, as `xlli submit` printed it")
    return namespace, job


def rayjob_status(name: str) -> str:
    """`RUNNING: Running, 1 try failed`: of the job, its deployment, its tries, and what KubeRay says."""
    namespace, job = _split(name)
    try:
        text = ask(["kubectl", "get", f"rayjob/{job}", f"--namespace={namespace}", "--output=json"], WHERE)
    except EnvironmentFailure as error:
        if "(NotFound)" in str(error):
            return "ENDED: it is no longer there; `xlli status STUDY` says what is done"
        raise
    try:
        state: dict[str, Any] = json.loads(text).get("status") or {}
    except (ValueError, AttributeError) as error:
        raise EnvironmentFailure(71, f"kubectl gave no RayJob but {text[:200]!r}") from error
    failed = int(state.get("failed") or 0)
    parts = [state.get("jobDeploymentStatus") or "", f"{failed} {'try' if failed == 1 else 'tries'} failed" if failed else ""]
    more = ", ".join(part for part in [*parts, state.get("reason") or "", state.get("message") or ""] if part)
    return f"{state.get('jobStatus') or 'PENDING'}: {more}".rstrip(": ")


def stop_rayjob(name: str) -> str:
    """Delete the job with its cluster, and its recipe; finished work is kept. A driver that is killed so leaves its lease, which the next
    run takes over."""
    namespace, job = _split(name)
    asked = ["kubectl", "delete", f"rayjob/{job}", f"configmap/{job}", f"--namespace={namespace}", "--ignore-not-found", "--wait=false"]
    return "stopping; finished work is kept" if f'"{job}"' in ask(asked, WHERE) else "it had already ended and was removed"
