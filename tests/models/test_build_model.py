"""From a recipe's words to a model: spandrel, factories, and what is refused with advice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toy_networks import Upscaler

from xlli_ray.errors import NetworkError, WeightsError
from xlli_ray.models import (
    Model,
    ModelSpec,
    builtin_names,
    builtin_path,
    load_model,
    read_state_dict,
    to_safetensors,
    weights_sha256,
)
from xlli_ray.registry import NETWORKS


def test_spandrels_parts_are_used_but_not_its_call(load: Callable[..., Model]) -> None:
    model = load("craft/craft_x4.pth")
    assert (model.network, model.scale, model.channels) == ("spandrel:CRAFT", 4, 3)
    assert (model.multiple, model.minimum) == (16, 16)
    assert type(model.module).__name__ == "CRAFT"
    assert model.range == (0, 1)
    assert model.device.type == "cpu"
    assert not load("dncnn/dncnn_gray_s25.pth").supports_half
    assert load("dncnn/dncnn_gray_s25.pth").channels == 1


def test_spandrel_agrees_with_its_own_call_where_that_one_does_not_clamp(fixtures: Path) -> None:
    import spandrel

    tensors = read_state_dict(fixtures / "models/compact/realesr-animevideov3-x4.pth").tensors
    theirs = spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(tensors)).eval()
    ours = load_model(ModelSpec("c"), tensors)
    x = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(theirs(x), ours.forward(x).clamp(0, 1))


def test_half_precision_weights_run_in_float32(load: Callable[..., Model]) -> None:
    model = load("rrdb/RealESRGAN_x4plus_anime_6B_fp16.pth")
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    with torch.no_grad():
        assert model.forward(torch.rand(1, 3, 8, 8)).dtype == torch.float32


def test_ffdnet_without_a_name_is_refused_with_the_name(load: Callable[..., Model]) -> None:
    with pytest.raises(NetworkError, match=r"model 'ffdnet_color' .*takes 13 maps and returns 12.*`network: ffdnet`"):
        load("ffdnet/ffdnet_color.pth")


def test_ffdnet_is_refused_from_sorted_safetensors_too(fixtures: Path) -> None:
    """There `model.10` comes before `model.2`, and the last tensor is not the last convolution's."""
    tensors = read_state_dict(fixtures / "models/ffdnet/ffdnet_color.pth").tensors
    with pytest.raises(NetworkError, match="`network: ffdnet`"):
        load_model(ModelSpec("f"), read_state_dict(to_safetensors(tensors)).tensors)


def test_an_unknown_state_dict_is_refused_with_the_way_out(load: Callable[..., Model]) -> None:
    with pytest.raises(WeightsError, match=r"span_x4_ch28.*does not recognise.*`network: FILE\.py:factory`"):
        load("span/span_x4_ch28.pth")


@pytest.mark.parametrize("network", ["imdn", "rfdn", "rlfn"])
def test_a_state_dict_that_just_one_of_ours_fits_needs_no_name_and_it_is_said(
    network: str, fixtures: Path, load: Callable[..., Model]
) -> None:
    file = next((fixtures / "models" / network).glob("*.pth"))
    found, named = load(f"{network}/{file.name}"), load(f"{network}/{file.name}", network=network)
    assert found.notes == (f"recognised as `network: {network}`",)
    assert named.notes == ()
    assert (found.network, found.range, found.weights_sha256) == (named.network, named.range, named.weights_sha256)


def test_a_recognised_network_asks_for_what_its_weights_do_not_say(load: Callable[..., Model]) -> None:
    with pytest.raises(NetworkError, match=r"holds scales 2, 3, 4 and none is chosen. Write e.g. `scale: 4`"):
        load("carn_m/carn_m.pth")
    assert load("carn_m/carn_m.pth", scale=3).network == "carn_m"


def test_a_state_dict_that_several_of_ours_fit_is_refused_with_their_names(monkeypatch: pytest.MonkeyPatch, fixtures: Path) -> None:
    monkeypatch.setitem(NETWORKS, "twin", "xlli_ray.models.networks.imdn")
    tensors = read_state_dict(fixtures / "models/imdn/imdn_x4.pth").tensors
    with pytest.raises(WeightsError, match=r"fits several built-in networks: imdn, twin\. Name one: `network: imdn`"):
        load_model(ModelSpec("m"), tensors)


@pytest.mark.parametrize("part", ["_call_fn", "size_requirements", "supports_half", "scale"])
def test_a_spandrel_that_renamed_what_is_used_of_it_is_refused(
    part: str, monkeypatch: pytest.MonkeyPatch, load: Callable[..., Model]
) -> None:
    """Asked for with a default, a renamed `_call_fn` left networks without their noise map or range, silently."""
    import spandrel

    real = spandrel.ModelLoader.load_from_state_dict

    class Renamed:
        """The descriptor without one of its parts."""

        def __init__(self, descriptor: object) -> None:
            self.__dict__["descriptor"] = descriptor

        def __getattr__(self, name: str) -> object:
            if name == part:
                raise AttributeError(name)
            return getattr(self.__dict__["descriptor"], name)

        @property
        def __class__(self) -> type:  # type: ignore[override]
            return type(self.__dict__["descriptor"])

    monkeypatch.setattr(spandrel.ModelLoader, "load_from_state_dict", lambda self, tensors: Renamed(real(self, tensors)))
    with pytest.raises(NetworkError, match=rf"model 'dncnn_gray_s25' .*spandrel [0-9.]+ sees DnCNN, .*has no '{part}'.*spandrel==0\.4"):
        load("dncnn/dncnn_gray_s25.pth")


def test_arguments_without_a_network_are_refused(load: Callable[..., Model]) -> None:
    with pytest.raises(NetworkError, match=r"`args` \(depth\) need a `network`"):
        load("craft/craft_x4.pth", args={"depth": 3})


@pytest.mark.parametrize(
    ("file", "spec", "words"),
    [
        ("craft/craft_x4.pth", {"scale": 2}, "says scale 2, but spandrel:CRAFT with these weights has scale 4"),
        ("imdn/imdn_x4.pth", {"network": "imdn", "scale": 3}, "says scale 3, but imdn .* has scale 4"),
        ("imdn/imdn_x4.pth", {"network": "imdn", "range": (1, 0)}, r"`range: \[1, 0\]` is empty"),
        ("imdn/imdn_x4.pth", {"network": "imdn", "args": {"blocks": 3}}, "takes no argument 'blocks'; it takes none"),
    ],
)
def test_a_recipe_that_contradicts_the_weights_is_refused(
    file: str, spec: dict, words: str, load: Callable[..., Model]
) -> None:
    with pytest.raises(NetworkError, match=words):
        load(file, **spec)


def test_default_ranges_are_those_of_the_networks(load: Callable[..., Model]) -> None:
    assert load("rfdn/rfdn_x4.pth", network="rfdn").range == (0, 255)
    assert load("rlfn/rlfn_x2.pth", network="rlfn").range == (0, 255)
    assert load("imdn/imdn_x4.pth", network="imdn").range == (0, 1)
    assert load("imdn/imdn_x4.pth", network="imdn", range=(-1, 1)).range == (-1, 1)


def test_identity_is_that_of_the_numbers(load: Callable[..., Model], fixtures: Path) -> None:
    model = load("imdn/imdn_x4.pth", network="imdn")
    assert model.weights_sha256 == read_state_dict(fixtures / "models/imdn/imdn_x4.pth").weights_sha256
    assert model.weights_sha256 == weights_sha256(model.module.state_dict())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 3])
def test_scale_and_channels_of_a_factorys_network_are_measured(channels: int, scale: int) -> None:
    spec = ModelSpec("mine", network="toy_networks:upscaler", args={"channels": channels, "scale": scale})
    model = load_model(spec, {})
    assert (model.scale, model.channels, model.network_version) == (scale, channels, 7)
    assert model.weights_sha256 == weights_sha256(model.module.state_dict())


def test_a_factorys_network_gets_its_weights_strictly() -> None:
    tensors = {key: tensor.clone() for key, tensor in Upscaler().state_dict().items()}
    spec = ModelSpec("mine", weights="w.pth", network="toy_networks:upscaler")
    model = load_model(spec, tensors)
    assert torch.equal(model.module.state_dict()["tail.weight"], tensors["tail.weight"])
    del tensors["tail.bias"]
    tensors["tail.scale"] = torch.ones(1)
    with pytest.raises(WeightsError, match=r"'mine' \(w.pth\).*missing \(1\): tail.bias; unexpected \(1\): tail.scale"):
        load_model(spec, tensors)


def test_a_factorys_network_that_is_a_wrapper_itself_gets_its_weights() -> None:
    tensors = {key: tensor.clone() for key, tensor in Upscaler().state_dict().items()}
    model = load_model(ModelSpec("mine", weights="w.pth", network="toy_networks:wrapped"), tensors)
    assert torch.equal(model.module.state_dict()["module.tail.weight"], tensors["tail.weight"])


def test_a_factory_may_say_what_cannot_be_measured() -> None:
    model = load_model(ModelSpec("mine", network="toy_networks:strict_size"), {})
    assert model.multiple == 4
    assert model.aliases == {"all": "**"}
    assert model.forward(torch.rand(1, 3, 5, 6)).shape == (1, 3, 5, 6)


def test_a_classifier_is_loaded_when_the_recipe_says_that_it_gives_no_image() -> None:
    model = load_model(ModelSpec("c", network="toy_networks:classifier", output="none"), {})
    assert model.forward(torch.rand(2, 3, 8, 8)).shape == (2, 5)
    with pytest.raises(NetworkError, match=r"cannot be measured.*it returned \(1, 5\).*`output: none`"):
        load_model(ModelSpec("c", network="toy_networks:classifier"), {})


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("no_such_package:make", "cannot be imported: .*No module named.*looked for as no_such_package.py in .*installed"),
        ("toy_networks:absent", "cannot be imported: .*absent"),
        (":make", "cannot be imported"),
        ("toy_networks:not_a_module", r"not_a_module\(\) returned a int; expected an nn.Module"),
        ("toy_networks:a_class", r"returned the class Upscaler, not a network: call it, as in `return Upscaler\(...\)`"),
        ("toy_networks:leaving", r"leaving\(\) raised SystemExit: 3"),
        ("toy_networks:upscalr", "has no 'upscalr'. Did you mean 'upscaler'?"),
        ("no/such/file.py:make", "there is no file no/such/file.py; it was looked for in"),
        ("make", "'make' is not one of ours"),
        ("toy_networks:failing", r"failing\(\) raised RuntimeError: no such depth"),
        ("imdnn", "'imdnn' is not one of ours"),
    ],
)
def test_a_factory_that_does_not_work_is_named_with_its_reason(network: str, words: str) -> None:
    with pytest.raises(NetworkError, match=f"model 'mine'.*{words}"):
        load_model(ModelSpec("mine", network=network), {})


@pytest.mark.parametrize("network", [None, "imdn"])
def test_weights_are_asked_for(network: str | None) -> None:
    with pytest.raises(WeightsError, match="weights"):
        load_model(ModelSpec("m", network=network), {})


def test_builtin_weights_are_found_or_listed() -> None:
    for name in builtin_names():
        assert builtin_path(f"builtin:{name}") == builtin_path(name)
        assert builtin_path(name).exists()
    with pytest.raises(WeightsError, match="no built-in weights 'srresnet-absent'; available: "):
        builtin_path("builtin:srresnet-absent")
