"""A short campaign of random kills and faults, on this machine's disk and in a bucket behind a bad way; the long one is run by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "kills.py"


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("place", "kills"), [("local", 6), ("s3", 3)])
def test_a_study_killed_at_random_ends_in_the_undisturbed_bytes(tmp_path: Path, place: str, kills: int) -> None:
    command = [sys.executable, str(SCRIPT), "--place", place, "--kills", str(kills), "--worlds", "images", "--scratch", str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kills"] >= kills
    assert told["findings"] == []
