"""Shapes of networks without PyTorch's compiler, which takes a second to load."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from xlli_ray.models.without_compiler import MARK, NAME, without_compiler

PLANNED = """
import sys, torch
from torch import nn
from xlli_ray.models.without_compiler import without_compiler
network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.LeakyReLU(0.1, True), nn.Conv2d(8, 3, 3), nn.Upsample(scale_factor=2))
with without_compiler(), torch.no_grad(), torch.device("meta"):
    shape = tuple(network.to("meta")(torch.zeros(2, 3, 10, 12)).shape)
assert shape == (2, 3, 12, 16), shape
assert "torch._dynamo" not in sys.modules and "_dynamo" not in vars(torch), "the compiler was loaded"
"""


def test_shapes_load_no_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", PLANNED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """As if the compiler had not been loaded; it is what would be loaded."""
    real = ModuleType(NAME)
    real.config = "real"  # type: ignore[attr-defined]
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    monkeypatch.setitem(vars(torch), "_dynamo", None)  # asking for the attribute would load it
    monkeypatch.setattr("importlib.import_module", lambda name: real)
    return real


@pytest.mark.usefixtures("unloaded")
def test_a_marked_function_is_unmarked_afterwards() -> None:
    function = torch._compile._disable_dynamo(lambda x: x + 1)
    with without_compiler():
        assert function(1) == 2
        assert hasattr(function.__wrapped__, MARK)
    assert not hasattr(function.__wrapped__, MARK)
    assert NAME not in sys.modules


def test_whoever_asks_for_more_gets_the_real_one(unloaded: ModuleType) -> None:
    with without_compiler():
        stand_in = sys.modules[NAME]
        assert stand_in is not unloaded
        assert stand_in.config == "real"
        assert NAME not in sys.modules


def test_a_loaded_compiler_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = ModuleType(NAME)
    monkeypatch.setitem(sys.modules, NAME, loaded)
    with without_compiler():
        assert sys.modules[NAME] is loaded
    assert sys.modules[NAME] is loaded


def test_an_error_within_passes_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    with pytest.raises(RuntimeError, match="broadcast"), without_compiler(), without_compiler(), torch.device("meta"):
        nn.Identity()(torch.zeros(2)) + torch.zeros(3)
    assert NAME not in sys.modules
