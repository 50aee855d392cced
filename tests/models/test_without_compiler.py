"""Shapes of networks without PyTorch's compiler, which takes a second to load."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from xlli_ray.models.without_compiler import ALGEBRA, MARK, NAME, SYMBOLIC, without_compiler

PLANNED = """
import sys, torch
from torch import nn
from xlli_ray.models.without_compiler import without_compiler
network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.LeakyReLU(0.1, True), nn.Conv2d(8, 3, 3), nn.Upsample(scale_factor=2))
with without_compiler(), torch.no_grad(), torch.device("meta"):
    shape = tuple(network.to("meta")(torch.zeros(2, 3, 10, 12)).shape)
assert shape == (2, 3, 12, 16), shape
assert "torch._dynamo" not in sys.modules and "_dynamo" not in vars(torch), "the compiler was loaded"
assert "sympy" not in sys.modules, "so was algebra"
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


@pytest.fixture
def symbolic(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """As if the functions of sizes that are not known had not been loaded; they are what would be loaded."""
    real = importlib.import_module(SYMBOLIC)
    monkeypatch.delitem(sys.modules, SYMBOLIC)
    load = importlib.import_module
    monkeypatch.setattr("importlib.import_module", lambda name: real if name == SYMBOLIC else load(name))
    return real


KNOWN = [
    ("expect_true", (True,)), ("expect_true", (False,)), ("guard_bool", (False,)), ("guard_or_false", (True,)), ("guard_or_true", (False,)),
    ("statically_known_true", (False,)), ("is_nested_int", (3,)), ("sym_and", (True, False, True)), ("sym_and", (True,)),
    ("sym_or", (False, True)), ("sym_eq", (2, 2)), ("sym_eq", (2, 3)), ("sym_eq", ((1, 2), torch.Size([1, 2]))), ("sym_eq", ((1, 2), (1,))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args"), KNOWN)
def test_of_known_sizes_the_same_is_said_as_by_pytorch(name: str, args: tuple[object, ...], symbolic: ModuleType) -> None:
    with without_compiler():
        assert sys.modules[SYMBOLIC] is not symbolic
        said = getattr(sys.modules[SYMBOLIC], name)(*args)
        assert sys.modules[SYMBOLIC] is not symbolic
    assert said == getattr(symbolic, name)(*args)
    assert SYMBOLIC not in sys.modules


def test_a_function_that_was_kept_leaves_what_it_does_not_know_to_the_real_one(symbolic: ModuleType) -> None:
    with without_compiler():
        kept = sys.modules[SYMBOLIC].sym_eq
    assert kept((1, 2), (1, 2))
    with pytest.raises(AssertionError, match="unexpected sym_eq between"):
        kept(torch.zeros(2), 3)


def test_algebra_is_there_for_whoever_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, ALGEBRA, raising=False)
    with without_compiler():
        kept = sys.modules[ALGEBRA]
        none = kept.Basic
    assert not isinstance(1, none)
    assert issubclass(kept.Symbol, kept.Basic)
    assert kept.Basic is not none
