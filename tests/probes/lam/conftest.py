"""For the tests of LAM: `lam_models` can be imported by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch import nn

if str(Path(__file__).parent) not in sys.path:
    sys.path.append(str(Path(__file__).parent))

from lam_models import Pooled, as_model, convolutions

from xlli_ray.models.model import Model


@pytest.fixture(params=["convolutions", "identity", "pooled"])
def toy_model(request: pytest.FixtureRequest) -> Model:
    """Three kinds of network: a finite reach, none at all, and the whole image."""
    return as_model({"convolutions": convolutions, "identity": nn.Identity, "pooled": Pooled}[request.param]())


@pytest.fixture
def toy_identity() -> Model:
    return as_model(nn.Identity())
