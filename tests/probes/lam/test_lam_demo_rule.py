"""The demo's walk by itself: folds, its first-order error in the digits that the authors' code gave, constant images (specification 11.1,
11.3, 11.9), and that freezing weights changes no bit of a gradient."""

from __future__ import annotations

from pathlib import Path as File

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xlli_ray.probes.lam.attribution import Rule, attribute
from xlli_ray.probes.lam.demo import STEPS
from xlli_ray.probes.lam.objectives import Objective
from xlli_ray.probes.lam.path_choices import make_path
from xlli_ray.probes.lam.path_points import BlurPath, LinearPath, filtered, gaussian_kernels
from xlli_ray.probes.lam.window import Window


@pytest.fixture
def image() -> Tensor:
    return torch.from_numpy(np.random.default_rng(3).uniform(0, 1, (3, 24, 28)).astype(np.float32))


@pytest.mark.parametrize("fold", [1, 2, 5, STEPS])
def test_any_fold_leads_from_the_blurred_image_to_the_image(image: Tensor, fold: int) -> None:
    """So a linear network has one map, c · (I − K(1.2) ∗ I), in any number of steps."""
    nodes, increments = BlurPath().demo_steps(image, fold)
    assert nodes.shape == increments.shape == (fold, *image.shape)
    exact = image.double() - filtered(image.double(), gaussian_kernels([1.2]))[0]
    torch.testing.assert_close(increments.double().sum(0), exact, atol=1e-6, rtol=0)
    torch.testing.assert_close(nodes[-1], image, atol=0, rtol=0)


def test_the_error_on_a_quadratic_has_the_digits_of_the_authors_code(fixtures: File) -> None:
    """D = ½ Σ I² on the identity, 7.png: the right end point's share is off by half the squared step, so by 1/fold."""
    image = torch.from_numpy(np.load(fixtures.parent / "lam-reference" / "RFDN_7_w120_h95_ws16.npz")["lr"])
    whole = image.double().square() - filtered(image.double(), gaussian_kernels([1.2]))[0].square()
    for fold, wanted in ((10, 0.0102), (50, 0.00211), (500, 0.00021)):
        nodes, increments = BlurPath().demo_steps(image, fold)
        found = (nodes.double() * increments.double()).sum(0)
        assert float((found - whole / 2).norm() / whole.norm()) == pytest.approx(wanted, rel=0.01)


def test_a_constant_image_is_every_node_and_its_increments_are_nothing() -> None:
    flat = torch.tensor([0.4, 0.1, 0.9])[:, None, None].expand(3, 20, 21).contiguous()
    ends = [0.0, 0.2, 0.7], [0.2, 0.7, 1.0]
    for path in (BlurPath(), make_path("linear_mean", flat)[0], make_path("linear_blurred", flat)[0], LinearPath(flat)):
        torch.testing.assert_close(path.points(flat, ends[0]), flat.expand(3, 3, 20, 21), atol=1e-7, rtol=0)
        assert not path.increments(flat, *ends).any()
    nodes, increments = BlurPath().demo_steps(flat)
    torch.testing.assert_close(nodes, flat.expand_as(nodes), atol=1e-6, rtol=0)  # 81 terms summed in float32
    assert not increments.any()
    half = flat.clone()
    half[1, 3, 4] = 0.2
    assert BlurPath().increments(half, *ends)[:, 1].any()
    assert not BlurPath().increments(half, *ends)[:, [0, 2]].any()


@pytest.mark.parametrize("objective", ["gradient", "sum"])
@pytest.mark.parametrize("mode", ["paper", "accurate"])
def test_no_network_has_a_map_of_a_constant_image(toy_model: object, mode: str, objective: str) -> None:
    flat = torch.full((3, 20, 20), 0.4)
    found = attribute(toy_model, flat, [Window(5, 5, 6)], BlurPath(), objective=Objective(objective), rule=Rule(mode))[0]  # type: ignore[arg-type]
    assert found.undefined, "not a map of rounding errors with a DI of its own"
    assert not found.map.any()
    assert np.isnan(found.completeness) or found.completeness == 1  # the score may move by rounding; the map does not


def test_frozen_weights_give_the_same_bits(image: Tensor) -> None:
    """The demo leaves weight gradients on; leaving them out is a saving, not a change."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(8, 3, 3, padding=1)).eval()
    found = []
    for asked in (True, False):
        network.requires_grad_(asked)
        x = image[None].clone().requires_grad_()
        Objective()(network(x), Window(4, 5, 8)).sum().backward()
        assert x.grad is not None
        found.append(x.grad)
        assert (next(network.parameters()).grad is not None) is asked
        network.zero_grad(set_to_none=True)
    assert torch.equal(*found)
