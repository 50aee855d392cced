"""Which sizes a network takes is found by trying, once, and obeyed by everything that chooses a size."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from toy_networks import Function, UNet, as_model

from xlli_ray.models import Model, ModelSpec, load_model, open_model
from xlli_ray.models.accepted_sizes import SizeRule, find_rule
from xlli_ray.models.dryrun import OnMeta
from xlli_ray.models.layers import list_layers
from xlli_ray.probes.lam.receptive_field import find_radius, proved_radius


def needs(rule: Callable[[int, int], bool]) -> nn.Module:
    def forward(x: Tensor) -> Tensor:
        if not rule(*x.shape[2:]):
            raise ValueError("of another size")
        return x

    return Function(forward)


@pytest.mark.parametrize(
    ("module", "base", "expected"),
    [
        (needs(lambda h, w: True), 64, SizeRule(1, 1)),
        (needs(lambda h, w: h % 2 == 0 and w % 2 == 0), 64, SizeRule(2, 2)),
        (needs(lambda h, w: h % 3 == 0 and w % 3 == 0), 48, SizeRule(3, 3)),
        (needs(lambda h, w: h % 7 == 0 and w % 7 == 0), 112, SizeRule(7, 7)),
        (needs(lambda h, w: h % 8 == 0 and w % 8 == 0 and min(h, w) >= 24), 64, SizeRule(8, 24)),
        (needs(lambda h, w: min(h, w) >= 15), 64, SizeRule(1, 15)),
        (needs(lambda h, w: h == w), 64, SizeRule(1, 1, square=True)),
        (needs(lambda h, w: h == w and h % 16 == 0), 64, SizeRule(16, 16, square=True)),
        (needs(lambda h, w: h == w == 64), 64, None),
        (Function(lambda x: F.avg_pool2d(x, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)), 64, SizeRule(4, 4)),  # of another size
        (Function(lambda x: F.pad(x, (3, 3, 3, 3), mode="reflect")[..., 3:-3, 3:-3]), 64, SizeRule(1, 4)),
    ],
)
def test_the_rule_is_found(module: nn.Module, base: int, expected: SizeRule | None) -> None:
    assert find_rule(as_model(module), base) == expected


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_a_u_nets_rule_is_found_without_data(depth: int) -> None:
    assert find_rule(as_model(UNet(depth)), 64) == SizeRule(2**depth, 2**depth)


def test_a_network_that_looks_at_numbers_is_tried_on_black_images() -> None:
    class Looks(UNet):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.sum().item() < 1e9 else x

    assert find_rule(as_model(Looks(2)), 64) == SizeRule(4, 4)


def test_trials_share_a_copy_of_the_network_but_not_one_that_a_failed_trial_left() -> None:
    class Once(nn.Module):
        """Fails for good once it has seen an odd side, and counts what it has seen."""

        def __init__(self) -> None:
            super().__init__()
            self.broken, self.seen = False, 0

        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1
            self.broken |= x.shape[-1] % 2 == 1
            if self.broken:
                raise RuntimeError("odd")
            return x

    module = Once()
    on_meta, seen = OnMeta(as_model(module)), []

    def visit(twin: nn.Module, x: Tensor) -> None:
        twin(x)
        assert isinstance(twin, Once)
        seen.append(twin.seen)

    for side in (8, 10, 7, 12, 14):
        with suppress(RuntimeError):
            on_meta(visit, shape=(1, 3, side, side))
    assert seen == [1, 2, 1, 2], "a copy for 8 and 10, and one after 7 has failed"
    assert (module.seen, module.broken) == (0, False)
    assert find_rule(as_model(module), 64) == SizeRule(2, 2)


def unet(**spec: object) -> Model:
    return load_model(ModelSpec("mine", network="toy_networks:unet", args={"depth": 3}, **spec), {})  # type: ignore[arg-type]


def test_a_factorys_u_net_takes_any_image_and_it_is_said() -> None:
    """97 x 96 ended in a traceback without model or size."""
    model = unet()
    assert (model.multiple, model.minimum, model.square) == (8, 8, False)
    assert model.notes == ("takes heights and widths in multiples of 8 (determined by trial): other images are padded by reflection",)
    assert model.forward(torch.rand(1, 3, 97, 96)).shape == (1, 3, 97, 96)
    assert list_layers(model, (1, 3, 97, 96))[0].shape[1:] == (104, 96)


def test_a_module_from_a_notebook_has_its_sizes_found_unless_they_are_said() -> None:
    found = open_model(UNet(3), scale=1)
    assert (found.multiple, found.minimum) == (8, 8)
    assert found.forward(torch.rand(1, 3, 33, 20)).shape == (1, 3, 33, 20)
    assert open_model(UNet(3), scale=1, multiple=16).multiple == 16


def test_a_rule_that_was_found_before_is_not_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xlli_ray.models.build_model.find_rule", lambda *_: pytest.fail("tried again"))
    assert unet(sizes=(8, 16, False)).minimum == 16


def test_what_a_factory_declares_is_taken_and_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xlli_ray.models.build_model.find_rule", lambda *_: pytest.fail("tried"))
    assert load_model(ModelSpec("mine", network="toy_networks:strict_size"), {}).multiple == 4


def test_a_factory_that_declares_its_scale_alone_has_its_sizes_found() -> None:
    assert load_model(ModelSpec("mine", network="toy_networks:built_unet"), {}).multiple == 4


def test_a_network_that_64_pixels_do_not_fit_is_measured_on_other_sizes() -> None:
    model = load_model(ModelSpec("mine", network="toy_networks:in_windows", args={"window": 7}), {})
    assert (model.scale, model.multiple) == (1, 7)
    assert model.forward(torch.rand(1, 3, 20, 30)).shape == (1, 3, 20, 30)


@pytest.mark.parametrize("depth", [1, 3])
def test_lam_asks_such_a_network_for_no_size_of_its_own(depth: int) -> None:
    """It tried 33 x 33 pixels to find the network's reach."""
    seen: list[tuple[int, ...]] = []

    class Watched(UNet):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(tuple(x.shape[2:]))
            return super().forward(x)

    watched = Watched(depth)
    model = as_model(watched, multiple=2**depth, minimum=2**depth)
    assert find_radius(model) is None
    assert proved_radius(model) is None
    assert all(side % 2**depth == 0 for size in seen for side in size)


def test_padding_of_public_networks_is_what_their_files_and_spandrel_say(load: Callable[..., Model], fixtures: Path) -> None:
    rules = {
        ("imdn/imdn_x4.pth", "imdn"): (1, 1), ("rfdn/rfdn_x4.pth", "rfdn"): (1, 15), ("rlfn/rlfn_x4.pth", "rlfn"): (1, 15),
        ("ffdnet/ffdnet_color.pth", "ffdnet"): (2, 2), ("craft/craft_x4.pth", None): (16, 16), ("dncnn/dncnn_gray_s25.pth", None): (1, 1),
    }  # fmt: skip
    for (file, network), expected in rules.items():
        model = load(file, network=network)
        assert (model.multiple, model.minimum) == expected, file
        assert not model.square
