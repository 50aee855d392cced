"""Checkpoints are data: however wrapped, the same tensors come out; what is code is refused and does not run."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from xlli_ray.errors import WeightsError
from xlli_ray.models.checkpoint import read_state_dict, tensors_of, to_safetensors, weights_sha256


def saved(content: Any, **how: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **how)
    return file.getvalue()


@pytest.fixture
def plain() -> dict[str, Tensor]:
    return {"b.weight": torch.arange(6.0).reshape(2, 3) / 7, "a.bias": torch.tensor([1.5, -2.0])}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize("nest", ["params", "params_ema", "state_dict", "net", "model", "model_state_dict"])
def test_nested_state_dicts_are_found(nest: str, plain: dict[str, Tensor]) -> None:
    assert same(read_state_dict(saved({nest: plain, "epoch": 3, "optimizer": {"lr": 1.0}})).tensors, plain)


def test_averaged_weights_are_preferred_over_the_last_ones(plain: dict[str, Tensor]) -> None:
    other = {key: tensor + 1 for key, tensor in plain.items()}
    assert same(read_state_dict(saved({"params": other, "params_ema": plain})).tensors, plain)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_taken_off(prefix: str, plain: dict[str, Tensor]) -> None:
    wrapped = {"state_dict": {prefix + key: tensor for key, tensor in plain.items()}}
    assert same(read_state_dict(saved(wrapped)).tensors, plain)


def test_a_prefix_that_only_some_names_have_belongs_to_the_network(plain: dict[str, Tensor]) -> None:
    some = {"module.x": torch.ones(1), **plain}
    assert same(read_state_dict(saved(some)).tensors, some)


def test_numbers_beside_the_tensors_are_left_out(plain: dict[str, Tensor]) -> None:
    assert same(read_state_dict(saved({**plain, "epoch": 12, "version": "1.0"})).tensors, plain)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_floating_dtype_becomes_float32(dtype: torch.dtype) -> None:
    weight = torch.linspace(-1, 1, 9).to(dtype)
    read = read_state_dict(saved({"w": weight, "count": torch.tensor(3)})).tensors
    assert read["w"].dtype == torch.float32
    assert torch.equal(read["w"], weight.float())
    assert read["count"].dtype == torch.int64


def test_a_view_of_a_large_tensor_comes_out_alone_and_contiguous() -> None:
    large = torch.arange(1000.0).reshape(10, 100)
    read = read_state_dict(saved({"w": large[:, 3:5].T, "v": large[:1]})).tensors
    assert read["w"].is_contiguous()
    assert read["w"].untyped_storage().nbytes() == 20 * 4
    assert torch.equal(read["w"], large[:, 3:5].T)


def test_parameters_come_out_as_tensors_without_gradient() -> None:
    read = read_state_dict(saved(OrderedDict(w=nn.Parameter(torch.ones(2))))).tensors
    assert type(read["w"]) is Tensor
    assert not read["w"].requires_grad


def test_identity_does_not_depend_on_the_wrapping(plain: dict[str, Tensor]) -> None:
    reordered = dict(reversed(plain.items()))
    files = [
        saved(plain),
        saved(reordered, _use_new_zipfile_serialization=False),
        saved({"params": {f"module.{key}": tensor.double() for key, tensor in plain.items()}}),
        safetensors.torch.save(plain),
        to_safetensors(reordered),
    ]
    read = [read_state_dict(file) for file in files]
    assert len({one.weights_sha256 for one in read}) == 1
    assert len({one.file_sha256 for one in read}) == len(set(files))
    assert read[0].file_sha256 == hashlib.sha256(files[0]).hexdigest()
    changed = plain | {"a.bias": plain["a.bias"] + 1e-6}
    assert weights_sha256(changed) != read[0].weights_sha256


def test_canonical_bytes_never_change_and_any_reader_reads_them(plain: dict[str, Tensor]) -> None:
    tensors = plain | {"n": torch.tensor(3), "flags": torch.tensor([True, False]), "none": torch.zeros(0, 2)}
    data = to_safetensors(tensors)
    assert same(safetensors.torch.load(data), tensors)
    # Identities of stored cells hang on this: a change here makes every stored feature look foreign.
    assert hashlib.sha256(data).hexdigest() == "b037f86ef064ae4c9115b107ba71d0ce18d75f9d26954cc7400eae2d0c24dc34"


def test_weights_of_a_module_read_back_as_they_are() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    tensors = tensors_of(module)
    assert same(read_state_dict(to_safetensors(tensors)).tensors, dict(module.state_dict()))
    tensors["0.bias"].zero_()
    assert module[0].bias.abs().sum() > 0  # a copy


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_code_in_a_checkpoint_is_refused_by_name_and_does_not_run(zipped: bool, tmp_path: Path) -> None:
    proof = tmp_path / "it_ran"
    data = saved({"w": torch.ones(2), "x": Bomb(proof)}, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"evil\.pth: refused, not executed.*open.*state_dict\(\)") as caught:
        read_state_dict(data, name="evil.pth")
    assert not proof.exists()
    assert "weights_only" not in str(caught.value)  # torch's own advice would run it
    assert caught.value.__cause__ is None


def test_a_pickled_network_is_refused_with_what_to_do(fixtures: Path) -> None:
    with pytest.raises(WeightsError, match=r"vdsr_whole_module\.pth: refused.*'vdsr\.Net'.*model\.state_dict\(\)"):
        read_state_dict(fixtures / "models/unsafe/vdsr_whole_module.pth")


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_program_is_refused_with_what_to_do() -> None:
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 2, 2)), file)
    with pytest.raises(WeightsError, match="TorchScript program"):
        read_state_dict(file.getvalue(), name="jit.pt")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "file is empty"),
        (b"\x93not a checkpoint at all", "neither safetensors nor a PyTorch state dict"),
        (pickle.dumps({"w": 1}), "a pickle, but not from torch.save"),
        (saved({"w": torch.ones(100)})[:-400], "neither safetensors nor a PyTorch state dict, or damaged"),
        (safetensors.torch.save({"w": torch.ones(100)})[:-8], "damaged safetensors"),
        (saved({"w": torch.ones(2), "x": [1, 2]}), "'x' is a list, expected a tensor"),
        (saved({"lr": 1.0, "steps": [1, 2]}), "no tensors in the usual places.*'lr', 'steps'"),
        (saved({"netD": {"w": torch.ones(2)}}), "holds only 'netD': not a network to analyse"),
        (saved({"w": torch.tensor([1.0, float("nan"), 2.0])}), r"'w' holds NaN \(1 of 3 numbers\)"),
        (saved({"w": torch.tensor([1e300, 1.0], dtype=torch.float64)}), "'w' holds numbers above 3.4e38"),
        (saved({"w": torch.ones(3, dtype=torch.uint16)}), "'w' has dtype torch.uint16"),
        (saved({"w": torch.empty(2, device="meta")}), r"'w' is without numbers \(on the meta device\)"),
        (saved({"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}), "'w' is quantised"),
        (saved([torch.ones(2)]), "no tensors in the usual places.*no mapping"),
        (saved({"w": torch.eye(3).to_sparse()}), "'w' is sparse"),
        (saved({"w": torch.ones(2, dtype=torch.complex64)}), "complex"),
    ],
    ids=[
        "empty", "noise", "other-pickle", "truncated", "truncated-safetensors", "list-beside-tensors",
        "no-tensors", "discriminator-only", "nan", "too-large-for-float32", "unknown-dtype", "meta", "quantised", "list", "sparse",
        "complex",
    ],
)  # fmt: skip
def test_bad_files_are_named_with_their_reason(data: bytes, words: str) -> None:
    with pytest.raises(WeightsError, match=rf"bad\.pth: .*{words}"):
        read_state_dict(data, name="bad.pth")


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.pth: cannot be read"):
        read_state_dict(tmp_path / "absent.pth")


@pytest.mark.parametrize(
    ("file", "first", "count"),
    [
        ("mobilesr/mobilesr_x4.pth", None, None),  # under "net"
        ("span/span_x4_ch28.pth", None, None),  # "params" and "params_ema"
        ("sapnet/sapnet_derain.pth", "conv0.0.weight", 62),  # "module."
        ("fast_srgan/fast_srgan_x4.pt", "neck.0.weight", 36),  # "_orig_mod."
        ("rrdb/RealESRGAN_x4plus_anime_6B_fp16.pth", None, None),  # half precision
        ("carn_m/carn_m.pth", "sub_mean.shifter.weight", 58),  # saved on a GPU
        ("ffdnet/ffdnet_color.pth", "model.0.weight", 24),
    ],
)
def test_public_checkpoints_read_as_float32_on_the_cpu(
    file: str, first: str | None, count: int | None, fixtures: Path
) -> None:
    tensors = read_state_dict(fixtures / "models" / file).tensors
    assert all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors.values())
    assert not any(key.startswith(("module.", "_orig_mod.", "params", "net.")) for key in tensors)
    if first:
        assert next(iter(tensors)) == first
        assert len(tensors) == count
