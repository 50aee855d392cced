"""Small corpora, recipes over toy networks, and one Ray for the whole session."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from PIL import Image

from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import Summary, run_study
from xlli_ray.recipe import Recipe, load_recipe

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))  # `network: toy:small`, here and (through the driver's import path) in workers

QUIET = Options(workers=0, quiet=True)


def image(seed: int, height: int = 48, width: int = 48, *, light: float = 0.4) -> np.ndarray:
    """uint8 (H, W, 3): smooth random colours around a lightness."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(height // 4 + 2, width // 4 + 2, 3))
    fine = np.kron(coarse, np.ones((4, 4, 1)))[:height, :width]
    return np.clip((light + 0.08 * fine) * 255, 0, 255).astype(np.uint8)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Twelve images of two sizes; numbers 3 and 7 are bright."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(12):
        size = (48, 48) if i % 3 else (40, 56)
        Image.fromarray(image(i, *size, light=0.8 if i in (3, 7) else 0.4)).save(folder / f"{i:02d}.png")
    return folder


@pytest.fixture
def recipe(corpus: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """Writes and loads a recipe; keyword arguments replace its sections."""

    def make(network: str = "toy:small", **sections: Any) -> Recipe:
        args = sections.pop("args", {})
        data: dict[str, Any] = {
            "name": "toy",
            "baseline": False,  # counts of units and rows are of the toy networks
            "corpus": {"images": [f"{corpus}/*.png"], "scale": 2, "degradations": ["clean", {"noise": 20}]},
            "models": [{"id": "small", "network": network, "args": args}],
            "stages": [{"features": {"layers": ["head", "tail:input"] if network == "toy:small" else ["net.head"]}}, {"restore": {}}],
            "batch": {"features": 2, "restore": 2},
            **sections,
        }  # fmt: skip
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(data))
        return load_recipe(path)

    return make


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Summary]:
    """Runs in process into tmp_path/NAME."""

    def go(recipe: Recipe, name: str = "study", **options: Any) -> Summary:
        fields = {"workers": 0, "quiet": True, **options}
        return run_study(recipe, str(tmp_path / name), Options(**fields))

    return go


def edit_study(study: Path, change: Callable[[dict[str, Any]], None], *, sealed: bool = True) -> None:
    """Change what a study's document says, as nobody but an attacker or a bug would: sealed again, or as before there were seals."""
    from xlli_ray.store.records.seal import sealed_json

    for path in [*(study / "study").glob("*.json"), study / "study.json"]:
        document = json.loads(path.read_text())
        document.pop("seal", None)
        if not sealed:
            document["format"] = 1
        change(document)
        path.write_bytes(sealed_json(document, indent=1) if sealed else json.dumps(document).encode())


def digest(study: Path) -> dict[str, str]:
    """sha256 of every file that promise 1 speaks of: arrays, tables, samples, results."""
    out = {}
    for part in ("arrays.zarr", "tables", "samples", "results"):
        for path in sorted((study / part).rglob("*")):
            # a killed writer leaves a hidden `.x.partial` beside: no object of the study
            if path.is_file() and path.name != "index.json" and not path.name.startswith("."):
                out[str(path.relative_to(study))] = hashlib.sha256(path.read_bytes()).hexdigest()
    assert any(name.startswith("arrays.zarr") and "/c/" in name for name in out)
    return out


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One private Ray for all tests of the session: starting one takes seconds."""
    from xlli_ray.engine.pools import private_ray
    from xlli_ray.engine.pools.ray_pool import connect

    started = connect(None, cpus=2)
    yield
    if started:
        private_ray.stop()


@pytest.fixture
def head() -> Iterator[tuple[str, int]]:
    """Address and pid of a cluster of one node, started as an operator would, with a token."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        ray = Path(sys.executable).with_name("ray")
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "XLLI_TOY_SECONDS": "0.5"}
        with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as other:
            port, clients = one.getsockname()[1], other.getsockname()[1]
        command = [str(ray), "start", "--head", "--block", f"--port={port}", "--num-cpus=1", "--include-dashboard=false"]
        command += [f"--temp-dir={folder}", f"--ray-client-server-port={clients}", "--disable-usage-stats"]
        child = subprocess.Popen(
            command, env={**os.environ, **token}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            current = Path(folder) / "ray_current_cluster"
            until = time.monotonic() + 60
            while not current.exists() and child.poll() is None and time.monotonic() < until:
                time.sleep(0.1)
            yield current.read_text().strip(), child.pid
        finally:
            daemons = psutil.Process(child.pid).children(recursive=True)
            child.terminate()
            child.wait(30)
            for process in psutil.wait_procs(daemons, timeout=10)[1]:
                process.kill()
