"""For the tests of analyses: studies made by hand, with a `lam` stage whose truth is known."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "report"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

sys.path.append(str(Path(__file__).parents[1] / "engine"))

from helpers import corpus, recipe, run  # noqa: E402

__all__ = ["corpus", "recipe", "run"]


@pytest.fixture
def drawn() -> None:
    """Figures are drawn: for tests that look at them."""


@pytest.fixture(autouse=True)
def _figures_are_not_drawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure takes a tenth of a second, and its view says all that is in it. `test_contract` draws those of every analysis."""
    if "drawn" not in request.fixturenames and request.path.name != "test_contract.py":
        monkeypatch.setattr("xlli_ray.analyses.analysis.to_svg", lambda view: "<svg/>")


@pytest.fixture(autouse=True)
def _fewer_knots_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of what `alignment_summary` takes; the interval of a knot is tested where it is computed (`tests/stats`)."""
    monkeypatch.setattr("xlli_ray.analyses.alignment_summary.comparisons.RESAMPLES", 60)


@pytest.fixture(autouse=True)
def _embeddings_stop_early(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """`test_contract` asks that an embedding is there and the same again; `test_ddr` and `tests/stats` ask that it is a good one."""
    if request.path.name == "test_contract.py":
        from xlli_ray.stats.reduce import tsne

        monkeypatch.setattr("xlli_ray.analyses.ddr.embeddings.tsne", partial(tsne, iterations=40))
