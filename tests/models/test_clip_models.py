"""Networks of clips: what they take and give, where their layers have their frames, and networks of images run frame by frame."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from xlli_ray.corpus.size import Size
from xlli_ray.errors import LayerPatternError, NetworkError
from xlli_ray.models import ClipModel, ImageModel, ModelSpec, builtin_path, load_model, read_state_dict
from xlli_ray.models.batch_independence import manners
from xlli_ray.models.cost import survey
from xlli_ray.models.layers import LayerInfo, capture, list_layers, resolve


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield
    sys.modules.pop("toy_clip_networks", None)


def made(name: str, **fields: Any) -> Any:
    return load_model(ModelSpec(id="toy", network=f"toy_clip_networks:{name}", **fields), {})


def clip(frames: int = 4, height: int = 10, width: int = 13, batch: int = 2, channels: int = 3) -> Tensor:
    return torch.rand(batch, frames, channels, height, width, generator=torch.Generator().manual_seed(1))


def captured(model: Any, x: Tensor, *patterns: str) -> tuple[list[LayerInfo], dict[str, Tensor]]:
    infos = resolve(model, patterns, tuple(x[:1].shape))
    with torch.no_grad(), capture(model, [info.tap for info in infos], frames=x.shape[1]) as found:
        model.forward(x)
    return infos, dict(found)


def test_a_factory_says_that_its_network_takes_clips() -> None:
    model = made("both_ways")
    assert isinstance(model, ClipModel)
    x = clip()
    y = model.forward(x)
    assert y.shape == (2, 4, 3, 20, 26)
    assert torch.allclose(y[1:], model.forward(x[1:]), atol=1e-6)
    with pytest.raises(NetworkError, match=r"takes \(B, T, 3, H, W\), got \(2, 3, 10, 13\)"):
        model.forward(x[:, 0])


def test_a_bare_module_takes_clips_when_the_recipe_says_so() -> None:
    model = made("bare", frames="all")
    assert isinstance(model, ClipModel)
    assert (model.scale, model.channels, model.gives) == (2, 3, "frames")
    assert torch.equal(model.forward(clip()), made("both_ways").forward(clip()))


def test_sizes_are_padded_frame_by_frame_and_cut_again() -> None:
    model = made("both_ways")
    x = clip(3, 10, 13)
    whole = torch.stack([torch.nn.functional.pad(frame, (0, 3, 0, 2), mode="reflect") for frame in x.unbind(1)], 1)
    assert torch.equal(replace(model, multiple=4).forward(x), model.forward(whole)[..., :20, :26])


def test_a_network_that_gives_the_centre_frame_of_so_many() -> None:
    model = made("centre")
    assert model.forward(clip(5)).shape == (2, 3, 20, 26)
    assert model.takes(Size(10, 13, 5)) == ""
    assert "takes clips of 5 frames, those of the corpus have 7" in model.takes(Size(10, 13, 7))
    assert "the corpus holds images" in model.takes(Size(10, 13))


def test_a_network_of_images_gives_each_frame_what_it_gives_that_image() -> None:
    card = "builtin:srresnet-gr-clean"
    tensors = read_state_dict(builtin_path(card), name=card).tensors
    image = load_model(ModelSpec(id="a", weights=card), tensors)
    framewise = load_model(ModelSpec(id="a", weights=card, frames="each"), tensors)
    assert isinstance(image, ImageModel)
    assert isinstance(framewise, ClipModel)
    assert "frames: each" in image.takes(Size(8, 8, 3))
    x = clip(3, 12, 10)
    with torch.no_grad():
        y = framewise.forward(x)
        each = torch.stack([image.forward(x[:, i]) for i in range(3)], 1)
    assert torch.allclose(y, each, atol=1e-5)
    infos, found = captured(framewise, x, "*:last_conv_input")
    (info,) = infos
    (own,) = resolve(image, ["*:last_conv_input"], (1, 3, 12, 10))
    assert info.tap.name == own.tap.name
    assert info.tap.dims(info.shape) == ("frame", "channel", "y", "x")
    assert info.shape == (3, *own.shape)
    assert info.stride == own.stride
    with torch.no_grad(), capture(image, [own.tap]) as plain:
        image.forward(x[:, 1])
    assert torch.allclose(found[info.tap.name][:, 1], plain[own.tap.name], atol=1e-4)


def test_layers_have_their_frames_in_the_order_of_the_clip_however_the_network_holds_them() -> None:
    model, x = made("both_ways"), clip(4)
    infos, found = captured(model, x, "head", "back", "forth", "tail:input")
    assert [info.tap.frames for info in infos] == ["folded", "backward", "calls", "calls"]
    for info in infos:
        assert info.tap.dims(info.shape) == ("frame", "channel", "y", "x")
        assert found[info.tap.name].shape == (2, *info.shape)
        assert info.stride == (1.0, 1.0)
        assert survey(model, [info.tap], Size(10, 13, 4)).shapes == {info.tap: info.shape}
    head = torch.stack([model.module.head(frame) for frame in x.unbind(1)], 1)
    assert torch.allclose(found["head.out"], head, atol=1e-6)
    # the tail sees the forward state of a frame beside the backward state of the same frame
    tail = found["tail.in"]
    assert torch.allclose(tail[:, :, 4:], torch.tanh(found["back.out"]), atol=1e-6)
    assert torch.allclose(tail[:, :, :4], torch.tanh(found["forth.out"]), atol=1e-6)


def test_what_has_neither_batch_nor_frames_first_is_refused_with_the_reason() -> None:
    with pytest.raises(LayerPatternError, match="first axis is not the batch, nor the batch × the frames"):
        captured(made("both_ways"), clip(4), "pairs")


def test_one_call_of_several_can_be_chosen() -> None:
    _, found = captured(made("both_ways"), clip(4), "back#0", "back")
    assert torch.equal(found["back.out_call0"], found["back.out"][:, -1])


def test_three_dimensional_convolutions_give_frames_before_channels() -> None:
    model, x = made("spatiotemporal"), clip(3)  # as many frames as channels, and still told apart
    infos, found = captured(model, x, "head", "tail")
    assert [info.shape for info in infos] == [(3, 5, 10, 13), (3, 3, 10, 13)]
    assert torch.allclose(found["tail.out"], model.forward(x), atol=1e-6)
    assert infos[0].stride == (1.0, 1.0)


def test_a_clip_of_one_frame_still_has_its_axis() -> None:
    infos, found = captured(made("both_ways"), clip(1), "head", "forth")
    assert [info.tap.dims(info.shape)[0] for info in infos] == ["frame", "frame"]
    assert found["forth.out"].shape == (2, 1, 4, 10, 13)


def test_all_layers_are_listed_and_networks_of_clips_are_tried_like_others() -> None:
    model = made("both_ways")
    names = [info.tap.name for info in list_layers(model, (1, 3, 3, 10, 13))]
    assert {"head.out", "back.out", "forth.out", "tail.out"} <= set(names)
    assert "pairs.out" not in names
    assert manners(model).alone == ""


def test_frames_each_is_for_networks_of_images_and_frames_all_for_those_of_clips() -> None:
    with pytest.raises(NetworkError, match="is for networks that take images; this one takes clips"):
        made("both_ways", frames="each")
    card = "builtin:srresnet-gr-clean"
    with pytest.raises(NetworkError, match="takes images: `frames: each` runs it frame by frame"):
        load_model(ModelSpec(id="a", weights=card, frames="all"), read_state_dict(builtin_path(card), name=card).tensors)
