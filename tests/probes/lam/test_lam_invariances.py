"""What may not change a map, and what must (specification 11.8, 11.10, 11.12): on real networks where a closed form says nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from xlli_ray.models import open_model
from xlli_ray.models.model import Model
from xlli_ray.probes.lam.attribution import Rule, attribute
from xlli_ray.probes.lam.objectives import Objective
from xlli_ray.probes.lam.path_points import BlurPath
from xlli_ray.probes.lam.receptive_field import Radius, crop_for, find_radius
from xlli_ray.probes.lam.window import Window

REACH = Radius(21, 21)


@pytest.fixture(scope="module")
def carn_m(fixtures: Path) -> Model:
    return open_model(fixtures / "models/carn_m/carn_m.pth", network="carn_m", scale=4)


@pytest.fixture(scope="module")
def image(fixtures: Path) -> torch.Tensor:
    return torch.from_numpy(np.load(fixtures.parent / "lam-reference" / "CARN-M_7_w120_h95_ws16.npz")["lr"])


def test_the_reach_of_a_real_network_is_the_one_that_its_gradients_were_seen_to_have(carn_m: Model) -> None:
    """Gradients of CARN-M were found 21 input pixels before and 20 after a window; what it may depend on is at least that."""
    assert find_radius(carn_m) == REACH


def test_a_convolutional_network_sees_nothing_beyond_its_reach(carn_m: Model, image: torch.Tensor) -> None:
    """On the whole image, without a crop: exactly zero outside; and what lies farther than reach and blur changes nothing inside."""
    window, rule = Window(96, 96, 8), Rule(nodes=1)
    (whole,) = attribute(carn_m, image, [window], BlurPath(), rule=rule)
    crop = crop_for(window, REACH, 4, *image.shape[1:])
    outside = whole.attribution.copy()
    outside[:, crop.top : crop.bottom, crop.left : crop.right] = 0
    assert not outside.any()
    assert whole.attribution.any()
    other = image.flip(0).clone()
    near = (slice(None), slice(max(0, crop.top - 4), crop.bottom + 4), slice(max(0, crop.left - 4), crop.right + 4))
    other[near] = image[near]
    assert not torch.equal(other, image)
    (changed,) = attribute(carn_m, other, [window], BlurPath(), rule=rule)
    np.testing.assert_array_equal(changed.attribution, whole.attribution)


def test_a_mirrored_image_has_the_mirrored_map_only_where_the_score_is_symmetric(toy_identity: Model) -> None:
    """Forward differences look right and down, so the paper's score of a mirrored image is another one, by a pixel."""
    image = torch.from_numpy(np.random.default_rng(5).uniform(0, 1, (3, 24, 30)).astype(np.float32))
    window, mirrored = Window(8, 6, 9), Window(8, 30 - 6 - 9, 9)

    def maps(name: str) -> tuple[np.ndarray, np.ndarray]:
        objective = Objective(name)  # type: ignore[arg-type]
        (here,) = attribute(toy_identity, image, [window], BlurPath(), objective=objective)
        (there,) = attribute(toy_identity, image.flip(2), [mirrored], BlurPath(), objective=objective)
        return here.attribution, there.attribution[:, :, ::-1]

    one, other = maps("sum")
    np.testing.assert_allclose(one, other, atol=1e-6)
    one, other = maps("gradient")
    assert np.linalg.norm(one - other) > 0.1 * np.linalg.norm(one)


@pytest.mark.parametrize("mode", ["paper", "accurate"])
def test_a_flat_half_beside_an_edge_adds_up_to_the_change_of_the_score(toy_identity: Model, mode: str) -> None:
    """Where the demo has NaN and puts 0 instead: finite, nothing replaced, and complete."""
    image = torch.zeros(3, 20, 20)
    image[:, :, 10:] = 0.7
    # the blurred edge reaches into the window and leaves it on the way; an edge amid the window would keep its sum of slopes
    (found,) = attribute(toy_identity, image, [Window(5, 5, 4)], BlurPath(), rule=Rule(mode))  # type: ignore[arg-type]
    assert found.flat == 4 * 4 * 3
    assert found.nonfinite == 0
    assert np.isfinite(found.attribution).all()
    assert found.objective_baseline - found.objective_input > 0.1
    assert found.completeness < 1e-3
