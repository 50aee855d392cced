"""SwinIR in small: window attention against loops over pixels, and the formula around it."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from xlli_ray.errors import NetworkError, WeightsError
from xlli_ray.models.blocks.window_attention import WindowAttention
from xlli_ray.models.networks import swinir_small


def attended(layer: WindowAttention, x: np.ndarray) -> np.ndarray:
    """Pixel by pixel: (H, W, width). The windows of a shifted layer are cut in the image as it is, at `shift`, `shift` + M, ..; what lies
    before the first cut and after the last one are smaller windows of their own."""
    height, wide, width = x.shape
    m, heads = layer.window, layer.heads
    d = width // heads
    t = {name: tensor.detach().double().numpy() for name, tensor in layer.state_dict().items()}
    out = np.zeros_like(x)
    for y0, x0 in product(range(height), range(wide)):
        inside = [
            (y1, x1) for y1, x1 in product(range(height), range(wide))
            if (y1 - layer.shift) // m == (y0 - layer.shift) // m and (x1 - layer.shift) // m == (x0 - layer.shift) // m
        ]  # fmt: skip
        given = t["qkv.weight"] @ x[y0, x0] + t["qkv.bias"]
        others = [t["qkv.weight"] @ x[place] + t["qkv.bias"] for place in inside]
        joined = []
        for head in range(heads):
            part = slice(head * d, (head + 1) * d)
            query = given[:width][part]
            logits = np.array([
                query @ other[width : 2 * width][part] / math.sqrt(d)
                + t["position"][(y0 - y1 + m - 1) * (2 * m - 1) + x0 - x1 + m - 1, head]
                for other, (y1, x1) in zip(others, inside, strict=True)
            ])  # fmt: skip
            weights = np.exp(logits - logits.max())
            joined.append(sum(w * other[2 * width :][part] for w, other in zip(weights / weights.sum(), others, strict=True)))
        out[y0, x0] = t["project.weight"] @ np.concatenate(joined) + t["project.bias"]
    return out


@pytest.mark.parametrize(("window", "shift"), [(4, 0), (4, 2), (3, 1)])
def test_attention_is_what_loops_over_pixels_give(window: int, shift: int) -> None:
    torch.manual_seed(0)
    layer = WindowAttention(6, 2, window, shift)
    torch.nn.init.normal_(layer.position)
    x = torch.randn(2, 2 * window, 3 * window, 6)
    with torch.no_grad():
        y = layer(x)
    for one, given in zip(y, x, strict=True):
        np.testing.assert_allclose(one.numpy(), attended(layer, given.double().numpy()), rtol=1e-4, atol=1e-5)


def created(**args: object) -> swinir_small.SwinIR:
    sizes = {"width": 8, "groups": 2, "depth": 2, "heads": 2, "window": 4, **args}
    return swinir_small.create(sizes, generator=torch.Generator().manual_seed(0)).eval()


@pytest.mark.parametrize("residual", [True, False])
def test_it_is_the_formula_of_its_page(residual: bool) -> None:
    net = created(global_residual=residual)
    t = net.state_dict()

    def conv(name: str, v: torch.Tensor) -> torch.Tensor:
        return F.conv2d(v, t[f"{name}.weight"], t[f"{name}.bias"], padding=1)

    def linear(name: str, v: torch.Tensor) -> torch.Tensor:
        return v @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    def normal(v: torch.Tensor) -> torch.Tensor:
        """Layer normalisation with its first weights: one and zero."""
        return (v - v.mean(-1, keepdim=True)) / (v.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()

    x = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(1))
    shallow = y = conv("head", x)
    for g in range(2):
        z = y.permute(0, 2, 3, 1)
        for i in range(2):
            layer = net.groups[g].layers[i]
            assert layer.attention.shift == (0, 2)[i]
            z = z + layer.attention(normal(z))
            z = z + linear(f"groups.{g}.layers.{i}.mlp.2", F.gelu(linear(f"groups.{g}.layers.{i}.mlp.0", normal(z))))
        y = y + conv(f"groups.{g}.conv", z.permute(0, 3, 1, 2))
    y = conv("last", shallow + conv("conv", y))
    torch.testing.assert_close(net(x), y + x if residual else y, rtol=1e-4, atol=1e-5)


def test_other_sizes_are_reflected_at_the_bottom_and_right_and_cut_at_the_end() -> None:
    net = created()
    x = torch.rand(1, 3, 10, 13, generator=torch.Generator().manual_seed(1))
    extended = torch.from_numpy(np.pad(x.numpy(), ((0, 0), (0, 0), (0, 2), (0, 3)), mode="reflect"))
    torch.testing.assert_close(net(x), net(extended)[..., :10, :13])


def test_the_default_has_as_many_parameters_as_it_says() -> None:
    net = swinir_small.create({}, generator=torch.Generator())
    assert sum(p.numel() for p in net.parameters()) == 50_915
    assert f"{50_915:,}" in str(swinir_small.create.__doc__)


def test_heads_window_and_depths_are_read_from_the_shapes() -> None:
    for args in ({"heads": 4, "window": 5}, {"groups": 1, "depth": 3}, {"width": 12, "heads": 3, "window": 1}):
        net = created(**args)
        module = swinir_small.from_state_dict(net.state_dict(), {}).module
        x = torch.rand(1, 3, 20, 11)
        with torch.no_grad():
            assert torch.equal(module(x), net(x))


def test_sizes_that_no_such_network_has_are_refused() -> None:
    with pytest.raises(NetworkError, match="width must be a multiple of heads, got width 8 and heads 3"):
        created(heads=3)
    with pytest.raises(NetworkError, match="window must be at most 32, got 33"):
        created(window=33)
    tensors = dict(created().state_dict())
    tensors["groups.0.layers.0.attention.position"] = torch.zeros(1, 1).expand(4001 * 4001, 1)  # would need 2001^4 places
    with pytest.raises(WeightsError, match=r"expected \(2·window − 1\)² positions for a window of at most 32"):
        swinir_small.from_state_dict(tensors, {})
