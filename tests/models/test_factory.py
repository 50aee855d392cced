"""A user's own file: found beside the recipe, imports its neighbours, and whatever it raises is said and is no traceback."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xlli_ray.errors import ForwardError, NetworkError
from xlli_ray.models import ModelSpec, load_model
from xlli_ray.models.factory import find_factory, make
from xlli_ray.models.model import Model

FILE = """
from torch import nn
import blocks

VERSION = {version}

def make(width=3, **more):
    import late                     # a neighbour that is imported when the factory is called
    net = nn.Conv2d(3, width, 3, padding=1)
    net.said = blocks.SAID + late.SAID
    return net
"""


@pytest.fixture(autouse=True)
def _no_neighbours_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package's neighbours stay imported, and would be found by the next test of this process."""
    for name in ("blocks", "late"):
        monkeypatch.setitem(sys.modules, name, sys)  # so that what the test imports goes with it
        del sys.modules[name]


def folder(at: Path, said: str, *, name: str = "mine", version: object = 1) -> Path:
    at.mkdir()
    (at / f"{name}.py").write_text(FILE.format(version=version))
    (at / "blocks.py").write_text(f"SAID = {said!r}")
    (at / "late.py").write_text(f"SAID = {said.upper()!r}")
    return at


def said(network: str, place: Path | None) -> str:
    return make(find_factory(network, None if place is None else str(place)), {}).module.said  # type: ignore[return-value]


@pytest.mark.parametrize("network", ["mine.py:make", "./mine.py:make", "mine:make"])
def test_a_factory_beside_the_recipe_is_found_first_and_imports_its_neighbours(
    network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, here = folder(tmp_path / "recipe", "a"), folder(tmp_path / "here", "b")
    monkeypatch.chdir(here)
    assert said(network, beside) == "aA"
    assert said(network, None) == "bB"  # then the current folder
    assert said(network, beside) == "aA"  # neighbours of one name in two folders are two modules
    assert said(network, tmp_path) == "bB"
    assert find_factory(network, str(beside)).folder == str(beside)


def test_the_import_path_is_as_before_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside, before = folder(tmp_path / "recipe", "a"), list(sys.path)
    monkeypatch.chdir(tmp_path)
    said("mine:make", beside)
    with pytest.raises(NetworkError):
        find_factory("broken:make", str(beside))
    assert sys.path == before


def test_packages_and_files_of_any_name_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "nets", "p")
    (tmp_path / "nets/__init__.py").touch()
    inner = "from nets.blocks import SAID\nfrom torch import nn\ndef make():\n    return nn.Conv2d(3, 3, 1)"
    (tmp_path / "nets/inner.py").write_text(inner)
    assert isinstance(make(find_factory("nets.inner:make", str(tmp_path)), {}).module, nn.Conv2d)
    folder(tmp_path / "odd", "o", name="my-net.v2")
    assert said("odd/my-net.v2.py:make", tmp_path) == "oO"
    folder(tmp_path / "clash", "c", name="json")  # a module of that name is imported already
    assert said("clash/json.py:make", tmp_path) == "cC"
    import json

    assert json.loads("1") == 1


def test_an_installed_factory_is_found_last(tmp_path: Path) -> None:
    found = find_factory("torch.nn:Identity", str(tmp_path))
    assert (found.call, found.folder) == (nn.Identity, "")


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package `installed_nets`, and a current folder that holds one under its name. Gives the mark that running it leaves."""
    folder(tmp_path / "site", "i", name="installed_nets")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    received = tmp_path / "received"
    received.mkdir()
    mark = tmp_path / "mark"
    (received / "installed_nets.py").write_text(f"open({str(mark)!r}, 'w').close()\nfrom torch import nn\nmake = nn.Identity\n")
    monkeypatch.chdir(received)
    return mark


@pytest.mark.parametrize("place", [None, ""])
def test_a_file_in_the_current_folder_does_not_pass_for_an_installed_package(place: str | None, hostile: Path) -> None:
    assert find_factory("installed_nets:make", place).folder == ""
    assert not hostile.exists()


def test_a_studys_model_of_a_package_that_is_gone_is_not_looked_for_in_the_current_folder(
    hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if not path.endswith("/site")])
    sys.modules.pop("installed_nets", None)
    with pytest.raises(NetworkError, match=r"No module named 'installed_nets'\. It was looked for among installed packages"):
        find_factory("installed_nets:make", "")
    with pytest.raises(NetworkError, match=r"no file installed_nets\.py; it was looked for in no folder"):
        find_factory("installed_nets.py:make", "")
    assert not hostile.exists()


def test_the_error_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = folder(tmp_path / "recipe", "a")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NetworkError, match=rf"looked for as my_edsr\.py in {beside} and {tmp_path}, and among installed"):
        find_factory("my_edsr:make", str(beside))
    with pytest.raises(NetworkError, match=rf"no file my_edsr\.py; it was looked for in {beside} and {tmp_path}"):
        find_factory("my_edsr.py:make", str(beside))
    (beside / "needy.py").write_text("import not_installed_anywhere")
    with pytest.raises(NetworkError, match=r"imports a missing module: ModuleNotFoundError: .*'not_installed_anywhere'"):
        find_factory("needy:make", str(beside))
    (beside / "quits.py").write_text("import sys\nsys.exit('I quit')")
    with pytest.raises(NetworkError, match="cannot be imported: SystemExit: I quit"):
        find_factory("quits.py:make", str(beside))


def test_a_version_that_is_no_number_is_refused_not_taken_for_1(tmp_path: Path) -> None:
    beside = folder(tmp_path / "recipe", "a", version="'2'")
    with pytest.raises(NetworkError, match=r"VERSION in .*mine\.py is '2'; expected an integer"):
        find_factory("mine.py:make", str(beside))


def test_arguments_that_it_does_not_take_are_answered_with_those_that_it_does() -> None:
    with pytest.raises(NetworkError, match=r"upscaler\(depth=3\) raised TypeError.*it takes \(channels.*width.*scale"):
        load_model(ModelSpec("mine", network="toy_networks:upscaler", args={"depth": 3}), {})


# -- what it raises and gives -------------------------------------------------------------------------------------------


class Odd(BaseException):
    """Not even an Exception."""


@pytest.mark.parametrize(
    "error", [AssertionError("too dark"), KeyError("x"), SystemExit(4), Odd("?"), NotImplementedError(), ZeroDivisionError()]
)
def test_whatever_a_network_raises_names_model_and_size(error: BaseException) -> None:
    from toy_networks import Function, as_model

    def raising(x: Tensor) -> Tensor:
        if x.sum() > 0:
            raise error
        return x

    model = as_model(Function(raising))
    assert model.forward(torch.zeros(1, 3, 4, 4)).shape == (1, 3, 4, 4)
    name = type(error).__name__
    with pytest.raises(ForwardError, match=rf"model 'toy' \(toy_networks:toy\) raised {name} for an input of 2×3×5×6: ") as caught:
        model.forward(torch.ones(2, 3, 5, 6))
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("GPU"), RuntimeError("DefaultCPUAllocator: can't allocate memory"),
                                   KeyboardInterrupt()])  # fmt: skip
def test_memory_that_ran_out_and_an_interrupt_are_no_fault_of_the_network(error: BaseException) -> None:
    from toy_networks import Function, as_model

    def raising(x: Tensor) -> Tensor:
        raise error

    with pytest.raises(type(error)) as caught:
        as_model(Function(raising)).forward(torch.zeros(1, 3, 4, 4))
    assert caught.value is error


@pytest.mark.parametrize(
    ("give", "words"),
    [
        (lambda x: (x, x), "got a tuple"),
        (lambda x: {"out": x}, "got a dict"),
        (lambda x: x[:, :2], r"expected output \(1, 3, 4, 4\), got \(1, 2, 4, 4\)"),
        (lambda x: (255 * x).byte(), "returned torch.uint8; expected floating point"),
        (lambda x: x.numpy(), "got a ndarray"),
        (lambda x: None, "got a NoneType"),
    ],
)
def test_an_output_that_is_no_image_is_named(give: Any, words: str) -> None:
    from toy_networks import Function, as_model

    with pytest.raises(NetworkError, match=rf"model 'toy' \(toy_networks:toy\) .*{words}"):
        as_model(Function(give)).forward(torch.zeros(1, 3, 4, 4))


# -- dtypes -------------------------------------------------------------------------------------------------------------


def loaded(network: str, **args: Any) -> Model:
    return load_model(ModelSpec("mine", network=f"toy_networks:{network}", args=args), {})


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_a_network_in_another_precision_is_computed_in_float32_and_it_is_said(dtype: str) -> None:
    model = loaded("in_precision", dtype=dtype)
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    assert model.notes == (f"weights in {dtype} are computed in float32",)
    assert model.forward(torch.rand(1, 3, 8, 8)).dtype == torch.float32


def test_a_network_that_turns_its_input_into_bfloat16_itself_runs_in_it_and_gives_float32() -> None:
    model = loaded("casting")
    assert {p.dtype for p in model.module.parameters()} == {torch.bfloat16}
    assert model.notes == ("computed in bfloat16, as the network does itself; its output becomes float32",)
    assert model.forward(torch.rand(1, 3, 8, 8)).dtype == torch.float32


def test_a_file_of_the_current_folder_does_not_stand_in_for_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One may stand in a study of a stranger's."""
    installed, here = folder(tmp_path / "installed", "i", name="some_package"), folder(tmp_path / "here", "h", name="some_package")
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.chdir(here)
    (tmp_path / "recipe").mkdir()
    found = find_factory("some_package:make", str(tmp_path / "recipe"))
    assert (found.folder, Path(found.call.__code__.co_filename).parent) == ("", installed)
    sys.modules.pop("some_package")
