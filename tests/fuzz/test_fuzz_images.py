"""A short run of the image fuzzer; the long one is a script."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import fuzz_images
import pytest


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about tags of damaged files
@pytest.mark.parametrize("trials", [250, pytest.param(2000, marks=pytest.mark.slow)])
def test_mutated_images_are_read_or_refused_with_a_reason(trials: int) -> None:
    summary = fuzz_images.main(["--trials", str(trials), "--seed", "3"])
    assert summary["findings"] == []
    assert summary["outcomes"]["read"] > 60
