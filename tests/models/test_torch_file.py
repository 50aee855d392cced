"""PyTorch's files as data: the same numbers as PyTorch reads, every checksum looked at, nothing made that the file has no room for."""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import resource
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xlli_ray.errors import WeightsError
from xlli_ray.models.checkpoint import read_state_dict
from xlli_ray.models.pickled import Damaged, Machine
from xlli_ray.models.torch_file import read_torch


def saved(content: Any, **how: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **how)
    return file.getvalue()


def network() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"weight": (4, 3, 3, 3), "bias": (4,)}
    return {f"{i}.{what}": torch.randn(size, generator=generator) for i in range(3) for what, size in shapes.items()}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_layout_of_a_tensor_comes_out_as_pytorch_reads_it(zipped: bool, protocol: int) -> None:
    large = torch.arange(60.0).reshape(3, 4, 5)
    content = OrderedDict(
        whole=large, part=large[1:, ::2, 3], turned=large.mT, expanded=torch.ones(1).expand(7), scalar=torch.tensor(3),
        none=torch.zeros(0, 4),
        half=torch.ones(2).half(), brain=torch.ones(2).bfloat16(), truth=torch.tensor([True, False]), byte=torch.ones(3, dtype=torch.uint8),
        parameter=nn.Parameter(torch.ones(2)), long=torch.arange(5), double=torch.ones(2, dtype=torch.float64),
    )  # fmt: skip
    data = saved(content, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    file = read_torch(data)
    theirs = torch.load(io.BytesIO(data), weights_only=False)  # its careful reader knows protocol 2 alone
    ours = file.take(file.content)
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
        assert ours[name].dtype == tensor.dtype, name
    assert file.checked == zipped


def test_public_checkpoints_come_out_as_pytorch_reads_them(fixtures: Path) -> None:
    looked_at = 0
    for path in sorted((fixtures / "models").glob("*/*.p*")):
        if path.parent.name in ("unsafe", "basicvsr", "rrdb", "brn"):
            continue
        theirs = torch.load(path, map_location="cpu", weights_only=True)
        file = read_torch(path.read_bytes())
        nested = [(file.content, theirs)]
        while nested:
            ours, other = nested.pop()
            tensors = {k: v for k, v in other.items() if isinstance(v, Tensor)}
            assert all(torch.equal(mine, tensors[k]) for k, mine in file.take({k: ours[k] for k in tensors}).items()), path
            nested += [(ours[k], v) for k, v in other.items() if isinstance(v, dict)]
            looked_at += len(tensors)
    assert looked_at > 1000


def test_a_flipped_bit_in_a_checkpoint_is_noticed_or_changes_no_number() -> None:
    """PyTorch's reader looks at no checksum: 69 of 75 files with one flipped bit gave other weights."""
    whole = read_state_dict(saved(network())).weights_sha256
    data, draw, refused = saved(network()), random.Random(1), 0
    for _ in range(150):
        place = draw.randrange(8 * len(data))
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        try:
            assert read_state_dict(bytes(damaged), name="w.pth").weights_sha256 == whole, f"bit {place}"
        except WeightsError as error:
            assert str(error).startswith("w.pth: ")  # noqa: PT017
            refused += 1
    assert refused > 30  # the rest is padding and other bytes that say nothing


def test_a_cut_off_file_says_so_at_any_length() -> None:
    for zipped in (True, False):
        data = saved(network(), _use_new_zipfile_serialization=zipped)
        for length in range(1, len(data), len(data) // 40):
            with pytest.raises(WeightsError, match=r"w\.pth: "):
                read_state_dict(data[:length], name="w.pth")


def test_a_sha256_in_the_recipe_finds_what_formats_without_checksums_cannot() -> None:
    data = saved(network(), _use_new_zipfile_serialization=False)
    right = read_state_dict(data).file_sha256
    assert not read_state_dict(data, sha256=right.upper()).checked
    damaged = bytearray(data)
    damaged[-3] ^= 1
    assert read_state_dict(bytes(damaged)).tensors.keys() == network().keys()  # nothing in the format tells
    with pytest.raises(WeightsError, match="the file does not match `sha256`, or is damaged"):
        read_state_dict(bytes(damaged), sha256=right)


def test_a_tensor_that_repeats_one_number_three_billion_times_allocates_nothing() -> None:
    data = saved({"head.weight": torch.zeros(1).expand(3_000_000_000), "head.bias": torch.zeros(2)})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match=r"w\.pth: 'head\.weight': shape \(3,000,000,000\) over a storage of 1 numbers"):
        read_state_dict(data, name="w.pth")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_many_views_of_one_storage_hold_its_numbers_once() -> None:
    flat = torch.arange(50_000.0)
    for zipped in (True, False):
        file = read_torch(saved({str(i): flat[100 * i : 100 * i + 100] for i in range(500)}, _use_new_zipfile_serialization=zipped))
        views = file.take(file.content)
        assert torch.equal(torch.cat(list(views.values())), flat)
        first = views["0"].data_ptr()
        assert [view.data_ptr() - first for view in views.values()] == [400 * i for i in range(500)]


def test_many_views_of_one_storage_are_counted_together() -> None:
    large = torch.zeros(1_000_000)
    with pytest.raises(WeightsError, match=r"above .* bytes in memory"):
        read_state_dict(saved({f"w{i}": large.view(1000, 1000) for i in range(60)}))


def cyclic() -> dict[str, Any]:
    content: dict[str, Any] = {"epoch": 3}
    content["params"] = content
    return content


def deep(levels: int) -> dict[str, Any]:
    content: dict[str, Any] = {"w": torch.ones(1)}
    for _ in range(levels):
        content = {"params": content}
    return content


def chained(levels: int) -> bytes:
    """A pickle of mappings in mappings, deeper than Python's own pickler can go."""
    return b"\x80\x02" + b"}X\x06\x00\x00\x00params" * levels + b"}" + b"s" * levels + b"."


@pytest.mark.parametrize(
    ("content", "words"),
    [(cyclic(), "no tensors in the usual places"), (deep(30), "no tensors|more than 12 deep")],
    ids=["holds itself", "nested"],
)
def test_a_checkpoint_that_holds_itself_or_goes_on_for_ever_is_refused(content: Any, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        read_state_dict(saved(content))


def test_a_cycle_with_tensors_inside_ends() -> None:
    content: dict[str, Any] = {"w": torch.ones(2)}
    content["params"] = content
    with pytest.raises(WeightsError, match="more than 12 deep"):
        read_state_dict(saved(content))


def test_a_hundred_thousand_levels_are_read_without_recursion() -> None:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("a/data.pkl", chained(100_000))
    with pytest.raises(WeightsError, match="no tensors"):
        read_state_dict(zipped.getvalue())


def test_a_key_that_would_take_for_ever_to_hash_is_passed_over() -> None:
    """((x, x), (x, x)) 60 levels deep is 200 bytes of pickle and 2**60 steps of hashing."""
    program = b"\x80\x02}K\x01" + b"2\x86" * 60 + b"K\x02s."
    assert Machine().load(io.BytesIO(program)) == {}


def test_thirty_thousand_names_that_mean_nothing_here_are_read_in_one_pass() -> None:
    """Each once, in order. Looked up in a list, they would take minutes."""
    count = 30_000
    calls = b"".join(b"cplace%d\nmake\n)R0" % number for number in range(count))
    machine = Machine()
    machine.load(io.BytesIO(b"\x80\x02" + calls * 2 + b"}."))
    assert list(machine.foreign) == [f"place{number}.make" for number in range(count)]


def test_whole_numbers_that_all_have_one_hash_are_no_keys() -> None:
    modulus = 2**61 - 1  # of Python's hash of whole numbers
    keys = [modulus * number for number in range(5, 30_000)]
    assert len({hash(key) for key in keys}) == 1
    program = b"\x80\x02}(" + b"".join(b"\x8a\x0a" + key.to_bytes(10, "little") + b"K\x01" for key in keys) + b"K\x02K\x03u."
    assert Machine().load(io.BytesIO(program)) == {2: 3}


def test_a_memo_number_allocates_nothing() -> None:
    assert Machine().load(io.BytesIO(b"\x80\x02]r" + struct.pack("<I", 2**31 - 1) + b".")) == []


def test_a_pickle_of_endless_operations_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xlli_ray.models.pickled.MOST_OPERATIONS", 1000)
    with pytest.raises(Damaged, match="more than 1,000 operations"):
        Machine().load(io.BytesIO(b"\x80\x02" + b"K\x010" * 1000 + b"K\x01."))


def test_a_zip_that_unpacks_to_gigabytes_is_refused_before_it_is_unpacked() -> None:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a/data.pkl", "w") as entry:
        for _ in range(80):
            entry.write(bytes(1 << 20))
    with pytest.raises(WeightsError, match="bytes that unpack to"):
        read_state_dict(zipped.getvalue())


def test_a_storage_shorter_than_its_tensors_say_is_refused() -> None:
    """PyTorch's reader takes the length from the pickle and reads what lies behind the storage in memory."""
    whole = zipfile.ZipFile(io.BytesIO(saved({"w": torch.ones(1000)})))
    short = io.BytesIO()
    with zipfile.ZipFile(short, "w") as archive:
        for name in whole.namelist():
            content = whole.read(name)
            archive.writestr(name, content[:100] if name.endswith("data/0") else content)
    with pytest.raises(WeightsError, match="storage '0' should have 4,000 bytes and has 100"):
        read_state_dict(short.getvalue())


def test_options_beside_the_weights_are_passed_over_without_being_made(tmp_path: Path) -> None:
    import argparse

    content = {"state_dict": network(), "hyper_parameters": argparse.Namespace(lr=1, path=tmp_path), "epoch": 4}
    file = read_torch(saved(content))
    assert file.foreign == ("argparse.Namespace", f"pathlib.{type(tmp_path).__name__}") or set(file.foreign) >= {"argparse.Namespace"}
    assert read_state_dict(saved(content)).tensors.keys() == network().keys()


class Call:
    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.args


@pytest.mark.parametrize("beside", [True, False], ids=["beside the weights", "as a weight"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
def test_what_a_pickle_wants_to_call_is_named_and_not_called(beside: bool, zipped: bool, tmp_path: Path) -> None:
    import os

    proof = tmp_path / "it_ran"
    for evil in (Call(os.system, f"touch {proof}"), Call(eval, f"open({str(proof)!r}, 'w')"), Call(exec, "1")):
        content = {"params": network(), "x": evil} if beside else {**network(), "x": evil}
        with pytest.raises(WeightsError, match=r"refused, not executed\. The file asks to call '(posix|builtins|nt)\."):
            read_state_dict(saved(content, _use_new_zipfile_serialization=zipped))
    assert not proof.exists()


def test_a_pickle_with_code_that_torch_never_wrote_is_refused(tmp_path: Path) -> None:
    import os

    proof = tmp_path / "it_ran"
    with pytest.raises(WeightsError, match="refused, not executed"):
        read_state_dict(pickle.dumps(Call(os.system, f"touch {proof}")))
    assert not proof.exists()


def test_every_operation_of_the_machine_is_one_of_pickle() -> None:
    from xlli_ray.models.pickled import _STEPS

    assert set(_STEPS) <= {operation.name for operation in pickletools.opcodes}
