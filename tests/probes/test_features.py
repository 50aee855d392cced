"""Features: what is stored is what the layer said, or its pooled form, and numbers that do not fit are failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from xlli_ray.corpus.size import Size
from xlli_ray.errors import LayerPatternError
from xlli_ray.probes.features import FLOAT16_MAX, Features, Params, Stride, pooled
from xlli_ray.probes.measurement import Batch

Make = Callable[..., Batch]


def cells(model: Any, **params: Any) -> list[Features]:
    parsed = Params(**params)
    return [Features(parsed, spec) for spec in Features.cells(parsed, model, torch.zeros(1, model.channels, 14, 18))]


def values(seed: int = 0, shape: tuple[int, ...] = (2, 3, 9, 11)) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.gamma(2.0, 1.5, shape).astype(np.float32))


# -- whole ------------------------------------------------------------------------------------------------------


def test_stored_features_are_the_layers_own_and_each_layer_is_a_cell(model: Any, make_batch: Make, tools: Any) -> None:
    batch = make_batch(2)
    probes = cells(model, layers=["head", "tail:input"], dtype="float32")
    assert [probe.what for probe in probes] == ["head.out", "tail.in"]
    head = model.module.head(batch.input)
    assert np.array_equal(tools.measure(probes[0], model, batch).arrays["features"], head.numpy())
    # the ReLU between them works in place: the stored output of `head` must not have seen it
    assert np.array_equal(tools.measure(probes[1], model, batch).arrays["features"], torch.relu(head).numpy())


def test_half_precision_is_numpys_rounding_of_the_same_numbers(model: Any, make_batch: Make, tools: Any) -> None:
    (full,) = cells(model, layers=["head"], dtype="float32")
    (half,) = cells(model, layers=["head"])
    batch = make_batch(2)
    exact = tools.measure(full, model, batch).arrays["features"]
    assert np.array_equal(tools.measure(half, model, batch).arrays["features"], exact.astype(np.float16))


def test_strides_and_axes_tell_where_a_feature_lies(model: Any, tools: Any) -> None:
    head, down, flat = cells(model, layers=["head", "down", "flat"])
    plans = [probe.arrays(tools.shapes_of(model, Size(14, 18), probe.taps()))[0] for probe in (head, down, flat)]
    assert [(p.shape, p.dims, p.stride) for p in plans] == [
        ((5, 14, 18), ("channel", "y", "x"), (1.0, 1.0)),
        ((4, 7, 9), ("channel", "y", "x"), (2.0, 2.0)),
        ((2,), ("channel",), None),
    ]
    assert plans[0].attributes == {"layer": "head", "side": "output", "pool": "none"}


def test_a_pattern_that_matches_nothing_names_the_closest_layers(model: Any) -> None:
    with pytest.raises(LayerPatternError, match=r"haed.*head"):
        cells(model, layers=["haed"])


# -- pooled -----------------------------------------------------------------------------------------------------


def test_the_mean_is_the_channels_mean() -> None:
    x = values()
    assert pooled(x, "mean").numpy() == pytest.approx(x.numpy().astype(np.float64).mean((2, 3)), rel=1e-6)
    assert pooled(x, "mean").dtype == torch.float32


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), height=st.integers(2, 12), width=st.integers(2, 12), shift=st.floats(-100, 100))
def test_moments_are_scipys(seed: int, height: int, width: int, shift: float) -> None:
    x = values(seed, (2, 3, height, width)) + np.float32(shift)
    flat = x.numpy().astype(np.float64).reshape(2, 3, -1)
    mean, deviation, skewness, kurtosis = np.moveaxis(pooled(x, "moments").numpy(), 1, 0)
    assert mean == pytest.approx(flat.mean(2), rel=1e-5, abs=1e-5)
    assert deviation == pytest.approx(flat.std(2), rel=1e-5)
    assert skewness == pytest.approx(scipy.stats.skew(flat, axis=2), rel=1e-4, abs=1e-4)
    assert kurtosis == pytest.approx(scipy.stats.kurtosis(flat, axis=2), rel=1e-4, abs=1e-4)


def test_a_constant_channel_has_no_shape() -> None:
    moments = pooled(torch.full((1, 2, 4, 4), 3.5), "moments")[0]
    assert moments[:, 0].tolist() == [3.5, 0.0, 0.0, 0.0]


def test_moments_of_large_numbers_are_summed_in_float64() -> None:
    x = values(1) * 1e-3 + 1e4
    flat = x.numpy().astype(np.float64).reshape(2, 3, -1)
    assert pooled(x, "moments").numpy()[:, 1] == pytest.approx(flat.std(2), rel=1e-5)


def test_vectors_pool_to_themselves() -> None:
    x = values(0, (2, 7))
    assert torch.equal(pooled(x, "mean"), x)
    assert torch.equal(pooled(x, "moments")[:, 0], x)
    assert torch.equal(pooled(x, Stride(stride=3)), x)
    assert torch.equal(pooled(x, None), x)


@pytest.mark.parametrize("stride", [1, 2, 3, 20])
def test_a_stride_keeps_every_nth_row_and_column_from_the_first(model: Any, make_batch: Make, tools: Any, stride: int) -> None:
    (whole,) = cells(model, layers=["head"], dtype="float32")
    (thin,) = cells(model, layers=["head"], dtype="float32", pool={"stride": stride})
    batch = make_batch(2)
    everything = tools.measure(whole, model, batch).arrays["features"]
    assert np.array_equal(tools.measure(thin, model, batch).arrays["features"], everything[:, :, ::stride, ::stride])
    (plan,) = thin.arrays(tools.shapes_of(model, Size(14, 18), thin.taps()))
    assert plan.stride == (stride, stride)


# -- what does not fit ------------------------------------------------------------------------------------------


class Adds(nn.Module):
    """Adds numbers, one per sample, to a layer's output."""

    def __init__(self, numbers: list[float]) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self.numbers = torch.tensor(numbers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x + self.numbers[:, None, None, None])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_fail_their_sample_with_the_layer(make_batch: Make, tools: Any, dtype: str, bad: float) -> None:
    model = tools.as_model(Adds([0.0, bad, 1.0]), scale=1)
    probe = Features(Params(layers=["layer"], dtype=dtype), {"tap": {"module": "layer", "side": "output", "call": None}})
    measured = tools.measure(probe, model, make_batch(3))
    assert measured.failed == {1: "not finite: NaN or infinity in layer.out"}
    assert np.isfinite(measured.arrays["features"][[0, 2]]).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_float16_overflow_is_a_failure_with_the_number_and_the_way_out(make_batch: Make, tools: Any, sign: int) -> None:
    model = tools.as_model(Adds([0.0, sign * 70_000.0]), scale=1)
    spec = {"tap": {"module": "layer", "side": "output", "call": None}}
    measured = tools.measure(Features(Params(layers=["layer"]), spec), model, make_batch(2))
    assert list(measured.failed) == [1]
    assert measured.failed[1].startswith("float16 overflow: |layer.out| reaches 7e+04, float16 ends at 65504; use dtype: float32")
    assert tools.measure(Features(Params(layers=["layer"], dtype="float32"), spec), model, make_batch(2)).failed == {}


def test_what_rounds_down_to_the_largest_half_is_no_overflow() -> None:
    assert float(np.finfo(np.float16).max) == FLOAT16_MAX


def test_a_sample_that_failed_before_is_not_reported_twice(make_batch: Make, tools: Any) -> None:
    model = tools.as_model(Adds([np.nan, 0.0]), scale=1)
    probe = Features(Params(layers=["layer"]), {"tap": {"module": "layer", "side": "output", "call": None}})
    batch = make_batch(2)
    batch.ok[0] = False
    assert tools.measure(probe, model, batch).failed == {}


def test_what_padding_adds_to_features_is_not_stored(tools: Any, make_batch: Callable[..., Batch]) -> None:
    """CRAFT pads to multiples of 16: its features of a 14-pixel image would otherwise hold mirrored pixels."""
    padded = tools.as_model(tools.Upscaler(), multiple=8)
    batch = make_batch(2, 14, 18)
    params = Features.Params(layers=["head", "down", "shuffle"], dtype="float32")
    for spec in Features.cells(params, padded, batch.input[:1]):
        probe = Features(params, spec)
        (plan,) = probe.arrays(tools.shapes_of(padded, Size(14, 18), probe.taps()))
        got = tools.measure(probe, padded, batch).arrays["features"]
        extent = {"head.out": (14, 18), "down.out": (7, 9), "shuffle.out": (28, 36)}[probe.what]
        assert got.shape[1:] == plan.shape == (plan.shape[0], *extent)
        whole = tools.forward_of(padded, batch, probe.taps()).taps[probe.what].numpy()
        np.testing.assert_array_equal(got, whole[:, :, : extent[0], : extent[1]])
        assert whole.shape[2:] != extent


def test_tokens_are_pooled_over_tokens_not_over_channels() -> None:
    x = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    assert pooled(x, "mean").numpy() == pytest.approx(x.double().mean(1).numpy(), rel=1e-6)
    assert pooled(x, "moments").shape == (2, 4, 3)
