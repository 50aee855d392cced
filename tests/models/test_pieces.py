"""Networks run on overlapping tiles and segments: the same numbers as on the whole, where the overlap covers what they see."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from toy_clip_networks import BothWays, Spatiotemporal, seeded

from xlli_ray.errors import LayerPatternError, NetworkError
from xlli_ray.models.build_model import load_model
from xlli_ray.models.layers import resolve
from xlli_ray.models.model import ClipModel, ImageModel, Model, Range
from xlli_ray.models.model_spec import ModelSpec
from xlli_ray.models.pieces import Pieces, in_pieces, parts


def model_of(module: nn.Module, kind: type[Model] = ClipModel, *, scale: int = 1, multiple: int = 1, **more: object) -> Model:
    module.requires_grad_(False)
    return kind(id="net", module=module, network="toy", network_version=1, scale=scale, channels=3, range=Range(0.0, 1.0),
                multiple=multiple, minimum=1, output="image", weights_sha256="", **more)  # type: ignore[arg-type]  # fmt: skip


class Unfolding(nn.Module):
    """Reads pixels up to two away, enlarges ×2; counts its calls and remembers the largest input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.shuffle, self.largest = nn.Conv2d(3, 12, 5, padding=2), nn.PixelShuffle(2), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.largest = max(self.largest, x.numel())
        return self.shuffle(self.conv(x))


@pytest.mark.parametrize("whole", [1, 7, 16, 17, 40, 41])
@pytest.mark.parametrize(("size", "halo"), [(8, 0), (8, 3), (16, 5), (64, 2)])
def test_every_element_is_kept_once_and_seen_with_its_halo(whole: int, size: int, halo: int) -> None:
    found = parts(whole, size, halo)
    assert [i for part in found for i in range(part.start + part.first, part.start + part.first + part.keep)] == list(range(whole))
    assert len({part.length for part in found}) == 1
    for part in found:
        assert part.start <= max(0, part.start + part.first - halo)
        assert part.start + part.length >= min(whole, part.start + part.first + part.keep + halo)


def test_parts_of_a_network_with_windows_start_at_its_multiple() -> None:
    found = parts(64, 20, 5, multiple=8)
    assert [(part.start, part.length) for part in found] == [(0, 40), (16, 40), (24, 40)]
    assert all(part.start % 8 == 0 == part.length % 8 for part in found)


def test_tiles_that_see_the_receptive_field_give_the_numbers_of_the_whole_image() -> None:
    module = seeded(Unfolding())
    whole = model_of(module, ImageModel, scale=2, multiple=4)
    image = torch.rand(2, 3, 45, 38, generator=torch.Generator().manual_seed(1))
    expected = whole.forward(image)
    module.largest = 0
    assert in_pieces(whole, Pieces(tiles=(16, 4))).forward(image) == pytest.approx(expected, abs=1e-6)
    assert module.largest == 2 * 3 * 24 * 24, "no piece is larger than tile and halo"
    seams = in_pieces(whole, Pieces(tiles=(16, 0))).forward(image)
    assert (seams - expected).abs().max() > 0.01, "without a halo there are seams"


def test_tiles_and_segments_of_a_clip_of_three_dimensional_convolutions_give_the_numbers_of_the_whole() -> None:
    whole = model_of(seeded(Spatiotemporal()))
    clip = torch.rand(1, 11, 3, 20, 26, generator=torch.Generator().manual_seed(2))
    divided = in_pieces(whole, Pieces(tiles=(8, 2), segments=(3, 2)))
    assert divided.forward(clip) == pytest.approx(whole.forward(clip), abs=1e-6)
    assert (in_pieces(whole, Pieces(segments=(3, 1))).forward(clip) - whole.forward(clip)).abs().max() > 1e-3


def test_a_recurrent_network_in_segments_comes_closer_to_the_whole_the_longer_they_overlap() -> None:
    whole = model_of(seeded(BothWays()), scale=2)
    clip = torch.rand(1, 24, 3, 12, 12, generator=torch.Generator().manual_seed(3))
    expected = whole.forward(clip)
    apart = [in_pieces(whole, Pieces(segments=(6, overlap))).forward(clip) - expected for overlap in (0, 2, 5, 9)]
    errors = [float(some.square().mean()) for some in apart]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * errors[0]
    assert in_pieces(whole, Pieces(segments=(6, 24))).forward(clip) == pytest.approx(expected, abs=1e-6)


def test_gradients_flow_through_pieces() -> None:
    whole = model_of(seeded(Unfolding()), ImageModel, scale=2)
    image = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(4))
    gradients = []
    for model in (whole, in_pieces(whole, Pieces(tiles=(8, 2)))):
        x = image.clone().requires_grad_()
        model.forward(x)[..., 12:28, 12:28].square().sum().backward()
        gradients.append(x.grad)
    assert gradients[1] == pytest.approx(gradients[0], rel=1e-5, abs=1e-5)


def test_networks_that_cannot_be_divided_are_refused_with_the_reason() -> None:
    with pytest.raises(NetworkError, match=r"`segments` divide clips in time; this network takes images"):
        in_pieces(model_of(Unfolding(), ImageModel), Pieces(segments=(4, 1)))
    with pytest.raises(NetworkError, match=r"returns the centre frame only.*`corpus.clips.window`"):
        in_pieces(model_of(Unfolding(), gives="centre"), Pieces(segments=(4, 1)))
    with pytest.raises(NetworkError, match=r"takes squares only"):
        in_pieces(model_of(Unfolding(), ImageModel, square=True), Pieces(tiles=(16, 4)))


def test_layers_of_a_divided_network_are_refused() -> None:
    model = load_model(ModelSpec("net", weights="builtin:srresnet-gr-clean", tiles=(32, 16)), _tensors())
    with pytest.raises(LayerPatternError, match="run in pieces"):
        resolve(model, ["*"], (1, 3, 64, 64))


def _tensors() -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    from xlli_ray.models.model_spec import builtin_path

    return load_file(builtin_path("srresnet-gr-clean"))
