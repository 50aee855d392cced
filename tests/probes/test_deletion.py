"""Deletion and insertion: curves of a linear network by formula, orders, areas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xlli_ray.errors import NetworkError
from xlli_ray.models.model import ImageModel, Model, Range
from xlli_ray.probes.deletion.curves import FRACTIONS, area, curves, nearness, ranking
from xlli_ray.probes.deletion.probe import PERCENT, Deletion, Params
from xlli_ray.probes.lam.measured_maps import StageMaps, shared_windows, stage_maps
from xlli_ray.probes.lam.window import Window
from xlli_ray.probes.measurement import Batch, Measurement


def network(module: nn.Module) -> Model:
    """A model of scale 1."""
    return ImageModel(
        id="toy", module=module.eval().requires_grad_(False), network="toy:toy", network_version=1, scale=1, channels=3,
        range=Range(0.0, 1.0), multiple=1, minimum=1, output="image", weights_sha256="0" * 64,
    )  # fmt: skip


class Far(nn.Module):
    """An output that is the input eight columns to the right."""

    def forward(self, x: Tensor) -> Tensor:
        return x.roll(-8, dims=-1)


def scene(side: int = 20) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.rand(3, side, side, generator=rng), torch.rand(3, side, side, generator=rng)


def test_the_curves_of_a_linear_network_are_those_of_the_formula() -> None:
    """distance(f) = ‖A (x_f − x)‖ over the window, with x_f mixed pixel by pixel."""
    conv = nn.Conv2d(3, 3, 5, padding=2, bias=False)
    conv.weight.data = torch.randn(conv.weight.shape, generator=torch.Generator().manual_seed(1)) / 20
    (image, base), window = scene(), Window(6, 8, 5)
    order = np.random.default_rng(0).permutation(400)
    found = curves(network(conv), image, base, window, [order])
    for k, fraction in enumerate(FRACTIONS):
        gone = np.zeros(400, bool)
        gone[order[: round(400 * fraction)]] = True
        mask = torch.from_numpy(gone).reshape(20, 20)
        for values, mixed in (
            (found.deletion, torch.where(mask, base, image)), (found.insertion, torch.where(mask, image, base)),
        ):  # fmt: skip
            change = window.cut(conv((mixed - image)[None]))[0] * 255
            assert values[0, k] == pytest.approx(float(change.double().square().mean().sqrt()), abs=1e-3)
    assert found.deletion[0, 0] == found.insertion[0, -1] == 0
    assert found.scale == found.insertion[0, 0] == found.deletion[0, -1]


def test_the_order_of_what_a_network_reads_beats_the_nearest_pixels_and_a_wrong_one_does_not() -> None:
    (image, base), window = scene(32), Window(12, 4, 8)
    read = np.zeros((32, 32))
    read[12:20, 12:20] = 1
    ties = np.random.default_rng(0).random((32, 32))
    orders = [ranking(scores, ties) for scores in (read, nearness(window, 1, (32, 32)), 1 - read, np.zeros((32, 32)))]
    found = curves(network(Far()), image, base, window, orders)
    gone, come = area(found.deletion, found.scale), area(found.insertion, found.scale)
    assert gone[0] > gone[3] > gone[2]
    assert gone[0] > gone[1]
    assert come[0] < come[3] < come[2]
    assert come[0] < come[1]


def test_equal_scores_are_ordered_by_chance_and_all_pixels_occur_once() -> None:
    scores = np.zeros((6, 6))
    scores[2, 3], scores[5, 0] = 2.0, 1.0
    first, second = (ranking(scores, np.random.default_rng(seed).random((6, 6))) for seed in (0, 1))
    assert first[:2].tolist() == second[:2].tolist() == [15, 30]
    assert first.tolist() != second.tolist()
    assert sorted(first.tolist()) == list(range(36))


def test_nearest_first_begins_in_the_window_and_ends_in_the_farthest_corner_or_frame() -> None:
    order = ranking(nearness(Window(8, 12, 8), 4, (9, 9)), np.random.default_rng(0).random((9, 9)))
    assert sorted(order[:4].tolist()) == [2 * 9 + 3, 2 * 9 + 4, 3 * 9 + 3, 3 * 9 + 4]
    assert order[-1] in (80, 72)
    clip = nearness(Window(8, 12, 8), 4, (3, 9, 9), frame=0)
    assert (clip[0] > clip[1]).sum() == (clip[1] > clip[2]).sum() == 81


def test_areas_are_by_the_fractions_themselves_and_a_window_that_never_changes_has_none() -> None:
    straight = np.array(FRACTIONS)[None] * 8
    assert area(straight, 8.0).tolist() == [0.5]
    assert np.isnan(area(np.zeros((2, len(FRACTIONS))), 0.0)).all()
    assert tuple(round(100 * one) for one in FRACTIONS[1:-1]) == PERCENT
    (image, _), window = scene(), Window(2, 2, 4)
    found = curves(network(nn.Identity()), image, image, window, [np.arange(400)])
    assert found.scale == 0


def test_an_output_that_is_not_finite_says_so() -> None:
    (image, base), window = scene(), Window(2, 2, 4)
    with pytest.raises(NetworkError, match="not finite"):
        curves(network(nn.Identity()), image * float("inf"), base, window, [np.arange(400)])
    with pytest.raises(NetworkError, match="is outside the output"):
        curves(network(nn.Identity()), image, base, Window(18, 2, 4), [np.arange(400)])


def test_one_stage_is_a_list_of_one_and_none_may_be_named_twice() -> None:
    one, same, two = (Deletion(Params(of=of), {}) for of in ("lam", ["lam"], ["lam", "cem"]))  # type: ignore[arg-type]
    assert one.identity() == same.identity() != two.identity()
    assert (one.needs, two.needs) == (("lam",), ("lam", "cem"))
    with pytest.raises(ValueError, match="the same stage twice: lam"):
        Params(of=["lam", "cem", "lam"])
    with pytest.raises(ValueError, match="at least 1 item"):
        Params(of=[])


def measured(windows: list[tuple[int, int, int]], name: str = "map", positions: list[int] | None = None) -> Measurement:
    columns = {"window": list(range(len(windows))), **{key: [one[k] for one in windows] for k, key in enumerate(("top", "left", "size"))}}
    return Measurement({name: np.zeros((1, len(windows), 4, 4))}, columns, positions or [0] * len(windows))


def test_of_several_cells_the_own_maps_and_the_control_are_told_apart() -> None:
    cells = {"lam/accurate.cascade_25": measured([]), "lam/accurate.randomised_weights": measured([(1, 1, 1)]),
             "lam/accurate": measured([(0, 0, 2)]), "lam2": measured([(5, 5, 5)])}  # fmt: skip
    batch = Batch([], torch.zeros(1, 3, 4, 4), [None], np.ones(1, bool), measured=cells)
    found = stage_maps(batch, "lam", ("map",), "no maps")
    assert found.own is cells["lam/accurate"]
    assert found.control is cells["lam/accurate.randomised_weights"]
    assert stage_maps(batch, "lam2", ("map",), "no maps") == StageMaps("lam2", cells["lam2"])
    with pytest.raises(NetworkError, match="no maps"):
        stage_maps(batch, "lam", ("attribution",), "no maps")


def test_stages_must_have_the_same_windows() -> None:
    one, same, other = (StageMaps(name, measured(at)) for name, at in (("a", [(0, 0, 2)]), ("b", [(0, 0, 2)]), ("c", [(0, 1, 2)])))
    assert shared_windows([one, same], 0, 1, "x.of") == {0: Window(0, 0, 2)}
    assert shared_windows([one, other], 1, 2, "x.of") == {}
    with pytest.raises(NetworkError, match="the stages a and c have different windows"):
        shared_windows([one, same, other], 0, 1, "x.of")
