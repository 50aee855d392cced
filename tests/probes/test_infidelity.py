"""The probe `infidelity`: exact cases of linear networks, perturbations that are shared, and stages without signed maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from xlli_ray.corpus.degradations.keyed_random import generator
from xlli_ray.errors import NetworkError
from xlli_ray.probes.infidelity.changes import Scored, changes, shares
from xlli_ray.probes.infidelity.own_baselines import Baseline, own_baseline, way_named
from xlli_ray.probes.infidelity.probe import Infidelity, Params
from xlli_ray.probes.lam.clip_path import path_of
from xlli_ray.probes.lam.measured_maps import StageMaps
from xlli_ray.probes.lam.objectives import Objective
from xlli_ray.probes.lam.params import Params as LamParams
from xlli_ray.probes.lam.path_choices import way_of
from xlli_ray.probes.lam.probe import Lam
from xlli_ray.probes.lam.window import Window
from xlli_ray.probes.measurement import Batch, Measurement
from xlli_ray.stats.infidelity import best_factor, relative_infidelity

WINDOWS = {"size": 6, "per_sample": 2}
SMALL = {"squares": 12, "noise": 6}


class Curved(nn.Module):
    """A network that is not linear: a square beside a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = linear()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(x) + x.square()


def linear() -> nn.Conv2d:
    conv = nn.Conv2d(3, 3, 5, padding=2)
    rng = torch.Generator().manual_seed(1)
    conv.weight.data, conv.bias.data = torch.randn(conv.weight.shape, generator=rng) / 10, torch.rand(3, generator=rng)
    return conv


def maps(model: Any, batch: Batch, **asked: Any) -> Measurement:
    along = {} if "method" in asked else {"path": "linear_mean", "nodes": 3}
    params = LamParams(**{"windows": WINDOWS, "signed": True, "objective": "sum", **along} | asked)
    return Lam(params, {"channels": 3}).measure(model, batch, None)


def measured(model: Any, batch: Batch, **cells: Measurement) -> list[dict[str, Any]]:
    probe = Infidelity(Params(of=list(cells), **SMALL), {})
    found = probe.measure(model, replace(batch, measured=cells), None)
    assert found.failed == {}
    return [dict(zip(found.columns, values)) for values in zip(*found.columns.values())]


@pytest.mark.parametrize("path", ["linear_mean", "linear_black", "blur"])
def test_of_a_linear_network_every_claim_is_true_and_a_scaled_map_has_the_square_of_its_error(
    make_batch: Callable[..., Batch], tools: Any, path: str
) -> None:
    model, batch = tools.as_model(linear(), scale=1), make_batch(2, 24, 30, scale=1)
    whole = maps(model, batch, path=path)
    scaled = replace(whole, arrays={**whole.arrays, "attribution": -2 * whole.arrays["attribution"]})
    nothing = replace(whole, arrays={**whole.arrays, "attribution": 0 * whole.arrays["attribution"]})
    rows = measured(model, batch, whole=whole, scaled=scaled, nothing=nothing)
    assert [row["of"] for row in rows] == ["whole", "scaled", "nothing"] * 4
    for exact, wrong, zero in zip(rows[::3], rows[1::3], rows[2::3]):
        for kind in ("", "noise_"):
            assert exact[f"{kind}change"] > 0
            assert exact[f"{kind}relative"] < 1e-6
            assert exact[f"{kind}factor"] == pytest.approx(1, abs=1e-3)
            assert wrong[f"{kind}relative"] == pytest.approx(9, rel=1e-3), "(c − 1)² at c = −2"
            assert wrong[f"{kind}share"] < 1e-6
            assert wrong[f"{kind}factor"] == pytest.approx(-0.5, abs=1e-3)
            assert zero[f"{kind}relative"] == zero[f"{kind}share"] == 1
            assert np.isnan(zero[f"{kind}factor"])
            assert wrong[f"{kind}infidelity"] == pytest.approx(9 * exact[f"{kind}change"] ** 2, rel=1e-3)


def test_of_a_curved_network_a_path_integral_is_no_exact_account(make_batch: Callable[..., Batch], tools: Any) -> None:
    model, batch = tools.as_model(Curved(), scale=1), make_batch(1, 24, 30, scale=1)
    for row in measured(model, batch, ig=maps(model, batch, path="linear_black")):
        assert 1e-5 < row["noise_relative"] < 1
        assert row["share"] <= row["relative"]


def test_sparseness_is_that_of_the_map_one_minus_di(make_batch: Callable[..., Batch], tools: Any) -> None:
    model, batch = tools.as_model(tools.Upscaler(), scale=2), make_batch(1)
    found = maps(model, batch)
    rows = measured(model, batch, lam=found)
    assert [row["sparseness"] for row in rows] == pytest.approx([1 - di / 100 for di in found.columns["di"]])


def test_perturbations_are_shares_of_the_way_to_the_baseline() -> None:
    draws = list(shares(generator("a"), (3, 40, 32), squares=200, noise=50, sigma=0.2))
    squares, noise = np.array(draws[:200]), np.array(draws[200:])
    sides = np.sqrt(squares[:, 0].sum((1, 2)))
    assert np.isin(squares, (0, 1)).all()
    assert (sides == sides.round()).all()
    assert (sides.min(), sides.max()) == (2, 16), "1/16 to 1/2 of 32"
    assert (squares.mean((0, 1)) > 0).mean() > 0.95, "squares are everywhere"
    assert noise.std() == pytest.approx(0.2, rel=0.01)
    again = list(shares(generator("a"), (3, 40, 32), squares=200, noise=50, sigma=0.2))
    assert all(np.array_equal(one, other) for one, other in zip(draws, again))


def test_changes_are_those_of_the_score_itself(tools: Any) -> None:
    rng = torch.Generator().manual_seed(3)
    image, base = torch.rand(3, 20, 20, generator=rng), torch.rand(3, 20, 20, generator=rng)
    model, window = tools.as_model(Curved(), scale=1), Window(6, 8, 5)
    scored = Scored(model, image, base, window, Objective("gradient"))
    some = list(shares(generator("b"), (3, 20, 20), squares=3, noise=2, sigma=0.3))
    found = changes(scored, iter(some), rows=2)
    for change, share in zip(found, some):
        moved = image - torch.from_numpy(share) * (image - base)
        both = Objective("gradient")(model.forward(torch.stack([image, moved])), window)
        assert change == pytest.approx(float(both[0] - both[1]), abs=1e-4)


def test_numbers_of_a_window_that_never_changes_are_undefined() -> None:
    assert np.isnan(relative_infidelity(np.ones(4), np.zeros(4)))
    assert relative_infidelity(np.zeros(4), np.ones(4)) == 1
    assert best_factor(np.array([2.0, 4.0]), np.array([1.0, 2.0])) == 0.5


def test_maps_of_other_methods_are_tried_against_their_own_baselines() -> None:
    def stage(mode: str, path: str = "", method: Any = None) -> StageMaps:
        return StageMaps("s", Measurement({}, {"path": [path], "mode": [mode]}), asked=SimpleNamespace(method=method or mode))

    assert own_baseline(stage("accurate", "linear_mean"), 0) == Baseline("linear_mean")
    assert own_baseline(stage("gradient_input"), 0) == Baseline("linear_black")
    assert own_baseline(stage("smoothgrad"), 0) == Baseline("blur", per_input=True)
    assert own_baseline(stage("smoothgrad", method={"smoothgrad": {"times_input": True}}), 0) == Baseline("linear_black")
    assert own_baseline(stage("occlusion"), 0) == Baseline("linear_mean")
    assert own_baseline(stage("occlusion", method={"occlusion": {"fill": "grey"}}), 0) == Baseline("grey")
    assert way_named("grey").path(torch.zeros(3, 2, 2), None)[0].points(torch.zeros(3, 2, 2), [0.0]).unique().tolist() == [0.5]
    with pytest.raises(NetworkError, match="of method 'other'"):
        own_baseline(stage("other"), 0)
    with pytest.raises(NetworkError, match="code of a recipe"):
        own_baseline(stage("accurate", "my_path"), 0)


@pytest.mark.parametrize("method", ["gradient_input", "smoothgrad", {"smoothgrad": {"draws": 3, "times_input": True}},
                                    {"occlusion": {"size": 1}}, {"occlusion": {"size": 1, "fill": "grey"}}], ids=str)  # fmt: skip
def test_other_methods_are_exact_for_a_linear_network_too(make_batch: Callable[..., Batch], tools: Any, method: Any) -> None:
    """Of occlusion all claims about whole pixels are: a pixel's channels share its drop, so that noise in each of them is not."""
    model, batch = tools.as_model(linear(), scale=1), make_batch(1, 24, 30, scale=1)
    batch = replace(batch, measured={"lam": maps(model, batch, method=method)}, asked={"lam": SimpleNamespace(method=method)})
    found = Infidelity(Params(of="lam", **SMALL), {}).measure(model, batch, None)
    assert found.failed == {}
    assert max(found.columns["relative"]) < 1e-5
    assert ("occlusion" in method) == (max(found.columns["noise_relative"]) > 1e-5)


def test_a_slope_claims_the_slope_times_the_change(make_batch: Callable[..., Batch], tools: Any) -> None:
    model, batch = tools.as_model(linear(), scale=1), make_batch(1, 24, 30, scale=1)
    whole = maps(model, batch, path="blur")
    away = batch.input[0] - path_of(way_of("blur"), batch.input[0])[0].points(batch.input[0], [0.0])[0]
    slopes = np.asarray(whole.arrays["attribution"][0]) / away.numpy()
    found = replace(whole, arrays={**whole.arrays, "attribution": slopes[None]},
                    columns={**whole.columns, "path": ["", ""], "mode": ["smoothgrad"] * 2})  # fmt: skip
    for row in measured(model, batch, slopes=found):
        assert row["relative"] < 1e-5
        assert row["noise_relative"] < 1e-5


def test_stages_without_signed_maps_are_named(make_batch: Callable[..., Batch], tools: Any) -> None:
    model, batch = tools.as_model(linear(), scale=1), make_batch(2, 24, 30, scale=1)
    batch = replace(batch, measured={"lam": maps(model, batch, signed=False)})
    found = Infidelity(Params(of="lam", **SMALL), {}).measure(model, batch, None)
    assert set(found.failed.values()) == {"infidelity.of: the stage lam has no signed maps; name a stage of kind lam with `signed: true`"}
    assert Infidelity(Params(of="lam"), {}).identity() == Infidelity(Params(of=["lam"]), {}).identity()
