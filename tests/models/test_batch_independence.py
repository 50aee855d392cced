"""What is tried before a study: batches, draws, memories; no correct network may be suspected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xlli_ray.errors import PlanError
from xlli_ray.models import Model
from xlli_ray.models.batch_independence import Manners, manners, sample_seed
from xlli_ray.models.model import ImageModel, Range
from xlli_ray.models.tap import Tap


def as_model(forward: Callable[[Tensor], Tensor], **known: Any) -> Model:
    class Given(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return forward(self.inner(x))

    fields = {"id": "toy", "network": "toy", "network_version": 1, "scale": 1, "channels": 3, "range": Range(0.0, 1.0), "multiple": 1,
              "minimum": 1, "output": "image", "weights_sha256": ""}  # fmt: skip
    return ImageModel(module=Given().eval(), **{**fields, **known})


@pytest.mark.parametrize(
    "forward",
    [
        lambda x: nn.functional.batch_norm(x, None, None, training=True),
        lambda x: x / x.max(),
        lambda x: x - x.mean(dim=0, keepdim=True) * 0.01,
        lambda x: x.flip(0),
        lambda x: x + 1e-3 * x.std(),
    ],
    ids=["batch norm", "maximum", "mean over the batch", "order of the batch", "a thousandth of the batch's spread"],
)
def test_a_network_that_looks_at_its_neighbours_is_found(forward: Callable[[Tensor], Tensor]) -> None:
    found = manners(as_model(forward))
    assert "with another image in the batch" in found.alone
    assert not found.draws


@pytest.mark.parametrize(
    "forward",
    [
        lambda x: x / x.amax(dim=(1, 2, 3), keepdim=True),
        lambda x: nn.functional.instance_norm(x),
        lambda x: torch.where(x > 0.9, torch.nan, x),
        lambda x: (x.double() * 3).float() + 1e-6 * len(x),
    ],
    ids=["its own maximum", "instance norm", "not finite here and there", "rounding by the batch's size"],
)
def test_a_network_that_looks_at_each_image_alone_is_left_alone(forward: Callable[[Tensor], Tensor]) -> None:
    assert manners(as_model(forward)) == Manners()


def test_a_layer_that_is_measured_counts_although_the_output_hides_it() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scaled = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            top = x.max()
            return self.scaled(x / top) * top

    model = as_model(lambda x: x)
    object.__setattr__(model, "module", Hidden().eval())
    assert manners(model) == Manners()
    assert manners(model, [Tap("scaled", "output", None)]).alone


def test_draws_are_told_from_memories_and_leave_torch_as_it_was() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert manners(as_model(lambda x: x + torch.rand_like(x))).draws
    assert torch.equal(torch.get_rng_state(), before)
    state = SimpleNamespace(last=0.0)

    def remembers(x: Tensor) -> Tensor:
        y = x + state.last
        state.last = float(x.mean())
        return y

    with pytest.raises(PlanError, match=r"model toy \(toy\): the same image gives a different result each time"):
        manners(as_model(remembers))


def test_what_a_network_raises_is_left_to_the_samples() -> None:
    def raises(x: Tensor) -> Tensor:
        raise RuntimeError("never")

    assert manners(as_model(raises)) == Manners()


def test_draws_of_two_samples_differ() -> None:
    seeds = {sample_seed(f"{i:016x}") for i in range(100)}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    ("file", "spec"),
    [("imdn/imdn_x4.pth", {"network": "imdn"}), ("rlfn/rlfn_x4.pth", {"network": "rlfn"}), ("dncnn/dncnn_gray_s25.pth", {}),
     ("ffdnet/ffdnet_color.pth", {"network": "ffdnet", "args": {"sigma": 25}}), ("compact/realesr-animevideov3-x4.pth", {}),
     ("fast_srgan/fast_srgan_x4.pt", {"network": "toy_networks:srgan", "range": (-1.0, 1.0)})],
)  # fmt: skip
def test_public_networks_keep_their_batches(file: str, spec: dict, fixtures: Path, load: Callable[..., Model]) -> None:
    assert manners(load(file, **spec)) == Manners()
