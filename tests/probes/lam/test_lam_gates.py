"""Averaged gates against a loop in float64, where they are exact, and where they may not differ from plain autograd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lam_models import as_model
from torch import Tensor, nn

from xlli_ray.errors import NetworkError
from xlli_ray.models import open_model
from xlli_ray.models.model import Model
from xlli_ray.probes.lam import gates
from xlli_ray.probes.lam.attribution import Rule, WindowResult, attribute
from xlli_ray.probes.lam.gates import averaged, mean_share
from xlli_ray.probes.lam.objectives import Objective
from xlli_ray.probes.lam.params import Params
from xlli_ray.probes.lam.path_points import BlurPath, LinearPath
from xlli_ray.probes.lam.path_points import Path as Way
from xlli_ray.probes.lam.receptive_field import proved_radius
from xlli_ray.probes.lam.window import Window

WINDOW = Window(8, 9, 6)


@pytest.fixture
def image() -> Tensor:
    return torch.from_numpy(np.random.default_rng(3).uniform(0, 1, (3, 24, 28)).astype(np.float32))


def network(unit: nn.Module | None = None, *, width: int = 8, depth: int = 3, kernel: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Conv2d(3 if i == 0 else width, width, kernel, padding=kernel // 2), unit or nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers, nn.Conv2d(width, 3, kernel, padding=kernel // 2)).eval().requires_grad_(False)


def maps(model: Model, image: Tensor, rule: Rule, way: Way | None = None, **more: Any) -> WindowResult:
    return attribute(model, image, [WINDOW], way or BlurPath(), rule=rule, **more)[0]


def share(here: float, other: float) -> float:
    """The part of the way from `here` to the middle between it and `other` on which a value is above 0; by cases."""
    middle = (here + other) / 2
    if here == middle:
        return float(here > 0)
    crossing = here / (here - middle)  # where it is 0, as a share of the way
    if not 0 < crossing < 1:
        return float(max(here, middle) > 0)
    return crossing if here > 0 else 1 - crossing


def test_shares_of_a_half_cell() -> None:
    assert [share(*pair) for pair in ((1, 3), (-1, -3), (1, -3), (-1, 3), (0, 0), (2, 2), (0, 1), (0, -1), (1, -1))] == [
        1, 0, 0.5, 0.5, 0, 1, 1, 0, 1
    ]  # fmt: skip
    values = torch.tensor([[-2.0, 0.0, 0.0, 3.0, -3.0, 1.0, 1e-30, 0.0], [1.0, 0.0, 2.0, -3.0, -3.0, 1.0, -1e-30, -1.0],
                           [5.0, 0.0, -2.0, 4.0, 9.0, 1.0, 1e-30, 1.0]])  # fmt: skip
    before, here, after = values
    wanted = [(share(z, a) + share(z, b)) / 2 for a, z, b in values.double().T.tolist()]
    np.testing.assert_allclose(mean_share(before, here, after).numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize("slope", [0.0, 0.05])
@pytest.mark.parametrize("last", [True, False])
def test_the_fused_loop_is_the_formula(slope: float, last: bool) -> None:
    pytest.importorskip("numba")
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(4, 1, 5, 7, 6, generator=generator)
    parts[:3, :, :, :2] = 0  # equal neighbours
    before, here, after, gradient = (part.contiguous(memory_format=torch.channels_last) if last else part for part in parts)
    fused = averaged(before, here, after, gradient.transpose(2, 3).contiguous().transpose(2, 3), slope)
    double = averaged(before.double(), here.double(), after.double(), gradient.double(), slope)
    np.testing.assert_allclose(fused.numpy(), double.numpy(), atol=2e-6)
    assert double.dtype == torch.float64, "which the loop does not take: this was the formula in tensor operations"


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_a_network_of_two_layers_gives_what_a_loop_in_float64_gives(image: Tensor, slope: float) -> None:
    module = network(nn.LeakyReLU(slope) if slope else nn.ReLU(), depth=1, kernel=1, width=5)
    n = 6
    first, last = (layer.weight[..., 0, 0].double().numpy() for layer in (module[0], module[2]))
    bias = module[0].bias.double().numpy()
    at = [(i + 0.5) / n for i in range(n)]
    points = BlurPath().points(image, at).double().numpy()
    steps = BlurPath().increments(image, [i / n for i in range(n)], [(i + 1) / n for i in range(n)]).double().numpy()
    wanted = np.zeros(image.shape)
    for y in range(WINDOW.top, WINDOW.top + WINDOW.size):
        for x in range(WINDOW.left, WINDOW.left + WINDOW.size):
            z = [first @ points[i, :, y, x] + bias for i in range(n)]
            for i in range(n):
                opened = [(share(z[i][k], z[max(i - 1, 0)][k]) + share(z[i][k], z[min(i + 1, n - 1)][k])) / 2 for k in range(5)]
                unit = slope + (1 - slope) * np.array(opened)
                wanted[:, y, x] += (first.T @ (unit * last.sum(axis=0))) * steps[i, :, y, x]
    found = maps(as_model(module), image, Rule(nodes=n, gates="averaged"), objective=Objective("sum"))
    np.testing.assert_allclose(found.attribution, wanted, atol=1e-5 * np.abs(wanted).max())


def test_on_a_straight_way_through_one_layer_it_is_the_integral_itself(image: Tensor) -> None:
    """A unit's input is then linear in u, and its mean gate exact; but for the outermost half cells, where no gate turns here."""
    module = network(nn.ReLU(), depth=1, kernel=1, width=5)
    way = LinearPath(image.flip(2))
    z = module[0](way.points(image, [0, 1 / 12, 11 / 12, 1]))
    turning = ((z[0] > 0) != (z[1] > 0)) | ((z[2] > 0) != (z[3] > 0))
    assert bool(((z[1] > 0) != (z[2] > 0)).any()), "gates do turn in between"
    model, objective = as_model(module), Objective("sum")
    exact = maps(model, image, Rule(nodes=600), way, objective=objective).attribution
    plain, mean = (maps(model, image, Rule(nodes=6, gates=kind), way, objective=objective).attribution for kind in ("plain", "averaged"))  # type: ignore[arg-type]
    inside = np.broadcast_to(~turning.any(0).numpy(), exact.shape)
    top = np.abs(exact).max()
    assert np.abs(plain - exact)[inside].max() > 0.02 * top
    assert np.abs(mean - exact)[inside].max() < 2e-3 * top  # the reference of 600 cells is off by as much


def test_it_tends_to_the_plain_integral_and_is_nearer_to_it_with_few_nodes(image: Tensor) -> None:
    model = as_model(network(depth=4))
    exact = maps(model, image, Rule(nodes=250)).attribution

    def error(nodes: int, kind: Any) -> float:
        found = maps(model, image, Rule(nodes=nodes, gates=kind)).attribution
        return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))

    few, many = error(5, "averaged"), error(60, "averaged")
    assert many < 0.1 * few
    assert many < 2e-3
    assert few < 0.7 * error(5, "plain")


def test_without_a_gate_it_is_plain_autograd_to_the_bit(image: Tensor) -> None:
    for unit in (nn.Tanh(), nn.GELU()):
        model = as_model(network(unit))
        plain, mean = (maps(model, image, Rule(nodes=4, gates=kind)) for kind in ("plain", "averaged"))  # type: ignore[arg-type]
        np.testing.assert_array_equal(plain.attribution, mean.attribution)
        assert plain.error_estimate == mean.error_estimate


def test_the_output_and_the_network_are_left_as_they_were(image: Tensor) -> None:
    model = as_model(network())
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    plain, mean = (maps(model, image, Rule(nodes=4, gates=kind)) for kind in ("plain", "averaged"))  # type: ignore[arg-type]
    assert (plain.objective_baseline, plain.objective_input) == (mean.objective_baseline, mean.objective_input)
    assert all(torch.equal(before[name], value) for name, value in model.module.state_dict().items())
    again = maps(model, image, Rule(nodes=4))
    np.testing.assert_array_equal(again.attribution, plain.attribution)


class InPlace(nn.Module):
    """Uses what an in-place ReLU left in its argument, not what it returned."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.inner:
            if isinstance(layer, nn.LeakyReLU):
                nn.functional.leaky_relu(x, 0.1, inplace=True)
            else:
                x = layer(x)
        return x


@pytest.mark.parametrize("other", [lambda: network(nn.LeakyReLU(0.1, inplace=True)), InPlace, lambda: network(nn.PReLU(8, init=0.1)),
                                   lambda: network(nn.PReLU(init=0.1))])  # fmt: skip
def test_in_place_and_per_channel_units_are_averaged_alike(image: Tensor, other: Any) -> None:
    torch.manual_seed(0)
    rule = Rule(nodes=4, gates="averaged")
    wanted, found = (maps(as_model(module), image, rule).attribution for module in (network(), other().eval()))
    np.testing.assert_allclose(found, wanted, atol=1e-6 * np.abs(wanted).max())


def test_windows_together_and_crops_give_the_maps_of_each_alone(image: Tensor) -> None:
    model, windows = as_model(network()), [Window(2, 3, 5), WINDOW, Window(14, 16, 8)]
    rule = Rule(nodes=5, gates="averaged")
    together = attribute(model, image, windows, BlurPath(), rule=rule)
    cropped = attribute(model, image, windows, BlurPath(), rule=rule, radius=proved_radius(model))
    for window, one, other in zip(windows, together, cropped):
        (alone,) = attribute(model, image, [window], BlurPath(), rule=rule)
        for found in (one, other):
            np.testing.assert_allclose(found.attribution, alone.attribution, atol=2e-6 * np.abs(alone.attribution).max())


class Wayward(nn.Module):
    """As many units for a dark input as for a bright one, but of other sizes."""

    def forward(self, x: Tensor) -> Tensor:
        part = x[..., :9] if float(x.detach().std()) > self.level else x[..., :10]
        return x + torch.relu(part).sum()

    level = 0.0


def test_a_network_that_goes_another_way_at_each_node_is_refused(image: Tensor) -> None:
    wayward = Wayward()
    wayward.level = float(BlurPath().points(image, [0.5])[0].std())
    with pytest.raises(NetworkError, match="the same operations for every input"):
        maps(as_model(wayward), image, Rule(nodes=4, gates="averaged"))


def test_it_is_asked_for_by_name_and_only_where_it_has_a_meaning(image: Tensor) -> None:
    for wrong in ({"mode": "paper"}, {"tolerance": 0.1}):
        with pytest.raises(ValueError, match="gates: averaged goes with"):
            Params(gates="averaged", **wrong)
    with pytest.raises(NetworkError, match="takes `nodes`"):
        maps(as_model(network()), image, Rule(tolerance=0.1, gates="averaged"))
    from xlli_ray.probes.lam.probe import Lam

    plain, mean = Lam(Params(), {}), Lam(Params(gates="averaged"), {})
    assert (plain.what, plain.nodes, mean.what, mean.nodes) == ("accurate", 20, "averaged", 12)


def test_without_numba_the_numbers_are_the_same(image: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rule = as_model(network()), Rule(nodes=4, gates="averaged")
    with_loop = maps(model, image, rule).attribution
    monkeypatch.setattr(gates, "_loop", lambda: None)
    np.testing.assert_allclose(maps(model, image, rule).attribution, with_loop, atol=1e-6 * np.abs(with_loop).max())


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "name"), [("rlfn/rlfn_x4.pth", "rlfn"), ("rfdn/rfdn_x4.pth", "rfdn"), ("imdn/imdn_x4.pth", "imdn"),
                                               ("carn_m/carn_m.pth", "carn_m")])  # fmt: skip
def test_real_networks_need_fewer_nodes(fixtures: Path, weights: str, name: str) -> None:
    """7.png, the window of the reference arrays: 12 nodes with averaged gates come nearer than 12 plain ones."""
    model = open_model(fixtures / "models" / weights, network=name, scale=4)
    image = torch.from_numpy(np.load(fixtures.parent / "lam-reference" / "RFDN_7_w120_h95_ws16.npz")["lr"])
    window, radius = Window(95, 120, 16), proved_radius(model)
    exact, plain, mean = (
        attribute(model, image, [window], BlurPath(), rule=rule, radius=radius)[0].attribution.sum(0)
        for rule in (Rule(nodes=120), Rule(nodes=12), Rule(nodes=12, gates="averaged"))
    )
    assert np.linalg.norm(mean - exact) < 0.85 * np.linalg.norm(plain - exact)
