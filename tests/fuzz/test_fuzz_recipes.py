"""A short run of the recipe fuzzer; the long one is a script."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import fuzz_recipes


def test_mutated_recipes_end_in_a_plan_or_in_an_error_of_ours() -> None:
    summary = fuzz_recipes.main(["--first", "44", "--trials", "40", "--seed", "7"])
    assert summary["findings"] == []
    assert summary["outcomes"]["planned"] >= 4, "recipes as they stand and some that were changed, over two images"
    assert summary["outcomes"]["refused: RecipeError"] >= 8
    assert not any(outcome.startswith("no word") for outcome in summary["outcomes"])
