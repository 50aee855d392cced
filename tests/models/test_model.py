"""Model: images in 0..1 in and out, whatever the network wants, with gradients and without a clamp."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from toy_networks import Function, Upscaler, as_model

from xlli_ray.errors import NetworkError
from xlli_ray.models import Model, Range

NETWORKS = [
    ("imdn/imdn_x4.pth", {"network": "imdn"}),
    ("rfdn/rfdn_x4.pth", {"network": "rfdn"}),
    ("rlfn/rlfn_x4.pth", {"network": "rlfn"}),
    ("carn_m/carn_m.pth", {"network": "carn_m", "scale": 4}),
    ("craft/craft_x4.pth", {}),
    ("dncnn/dncnn_gray_s25.pth", {}),
    ("ffdnet/ffdnet_color.pth", {"network": "ffdnet"}),
    ("compact/realesr-animevideov3-x4.pth", {}),
    ("fast_srgan/fast_srgan_x4.pt", {"network": "toy_networks:srgan", "range": (-1, 1)}),
]


@pytest.mark.parametrize(("file", "spec"), NETWORKS, ids=[file.split("/")[0] for file, _ in NETWORKS])
def test_gradients_reach_the_input_and_stop_at_the_weights(file: str, spec: dict, load: Callable[..., Model]) -> None:
    model = load(file, **spec)
    x = torch.rand(1, model.channels, 16, 15, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = model.forward(x)
    assert y.shape == (1, model.channels, 16 * model.scale, 15 * model.scale)
    s = model.scale
    y[..., 8 * s : 9 * s, 9 * s : 10 * s].sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().max() > 0.01
    assert x.grad[..., 6:11, 7:12].abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in model.module.parameters())
    assert not any(m.training for m in model.module.modules())


def test_nothing_is_clamped() -> None:
    model = as_model(Function(lambda x: 3 * x - 1))
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(model.forward(x), 3 * x - 1)


def test_the_networks_own_call_is_used_and_not_spandrels() -> None:
    """With the descriptor's call there would be a clamp and no gradient; here `call` sees the batch as it is."""
    model = as_model(Function(lambda x: (x * 5, "more")), call=lambda module, x: module(x)[0])
    x = torch.ones(1, 3, 4, 4, requires_grad=True)
    y = model.forward(x)
    assert y.max() == 5
    assert y.requires_grad


@pytest.mark.parametrize(("lo", "hi"), [(0, 1), (0, 255), (-1, 1)])
def test_the_module_sees_its_own_range_and_the_caller_does_not(lo: float, hi: float) -> None:
    seen: list[Tensor] = []
    model = as_model(Function(lambda x: (seen.append(x), x)[1]), range=Range(lo, hi))
    x = torch.linspace(0, 1, 3 * 16).reshape(1, 3, 4, 4).requires_grad_()
    y = model.forward(x)
    assert (seen[0].min().item(), seen[0].max().item()) == (lo, hi)
    torch.testing.assert_close(y, x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, torch.ones_like(x))


def test_a_wrong_range_is_a_wrong_result(load: Callable[..., Model]) -> None:
    right, wrong = (load("rlfn/rlfn_x4.pth", network="rlfn", range=r) for r in (None, (0, 1)))
    x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        near = F.avg_pool2d(right.forward(x), 4)
        assert (near - x).abs().mean() < 0.1
        assert (F.avg_pool2d(wrong.forward(x), 4) - x).abs().mean() > (near - x).abs().mean()


@pytest.mark.parametrize("multiple", [1, 2, 8])
@pytest.mark.parametrize(("height", "width"), [(9, 13), (16, 8), (3, 5), (1, 2), (24, 17)])
def test_padding_is_cropped_back_exactly(multiple: int, height: int, width: int) -> None:
    sizes: list[tuple[int, int]] = []

    def twice(x: Tensor) -> Tensor:
        sizes.append((x.shape[2], x.shape[3]))
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    model = as_model(Function(twice), scale=2, multiple=multiple)
    x = torch.rand(2, 3, height, width)
    assert torch.equal(model.forward(x), twice(x))
    high, wide = sizes[0]
    assert (high, wide) == model.padded(height, width)
    assert high % multiple == wide % multiple == 0
    assert 0 <= high - height < multiple
    assert 0 <= wide - width < multiple


def test_padding_reflects_and_repeats_the_edge_only_where_an_axis_is_too_short() -> None:
    seen: list[Tensor] = []
    model = as_model(Function(lambda x: (seen.append(x), x)[1]), multiple=8)
    x = torch.rand(1, 3, 10, 3)
    model.forward(x)
    expected = F.pad(F.pad(x, (0, 5, 0, 0), mode="replicate"), (0, 0, 0, 6), mode="reflect")
    assert torch.equal(seen[0], expected)


def test_a_network_for_squares_gets_squares() -> None:
    model = as_model(Function(lambda x: x), multiple=4, square=True)
    assert model.padded(5, 9) == (12, 12)
    x = torch.rand(1, 3, 5, 9)
    assert torch.equal(model.forward(x), x)


def test_an_odd_image_through_ffdnet_equals_the_even_one_inside(load: Callable[..., Model]) -> None:
    """The padding reaches as far as the convolutions do; beyond that, nothing may differ."""
    model = load("ffdnet/ffdnet_color.pth", network="ffdnet")
    x = torch.rand(1, 3, 65, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        odd, even = model.forward(x), model.forward(x[:, :, :64])
    assert odd.shape == x.shape
    reach = 2 * 12 + 2  # 12 convolutions at half size
    torch.testing.assert_close(odd[:, :, : 64 - reach], even[:, :, : 64 - reach])


def test_an_input_too_small_is_refused_with_both_sizes(load: Callable[..., Model]) -> None:
    model = load("rfdn/rfdn_x4.pth", network="rfdn")
    with torch.no_grad():
        assert model.forward(torch.rand(1, 3, 15, 15)).shape == (1, 3, 60, 60)
        with pytest.raises(NetworkError, match=r"'rfdn_x4'.* needs at least 15 x 15 pixels, got 14 x 40"):
            model.forward(torch.rand(1, 3, 14, 40))


def test_a_wrong_scale_names_both_sizes() -> None:
    model = as_model(Upscaler(scale=2), scale=4)
    with pytest.raises(NetworkError, match=r"declares scale 4: .*output \(1, 3, 32, 32\), got \(1, 3, 16, 16\)"):
        model.forward(torch.rand(1, 3, 8, 8))
    with pytest.raises(NetworkError, match="got a tuple"):
        as_model(Function(lambda x: (x, x))).forward(torch.rand(1, 3, 8, 8))


def test_wrong_channels_are_refused() -> None:
    with pytest.raises(NetworkError, match=r"takes \(B, 1, H, W\), got \(1, 3, 8, 8\)"):
        as_model(Function(lambda x: x), channels=1).forward(torch.rand(1, 3, 8, 8))


def test_a_network_without_an_image_gives_what_it_gives() -> None:
    model = as_model(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 5)), output="none", range=Range(-1.0, 1.0))
    assert model.forward(torch.rand(2, 3, 4, 4)).shape == (2, 5)


def test_grey_networks_get_unrounded_full_range_luma() -> None:
    rgb = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    luma = as_model(Function(lambda x: x), channels=1).prepare(rgb)
    assert luma.shape == (2, 1, 4, 5)
    torch.testing.assert_close(luma[:, 0], 0.299 * rgb[:, 0] + 0.587 * rgb[:, 1] + 0.114 * rgb[:, 2])
    assert as_model(Function(lambda x: x), channels=1).prepare(torch.ones(1, 3, 2, 2)).sub(1).abs().max() < 1e-6
    assert as_model(Function(lambda x: x)).prepare(rgb) is rgb
    with pytest.raises(NetworkError, match="prepare takes"):
        as_model(Function(lambda x: x)).prepare(luma)
