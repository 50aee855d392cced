"""Methods of `lam` in its stage: wide passes, tables, identities, what is refused, and a method of one's own, that of the docs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lam_models import Pooled, as_model, convolutions
from torch import Tensor, nn

import xlli_ray
from xlli_ray import user_code
from xlli_ray.errors import RecipeError
from xlli_ray.models.model import Model
from xlli_ray.probes.lam import square_passes, wide_passes
from xlli_ray.probes.lam.forward_timing import ForwardTime
from xlli_ray.probes.lam.method_choices import method_of
from xlli_ray.probes.lam.objectives import Objective
from xlli_ray.probes.lam.params import Params
from xlli_ray.probes.lam.passes import Explained
from xlli_ray.probes.lam.probe import GRADIENT, Lam
from xlli_ray.probes.lam.receptive_field import Radius, proved_radius
from xlli_ray.probes.lam.square_passes import SquarePasses
from xlli_ray.probes.lam.timing import MapTime
from xlli_ray.probes.lam.wide_passes import WidePasses
from xlli_ray.probes.lam.window import Window
from xlli_ray.recipe import parse_recipe
from xlli_ray.registry import LAM_METHODS

sys.path.append(str(Path(__file__).parents[2] / "models"))
GIVEN: dict[str, Any] = {
    "gradient_input": "gradient_input", "smoothgrad": {"smoothgrad": {"draws": 5}}, "occlusion": {"occlusion": {"size": 5, "stride": 3}},
}  # fmt: skip
PLACES = [{"top": 4, "left": 4, "size": 6}, {"top": 11, "left": 2, "size": 6}]


def probe(method: Any, **params: Any) -> Lam:
    spec = {"control": params.pop("control", ""), **({"clip": True} if params.pop("clip", False) else {})}
    return Lam(Params(**{"windows": PLACES, "signed": True, "method": method, **params}), spec)


class Counted(nn.Module):
    """Counts the rows of forward passes, with and without a gradient."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.rows = inner, {True: 0, False: 0}

    def forward(self, x: Tensor) -> Tensor:
        self.rows[torch.is_grad_enabled()] += len(x)
        return self.inner(x)


# -- passes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crop", ["auto", "never"])
@pytest.mark.parametrize("method", sorted(GIVEN))
def test_wide_passes_give_the_maps_of_one_image_at_a_time(method: str, crop: str, make_batch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = make_batch(4, 20, 20, scale=1)
    batch.ok[1] = False
    for module in (convolutions(), Pooled()):
        model, one = as_model(module), probe(GIVEN[method], crop=crop)
        alone = one.measure(model, batch, None)
        with monkeypatch.context() as patch:
            patch.setattr(Lam, "_on_gpu", staticmethod(lambda values: True))
            launched = one.launch(model, batch, None)
            assert launched.kept["passes"].images_a_pass((3, 20, 20)) >= 1
            wide = one.conclude(model, batch, launched.kept)
        assert wide.positions == alone.positions == [0, 0, 2, 2, 3, 3]
        for name, array in alone.arrays.items():
            np.testing.assert_allclose(wide.arrays[name], array, atol=2e-5 * float(np.nanmax(np.abs(array))))
        for name in ("nodes", "flat", "mode", "path", "window"):
            assert wide.columns[name] == alone.columns[name]
        for name in ("error_estimate", "completeness", "objective_baseline", "objective_input", "di"):
            np.testing.assert_allclose(wide.columns[name], alone.columns[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("width", [1, 2, 7, 50, 1000])
def test_squares_of_any_number_of_images_share_passes_of_any_width(width: int) -> None:
    """Passes that end in the middle of an image, and passes of several; windows with crops of two shapes."""
    model = as_model(convolutions())
    pictures = [torch.rand((3, 40, 40), generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    method, radius, objective = method_of({"occlusion": {"size": 6}}), proved_radius(model), Objective()
    places = ([Window(2, 3, 6), Window(20, 20, 6)], [], [Window(32, 1, 6)])
    tasks = [Explained(image, windows, method.path(image, "")) for image, windows in zip(pictures, places)]
    for reach in (radius, None):
        passes = SquarePasses(model, 6, 6, objective=objective, radius=reach, rows=lambda shape: width)
        for task, found in zip(tasks, passes.launch(tasks)(), strict=True):
            wanted = method.one_by_one(model, task, objective=objective, radius=reach, frame=None) if task.windows else []
            assert [one.window for one in found] == list(task.windows)  # type: ignore[union-attr]
            for ours, theirs in zip(found, wanted, strict=True):  # type: ignore[arg-type]
                np.testing.assert_allclose(ours.attribution, theirs.attribution, atol=1e-5 * np.abs(theirs.attribution).max())
                assert (ours.nodes, ours.flat, ours.nonfinite) == (theirs.nodes, theirs.flat, theirs.nonfinite)
        assert not passes.narrowed


def test_without_memory_squares_go_in_narrower_passes() -> None:
    class Hungry(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 3:
                raise torch.OutOfMemoryError("too much")
            return x * x

    model, image = as_model(Hungry()), torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(0))
    task = Explained(image, [Window(2, 2, 6)], method_of("occlusion").path(image, ""))
    passes = SquarePasses(model, 4, 4, objective=Objective("sum"), radius=None, rows=lambda shape: 10)
    (found,) = passes.launch([task])()
    (wanted,) = SquarePasses(model, 4, 4, objective=Objective("sum"), radius=None, rows=lambda shape: 1).launch([task])()
    assert passes.narrowed
    assert isinstance(found, list)
    assert isinstance(wanted, list)
    assert np.array_equal(found[0].attribution, wanted[0].attribution)


def test_an_image_whose_output_is_not_finite_leaves_the_others_of_its_pass_alone(make_batch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fragile(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.square() / (x.amax((1, 2, 3), keepdim=True) < 5)

    batch = make_batch(3, 20, 20, scale=1)
    batch.input[1, :, 9, 9] = 50.0
    monkeypatch.setattr(Lam, "_on_gpu", staticmethod(lambda values: True))
    for method in GIVEN.values():
        found = probe(method).measure(as_model(Fragile()), batch, None)
        assert found.positions == [0, 0, 2, 2]
        assert "not finite" in found.failed[1]


def test_a_network_that_uses_its_whole_batch_is_covered_one_square_at_a_time(make_batch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen: set[int] = set()

        def forward(self, x: Tensor) -> Tensor:
            self.seen.add(len(x))
            return (x - x.mean()) / x.std()

    monkeypatch.setattr(Lam, "_on_gpu", staticmethod(lambda values: True))
    network = Normalised()
    model = as_model(network)
    one = probe("occlusion", crop="never")
    assert one._whole_batches(model)
    network.seen.clear()
    assert len(one.measure(model, make_batch(2, 20, 20, scale=1), None).columns["di"]) == 4
    assert network.seen == {1}


@pytest.mark.parametrize("method", sorted(GIVEN))
def test_its_cost_counts_the_passes_that_it_makes(method: str, make_batch: Any) -> None:
    """Both windows share them; the projection weighs a window's product of the gradient as GRADIENT says."""
    network = Counted(convolutions())
    one = probe(GIVEN[method], crop="never")
    model = as_model(network)
    one._whole_batches(model)
    network.rows = {True: 0, False: 0}
    one.measure(model, make_batch(1, 64, 64, scale=1), None)
    forwards, gradients = one.method.forwards(64, 64), one.method.gradients
    assert network.rows == {True: gradients, False: forwards}
    assert one.cost == pytest.approx(gradients * (1 + 2 * (GRADIENT - 1)) + forwards)


def test_the_time_of_occlusion_is_that_of_its_passes_over_what_windows_see(tools: Any) -> None:
    network = Counted(convolutions())
    model = as_model(network)
    timing = probe("occlusion").timing(model)
    assert isinstance(timing, ForwardTime)
    assert timing.radius == proved_radius(model)
    assert timing.forward > 0
    known = replace(timing, forward=2.0, area=100, radius=None)
    assert known.sample(40, 40) == pytest.approx(2.0 * 101 * 16)
    assert known.sample(40, 40, 3) == pytest.approx(2.0 * 301 * 16 * 3)
    small = replace(known, radius=Radius(0, 0))
    crops = [7 * 7 * (1 + 4), 7 * 7 * (1 + 4)]  # each window and the pixel beyond it
    assert small.sample(40, 40) == pytest.approx(2.0 * sum(crops) / 100)
    assert known.sample(8, 8) == 0.0, "no window fits"
    for method, nodes in (("gradient_input", 1), (GIVEN["smoothgrad"], 5)):
        maps = probe(method).timing(model)
        assert isinstance(maps, MapTime)
        assert maps.nodes == nodes


# -- the stage --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", sorted(GIVEN))
def test_cells_columns_and_arrays_say_which_method_they_are_of(method: str, make_batch: Any) -> None:
    one, control = probe(GIVEN[method]), probe(GIVEN[method], control="randomised_weights")
    assert (one.what, control.what) == (method, f"{method}.randomised_weights")
    found = one.measure(as_model(convolutions()), make_batch(2, 20, 20, scale=1), None)
    assert set(found.columns["mode"]) == {method}
    assert set(found.columns["path"]) == {""}
    assert np.isnan(found.columns["completeness"]).all()
    assert np.isfinite(found.columns["error_estimate"]).all() == (method == "smoothgrad")
    assert np.isfinite(found.columns["di"]).all()
    summed = np.abs(found.arrays["attribution"].astype(np.float64).sum(2))
    np.testing.assert_allclose(found.arrays["map"], summed / summed.max((2, 3), keepdims=True), atol=1e-6)
    assert control.measure(as_model(convolutions()), make_batch(2, 20, 20, scale=1), None).columns["di"] != found.columns["di"]


@pytest.mark.parametrize("method", sorted(GIVEN))
def test_clips_and_their_small_arrays(method: str, make_batch: Any) -> None:
    from test_lam_clips import Weighted, clip_model

    one = probe(GIVEN[method], windows=PLACES[:1], clip=True)
    found = one.measure(clip_model(Weighted()), make_batch(2, 20, 20, scale=1, frames=5), None)
    assert found.failed == {}
    assert found.arrays["map"].shape == (2, 1, 5, 20, 20)
    assert found.arrays["frame_share"][0, 0, 3] < 1e-7, "that frame has no weight; scores of two rows of a pass differ in the last digit"
    np.testing.assert_allclose(found.arrays["frame_share"].sum(-1), 1, atol=1e-5)
    assert one.cost > probe(GIVEN[method], windows=PLACES[:1]).cost or method != "occlusion"


def test_stages_without_a_method_have_the_identity_of_before() -> None:
    """As it was written before there were methods and cascades."""
    assert Lam(Params(), {}).identity() == {
        "mode": "accurate", "nodes": None, "tolerance": None, "max_nodes": 60, "gates": "plain", "objective": "gradient", "path": "blur",
        "windows": {"size": 16, "per_sample": 4, "choose": "texture"}, "signed": False, "crop": "auto", "control": "",
        "control_samples": None,
    }  # fmt: skip
    for same in ({"method": "path"}, {"method": {"path": {}}}, {"controls": ["cascade"], "cascade": [0.1]}):
        assert Lam(Params(**same), {}).identity() == Lam(Params(), {}).identity()
        assert Lam.parts(Params(**same)) == {}


def test_identities_hold_the_method_its_arguments_and_its_version() -> None:
    assert probe("smoothgrad").identity()["method"] == {"smoothgrad": {"draws": 50, "noise": 0.15, "times_input": False}}
    assert probe("smoothgrad").identity()["method smoothgrad"] == 1
    assert probe({"smoothgrad": {"draws": 50}}).identity() == probe("smoothgrad").identity() == probe({"smoothgrad": None}).identity()
    seen = [repr(probe(given).identity()) for given in (*GIVEN, *GIVEN.values(), {"occlusion": {"fill": "grey"}})]
    assert len(set(seen)) == 6, "gradient_input is there twice"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"method": "smothgrad"}, r"there is no method 'smothgrad'\. Did you mean 'smoothgrad'\?"),
        ({"method": {"smoothgrad": {"draw": 3}}}, r"method smoothgrad: there is no argument 'draw': did you mean 'draws'\?"),
        ({"method": {"smoothgrad": {"noise": -1}}}, "method smoothgrad, noise: .*greater than or equal to 0"),
        ({"method": {"occlusion": {"size": 4, "stride": 5}}}, "method occlusion: stride 5 is larger than size 4: pixels between"),
        ({"method": {"gradient_input": {"draws": 3}}}, "there is no argument 'draws': Valid here: none"),
        ({"method": {"occlusion": {}, "smoothgrad": {}}}, "expected a name, or one name with its arguments"),
        ({"method": {"occlusion": 4}}, "expected a name, or one name with its arguments"),
        ({"method": "occlusion", "mode": "paper"}, "mode: paper says how gradients are integrated along a path, and method: occlusion"),
        ({"method": "smoothgrad", "tolerance": 0.1}, "tolerance: 0.1 says how"),
        ({"method": "smoothgrad", "gates": "averaged"}, "gates: averaged says how"),
        ({"method": "gradient_input", "nodes": 4}, "nodes: 4 says how"),
        ({"method": "gradient_input", "max_nodes": 9}, "max_nodes: 9 says how"),
        ({"method": "occlusion", "path": "linear_black"}, "path: linear_black says how .* leave path out, or use method: path"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(params: dict[str, Any], words: str, tmp_path: Path) -> None:
    data = {"name": "own", "corpus": {"inputs": ["0.png"]}, "models": [{"id": "a", "weights": "builtin:srresnet-gr-clean"}],
            "stages": [{"lam": params}]}  # fmt: skip
    with pytest.raises(RecipeError, match=words):
        parse_recipe(data, base=tmp_path)


@pytest.mark.parametrize("name", sorted(LAM_METHODS))
def test_registered_methods_are_named_as_they_are_registered_and_load_no_torch(name: str) -> None:
    method = method_of(name)
    assert name == method.NAME
    assert method.REFERENCE
    assert (sys.modules[type(method).__module__].__doc__ or "").strip()
    assert not {"torch", "Tensor"} & set(vars(sys.modules[type(method).__module__]))


def test_small_inputs_need_no_room_for_a_blur_that_nobody_asked_for() -> None:
    assert "blur path needs inputs above 4" in probe("path").unfit(5, 4, 4, "a.png")
    for method in GIVEN.values():
        assert probe(method).unfit(5, 4, 4, "a.png") == probe(method).unfit(5, 30, 30, "a.png") == ""


def test_passes_wait_for_nothing_on_the_way(make_batch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of `launch`: what waits for a number would wait for all that is queued on a GPU. The reach is known beforehand."""
    monkeypatch.setattr(Lam, "_on_gpu", staticmethod(lambda values: True))
    model, batch = as_model(convolutions()), make_batch(3, 20, 20, scale=1)
    for module, passes in ((wide_passes, WidePasses), (square_passes, SquarePasses)):
        assert getattr(module, passes.__name__) is passes
    for method in GIVEN.values():
        one = probe(method)
        one.measure(model, batch, None)
        with monkeypatch.context() as waits:
            for name in ("item", "tolist", "__float__", "__bool__", "__int__"):
                waits.setattr(torch.Tensor, name, _waits)
            launched = one.launch(model, batch, None)
        assert len(one.conclude(model, batch, launched.kept).positions or ()) == 6


@pytest.mark.parametrize("frames", [0, 3])
@pytest.mark.parametrize("crop", [True, False])
@pytest.mark.parametrize("method", sorted(GIVEN))
def test_passes_mix_no_tensors_of_two_devices(method: str, crop: bool, frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device `meta`, where tensors have no values: an operation with one of the CPU's is an error there, as on a GPU."""
    from test_lam_clips import Weighted, clip_model

    model = clip_model(Weighted((0.5, 1.0, 2.0))) if frames else as_model(convolutions())
    model.module.to("meta")
    monkeypatch.setattr(type(model), "device", property(lambda self: torch.device("meta")))
    one, radius = method_of(GIVEN[method]), Radius(2, 2) if crop else None
    image = torch.rand((*(frames,)[: bool(frames)], 3, 24, 24), device="meta")
    tasks = [Explained(image, [Window(6 * k, 4, 6)], one.path(image, str(k)), image[..., :3, :, :][1 if frames else ...]) for k in range(3)]
    passes = one.passes(model, objective=Objective("error"), radius=radius, frame=1 if frames else None)
    monkeypatch.setattr(passes, "_rows", lambda shape: 16)
    passes.launch(tasks)


def _waits(*_: object, **__: object) -> None:
    raise AssertionError("this would wait for the device")


# -- one's own --------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The method of docs/extending.md beside a recipe; what recipes allow is forgotten afterwards."""
    docs = (Path(__file__).parents[3] / "docs" / "extending.md").read_text()
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", docs, re.DOTALL) if "(Gradients)" in block)
    (tmp_path / "someones_method.py").write_text(code)
    monkeypatch.setattr(user_code, "_allowed", set())
    yield tmp_path
    for name in [name for name in sys.modules if "someones" in name]:
        del sys.modules[name]


def test_a_method_of_one_s_own_is_a_file_and_its_name_is_its_identity(own: Path) -> None:
    place = "someones_method.py:PlainGradient"
    data = {"name": "own", "corpus": {"inputs": ["0.png"]}, "models": [{"id": "a", "weights": "builtin:srresnet-gr-clean"}],
            "stages": [{"lam": {"method": place}}]}  # fmt: skip
    (stage,) = parse_recipe(data, base=own).stages
    one = Lam(Params(**stage.params), {})
    assert one.what == "plain_gradient"
    assert one.identity()["method"] == {"plain_gradient": {}}
    image = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(0))
    model: Model = as_model(convolutions())
    task = Explained(image, [Window(2, 2, 6)], one.method.path(image, "a"))
    (found,) = one.method.one_by_one(model, task, objective=Objective(), radius=None, frame=None)
    plain = method_of({"smoothgrad": {"draws": 1, "noise": 0}})
    (wanted,) = plain.one_by_one(model, replace(task, path=plain.path(image, "")), objective=Objective(), radius=None, frame=None)
    assert np.array_equal(found.attribution, wanted.attribution)
    (own / "bad.py").write_text("class Bad:\n    NAME = 'bad'\n")
    with pytest.raises(RecipeError, match="expected a subclass of"):
        parse_recipe({**data, "stages": [{"lam": {"method": "bad.py:Bad"}}]}, base=own)
    (own / "taken.py").write_text((own / "someones_method.py").read_text().replace("plain_gradient", "accurate"))
    with pytest.raises(RecipeError, match="its NAME 'accurate' is taken"):
        parse_recipe({**data, "stages": [{"lam": {"method": "taken.py:PlainGradient"}}]}, base=own)
    assert xlli_ray.__version__
