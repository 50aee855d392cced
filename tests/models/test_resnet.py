"""ResNet for restoration: the formula, and the one switch."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from xlli_ray.errors import NetworkError, WeightsError
from xlli_ray.models.networks import resnet


def created(**args: object) -> resnet.ResNet:
    return resnet.create({"width": 6, "blocks": 2, **args}, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("residual", [True, False])
def test_it_is_the_formula_of_its_page(residual: bool) -> None:
    net = created(global_residual=residual).eval()
    t = net.state_dict()

    def conv(name: str, v: torch.Tensor) -> torch.Tensor:
        return F.conv2d(v, t[f"{name}.weight"], t[f"{name}.bias"], padding=1)

    x = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(1))
    y = conv("head", x)
    for i in range(2):
        y = y + conv(f"trunk.{i}.conv2", F.relu(conv(f"trunk.{i}.conv1", y)))
    y = conv("last", y)
    torch.testing.assert_close(net(x), y + x if residual else y, rtol=1e-5, atol=1e-6)


def test_the_default_is_the_network_of_the_deraining_experiment() -> None:
    net = resnet.create({}, generator=torch.Generator())
    assert sum(p.numel() for p in net.parameters()) == 53_403
    assert net.adds_input


def test_it_starts_as_the_identity_with_a_global_residual_and_near_black_without() -> None:
    x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert (created(global_residual=True)(x) - x).abs().mean() < 0.1
        assert created(global_residual=False)(x).abs().mean() < 0.1


def test_what_args_cannot_say_is_refused_with_what_they_can() -> None:
    for args, words in (
        ({"width": 0}, r"width must be an integer ≥ 1, got 0"),
        ({"blocks": True}, r"blocks must be an integer ≥ 1, got True"),
        ({"global_residual": "bilinear"}, r"global_residual is 'bilinear'; expected true or false"),
        ({"depth": 3}, r"takes no argument 'depth'; it takes blocks, global_residual, width"),
    ):
        with pytest.raises(NetworkError, match=words):
            resnet.create(args, generator=torch.Generator())
    with pytest.raises(WeightsError, match="not a checkpoint of network 'resnet'"):
        resnet.from_state_dict({"model.0.weight": torch.zeros(1)}, {})
