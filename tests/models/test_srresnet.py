"""SRResNet: the papers' layout, taps and switch; and the weights that come with the package."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from xlli_ray.errors import NetworkError, WeightsError
from xlli_ray.models import ModelSpec, load_model, read_state_dict
from xlli_ray.models import model_spec as spec
from xlli_ray.models.builtin_weights import builtin_card, builtin_names, builtin_path, check_card, sealed
from xlli_ray.models.networks import srresnet

TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}
FAMILY = (
    "srgan-gr-clean", "srgan-nogr-clean", "srresnet-gr-clean", "srresnet-gr-noise20", "srresnet-nogr-blur0_4",
    "srresnet-nogr-clean",
)  # fmt: skip


def created(residual: str = "bilinear", *, width: int = 6, blocks: int = 5, seed: int = 0) -> srresnet.SRResNet:
    args = {"width": width, "blocks": blocks, "global_residual": residual}
    return srresnet.create(args, generator=torch.Generator().manual_seed(seed))


def written_out(t: Mapping[str, Tensor], x: Tensor, *, blocks: int) -> dict[str, Tensor]:
    """The network as a formula: every tap of the papers, and the sum of `last` before any global residual."""

    def conv(name: str, v: Tensor) -> Tensor:
        return F.conv2d(v, t[f"{name}.weight"], t[f"{name}.bias"], padding=1)

    taps = {"head": F.leaky_relu(conv("head.conv", x), 0.1)}
    y = taps["head"]
    for i in range(blocks):
        y = y + conv(f"trunk.{i}.conv2", F.relu(conv(f"trunk.{i}.conv1", y)))
        taps[f"trunk.{i}"] = y
    for name in ("up1", "up2"):
        y = taps[name] = F.leaky_relu(F.pixel_shuffle(conv(f"{name}.conv", y), 2), 0.1)
    y = taps["hr"] = F.leaky_relu(conv("hr.conv", y), 0.1)
    return {**taps, "last": conv("last", y)}


@pytest.mark.parametrize("residual", ["bilinear", "none"])
def test_it_is_the_formula_and_every_named_module_gives_the_papers_tap(residual: str) -> None:
    net = created(residual).eval()
    x = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(1))
    seen: dict[str, Tensor] = {}
    for name in ("head", "trunk.0", "trunk.3", "trunk.4", "up1", "up2", "hr", "last"):
        net.get_submodule(name).register_forward_hook(lambda _, __, y, name=name: seen.update({name: y.clone()}))
    output = net(x)
    expected = written_out(net.state_dict(), x, blocks=5)
    for name, tensor in seen.items():
        torch.testing.assert_close(tensor, expected[name], **TOLERANCE)
    skip = F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False) if residual == "bilinear" else 0
    torch.testing.assert_close(output, expected["last"] + skip, **TOLERANCE)
    assert seen["up1"].shape == (2, 6, 18, 14)
    assert seen["hr"].shape == (2, 6, 36, 28)


def test_the_shuffle_used_while_training_is_the_same_function_with_the_same_gradients() -> None:
    x = torch.rand(2, 3, 8, 6, generator=torch.Generator().manual_seed(1))
    gradients, outputs = [], []
    for training in (True, False):
        net = created().to(memory_format=torch.channels_last).train(training)
        outputs.append(net(x))
        outputs[-1].square().sum().backward()
        gradients.append([p.grad for p in net.parameters()])
    torch.testing.assert_close(outputs[0], outputs[1], **TOLERANCE)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_twins_differ_in_the_global_residual_and_nothing_else() -> None:
    one, other = created("bilinear").state_dict(), created("none").state_dict()
    assert [key for key in one if not torch.equal(one[key], other[key])] == ["global_residual"]


def test_width_depth_and_residual_are_read_from_the_state_dict() -> None:
    for residual in ("bilinear", "none"):
        net = created(residual, width=5, blocks=9)
        built = srresnet.from_state_dict(net.state_dict(), {})
        x = torch.rand(1, 3, 6, 6)
        assert torch.equal(built.module(x), net.eval()(x))
        assert (built.scale, built.channels, built.range) == (4, 3, (0.0, 1.0))
        assert built.aliases == {
            "Conv1": "head", "RB4": "trunk.3", "RB8": "trunk.7", "RB9": "trunk.8", "UP1": "up1", "UP2": "up2",
            "HR_term": "hr",
        }  # fmt: skip
    assert set(srresnet.aliases(16)) == {"Conv1", "RB4", "RB8", "RB12", "RB16", "UP1", "UP2", "HR_term"}


RENAMED = {
    "new": {"head.conv": "conv_first", "trunk": "body", "up1.conv": "upconv1", "up2.conv": "upconv2",
            "hr.conv": "conv_hr", "last": "conv_last"},
    "old": {"head.conv": "conv_first", "trunk": "recon_trunk", "up1.conv": "upconv1", "up2.conv": "upconv2",
            "hr.conv": "HRconv", "last": "conv_last"},
}  # fmt: skip


@pytest.mark.parametrize("layout", RENAMED)
@pytest.mark.parametrize("residual", ["bilinear", "none", None])
def test_both_public_layouts_load_and_the_residual_is_bilinear_unless_args_say_otherwise(layout: str, residual) -> None:
    net = created(residual or "bilinear").eval()
    public = {}
    for key, tensor in net.state_dict().items():
        if key != "global_residual":
            ours = next(name for name in RENAMED[layout] if re.match(rf"{re.escape(name)}\.", key))
            public[RENAMED[layout][ours] + key.removeprefix(ours)] = tensor
    built = srresnet.from_state_dict(public, {} if residual is None else {"global_residual": residual})
    x = torch.rand(1, 3, 6, 8)
    assert torch.equal(built.module(x), net(x))


def test_what_contradicts_itself_is_refused() -> None:
    tensors = created("none").state_dict()
    with pytest.raises(NetworkError, match=r"args say global_residual 'bilinear'.*trained with 'none'"):
        srresnet.from_state_dict(tensors, {"global_residual": "bilinear"})
    with pytest.raises(NetworkError, match="one of bilinear, none"):
        srresnet.from_state_dict(tensors, {"global_residual": "bicubic"})
    with pytest.raises(NetworkError, match=r"takes no argument 'blockz'.*Did you mean 'blocks'"):
        srresnet.create({"blockz": 3}, generator=torch.Generator())
    with pytest.raises(NetworkError, match="at least 1"):
        srresnet.create({"blocks": 0}, generator=torch.Generator())
    with pytest.raises(WeightsError, match="not a checkpoint of network 'srresnet'"):
        srresnet.from_state_dict({"model.0.weight": torch.zeros(1)}, {})
    del tensors["trunk.2.conv1.bias"]
    with pytest.raises(WeightsError, match=r"missing \(1\): trunk\.2\.conv1\.bias"):
        srresnet.from_state_dict(tensors, {})


def test_gradients_reach_the_input_and_parameters_want_none() -> None:
    module = srresnet.from_state_dict(created().state_dict(), {}).module
    x = torch.rand(1, 3, 6, 6, requires_grad=True)
    module(x)[0, :, 10:14, 10:14].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in module.parameters())


# ---- the weights that come with the package


def test_the_family_is_complete_and_small() -> None:
    assert set(FAMILY) <= set(builtin_names())
    assert sum(builtin_path(name).stat().st_size for name in FAMILY) <= 6e6


@pytest.mark.parametrize("name", FAMILY)
def test_each_loads_by_its_name_and_is_what_its_card_says(name: str) -> None:
    card = builtin_card(name)
    state = read_state_dict(builtin_path(f"builtin:{name}"))
    assert state.weights_sha256 == card["weights"]["sha256"] == state.file_sha256
    model = load_model(ModelSpec(name, weights=f"builtin:{name}", network=card["network"]), state.tensors)
    assert model.scale == card["scale"] == 4
    assert model.module.residual == (card["args"]["global_residual"] == "bilinear") == ("-gr-" in name)
    assert card["id"] == name
    assert len(card["images"]) > 50
    assert all(re.fullmatch("[0-9a-f]{64}", image["sha256"]) for image in card["images"])
    assert {"recipe", "recipe_sha256", "iterations", "curve", "scores", "machine"} <= set(card)
    assert "/" not in json.dumps(card["recipe"]["corpus"])  # no folder of the machine it was trained on


def test_the_family_shares_its_photographs_crops_and_iterations() -> None:
    cards = [builtin_card(name) for name in FAMILY]
    assert len({json.dumps(card["images"]) for card in cards}) == 1
    pixel = [card for card in cards if card["recipe"]["train"]["gan"] is None]
    keys = ("iterations", "batch", "crop", "lr", "loss", "ema", "precision", "min_gradient")
    assert len({json.dumps([card["recipe"]["train"][key] for key in keys]) for card in pixel}) == 1
    assert len({card["recipe"]["seed"] for card in cards}) == 1
    for twin in ("gr", "nogr"):
        start = builtin_card(f"srgan-{twin}-clean")["init_sha256"]
        assert start == builtin_card(f"srresnet-{twin}-clean")["weights"]["sha256"]


def test_the_shipped_recipe_is_the_one_that_the_cards_were_trained_by(root: Path) -> None:
    from xlli_ray.training.recipe import load_recipe

    hashes = {job.id: job.recipe_hash() for job in load_recipe(root / "pipelines/train_matched.yaml").jobs()}
    assert hashes == {name: builtin_card(name)["recipe_sha256"] for name in FAMILY}


@pytest.mark.parametrize("name", FAMILY)
def test_each_scores_on_set5_what_its_card_says(fixtures: Path, name: str) -> None:
    from xlli_ray.training.corpus import MeasuredFiles
    from xlli_ray.training.validation_scores import ScoredSet, score

    module = srresnet.from_state_dict(read_state_dict(builtin_path(name)).tensors, {}).module
    folder = fixtures / "images/Set5/x4"
    files = MeasuredFiles(pairs={"input": str(folder / "*_LR.png"), "target": str(folder / "*_HR.png")})
    found = score(module, ScoredSet.of(files, 4).cases()[""], scale=4)
    assert found.psnr_y == pytest.approx(builtin_card(name)["scores"]["Set5"]["psnr_y"], abs=0.01)
    bars = {"srresnet-gr-clean": 30.8, "srresnet-nogr-clean": 30.5}
    assert found.psnr_y >= bars.get(name, 0.0)


def test_each_network_is_best_at_what_it_was_trained_on(fixtures: Path) -> None:
    from xlli_ray.training.corpus import MeasuredFiles
    from xlli_ray.training.validation_scores import ScoredSet, score

    images = [str(fixtures / "images/Set5/x4/*_HR.png")]
    cases = ScoredSet.of(MeasuredFiles(images=images, degradations=[{"blur": 2}, {"noise": 20}]), 4).cases()

    def psnr(name: str, degradation: str) -> float:
        module = srresnet.from_state_dict(read_state_dict(builtin_path(name)).tensors, {}).module
        return score(module, cases[f" {degradation}"], scale=4).psnr_y

    assert psnr("srresnet-nogr-blur0_4", "blur2") >= psnr("srresnet-nogr-clean", "blur2") + 0.5
    assert psnr("srresnet-gr-noise20", "noise20") >= psnr("srresnet-gr-clean", "noise20") + 1.0


def test_adversarial_twins_lose_psnr_and_gain_fine_detail() -> None:
    for twin in ("gr", "nogr"):
        pixel, adversarial = (builtin_card(f"{kind}-{twin}-clean")["scores"] for kind in ("srresnet", "srgan"))
        for images in ("Set5", "Set14", "BSD100"):
            assert adversarial[images]["psnr_y"] < pixel[images]["psnr_y"]
            assert adversarial[images]["high_frequency"] > 1.2 * pixel[images]["high_frequency"]


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The built-in weights `srresnet-gr-clean` in a folder of the test's own."""
    for suffix in ("safetensors", "json"):
        shutil.copy(spec.WEIGHTS / f"srresnet-gr-clean.{suffix}", tmp_path)
    monkeypatch.setattr(spec, "WEIGHTS", tmp_path)
    return tmp_path


def test_a_corrupted_weight_file_is_refused(copied: Path) -> None:
    path = copied / "srresnet-gr-clean.safetensors"
    assert builtin_path("srresnet-gr-clean") == path
    data = bytearray(path.read_bytes())
    data[-5] ^= 1  # one bit of one number: it would load without a word
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"are damaged: .* its card says"):
        builtin_path("srresnet-gr-clean")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace('"iterations": ', '"iterations": 9', 1), "was changed or is damaged"),
        (lambda text: text[:-20], "is damaged"),
        (lambda text: "[]", "not a card of trained weights"),
        (lambda text: json.dumps({**json.loads(text), "weights": {}}), "not a card of trained weights"),
    ],
)
def test_a_corrupted_card_is_refused(copied: Path, damage, message: str) -> None:
    path = copied / "srresnet-gr-clean.json"
    path.write_text(damage(path.read_text()))
    for read in (builtin_card, builtin_path):
        with pytest.raises(WeightsError, match=message):
            read("srresnet-gr-clean")
    path.unlink()
    with pytest.raises(WeightsError, match="have no card"):
        builtin_card("srresnet-gr-clean")


def test_a_card_is_sealed_over_everything_in_it() -> None:
    card = sealed({"weights": {"sha256": "0" * 64}, "scores": {"Set5": 1.0}})
    assert check_card(card, name="x") == card
    assert sealed(card) == card
    changed = {**card, "scores": {"Set5": 2.0}}
    with pytest.raises(WeightsError, match="x: the card was changed"):
        check_card(changed, name="x")
