"""`cd STUDY; xlli …` runs no file of STUDY, in this process and in workers, however Python was started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
STOLEN = ["numpy", "pyarrow", "duckdb", "typing", "json", "dataclasses", "yaml", "torch", "cyclopts", "pydantic", "rich", "ray", "psutil",
          "fsspec", "jinja2", "zarr", "PIL", "tempfile", "shutil", "ast", "platform", "toy_of_mine"]  # fmt: skip
PROGRAMS = {
    "python -m": ["-m", "xlli_ray"],
    "the installed script": ["-c", "import sys; sys.argv[0] = '/usr/bin/xlli'; from xlli_ray.__main__ import program; program()"],
}


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder that holds a file for each module that a program might want; each leaves a mark when it is run."""
    folder = tmp_path / "received"
    folder.mkdir()
    for name in STOLEN:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'marks')!r}, 'a').write({name!r} + ' ')\nraise SystemExit({name!r})\n")
    return folder


def call(program: str, words: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONSAFEPATH", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, *PROGRAMS[program], *words], cwd=cwd, capture_output=True, text=True, timeout=200, check=False,
        env={**clean, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


def marks(trap: Path) -> str:
    path = trap.parent / "marks"
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("path", [str(ROOT), f"{ROOT}:", f"{ROOT}:.", f"{ROOT}:../received"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_command_in_a_folder_runs_none_of_its_files(trap: Path, program: str, path: str) -> None:
    done = call(program, ["status", "."], trap, PYTHONPATH=path)
    assert marks(trap) == ""
    assert "StudyError" in done.stderr, done.stderr
    assert done.returncode == 1


def test_a_run_in_a_folder_runs_none_of_its_files_in_workers_either_and_finds_the_recipes_own_network(trap: Path) -> None:
    mine = trap.parent / "mine"
    mine.mkdir()
    Image.new("RGB", (16, 16), (90, 120, 60)).save(mine / "a.png")
    (mine / "toy_of_mine.py").write_text(
        "import torch\nfrom torch import nn\n\ndef make():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))\n"
    )
    (mine / "recipe.yaml").write_text(
        "name: x\ncorpus: {images: [a.png], scale: 2}\nmodels: [{id: a, network: 'toy_of_mine:make'}]\nstages: [{restore: {}}]\n"
        "baseline: false\n"
    )
    done = call("python -m", ["run", "../mine/recipe.yaml", "--out", ".", "--workers", "1", "--quiet"], trap)
    assert marks(trap) == ""
    assert done.returncode == 0, done.stderr
    assert "done: 1 of 1 unit " in done.stdout


def test_importing_the_package_leaves_the_callers_import_path_alone(trap: Path) -> None:
    code = "import sys; before = list(sys.path); import xlli_ray; assert sys.path == before and '' in before; print('same')"
    done = subprocess.run([sys.executable, "-c", code], cwd=trap.parent, capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60)  # fmt: skip
    assert done.stdout == "same\n", done.stderr
