"""A short run of the recipe fuzzer; the long one is a script."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import fuzz_recipes


def test_mutated_recipes_end_in_a_plan_or_in_an_error_of_ours() -> None:
    summary = fuzz_recipes.main(["--trials", "48", "--seed", "7"])
    assert summary["findings"] == []
    assert summary["outcomes"]["planned"] >= 8, "most recipes of the package plan as they stand, over two images"
    assert summary["outcomes"]["refused: RecipeError"] >= 8
    assert not any(outcome.startswith("no word") for outcome in summary["outcomes"])
