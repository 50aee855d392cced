"""`docs/clusters/rayjob.yaml`: fields that KubeRay and Kubernetes know, the head kept off spot nodes, no secret in it.

The fields are those of the API reference of KubeRay 1.7 (docs.ray.io, "KubeRay CRD API reference"; authOptions since 1.5.1), as far as the
file uses them, and of Kubernetes' core/v1. Against the whole definition: tests/benchmarks/rayjob_schema.py --crd FILE.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from xlli_ray.engine.submit.job import Job
from xlli_ray.engine.submit.kuberay import Kube, rayjob

STRINGS = {"*": str}
QUANTITIES = {"*": (str, int)}
SELECTOR = {"key": str, "operator": ("In", "NotIn", "Exists", "DoesNotExist"), "values": [str]}
TERM = {"matchExpressions": [SELECTOR]}
AFFINITY = {"nodeAffinity": {
    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [TERM]},
    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": int, "preference": TERM}],
}}  # fmt: skip
CONTAINER = {
    "name": str, "image": str,
    "ports": [{"name": str, "containerPort": int}],
    "env": [{"name": str, "value": str}],
    "envFrom": [{"secretRef": {"name": str, "optional": bool}}],
    "resources": {"requests": QUANTITIES, "limits": QUANTITIES},
    "volumeMounts": [{"name": str, "mountPath": str, "readOnly": bool}],
}  # fmt: skip
POD = {
    "restartPolicy": ("Never", "OnFailure"), "affinity": AFFINITY, "containers": [CONTAINER], "serviceAccountName": str,
    "terminationGracePeriodSeconds": int,
    "tolerations": [{"key": str, "operator": ("Equal", "Exists"), "value": str, "effect": ("NoSchedule", "NoExecute", "PreferNoSchedule")}],
    "volumes": [{"name": str, "configMap": {"name": str, "items": [{"key": str, "path": str}]}}],
}  # fmt: skip
META = {"name": str, "namespace": str}
RAYJOB = {
    "apiVersion": ("ray.io/v1",), "kind": ("RayJob",), "metadata": META,
    "spec": {
        "entrypoint": str, "backoffLimit": int, "submissionMode": ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"),
        "shutdownAfterJobFinishes": bool, "ttlSecondsAfterFinished": int, "submitterPodTemplate": {"spec": POD},
        "rayClusterSpec": {
            "rayVersion": str, "authOptions": {"mode": ("token", "disabled")}, "enableInTreeAutoscaling": bool,
            "autoscalerOptions": {"upscalingMode": ("Default", "Aggressive", "Conservative"), "idleTimeoutSeconds": int},
            "headGroupSpec": {"rayStartParams": STRINGS, "template": {"spec": POD}},
            "workerGroupSpecs": [{
                "groupName": str, "minReplicas": int, "maxReplicas": int, "rayStartParams": STRINGS, "template": {"spec": POD},
            }],
        },
    },
}  # fmt: skip
CONFIG = {"apiVersion": ("v1",), "kind": ("ConfigMap",), "metadata": META, "data": STRINGS}
"""Field → its type, the values it takes, the fields below it, or [what each entry is]; `*`: any name."""


def unknown(value: object, known: Any, at: str = "") -> list[str]:
    """Where `value` has a field or a type that is not known."""
    if isinstance(known, dict):
        if not isinstance(value, dict):
            return [f"{at}: no mapping"]
        strangers = [f"{at}.{name}: unknown" for name in value if name not in known and "*" not in known]
        below = [unknown(one, known.get(name, known.get("*")), f"{at}.{name}") for name, one in value.items() if known.keys() & {name, "*"}]
        return [*strangers, *(one for found in below for one in found)]
    if isinstance(known, list):
        if not isinstance(value, list):
            return [f"{at}: no list"]
        return [one for number, entry in enumerate(value) for one in unknown(entry, known[0], f"{at}[{number}]")]
    if isinstance(known, tuple) and all(isinstance(one, str) for one in known):
        return [] if value in known else [f"{at}: {value!r} is none of {known}"]
    types = known if isinstance(known, tuple) else (known,)
    return [] if type(value) in types else [f"{at}: {type(value).__name__}"]


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    return (root / "docs/clusters/rayjob.yaml").read_text()


@pytest.fixture(scope="module")
def documents(text: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("name", ["rayjob.yaml", "slurm.sbatch", "slurm-array.sbatch"])
def test_what_is_submitted_is_the_file_in_the_docs(root: Path, name: str) -> None:
    assert (root / "xlli_ray/engine/submit/templates" / name).read_bytes() == (root / "docs/clusters" / name).read_bytes()


def test_kuberay_knows_every_field_of_the_file_and_of_what_is_made_of_it(documents: list[dict[str, Any]], recipe: Any) -> None:
    made = rayjob(Job(recipe(), "s3://b/x"), Kube("reg/xlli:1", workers_max=2, namespace="lab"), "xlli-toy")
    for config, ray in (documents, made):
        assert unknown(config, CONFIG) == []
        assert unknown(ray, RAYJOB) == []
    assert unknown({**documents[1], "spec": {"backofLimit": "3"}}, RAYJOB) == [".spec.backofLimit: unknown"]
    assert unknown({"spec": {"backoffLimit": "3", "submissionMode": "x"}}, RAYJOB) != []


def test_the_head_computes_nothing_and_is_kept_off_spot_nodes_which_workers_tolerate(documents: list[dict[str, Any]]) -> None:
    spec = documents[1]["spec"]
    head, worker = (spec["rayClusterSpec"][name] for name in ("headGroupSpec", "workerGroupSpecs"))
    assert head["rayStartParams"]["num-cpus"] == "0"
    for pod in (head["template"]["spec"], spec["submitterPodTemplate"]["spec"]):
        (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        assert {one["operator"] for one in term["matchExpressions"]} == {"NotIn"}
        assert "tolerations" not in pod
    kept = {one["key"] for one in term["matchExpressions"]}
    pod = worker[0]["template"]["spec"]
    wanted = pod["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert {one["preference"]["matchExpressions"][0]["key"] for one in wanted} == kept
    assert pod["tolerations"]


def test_a_lost_driver_is_tried_again_and_the_cluster_ends_with_the_job(documents: list[dict[str, Any]]) -> None:
    spec = documents[1]["spec"]
    assert spec["backoffLimit"] >= 10
    assert spec["shutdownAfterJobFinishes"] is True
    assert re.match(r"xlli run /etc/xlli/recipe\.yaml --address auto --out s3://", spec["entrypoint"])


def test_the_recipe_is_where_the_entrypoint_looks_for_it_on_head_and_workers(documents: list[dict[str, Any]]) -> None:
    config, ray = documents
    cluster = ray["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["volumes"] == [{"name": "recipe", "configMap": {"name": config["metadata"]["name"]}}]
        assert pod["containers"][0]["volumeMounts"] == [{"name": "recipe", "mountPath": "/etc/xlli", "readOnly": True}]


def test_a_token_is_asked_for_and_no_secret_stands_in_the_file(text: str, documents: list[dict[str, Any]]) -> None:
    assert documents[1]["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert {one["kind"] for one in documents} == {"ConfigMap", "RayJob"}
    said = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert not re.search(r"RAY_AUTH_TOKEN|AKIA|ACCESS_KEY|password", said)


@pytest.mark.parametrize("name", ["slurm.sbatch", "slurm-array.sbatch"])
def test_the_batch_scripts_end_nobodys_ray_hear_sigterm_and_come_back(root: Path, name: str) -> None:
    import shutil
    import subprocess

    path = root / "docs/clusters" / name
    lines = path.read_text().splitlines()
    commands = [line.partition(" #")[0] for line in lines if not line.lstrip().startswith("#")]
    assert not any(re.search(r"\bray stop\b|symmetric-run|pkill|killall", line) for line in commands)
    assert any(re.fullmatch(r"#SBATCH --signal=B:TERM@\d+", line) for line in lines)
    assert "#SBATCH --requeue" in lines
    (again,) = [line for line in commands if "scontrol requeue" in line]
    assert "= RUNNING ] && scontrol requeue" in again, "a task that was cancelled had come back: SIGTERM came, and the script asked for it"
    assert not any("0.0.0.0" in line for line in commands)
    if bash := shutil.which("bash"):
        assert subprocess.run([bash, "-n", str(path)], capture_output=True, check=False).stderr == b""
