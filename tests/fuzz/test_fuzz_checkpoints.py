"""A short run of the checkpoint fuzzer, seeded; the long one is by hand: `python tests/fuzz/fuzz_checkpoints.py --trials 2000`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fuzz_checkpoints import fuzz


def test_damaged_and_malicious_checkpoints_end_in_the_right_weights_or_in_an_error_of_ours(tmp_path: Path) -> None:
    summary = fuzz(120, 7, tmp_path)
    assert summary["findings"] == []
    assert len(summary["kinds"]) > 8
    assert summary["counts"]["loaded"] > 5
    assert summary["counts"]["refused"] > 50
