"""Short trainings to interrupt: a recipe with a sweep, its command as a process of its own, and what it must end with."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from PIL import Image

from xlli_ray.engine.options import Options
from xlli_ray.engine.run.training_runner import Summary, train_recipe
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.tables.trainings import read_trainings, state

HERE = Options(workers=0, quiet=True)


def write_recipe(folder: Path, *, sweep: dict[str, Any] | None = None, iterations: int = 30, **changes: Any) -> Path:
    """A recipe over four images of waves: 8 × 4 features, and a checkpoint every five iterations."""
    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    for index in range(4):
        rng = np.random.default_rng(index)
        blocks = rng.integers(0, 255, (24, 32, 3)).repeat(4, 0).repeat(4, 1)
        Image.fromarray(blocks.astype(np.uint8)).save(photos / f"{index}.png")
    content = {
        "name": "tiny",
        "corpus": {"images": [f"{photos}/*.png"], "degradations": ["clean", {"noise": 20}]},
        "train": {"network": "srresnet", "args": {"width": 4, "blocks": 1}, "iterations": iterations, "batch": 2, "crop": 32,
                  "checkpoint_every": 5},
        **({"sweep": sweep} if sweep else {}),
        **changes,
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def run_here(recipe: Path, out: str) -> Summary:
    return train_recipe(recipe, out, options=HERE)


def launch(recipe: Path, out: str, *, workers: int) -> subprocess.Popen[bytes]:
    """`xlli train` as a process of its own."""
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "xlli_ray", "train", str(recipe), "--out", out, "--workers", str(workers), "--quiet"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def weights(out: str) -> dict[str, str]:
    """Id of each network of the study → sha256 of its weights' file."""
    objects = open_objects(out)
    trainings = read_trainings(objects)
    assert trainings is not None
    return {one.id: hashlib.sha256(objects.get(f"{one.id}/weights.safetensors")).hexdigest() for one in trainings.networks}


def standing(out: str) -> dict[str, Any]:
    """What `xlli status --json` says; of a folder in which nothing stands yet: no network."""
    objects = open_objects(out)
    trainings = read_trainings(objects)
    return state(objects, trainings) if trainings is not None else {"done": 0, "trainings": [], "running": None}


def until(holds: Callable[[], bool], driver: subprocess.Popen[bytes], *, seconds: float = 240.0) -> None:
    """Wait; the driver must live meanwhile."""
    end = time.monotonic() + seconds
    while not holds():
        assert driver.poll() is None, driver.communicate()[1].decode()
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def actors(driver: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The driver's worker processes."""
    found = []
    for process in psutil.Process(driver.pid).children(recursive=True):
        try:
            if process.cmdline() and process.cmdline()[0].startswith("ray::_Actor"):
                found.append(process)
        except psutil.Error:
            continue
    return found


def kill_all(driver: subprocess.Popen[bytes]) -> None:
    """The driver first, as `kill -9` would; then what is left of its private Ray, which the next run must not meet."""
    family = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    driver.wait()
    for process in family:
        try:
            process.kill()
        except psutil.Error:
            continue


def break_twelve(recipe: Path, out: str) -> None:
    """Twelve networks on two workers; a worker is killed, and then the driver; the same command ends it. `status` is right all along."""
    driver = launch(recipe, out, workers=2)
    try:
        until(lambda: any(one["iteration"] for one in standing(out)["trainings"]), driver)
        until(lambda: len(actors(driver)) == 2, driver)
        actors(driver)[0].kill()
        until(lambda: standing(out)["done"] >= 3, driver)
        now = standing(out)
        assert now["running"]["pid"] == driver.pid
        assert len(now["trainings"]) == 12
        assert 3 <= now["done"] < 12
    finally:
        kill_all(driver)
    left = standing(out)
    assert left["running"] is None
    assert left["done"] < 12
    again = launch(recipe, out, workers=2)
    assert again.wait(timeout=600) == 0, again.communicate()[1].decode()
    ended = standing(out)
    assert ended["done"] == 12
    assert {one["state"] for one in ended["trainings"]} == {"finished"}
