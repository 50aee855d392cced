"""A driver on a cluster is lost, and another takes its place: what KubeRay's `backoffLimit` and a requeued batch job do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from helpers import digest
from ray_head import Head

from xlli_ray.recipe import Recipe
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records.lease import last_epoch

Make = Callable[..., Recipe]


SLOW = """
import time
import toy

class Slow(toy.Small):
    def forward(self, x):
        if x.device.type != "meta":
            time.sleep(0.4)
        return super().forward(x)

def small():
    return Slow()
"""


def written(recipe: Make, folder: Path) -> dict[str, object]:
    """The toy recipe with the slow network."""
    recipe()
    document: dict[str, object] = yaml.safe_load((folder / "recipe.yaml").read_text().replace("toy:small", "slow_toy:small"))
    return document


def start(jobs_head: Head, recipe: Path, study: Path) -> subprocess.Popen[str]:
    """A driver on the cluster's node, in a session of its own."""
    command = [sys.executable, "-m", "xlli_ray", "run", str(recipe), "--out", str(study), "--address", jobs_head.address, "--quiet"]
    return subprocess.Popen(
        command, env=jobs_head.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def units(study: Path) -> set[str]:
    return {path.name for path in study.glob("records/**/*.arrow") if "scan-" not in str(path)}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("jobs_head", ["token", "disabled"], indirect=True)
def test_a_second_driver_takes_the_study_of_a_killed_one_over_on_the_same_cluster(
    jobs_head: Head, recipe: Make, tmp_path: Path
) -> None:
    """SIGKILL, as when its pod goes: the lease has no end, and the actors of the first may still be writing."""
    (tmp_path / "slow_toy.py").write_text(SLOW)
    stages = [{"features": {"layers": ["head"]}}, {"restore": {}}]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**written(recipe, tmp_path), "stages": stages}))
    study, path = tmp_path / "study", tmp_path / "recipe.yaml"
    first = start(jobs_head, path, study)
    until = time.monotonic() + 240
    while len(units(study)) < 3:
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.2)
    first.kill()
    first.communicate()
    kept = units(study)
    second = start(jobs_head, path, study)
    said, _ = second.communicate(timeout=400)
    assert second.returncode == 0, said
    assert last_epoch(open_objects(study)) == 2, "taken over without --takeover"
    assert kept <= units(study), "what the first recorded is kept"
    assert jobs_head.xlli("run", str(path), "--out", str(tmp_path / "calm"), "--workers", "0").returncode == 0
    assert digest(study) == digest(tmp_path / "calm")
    verified = jobs_head.xlli("verify", str(study))
    assert verified.returncode == 0, verified.stdout
