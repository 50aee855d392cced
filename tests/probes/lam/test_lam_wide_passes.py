"""Wide passes: the same maps as one image and one node at a time, whatever shares a pass with what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from lam_models import Pooled, as_model, convolutions
from torch import nn

from xlli_ray.errors import NetworkError
from xlli_ray.models.known import once
from xlli_ray.models.model import Model
from xlli_ray.probes.lam.attribution import Rule, WindowResult, attribute
from xlli_ray.probes.lam.objectives import Objective
from xlli_ray.probes.lam.pass_width import planned_rows, row_bytes
from xlli_ray.probes.lam.passes import Explained
from xlli_ray.probes.lam.path_choices import make_path
from xlli_ray.probes.lam.path_points import BlurPath
from xlli_ray.probes.lam.probe import Lam
from xlli_ray.probes.lam.receptive_field import proved_radius
from xlli_ray.probes.lam.wide_passes import WidePasses
from xlli_ray.probes.lam.window import Window
from xlli_ray.probes.lam.window_products import are_batched

WINDOWS = ([Window(2, 3, 6)], [Window(30, 1, 6)], [Window(30, 30, 6)], [Window(14, 20, 6)], [Window(0, 0, 6)])


def images(count: int, shape: tuple[int, ...] = (3, 40, 40)) -> list[torch.Tensor]:
    return [torch.rand(shape, generator=torch.Generator().manual_seed(seed)) for seed in range(count)]


def wide(model: Model, rows: int, rule: Rule, objective: Objective | None = None, *, crop: bool = False) -> WidePasses:
    radius = proved_radius(model) if crop else None
    return WidePasses(model, objective=objective or Objective(), rule=rule, radius=radius, rows=lambda shape: rows)


def same(ours: WindowResult, theirs: WindowResult, tolerance: float = 1e-5) -> None:
    assert ours.window == theirs.window
    scale = float(np.linalg.norm(theirs.attribution)) or 1.0
    assert np.linalg.norm(ours.attribution - theirs.attribution) <= tolerance * scale
    assert ours.nodes == theirs.nodes
    assert ours.flat == theirs.flat
    assert ours.nonfinite == theirs.nonfinite
    for name in ("objective_baseline", "objective_input", "error_estimate"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-3, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(ours.step_sums, theirs.step_sums, rtol=1e-3, atol=1e-4 * float(np.abs(theirs.step_sums).max()))


@pytest.mark.parametrize("rows", [1, 3, 7, 25, 100])
@pytest.mark.parametrize("build", [convolutions, Pooled, nn.Identity])
@pytest.mark.parametrize("crop", [True, False])
def test_any_width_gives_the_maps_of_one_node_at_a_time(build: Callable[[], nn.Module], rows: int, crop: bool) -> None:
    """Widths below and above the seven nodes, that divide them and that do not, with and without crops of different sizes."""
    model, rule = as_model(build()), Rule(nodes=7)
    radius = proved_radius(model) if crop else None
    tasks = [Explained(image, windows, BlurPath()) for image, windows in zip(images(5), WINDOWS)]
    found = wide(model, rows, rule, crop=crop).launch(tasks)()
    for task, results in zip(tasks, found):
        assert not isinstance(results, NetworkError)
        for ours, theirs in zip(results, attribute(model, task.image, task.windows, task.path, rule=rule, radius=radius), strict=True):
            same(ours, theirs)


@pytest.mark.parametrize("objective", [Objective(), Objective("sum"), Objective("channel", 1), Objective("error")])
@pytest.mark.parametrize("path", ["blur", "linear_black", "linear_mean", "linear_blurred", "pair"])
def test_every_objective_and_path(objective: Objective, path: str) -> None:
    model, rule = as_model(convolutions()), Rule(nodes=5)
    radius = proved_radius(model)
    tasks = []
    for image, target, windows in zip(images(3), reversed(images(6)), ([Window(1, 2, 5), Window(20, 21, 5)],) * 3):
        way, end = make_path(path, image, target)
        tasks.append(Explained(end, windows, way, target))
    for reach in (None, radius):
        passes = WidePasses(model, objective=objective, rule=rule, radius=reach, rows=lambda shape: 11)
        for task, results in zip(tasks, passes.launch(tasks)()):
            theirs = attribute(
                model, task.image, task.windows, task.path, objective=objective, rule=rule, target=task.target, radius=reach
            )
            assert not isinstance(results, NetworkError)
            for a, b in zip(results, theirs, strict=True):
                same(a, b)


@pytest.mark.parametrize("rows", [3, 9, 100])
def test_windows_that_share_a_forward_pass(rows: int) -> None:
    model, rule, (image,) = as_model(Pooled()), Rule(nodes=4), images(1)
    places = [Window(2 * i, 3 * i, 6) for i in range(5)]
    (found,) = wide(model, rows, rule).launch([Explained(image, places, BlurPath())])()
    assert not isinstance(found, NetworkError)
    for ours, theirs in zip(found, attribute(model, image, places, BlurPath(), rule=rule), strict=True):
        same(ours, theirs)


class _Twice(torch.autograd.Function):
    """An autograd function without a rule for vmap."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return 2 * gradients[0]


class OwnFunction(nn.Module):
    """Ends in an autograd function of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = convolutions()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _Twice.apply(self.conv(x))


@pytest.mark.parametrize(("build", "batched"), [(convolutions, True), (Pooled, True), (OwnFunction, False)])
def test_windows_of_one_image_have_their_products_together_where_the_network_can_be_transformed(
    build: Callable[[], nn.Module], batched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven windows, four nodes and six rows: three at a time. A network that vmap refuses has them in turn, with the same maps."""
    calls: list[int] = []
    vmap = torch.func.vmap

    def noted(function: Any) -> Any:
        return lambda slopes: calls.append(len(slopes)) or vmap(function)(slopes)

    monkeypatch.setattr(torch.func, "vmap", noted)
    model, rule, (image,) = as_model(build()), Rule(nodes=4), images(1)
    places = [Window(2 * i, 3 * i, 6) for i in range(7)]
    passes = wide(model, 6, rule)
    for _ in range(2):
        (found,) = passes.launch([Explained(image, places, BlurPath())])()
        assert not isinstance(found, NetworkError)
        for ours, theirs in zip(found, attribute(model, image, places, BlurPath(), rule=rule), strict=True):
            same(ours, theirs)
    assert calls == ([2, 3, 3, 1, 3, 3, 1] if batched else []), "it is tried once, with two"


def test_products_that_come_out_wrong_are_not_batched() -> None:
    """A network that looks at what is transformed, and gives something else then."""

    class Peeking(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x if torch._C._functorch.maybe_current_level() is None else x * x * x

    assert are_batched(lambda x: x * x, torch.rand(2, 3, 8, 8))
    assert not are_batched(Peeking(), torch.rand(2, 3, 8, 8))
    assert not are_batched(torch.Tensor.detach, torch.rand(2, 3, 8, 8)), "no gradient at all"


def test_several_windows_of_a_network_without_a_gradient_say_so() -> None:
    class Rounded(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.detach()

    with pytest.raises(NetworkError, match="has no gradient"):
        wide(as_model(Rounded()), 100, Rule(nodes=3)).launch([Explained(images(1)[0], [Window(1, 1, 4), Window(5, 5, 4)], BlurPath())])


def test_the_demo_rule_and_images_with_a_constant_channel() -> None:
    model, rule = as_model(convolutions()), Rule("paper")
    flat = images(1)[0].clone()
    flat[1] = 0.3
    tasks = [Explained(image, [Window(4, 4, 6)], BlurPath()) for image in (*images(2), flat)]
    for task, results in zip(tasks, wide(model, 60, rule).launch(tasks)()):
        (theirs,) = attribute(model, task.image, task.windows, task.path, rule=rule)
        assert not isinstance(results, NetworkError)
        same(results[0], theirs)
        assert np.isnan(results[0].error_estimate)
    assert not results[0].attribution[1].any(), "a constant channel does not move along the path"


def test_an_image_without_windows_has_no_maps() -> None:
    tasks = [Explained(image, windows, BlurPath()) for image, windows in zip(images(3), ([], [Window(1, 1, 6)], []))]
    none, one, empty = wide(as_model(Pooled()), 100, Rule(nodes=4)).launch(tasks)()
    assert none == empty == []
    assert isinstance(one, list)
    assert len(one) == 1


def test_images_with_different_numbers_and_sizes_of_windows() -> None:
    model, rule = as_model(Pooled()), Rule(nodes=4)
    some = ([Window(1, 1, 6), Window(9, 9, 8)], [Window(3, 3, 6)], [Window(5, 5, 6), Window(7, 7, 8)], [Window(2, 2, 6), Window(3, 3, 6)])
    tasks = [Explained(image, windows, BlurPath()) for image, windows in zip(images(4), some)]
    for task, results in zip(tasks, wide(model, 100, rule).launch(tasks)()):
        assert not isinstance(results, NetworkError)
        assert [one.window for one in results] == list(task.windows)
        for ours, theirs in zip(results, attribute(model, task.image, task.windows, task.path, rule=rule), strict=True):
            same(ours, theirs)


def test_a_map_does_not_depend_on_what_shares_its_pass() -> None:
    """An image whose output is not finite has no map; a gradient that is not finite makes only its own map undefined."""

    class Fragile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = convolutions()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x) / (x.amax((1, 2, 3), keepdim=True) < 5)

    model, rule = as_model(Fragile()), Rule(nodes=4)
    loud = images(1)[0].clone()
    loud[:, 30, 30] = 100.0
    tasks = [Explained(image, [Window(4, 4, 6)], BlurPath()) for image in (images(3)[1], loud, images(3)[2])]
    first, broken, last = wide(model, 100, rule).launch(tasks)()
    assert isinstance(broken, NetworkError)
    assert "not finite" in str(broken)
    for task, results in ((tasks[0], first), (tasks[2], last)):
        assert not isinstance(results, NetworkError)
        same(results[0], attribute(model, task.image, task.windows, task.path, rule=rule)[0])


def test_a_network_without_a_gradient_says_so() -> None:
    class Rounded(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.detach()

    with pytest.raises(NetworkError, match="has no gradient"):
        wide(as_model(Rounded()), 10, Rule(nodes=3)).launch([Explained(images(1)[0], [Window(1, 1, 4)], BlurPath())])


def test_out_of_memory_halves_the_passes_and_says_so() -> None:
    class Hungry(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = convolutions()
            self.seen: list[int] = []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen.append(len(x))
            if len(x) > 6:
                raise torch.OutOfMemoryError("too much")
            return self.conv(x)

    hungry, rule = Hungry(), Rule(nodes=4)
    model = as_model(hungry)
    tasks = [Explained(image, [Window(4, 4, 6)], BlurPath()) for image in images(5)]
    passes = wide(model, 20, rule)
    found = passes.launch(tasks)()
    assert passes.narrowed
    assert max(hungry.seen[-4:]) <= 6
    for task, results in zip(tasks, found):
        assert not isinstance(results, NetworkError)
        same(results[0], attribute(model, task.image, task.windows, task.path, rule=rule)[0])

    class Starved(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("nothing left")

    with pytest.raises(torch.OutOfMemoryError):
        wide(as_model(Starved()), 20, rule).launch(tasks)


def test_the_width_of_a_pass_follows_from_what_the_network_saves() -> None:
    """Counted by hand: a leaky ReLU saves its input, a convolution too; storage that is shared is counted once, weights never."""
    model = as_model(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(8, 3, 3, padding=1)))
    pixels = 40 * 40
    assert row_bytes(model, (3, 40, 40)) == 4 * pixels * (3 + 8 + 8)
    assert planned_rows(model, (3, 64, 64)) == 160
    assert planned_rows(model, (3, 256, 256)) == 10
    assert planned_rows(model, (3, 4096, 4096)) == 1
    assert planned_rows(model, (5, 3, 64, 64)) == 32, "all frames of a clip count"
    greedy = replace(model)
    once(greedy, ("bytes saved a pixel", None), lambda: 1e6)
    assert planned_rows(greedy, (3, 64, 64)) == 2, "three quarters of 16 GiB over 1.1 times 4.1 GB"


def test_a_network_is_looked_at_once_by_all_units_of_a_worker(make_batch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reach takes a dozen forward passes, more than the maps of a small unit on a GPU. Weights are drawn once, too."""
    from xlli_ray.probes.lam import receptive_field

    model, looked = as_model(convolutions()), []
    find = receptive_field.proved_radius
    monkeypatch.setattr(receptive_field, "proved_radius", lambda *args: looked.append(1) or find(*args))
    batch = make_batch(1, 24, 24, scale=1)
    for control, expected in (("", 1), ("randomised_weights", 2)):
        rows = []
        for _ in range(3):  # as units make their probes
            probe = Lam(Lam.Params(nodes=2, windows=[{"top": 4, "left": 4, "size": 6}]), {"control": control})
            rows.append(probe.measure(model, batch, None).columns["objective_input"])
        assert len(looked) == expected
        assert rows[0] == rows[1] == rows[2]


def test_a_network_that_uses_its_whole_batch_gets_one_node_a_pass(monkeypatch: pytest.MonkeyPatch, make_batch: Any) -> None:
    """On a GPU as well: several nodes at once would change each other."""

    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[int] = []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if torch.is_grad_enabled():
                self.seen.append(len(x))
            return (x - x.mean()) / x.std()

    network = Normalised()
    monkeypatch.setattr(Lam, "_on_gpu", staticmethod(lambda values: True))
    probe = Lam(Lam.Params(nodes=4, crop="never", windows=[{"top": 2, "left": 2, "size": 6}]), {})
    assert len(probe.measure(as_model(network), make_batch(2, 16, 16, scale=1), None).columns["di"]) == 2
    assert network.seen == [1] * 8


def test_crops_of_one_pass_have_one_shape_and_stay_inside() -> None:
    model, rule = as_model(convolutions()), Rule(nodes=4)
    seen: list[tuple[int, ...]] = []
    handle = model.module.register_forward_pre_hook(lambda module, args: seen.append(tuple(args[0].shape)))
    radius = proved_radius(model)
    seen.clear()
    tasks = [Explained(image, [Window(top, left, 6)], BlurPath()) for image, top, left in zip(images(4), (0, 5, 20, 33), (33, 10, 20, 0))]
    WidePasses(model, objective=Objective(), rule=rule, radius=radius, rows=lambda shape: 100).launch(tasks)
    handle.remove()
    assert [shape[0] for shape in seen] == [8, 16], "both ends, then all nodes, of four crops at once"
    assert all(shape[2] < 40 and shape[3] < 40 for shape in seen)
    assert len({shape[2:] for shape in seen}) == 1
