"""For the tests of analyses: studies made by hand, with a `lam` stage whose truth is known."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "report"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

sys.path.append(str(Path(__file__).parents[1] / "engine"))

from helpers import corpus, recipe, run  # noqa: E402

__all__ = ["corpus", "recipe", "run"]
