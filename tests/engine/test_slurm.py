"""Both batch scripts on a real SLURM of two nodes, where its programs are installed: tests/benchmarks/slurm.py, as a test."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def loaded(root: Path) -> ModuleType:
    """The benchmark, as a module."""
    spec = importlib.util.spec_from_file_location("slurm_benchmark", root / "tests/benchmarks/slurm.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_requeued_stopped_and_lost_jobs_give_the_bytes_of_an_undisturbed_local_run(root: Path) -> None:
    slurm = loaded(root)
    if why := slurm.missing():
        pytest.skip(why)
    said: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="xlli-slurm-") as folder:  # below it are sockets, whose names are short
        slurm.measure(Path(folder), ["ray", "array", "stop"], said.append)
    assert [line for line in said if not line["good"]] == []
