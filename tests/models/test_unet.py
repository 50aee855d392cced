"""U-Net for restoration: the formula, and what happens to sizes that it cannot halve."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from xlli_ray.errors import NetworkError
from xlli_ray.models.networks import unet


def created(**args: object) -> unet.UNet:
    return unet.create({"width": 3, "levels": 3, **args}, generator=torch.Generator().manual_seed(0)).eval()


@pytest.mark.parametrize("residual", [True, False])
def test_it_is_the_formula_of_its_page(residual: bool) -> None:
    net = created(global_residual=residual)
    t = net.state_dict()

    def twice(name: str, v: torch.Tensor) -> torch.Tensor:
        for conv in ("conv1", "conv2"):
            v = F.relu(F.conv2d(v, t[f"{name}.{conv}.weight"], t[f"{name}.{conv}.bias"], padding=1))
        return v

    def grown(i: int, v: torch.Tensor) -> torch.Tensor:
        """Each pixel becomes 2 x 2 pixels, by a matrix each."""
        y = torch.einsum("bchw,cdij->bdhiwj", v, t[f"grow.{i}.weight"])
        return y.flatten(4, 5).flatten(2, 3) + t[f"grow.{i}.bias"][:, None, None]

    x = torch.rand(2, 3, 12, 8, generator=torch.Generator().manual_seed(1))
    full = twice("down.0", x)
    half = twice("down.1", full.unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2)))
    quarter = twice("down.2", half.unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2)))
    half = twice("up.1", torch.cat((half, grown(1, quarter)), 1))
    full = twice("up.0", torch.cat((full, grown(0, half)), 1))
    y = torch.einsum("bchw,dc->bdhw", full, t["last.weight"][:, :, 0, 0]) + t["last.bias"][:, None, None]
    torch.testing.assert_close(net(x), y + x if residual else y, rtol=1e-5, atol=1e-6)


def test_other_sizes_are_reflected_at_the_bottom_and_right_and_cut_at_the_end() -> None:
    net = created()
    x = torch.rand(1, 3, 10, 13, generator=torch.Generator().manual_seed(1))
    extended = torch.from_numpy(np.pad(x.numpy(), ((0, 0), (0, 0), (0, 2), (0, 3)), mode="reflect"))
    torch.testing.assert_close(net(x), net(extended)[..., :10, :13])


def test_the_default_has_as_many_parameters_as_it_says() -> None:
    net = unet.create({}, generator=torch.Generator())
    assert sum(p.numel() for p in net.parameters()) == 45_933
    assert f"{45_933:,}" in str(unet.create.__doc__)


def test_a_single_level_is_two_convolutions_and_the_last() -> None:
    net = created(levels=1)
    assert [name for name, _ in net.named_modules() if isinstance(_, torch.nn.Conv2d | torch.nn.ConvTranspose2d)] == [
        "down.0.conv1", "down.0.conv2", "last",
    ]  # fmt: skip
    with pytest.raises(NetworkError, match="levels must be at most 8, got 9"):
        created(levels=9)
