"""Short runs of the fuzzers of corpora and of whole runs over malformed images; the long ones are scripts."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import fuzz_corpora
import fuzz_runs
import pytest


@pytest.mark.parametrize("trials", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_malformed_clips_videos_pairs_lists_and_motion_are_rows_or_errors_of_ours(trials: int) -> None:
    summary = fuzz_corpora.main(["--trials", str(trials), "--seed", "4"])
    assert summary["findings"] == []
    assert sum(count for outcome, count in summary["outcomes"].items() if "ran: " in outcome) >= 4
    assert len({outcome.split(":")[0] for outcome in summary["outcomes"]}) == len(fuzz_corpora.KINDS)


@pytest.mark.slow
def test_every_malformed_image_of_a_run_is_a_row_and_the_good_ones_keep_their_bytes() -> None:
    summary = fuzz_runs.main(["--files", "180", "--each", "60", "--seed", "2"])
    assert summary["findings"] == []
    for kind in fuzz_runs.KINDS:
        assert summary["counts"][f"{kind}: sample"] > fuzz_runs.GOOD
        assert summary["counts"][f"{kind}: rejected"] > 20
