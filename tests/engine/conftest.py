"""Fixtures of the engine's tests; the helpers beside them are importable by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # toy networks and helpers, here and (through the import path) in workers

from helpers import corpus, head, ray_session, recipe, run  # noqa: F401
from ray_head import jobs_head  # noqa: F401
from toys_tried import once


@pytest.fixture(autouse=True, scope="session")
def _small_networks_are_tried_once() -> Iterator[None]:
    """Each plan tries its networks, which takes longer than all else in most studies here; what comes of `toy:small` is always the same."""
    from xlli_ray.engine.run import wanted_cells

    with pytest.MonkeyPatch.context() as patch:
        for name in ("manners_of", "remark_of"):
            patch.setattr(wanted_cells, name, once(getattr(wanted_cells, name)))
        yield
