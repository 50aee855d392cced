"""LAM against closed forms: what a map must be where the answer is known without running the authors' code (specification, section 11)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xlli_ray.errors import NetworkError
from xlli_ray.models.model import ImageModel, Model, Range
from xlli_ray.probes.lam.attribution import Rule, attribute
from xlli_ray.probes.lam.controls import randomised, shifted
from xlli_ray.probes.lam.diffusion_index import diffusion_index, gini, n95, normalised_map
from xlli_ray.probes.lam.objectives import Objective, root
from xlli_ray.probes.lam.path_choices import make_path
from xlli_ray.probes.lam.path_points import BlurPath, LinearPath, axis, filtered, gaussian_kernels
from xlli_ray.probes.lam.quadrature import Cell, SecondDifferences, estimate, even_cells
from xlli_ray.probes.lam.receptive_field import crop_for, find_radius, proved_radius
from xlli_ray.probes.lam.window import Window
from xlli_ray.probes.lam.windows import candidates, texture


def as_model(module: nn.Module, scale: int = 1, **known: Any) -> Model:
    fields: dict[str, Any] = {
        "id": "toy", "network": "toy:toy", "network_version": 1, "channels": 3, "range": Range(0.0, 1.0), "multiple": 1, "minimum": 1,
        "output": "image", "weights_sha256": "0" * 64,
    }  # fmt: skip
    return ImageModel(module=module.eval().requires_grad_(False), scale=scale, **(fields | known))


class Linear(nn.Module):
    """Every channel scaled: the derivative of the sum is known."""

    def __init__(self, factor: float = 2.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def convolutions(depth: int = 3, scale: int = 1, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1), nn.LeakyReLU(0.1)]
    layers += [nn.Conv2d(8, 3 * scale**2, 3, padding=1)] + ([nn.PixelShuffle(scale)] if scale > 1 else [])
    return nn.Sequential(*layers)


@pytest.fixture
def image() -> Tensor:
    return torch.from_numpy(np.random.default_rng(3).uniform(0, 1, (3, 24, 28)).astype(np.float32))


WINDOW = Window(8, 9, 6)


@pytest.mark.parametrize("rule", [Rule("paper"), Rule(nodes=1), Rule(nodes=7), Rule(tolerance=0.1)])
def test_a_linear_network_gives_its_slope_times_the_way_whatever_the_rule(image: Tensor, rule: Rule) -> None:
    (found,) = attribute(as_model(Linear()), image, [WINDOW], BlurPath(), objective=Objective("sum"), rule=rule)
    inside = torch.zeros_like(image)
    WINDOW.cut(inside).fill_(2.0)
    exact = inside * (image - filtered(image, gaussian_kernels([1.2]))[0])
    np.testing.assert_allclose(found.attribution, exact.numpy(), atol=1e-5)
    assert found.completeness < 1e-4


def test_a_straight_line_from_black_gives_slope_times_input(image: Tensor) -> None:
    path, _ = make_path("linear_black", image)
    (found,) = attribute(as_model(Linear()), image, [WINDOW], path, objective=Objective("sum"), rule=Rule(nodes=4))
    np.testing.assert_allclose(WINDOW.cut(torch.from_numpy(found.attribution)), 2 * WINDOW.cut(image), atol=1e-6)
    assert not found.attribution[:, :8].any()


@pytest.mark.parametrize("rule", [Rule(nodes=1), Rule(nodes=5), Rule(tolerance=0.1), Rule(nodes=3, gates="averaged")])
def test_the_way_of_a_pair_leads_from_the_degraded_input_to_the_clean_one(image: Tensor, rule: Rule) -> None:
    clean = image.flip(1)
    path, end = make_path("pair", image, clean)
    (found,) = attribute(as_model(Linear()), image, [WINDOW], path, objective=Objective("sum"), rule=rule, end=end)
    exact = torch.zeros_like(image)
    WINDOW.cut(exact).copy_(WINDOW.cut(2 * (clean - image)))
    np.testing.assert_allclose(found.attribution, exact.numpy(), atol=1e-5)
    assert found.objective_baseline == pytest.approx(float(WINDOW.cut(2 * image).sum()), rel=1e-5)
    assert found.objective_input == pytest.approx(float(WINDOW.cut(2 * clean).sum()), rel=1e-5)
    with pytest.raises(NetworkError, match="clean target of the same size"):
        make_path("pair", image, clean[:, 1:])


@pytest.mark.parametrize("name", ["linear_mean", "linear_blurred"])
def test_straight_lines_from_other_baselines_end_in_the_image_and_give_slope_times_way(image: Tensor, name: Any) -> None:
    path, end = make_path(name, image)
    start = image.mean(dim=(1, 2), keepdim=True).expand_as(image) if name == "linear_mean" else filtered(image, gaussian_kernels([1.2]))[0]
    torch.testing.assert_close(path.points(image, [0.0, 1.0]), torch.stack([start, image]), atol=1e-6, rtol=0)
    (found,) = attribute(as_model(Linear()), image, [WINDOW], path, objective=Objective("channel", 1), rule=Rule(nodes=2), end=end)
    exact = torch.zeros_like(image)
    WINDOW.cut(exact)[1] = WINDOW.cut(2 * (image - start))[1]
    np.testing.assert_allclose(found.attribution, exact.numpy(), atol=1e-5)


def test_midpoints_are_of_second_order_on_a_quadratic_and_the_demos_rule_of_first(image: Tensor) -> None:
    """D = Σ (S − 0)² on the identity: the exact share is x² − x₀²."""
    model, zero = as_model(Linear(1.0)), torch.zeros_like(image)
    start = filtered(image, gaussian_kernels([1.2]))[0]
    exact = WINDOW.cut(image.double().square() - start.double().square()).numpy()

    def error(rule: Rule, path: Any) -> float:
        (found,) = attribute(model, image, [WINDOW], path, objective=Objective("error"), rule=rule, target=zero)
        got = WINDOW.cut(torch.from_numpy(found.attribution)).numpy()
        return float(np.linalg.norm(got - exact) / np.linalg.norm(exact))

    assert error(Rule("paper"), BlurPath()) > 1e-3
    assert error(Rule(nodes=3), LinearPath(start)) < 1e-5  # exact on a straight line
    coarse, fine = (error(Rule(nodes=n), BlurPath()) for n in (4, 16))
    assert fine < coarse / 8


def test_completeness_goes_to_zero_as_nodes_grow(image: Tensor) -> None:
    model = as_model(convolutions())
    residuals = [attribute(model, image, [WINDOW], BlurPath(), rule=Rule(nodes=n))[0].completeness for n in (2, 200)]
    assert residuals[1] < min(2e-3, residuals[0])


def test_gini_of_known_distributions() -> None:
    assert gini(np.ones((8, 8))) == pytest.approx(0, abs=1e-12)
    assert gini(np.r_[np.zeros(50), np.ones(50)]) == pytest.approx(0.5, abs=1e-6)
    assert gini(np.arange(1, 4097) / 4096) == pytest.approx(0.33325189, abs=1e-7)
    spike = np.zeros((64, 64), np.float32)
    spike[5, 7] = 1
    assert diffusion_index(spike) == pytest.approx(0.0653457, abs=1e-5)


def test_gini_ignores_order_and_scale_of_a_normalised_map() -> None:
    values = np.random.default_rng(0).uniform(0, 1, 500)
    assert gini(np.random.default_rng(1).permutation(values)) == pytest.approx(gini(values), abs=1e-14)
    attribution = np.random.default_rng(2).normal(size=(3, 9, 9))
    assert diffusion_index(normalised_map(7.5 * attribution)) == pytest.approx(diffusion_index(normalised_map(attribution)), abs=1e-5)


def test_padding_a_map_with_zeros_divides_its_index_by_the_area() -> None:
    values = np.random.default_rng(0).uniform(0, 1, (64, 64)).astype(np.float32)
    padded = np.zeros((128, 128), np.float32)
    padded[:64, :64] = values
    assert diffusion_index(padded) == pytest.approx(diffusion_index(values) / 4, abs=1e-4)


def test_an_all_zero_map_is_undefined_and_not_a_diffusion_index_of_100() -> None:
    assert np.isnan(diffusion_index(np.zeros((8, 8))))
    assert n95(np.zeros((8, 8))) == 0


def test_n95_counts_the_largest_pixels() -> None:
    assert n95(np.ones(100)) == 95
    assert n95(np.array([96.0, 1, 1, 1, 1])) == 1


def test_kernels_sum_to_one_and_end_in_a_delta() -> None:
    kernels = gaussian_kernels([1.2, 0.6, 0.0])
    np.testing.assert_allclose(kernels.sum((1, 2)), 1, atol=1e-14)
    assert kernels[0, 4, 4] == pytest.approx(0.110548, abs=1e-6)
    assert kernels[0, 0, 4] == pytest.approx(4.27e-4, abs=1e-6)
    assert kernels[2, 4, 4] == 1.0
    assert kernels[2].sum() == 1.0
    assert axis(9).tolist() == list(range(-4, 5))
    assert axis(8).tolist() == list(range(-3, 5))


def test_the_blur_path_is_even_in_the_centre_weight_and_its_increments_telescope(image: Tensor) -> None:
    path = BlurPath()
    weights = gaussian_kernels(path.sigma_at([0, 0.25, 0.5, 0.75, 1]).tolist())[:, 4, 4]
    np.testing.assert_allclose(np.diff(weights), np.diff(weights)[0], rtol=1e-9)
    edges = np.linspace(0, 1, 8).tolist()
    total = path.increments(image, edges[:-1], edges[1:]).sum(0)
    torch.testing.assert_close(total, path.points(image, [1.0])[0] - path.points(image, [0.0])[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(path.points(image, [1.0])[0], image, atol=0, rtol=0)


def test_the_demos_last_eight_steps_move_nothing() -> None:
    assert np.flatnonzero(BlurPath().demo_null()).tolist() == list(range(42, 50))


@pytest.mark.parametrize("mode", ["paper", "accurate"])
def test_a_constant_image_has_no_map(mode: Any) -> None:
    flat = torch.full((3, 20, 20), 0.4)
    (found,) = attribute(as_model(convolutions()), flat, [Window(5, 5, 6)], BlurPath(), rule=Rule(mode))
    assert np.abs(found.attribution).max() < 1e-5
    (through,) = attribute(as_model(Linear(1.0)), flat, [Window(5, 5, 6)], BlurPath(), rule=Rule(mode))
    assert through.undefined or np.abs(through.attribution).max() < 1e-5
    assert through.nonfinite == 0
    assert through.flat == 6 * 6 * 3, "flat pixels are counted, not zeroed in silence"


def test_a_flat_half_next_to_an_edge_gives_a_finite_map() -> None:
    given = torch.zeros(3, 20, 20)
    given[:, :, 10:] = 0.7
    (found,) = attribute(as_model(Linear(1.0)), given, [Window(5, 5, 10)], BlurPath())
    assert np.isfinite(found.attribution).all()
    assert found.attribution.any()
    assert not found.undefined
    assert 0 < found.flat < 300


def test_the_root_has_no_nan_in_its_gradient_at_zero() -> None:
    x = torch.tensor([0.0, 4.0], requires_grad=True)
    root(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 0.25]


def test_outside_the_receptive_field_a_map_is_exactly_zero_and_nothing_there_can_change_it(image: Tensor) -> None:
    model = as_model(convolutions(depth=2))
    radius = find_radius(model)
    assert radius is not None
    assert (radius.before, radius.after) == (3, 3)
    (whole,) = attribute(model, image, [WINDOW], BlurPath())
    crop = crop_for(WINDOW, radius, 1, 24, 28)
    outside = whole.attribution.copy()
    outside[:, crop.top : crop.bottom, crop.left : crop.right] = 0
    assert not outside.any()
    changed = image.clone()
    changed[:, : crop.top - 4] = 0.9  # farther than the radius plus half the blur kernel
    (other,) = attribute(model, changed, [WINDOW], BlurPath())
    np.testing.assert_array_equal(other.attribution, whole.attribution)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_the_map_of_a_crop_is_the_map(image: Tensor, scale: int) -> None:
    model = as_model(convolutions(scale=scale), scale=scale)
    radius = proved_radius(model)
    assert radius is not None
    for window in (Window(0, 0, 5), Window(9 * scale, 11 * scale, 5), Window(24 * scale - 6, 28 * scale - 6, 5)):
        (whole,), (cropped,) = (attribute(model, image, [window], BlurPath(), radius=r) for r in (None, radius))
        np.testing.assert_allclose(cropped.attribution, whole.attribution, atol=2e-6 * np.abs(whole.attribution).max())
        assert cropped.objective_input == pytest.approx(whole.objective_input, rel=1e-6)


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * torch.sigmoid(x.mean((2, 3), keepdim=True))


@pytest.mark.parametrize("window", [Window(0, 0, 3), Window(20, 24, 3), Window(0, 13, 3), Window(10, 12, 3)])
def test_the_crop_of_a_corner_is_never_smaller_than_the_network_takes(image: Tensor, window: Window) -> None:
    """The crop that proves the reach lies in the middle and is large enough; one in a corner has less to see, and raised."""
    model = replace(as_model(convolutions()), minimum=11)
    radius = proved_radius(model)
    assert radius is not None
    assert crop_for(Window(0, 0, 3), radius, 1, 24, 28).area < 11 * 11
    (whole,), (cropped,) = (attribute(model, image, [window], BlurPath(), radius=r) for r in (None, radius))
    np.testing.assert_allclose(cropped.attribution, whole.attribution, atol=2e-6 * np.abs(whole.attribution).max())


def test_a_network_of_multiples_of_8_and_64_pixels_is_explained_on_the_smallest_image_that_it_takes() -> None:
    """Its image is padded and never cropped: windows in all corners have maps."""
    model = replace(as_model(convolutions()), minimum=64, multiple=8)
    assert proved_radius(model) is None
    given = torch.rand(3, 57, 60, generator=torch.Generator().manual_seed(3))
    for window in (Window(0, 0, 8), Window(48, 51, 8)):
        (found,) = attribute(model, given, [window], BlurPath(), radius=None)
        assert np.abs(found.attribution).sum() > 0
    with pytest.raises(NetworkError, match="needs at least 64 x 64 pixels"):
        attribute(model, given[:, :56], [Window(0, 0, 8)], BlurPath(), radius=None)


def test_global_pooling_has_no_radius_and_is_never_cropped() -> None:
    assert find_radius(as_model(Pooled())) is None


def test_a_shift_of_the_output_changes_nothing_and_a_factor_changes_no_map(image: Tensor) -> None:
    class Changed(nn.Module):
        def __init__(self, factor: float, shift: float) -> None:
            super().__init__()
            self.inner, self.factor, self.shift = convolutions(), factor, shift

        def forward(self, x: Tensor) -> Tensor:
            return self.factor * self.inner(x) + self.shift

    plain, moved, scaled = (attribute(as_model(Changed(*c)), image, [WINDOW], BlurPath())[0] for c in ((1, 0), (1, 0.25), (-2, 0)))
    np.testing.assert_allclose(moved.attribution, plain.attribution, atol=1e-5)
    np.testing.assert_allclose(scaled.attribution, 2 * plain.attribution, atol=1e-5)
    np.testing.assert_allclose(scaled.map, plain.map, atol=1e-4)


def test_a_map_moves_with_the_image_away_from_borders() -> None:
    model = as_model(convolutions(depth=2))
    given = torch.from_numpy(np.random.default_rng(1).uniform(0, 1, (3, 48, 48)).astype(np.float32))
    (here,) = attribute(model, given, [Window(20, 20, 5)], BlurPath())
    (there,) = attribute(model, torch.roll(given, (2, 3), (1, 2)), [Window(22, 23, 5)], BlurPath())
    np.testing.assert_allclose(np.roll(here.attribution, (2, 3), (1, 2)), there.attribution, atol=1e-5)


@pytest.mark.parametrize("rule", [Rule(nodes=5), Rule("paper"), Rule(tolerance=0.15)])
def test_many_windows_give_the_maps_that_each_gives_alone(image: Tensor, rule: Rule) -> None:
    model, windows = as_model(convolutions()), [Window(2, 3, 5), WINDOW, Window(14, 16, 8)]
    together = attribute(model, image, windows, BlurPath(), rule=rule)
    for window, found in zip(windows, together):
        (alone,) = attribute(model, image, [window], BlurPath(), rule=rule)
        np.testing.assert_allclose(found.attribution, alone.attribution, atol=1e-6)
        assert (found.nodes, found.window) == (alone.nodes, window)
        assert np.isnan(found.error_estimate) == np.isnan(alone.error_estimate)


def test_the_tolerance_is_kept_or_the_limit_of_nodes_reached(image: Tensor) -> None:
    model = as_model(convolutions(depth=4))
    (loose,), (tight,), (hopeless,) = (
        attribute(model, image, [WINDOW], BlurPath(), rule=rule)
        for rule in (Rule(tolerance=0.5), Rule(tolerance=0.01), Rule(tolerance=1e-9, max_nodes=12))
    )
    assert loose.error_estimate <= 0.5
    assert tight.error_estimate <= 0.01
    assert loose.nodes < tight.nodes
    assert hopeless.nodes == 12
    assert hopeless.error_estimate > 1e-9


def test_the_estimate_for_equal_cells_is_the_streaming_one() -> None:
    generator = torch.Generator().manual_seed(0)
    gradients, steps = (torch.randn(9, 3, 4, 5, generator=generator) for _ in range(2))
    total = (gradients * steps).double().sum(0)
    cells = even_cells(9)
    streaming = SecondDifferences()
    for gradient, step in zip(gradients, steps):
        streaming.add(gradient, step)
    whole = estimate([float(cell.centre) for cell in cells], gradients, steps, total)
    assert streaming.relative_to(total) == pytest.approx(whole, rel=1e-6)


def test_a_cut_cell_keeps_its_centre() -> None:
    (cell,) = even_cells(1)
    parts = cell.thirds()
    assert parts[1].centre == cell.centre
    assert [part.width for part in parts] == [cell.width / 3] * 3
    assert isinstance(parts[0], Cell)


def test_candidates_leave_the_pixel_that_the_objective_reads() -> None:
    assert [(w.top, w.left) for w in candidates(33, 32, 16)] == [(0, 0), (16, 0)]
    assert candidates(16, 16, 16) == []


def test_texture_picks_the_detailed_squares_first_and_breaks_ties_from_the_top() -> None:
    given = np.zeros((3, 41, 41), np.float32)
    given[:, 22:36:2, 22:36] = 1.0
    assert texture(given, 20, 2)[0] == Window(20, 20, 20)
    assert [(w.top, w.left) for w in texture(np.zeros((3, 41, 41), np.float32), 20, 4)] == [(0, 0), (0, 20), (20, 0), (20, 20)]


@pytest.mark.parametrize(
    ("window", "words"),
    [
        (Window(18, 0, 6), "outside"), (Window(0, 22, 6), "outside"), (Window(-1, 0, 4), "outside"),
        (Window(0, 0, 0), "size must be an integer ≥ 1, got 0"),
    ],
)  # fmt: skip
def test_a_window_that_does_not_fit_is_refused(image: Tensor, window: Window, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        attribute(as_model(Linear()), image, [window], BlurPath())


class Rounded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach().round()


class Poisoned(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * float("nan")


class BadSlope(nn.Module):
    """Finite values, infinite derivative at 0."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (x - x.detach()).abs().sqrt()


@pytest.mark.parametrize(("network", "words"), [(Rounded(), "no gradient"), (Poisoned(), "not finite")])
def test_networks_that_cannot_be_explained_say_why(image: Tensor, network: nn.Module, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        attribute(as_model(network), image, [WINDOW], BlurPath())


def test_gradients_that_are_not_finite_are_counted_and_leave_no_map(image: Tensor) -> None:
    (accurate,) = attribute(as_model(BadSlope()), image, [WINDOW], BlurPath(), objective=Objective("sum"), rule=Rule(nodes=2))
    assert accurate.nonfinite > 0
    assert accurate.undefined
    (paper,) = attribute(as_model(BadSlope()), image, [WINDOW], BlurPath(), objective=Objective("sum"), rule=Rule("paper"))
    assert paper.nonfinite > 0
    assert np.isfinite(paper.attribution).all()


def test_weights_and_flags_are_left_as_they_were(image: Tensor) -> None:
    model = as_model(convolutions())
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    strides = [p.stride() for p in model.module.parameters()]
    attribute(model, image, [WINDOW], BlurPath())
    assert all(torch.equal(before[name], value) for name, value in model.module.state_dict().items())
    assert [p.stride() for p in model.module.parameters()] == strides
    assert all(p.grad is None for p in model.module.parameters())


def test_randomised_weights_are_others_and_the_same_each_time(image: Tensor) -> None:
    model = as_model(convolutions())
    first, second, other = randomised(model), randomised(model), randomised(model, seed=1)
    states = [m.module.state_dict() for m in (model, first, second, other)]
    assert all(torch.equal(states[1][name], states[2][name]) for name in states[0])
    assert not any(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[1]["0.weight"], states[3]["0.weight"])


@pytest.mark.parametrize("window", [Window(0, 0, 16), Window(112, 96, 16), Window(30, 77, 16)])
def test_a_shifted_window_still_fits_and_lies_elsewhere(window: Window) -> None:
    moved = shifted(window, 129, 161)
    assert not moved.problem(129, 161)
    assert abs(moved.top - window.top) >= 50
    assert abs(moved.left - window.left) >= 60

