"""Gradient × input, SmoothGrad and occlusion against closed forms: networks whose gradients and drops are known."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lam_models import Pooled, as_model, convolutions
from torch import Tensor, nn

from xlli_ray.corpus.degradations.keyed_random import generator
from xlli_ray.errors import NetworkError
from xlli_ray.models.model import Model
from xlli_ray.probes.lam.attribution import Rule, WindowResult, attribute
from xlli_ray.probes.lam.method_choices import Method, method_of
from xlli_ray.probes.lam.objectives import Objective
from xlli_ray.probes.lam.passes import Explained
from xlli_ray.probes.lam.path_choices import make_path
from xlli_ray.probes.lam.receptive_field import Radius, crop_for, proved_radius
from xlli_ray.probes.lam.square_grid import SquareGrid
from xlli_ray.probes.lam.window import Window

sys.path.append(str(Path(__file__).parents[2] / "models"))
WINDOW = Window(5, 6, 6)
OTHERS = ("gradient_input", "smoothgrad", "occlusion")


def picture(height: int = 21, width: int = 18, seed: int = 0, frames: int = 0) -> Tensor:
    shape = (*(frames,)[: bool(frames)], 3, height, width)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def linear() -> nn.Module:
    torch.manual_seed(2)
    return nn.Conv2d(3, 3, 5, padding=2)


class OnePixel(nn.Module):
    """Every output pixel is the input's pixel at row 3, column 4."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., 3:4, 4:5].expand(x.shape)


class Halved(nn.Module):
    """Half the square: its gradient is the input."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square() / 2


def maps(
    method: Any, model: Model, image: Tensor, windows: list[Window], objective: str = "sum", *, key: str = "a",
    radius: Radius | None = None, target: Tensor | None = None, frame: int | None = None,
) -> list[WindowResult]:  # fmt: skip
    one = method if isinstance(method, Method) else method_of(method)
    task = Explained(image, windows, one.path(image, key), target)
    return one.one_by_one(model, task, objective=Objective(objective), radius=radius, frame=frame)  # type: ignore[arg-type]


def gradient(model: Model, image: Tensor, window: Window, objective: str = "sum") -> Tensor:
    x = image[None].clone().requires_grad_()
    score = Objective(objective)(model.forward(x), window).sum()  # type: ignore[arg-type]
    return torch.autograd.grad(score, x)[0][0]


# -- gradient × input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["sum", "gradient"])
@pytest.mark.parametrize("build", [convolutions, Pooled, linear])
def test_gradient_input_is_the_integral_from_black_with_one_node_at_its_end(build: Callable[[], nn.Module], objective: str) -> None:
    model, image = as_model(build()), picture()
    (found,) = maps("gradient_input", model, image, [WINDOW], objective)
    wanted = (gradient(model, image, WINDOW, objective) * image).numpy()
    assert np.linalg.norm(found.attribution - wanted) <= 1e-5 * np.linalg.norm(wanted)
    assert found.nodes == 1
    assert all(np.isnan(value) for value in (found.completeness, found.objective_baseline, found.error_estimate))
    assert found.objective_input == pytest.approx(float(Objective(objective)(model.forward(image[None]), WINDOW)))  # type: ignore[arg-type]


def test_of_a_linear_network_it_is_the_integral_and_complete() -> None:
    model, image = as_model(linear()), picture()
    (found,) = maps("gradient_input", model, image, [WINDOW])
    black, _ = make_path("linear_black", image)
    (whole,) = attribute(model, image, [WINDOW], black, objective=Objective("sum"), rule=Rule(nodes=7))
    np.testing.assert_allclose(found.attribution, whole.attribution, atol=1e-5)
    assert float(found.attribution.sum()) == pytest.approx(whole.objective_input - whole.objective_baseline, rel=1e-4)
    (curved,) = maps("gradient_input", as_model(convolutions()), image, [WINDOW])
    (whole,) = attribute(as_model(convolutions()), image, [WINDOW], black, objective=Objective("sum"), rule=Rule(nodes=7))
    assert np.abs(curved.attribution - whole.attribution).max() > 1e-3, "of a network with bends it is not"


def test_a_network_that_reads_one_pixel_has_a_map_of_one_pixel() -> None:
    model, image = as_model(OnePixel()), picture()
    for method, value in (
        ("gradient_input", 36 * image[:, 3, 4]), ({"smoothgrad": {"draws": 3}}, torch.full((3,), 36.0)),
        ({"occlusion": {"size": 1}}, torch.full((3,), float(36 * (image[:, 3, 4] - image.mean((1, 2))).sum() / 3))),
    ):  # fmt: skip
        (found,) = maps(method, model, image, [WINDOW])
        np.testing.assert_allclose(found.attribution[:, 3, 4], value, rtol=1e-4)
        assert np.count_nonzero(found.map) == 1
        assert found.map[3, 4] == 1


# -- SmoothGrad -------------------------------------------------------------------------------------------------


def test_smoothgrad_of_a_linear_network_is_the_gradient_and_its_error_is_zero() -> None:
    model, image = as_model(linear()), picture()
    (found,) = maps({"smoothgrad": {"draws": 6}}, model, image, [WINDOW])
    np.testing.assert_allclose(found.attribution, gradient(model, image, WINDOW), atol=1e-5)
    assert found.error_estimate < 1e-5
    (multiplied,) = maps({"smoothgrad": {"draws": 6, "times_input": True}}, model, image, [WINDOW])
    np.testing.assert_allclose(multiplied.attribution, gradient(model, image, WINDOW) * image, atol=1e-5)


def test_without_noise_it_is_the_plain_gradient() -> None:
    model, image = as_model(convolutions()), picture()
    (found,) = maps({"smoothgrad": {"draws": 1, "noise": 0}}, model, image, [WINDOW], "gradient")
    np.testing.assert_allclose(found.attribution, gradient(model, image, WINDOW, "gradient"), atol=1e-5)


def test_its_mean_is_over_the_keyed_draws_and_its_error_the_standard_error() -> None:
    """The gradient of half the square is the noisy input itself: the mean of n draws is off by σ / √n a value."""
    model, image, window = as_model(Halved()), picture(40, 40), Window(0, 0, 39)
    (found,) = maps({"smoothgrad": {"draws": 8, "noise": 0.3}}, model, image, [window], key="7|x")
    sigma = 0.3 * float(image.max() - image.min())
    noise = np.stack([generator(f"7|x|smoothgrad|{k}").standard_normal((3, 40, 40)) for k in range(8)])
    wanted = (image.numpy() + sigma * noise.mean(0))[:, :39, :39]
    np.testing.assert_allclose(found.attribution[:, :39, :39], wanted, atol=1e-5)
    assert not found.attribution[:, 39].any()
    error = sigma * np.sqrt(3 / 8) * 39 / np.linalg.norm(wanted.sum(0))
    assert found.error_estimate == pytest.approx(error, rel=0.1)
    real = np.linalg.norm((wanted - image.numpy()[:, :39, :39]).sum(0)) / np.linalg.norm(wanted.sum(0))
    assert found.error_estimate == pytest.approx(real, rel=0.1)
    assert np.isnan(maps({"smoothgrad": {"draws": 2}}, model, image, [window])[0].error_estimate), "two draws have no second difference"


def test_draws_belong_to_the_sample_and_neither_to_the_window_nor_to_the_number_of_draws() -> None:
    model, image = as_model(Halved()), picture()
    windows = [Window(1, 1, 4), Window(8, 9, 5)]
    together = maps({"smoothgrad": {"draws": 4}}, model, image, windows)
    for one, window in zip(together, windows):
        (alone,) = maps({"smoothgrad": {"draws": 4}}, model, image, [window])
        assert np.array_equal(one.attribution, alone.attribution)
    (other,) = maps({"smoothgrad": {"draws": 4}}, model, image, windows[:1], key="b")
    assert not np.array_equal(other.attribution, together[0].attribution)
    one, four = (method_of({"smoothgrad": {"draws": n}}).path(image, "a") for n in (1, 4))
    assert torch.equal(one.points(image, [0.5])[0], four.points(image, [1 / 8])[0])


# -- occlusion --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", ["mean", "grey"])
@pytest.mark.parametrize(("size", "stride"), [(1, None), (4, None), (4, 2), (5, 3), (40, None)])
def test_occlusion_of_a_linear_network(fill: str, size: int, stride: int | None) -> None:
    """The drop of a square is the sum over its pixels of gradient times what is covered; pixel by pixel, here."""
    model, image = as_model(linear()), picture()
    (found,) = maps({"occlusion": {"size": size, "stride": stride, "fill": fill}}, model, image, [WINDOW])
    colour = image.mean((1, 2), keepdim=True) if fill == "mean" else torch.full((3, 1, 1), 0.5)
    shares = (gradient(model, image, WINDOW) * (image - colour)).sum(0).double().numpy()
    step, (height, width) = stride or size, shares.shape
    wanted, count = np.zeros(shares.shape), np.zeros(shares.shape)
    for top in range(step - size, height, step):
        for left in range(step - size, width, step):
            where = slice(max(0, top), top + size), slice(max(0, left), left + size)
            wanted[where] += shares[where].mean()
            count[where] += 1
    np.testing.assert_allclose(found.attribution.sum(0), wanted / count, atol=1e-5)
    assert np.ptp(found.attribution, axis=0).max() == 0, "the channels of a pixel have equal shares"
    if stride is None:
        whole = float(Objective("sum")(model.forward(colour.expand_as(image)[None]), WINDOW))
        assert float(found.attribution.sum()) == pytest.approx(found.objective_input - whole, abs=1e-3)
    assert np.isnan(found.completeness)
    assert np.isnan(found.error_estimate)


def test_with_squares_of_one_pixel_it_is_the_score_s_drop_pixel_by_pixel() -> None:
    model, image, target = as_model(Pooled()), picture(9, 8), picture(9, 8, seed=1)
    window, objective = Window(2, 1, 4), Objective("error")
    (found,) = maps({"occlusion": {"size": 1}}, model, image, [window], "error", target=target)
    base = float(objective(model.forward(image[None]).double(), window, target.double()))
    for y, x in ((0, 0), (3, 3), (8, 7)):
        covered = image.clone()
        covered[:, y, x] = image.mean((1, 2))
        drop = base - float(objective(model.forward(covered[None]).double(), window, target.double()))
        assert float(found.attribution[:, y, x].sum()) == pytest.approx(drop, abs=1e-5)
    assert found.nodes == 72


def test_squares_beyond_a_proved_reach_are_exactly_zero_and_not_tried() -> None:
    model, image = as_model(convolutions()), picture(40, 44)
    radius = proved_radius(model)
    assert radius is not None
    windows = [Window(2, 3, 6), Window(30, 30, 6)]
    cropped = maps("occlusion", model, image, windows, "gradient", radius=radius)
    whole = maps("occlusion", model, image, windows, "gradient")
    for one, other, window in zip(cropped, whole, windows):
        np.testing.assert_allclose(one.attribution, other.attribution, atol=1e-4 * np.abs(other.attribution).max())
        crop = crop_for(window, radius, 1, 40, 44)
        rows, columns = np.arange(40) // 4, np.arange(44) // 4
        near = np.isin(rows, rows[crop.top : crop.bottom])[:, None] & np.isin(columns, columns[crop.left : crop.right])[None]
        assert not one.map[~near].any()
        assert one.nodes == np.unique(rows[crop.top : crop.bottom]).size * np.unique(columns[crop.left : crop.right]).size
        assert other.nodes == 110
    places = [Window(10, 10, 20), Window(11, 11, 20), Window(12, 12, 20), Window(12, 12, 16)]
    shared = maps("occlusion", model, image, places, "gradient", radius=radius)
    for one in shared:
        crop = crop_for(one.window, radius, 1, 40, 44)
        assert not one.map[: crop.top // 4 * 4].any()
        assert one.nodes == np.unique(rows[crop.top : crop.bottom]).size * np.unique(columns[crop.left : crop.right]).size
    assert len({one.nodes for one in shared}) > 1, "passes are shared, and what a window can depend on is its own"


def test_squares_of_a_grid_and_those_that_touch_a_part() -> None:
    grid = SquareGrid(4, 4, 10, 8)
    assert grid.boxes.tolist() == [
        [0, 0, 4, 0, 4], [0, 0, 4, 4, 8], [0, 4, 8, 0, 4], [0, 4, 8, 4, 8], [0, 8, 10, 0, 4], [0, 8, 10, 4, 8]
    ]  # fmt: skip
    assert grid.count == 6
    assert grid.touching(4, 8, 0, 4).tolist() == [2]
    assert grid.touching(3, 9, 4, 5).tolist() == [1, 3, 5]
    assert SquareGrid(4, 4, 10, 8, frames=2).touching(4, 8, 0, 4).tolist() == [2, 8]
    over = SquareGrid(4, 2, 6, 6)
    assert sorted({(top, bottom) for _, top, bottom, _, _ in over.boxes.tolist()}) == [(0, 2), (0, 4), (2, 6), (4, 6)]
    assert over.count == len(over.boxes) == 16


def test_small_drops_of_a_large_score_are_not_lost() -> None:
    """A score of half a million: its last digit in float32 is 0.03."""

    class Lifted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 100

    image = picture(40, 40)
    (found,) = maps({"occlusion": {"size": 1}}, as_model(Lifted()), image, [Window(0, 0, 39)])
    drops = (image - image.mean((1, 2), keepdim=True)).sum(0).numpy()[:39, :39]
    np.testing.assert_allclose(found.attribution.sum(0)[:39, :39], drops, atol=1e-4)


def test_it_needs_no_gradient_and_others_say_that_they_do() -> None:
    class Rounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 255).round() / 255

    class Detached(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.detach()

    for module in (Rounded(), Detached()):
        assert maps("occlusion", as_model(module), picture(), [WINDOW])[0].map.any()
    for method in ("gradient_input", "smoothgrad"):
        with pytest.raises(NetworkError, match="has no gradient"):
            maps(method, as_model(Detached()), picture(), [WINDOW])


def test_what_is_not_finite_has_no_map_or_an_undefined_one() -> None:
    class Jumpy(nn.Module):
        """NaN where the brightest pixel of the first column is covered."""

        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x[..., 0].amax((1, 2), keepdim=True)[..., None] < 5, torch.nan, x)

    bright = picture()
    bright[1, 9, 0] = 7.0
    (found,) = maps("occlusion", as_model(Jumpy()), bright, [WINDOW])
    assert found.undefined
    assert found.nonfinite == 1
    for method in OTHERS:
        with pytest.raises(NetworkError, match="not finite"):
            maps(method, as_model(Jumpy()), picture(), [WINDOW])
        with pytest.raises(NetworkError, match="outside the output"):
            maps(method, as_model(Halved()), picture(), [Window(5, 13, 6)])


# -- clips ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", OTHERS)
def test_of_a_clip_every_frame_has_its_share(method: str) -> None:
    from test_lam_clips import WEIGHTS, Weighted, clip_model

    model, clip, window = clip_model(Weighted()), picture(frames=5), Window(4, 5, 8)
    given = {"occlusion": {"size": 2}} if method == "occlusion" else {"smoothgrad": {"draws": 3}} if method == "smoothgrad" else method
    (found,) = maps(given, model, clip, [window], frame=1)
    assert found.attribution.shape == clip.shape
    inside = np.zeros((21, 18))
    inside[4:12, 5:13] = 1
    for weight, values, frame in zip(WEIGHTS, found.attribution, clip):
        if method == "smoothgrad":
            np.testing.assert_allclose(values, np.broadcast_to(weight * inside, values.shape), atol=1e-5)
        elif method == "gradient_input":
            np.testing.assert_allclose(values, weight * inside * frame.numpy(), atol=1e-5)
        else:
            shares = (weight * inside * (frame - frame.mean((1, 2), keepdim=True)).numpy()).sum(0)
            assert float(values.sum()) == pytest.approx(shares.sum(), abs=1e-3)
            np.testing.assert_allclose(values[:, 4:6, 6:8].sum(0), np.full((2, 2), shares[4:6, 6:8].mean()), atol=1e-5)
