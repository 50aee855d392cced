"""Damaged, malformed and malicious checkpoints through reading and loading: the right weights or an error of ours, and no code from data.

    python tests/fuzz/fuzz_checkpoints.py --trials 2000 --seed 0

Seeds are small networks (three of ours, one of spandrel's) as torch.save writes them today and before 1.6, and as safetensors. A trial
damages the bytes, changes names, shapes, dtypes or nesting, writes a pickle that wants to run something, or puts a file of another kind
under the name of a checkpoint; then the file is read, and loaded as the network that is named or recognised. Findings: an exception that
is no XlliError, a message of more than one line or with PyTorch's advice, a trial of more than five seconds of work, memory far above the
file's, the canary of a malicious pickle, and **other weights without a word**: numbers that are not the seed's from a file whose format has
checksums, or whose sha256 the recipe knows. Formats without checksums (safetensors, PyTorch before 1.6) cannot tell a flipped bit of a
number: these are counted apart, and every damaged file, whatever its format, must be seen where the recipe gives `sha256`.
Prints one JSON object; the exit code is 1 when something was found.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import random
import resource
import struct
import subprocess
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from fuzz_recipes import Hang, limited

from xlli_ray.errors import XlliError
from xlli_ray.models import ModelSpec, load_model, read_state_dict
from xlli_ray.models.networks import imdn, rlfn, srresnet

SECONDS = 5
ROOM = 600 << 20
"""Bytes that a trial may add to the process: tensors may take 64 MiB beyond their file, and are held twice for a moment."""
MEMORY = 16 * 2**30


def networks() -> dict[str, dict[str, Tensor]]:
    """Network -> a small state dict of it."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = {
            "srresnet": srresnet.create({"width": 6, "blocks": 2}, generator=generator),
            "imdn": imdn.PlainImdn(3, 8, 2, 2, 2, None),
            "rlfn": rlfn.Rlfn(3, 8, 8, 4, 2, 4),
        }
        from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact

        made["spandrel"] = SRVGGNetCompact(num_feat=8, num_conv=2, upscale=2)
    return {name: {key: tensor.detach().clone() for key, tensor in module.state_dict().items()} for name, module in made.items()}


def saved(content: Any, *, zipped: bool = True) -> bytes:
    """As torch.save writes it."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


class Trial:
    """One file. `expected`: the weights that may come out of it; None where any are as good. `format`: zip, old, safetensors or other."""

    def __init__(self, draw: random.Random, seeds: dict[str, dict[str, Tensor]], canary: Path) -> None:
        self.draw, self.canary = draw, canary
        self.network = draw.choice(list(seeds))
        self.weights = seeds[self.network]
        self.kind = draw.choices(
            ["bits", "bytes", "cut", "names", "tensors", "nesting", "objects", "malicious", "machine", "archive", "header", "other file"],
            [6, 3, 3, 3, 5, 3, 2, 4, 3, 3, 3, 1],
        )[0]
        self.format = draw.choice(["zip", "zip", "old", "safetensors"])
        self.expected: dict[str, Tensor] | None = dict(self.weights)
        self.whole = self.encoded(self.weights)
        self.data = getattr(self, self.kind.replace(" ", "_"))()

    def encoded(self, content: Any) -> bytes:
        return safetensors.torch.save(content) if self.format == "safetensors" else saved(content, zipped=self.format == "zip")

    # -- damage -------------------------------------------------------------------------------------------------

    def bits(self) -> bytes:
        data = bytearray(self.whole)
        for _ in range(self.draw.choice([1, 1, 1, 2, 8])):
            place = self.draw.randrange(8 * len(data))
            data[place // 8] ^= 1 << place % 8
        return bytes(data)

    def bytes(self) -> bytes:
        data = bytearray(self.whole)
        start, length = self.draw.randrange(len(data)), self.draw.choice([1, 4, 64, 512])
        middle = self.draw.choice([bytes(length), self.draw.randbytes(length), b"", data[start : start + length] * 2])
        data[start : start + length] = middle
        return bytes(data)

    def cut(self) -> bytes:
        data = self.whole
        return self.draw.choice([
            data[: self.draw.randrange(1, len(data))], data[self.draw.randrange(1, len(data)) :], data + data,
            data + self.draw.randbytes(self.draw.choice([1, 100])), data[:-1],
        ])  # fmt: skip

    # -- content ------------------------------------------------------------------------------------------------

    def names(self) -> bytes:
        content, draw = dict(self.weights), self.draw
        self.expected = None  # tensors under other names are refused, or this network's under another publication's
        for _ in range(draw.choice([1, 1, 3])):
            key = draw.choice(list(content))
            new = draw.choice([
                f"module.{key}", f"generator.{key}", key.upper(), key[1:], f"{key}.weight", "", ".", "a" * 10_000, f"\x1b[31m{key}",
                "../../x", key.replace("1", "999999999"), key.replace("weight", "bias"), "é\n\0",
            ])  # fmt: skip
            content[new] = content.pop(key)
        if draw.random() < 0.3:
            prefix = draw.choice(["module.", "_orig_mod.", "generator_ema.", "net_g.", "model."])
            content = {prefix + key: tensor for key, tensor in self.weights.items()}
            self.expected = dict(self.weights)
        return self.encoded(content)

    def tensors(self) -> bytes:
        draw, content = self.draw, dict(self.weights)
        self.expected = None
        self.format = draw.choice(["zip", "old"])
        for _ in range(draw.choice([1, 1, 3])):
            key = draw.choice(list(content))
            content[key] = self.odd(self.weights.get(key, torch.ones(2)))
        return self.encoded(content)

    def odd(self, tensor: Tensor) -> Any:
        makers: list[Callable[[], Any]] = [
            lambda: torch.zeros(0), lambda: torch.zeros(()), lambda: tensor.flatten(), lambda: tensor[None], lambda: tensor.reshape(-1)[:0],
            lambda: tensor.T if tensor.ndim == 2 else tensor.flip(0), lambda: tensor.half(), lambda: tensor.double(),
            lambda: tensor.bfloat16(), lambda: tensor.int(), lambda: tensor.bool(), lambda: tensor.to(torch.complex64),
            lambda: tensor.to(torch.uint16),
            lambda: torch.full_like(tensor.float(), float("nan")), lambda: tensor.double() * 1e300, lambda: tensor * float("inf"),
            lambda: torch.zeros(1).expand(3_000_000_000), lambda: torch.zeros(1, 1, 1, 1).expand(50_000, 50_000, 3, 3),
            lambda: torch.zeros(100_000, 3, 3, 3), lambda: torch.zeros(1).expand(100_000, 4, 1, 1), lambda: tensor.to("meta"),
            lambda: tensor.to_sparse(), lambda: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8),
            lambda: torch.zeros([1] * 40), lambda: 3, lambda: None, lambda: "text", lambda: [1, 2], lambda: {"a": tensor}, lambda: object,
            lambda: torch.nn.Parameter(tensor.float()),
        ]  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.draw.choice(makers)()

    def nesting(self) -> bytes:
        draw = self.draw
        self.format = draw.choice(["zip", "old"])
        content: Any = dict(self.weights)
        how = draw.randrange(6)
        if how == 0:
            for _ in range(draw.choice([1, 3, 10, 14, 200])):
                content = {draw.choice(["params", "state_dict", "net", "model", "x"]): content}
            self.expected = dict(self.weights)
        elif how == 1:
            content[draw.choice(["params", "x", "params_ema"])] = content
        elif how == 2:
            content = {"params": content}
            content["params"]["net"] = content
        elif how == 3:
            other = {key: tensor + 1 if tensor.is_floating_point() else tensor for key, tensor in content.items()}
            names = draw.sample(["params", "params_ema", "net", "generator", "discriminator", "ema", "x"], 2)
            content = dict(zip(names, (content, other)))
            self.expected = None
        elif how == 4:
            content = [content, content]
        else:
            content = {"epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}, draw.choice(["net", "y"]): content}
        return self.encoded(content)

    def objects(self) -> bytes:
        self.format = self.draw.choice(["zip", "old"])
        beside = self.draw.choice([
            argparse.Namespace(lr=1), Path("/x"), {1, 2}, Counter("abc"), b"bytes", 10**5000, float("nan"), Exception("x"),
            torch.device("cpu"), torch.float32, range(3), torch.nn.Linear(2, 2), 1j,
        ])  # fmt: skip
        return self.encoded({"params": self.weights, "x": beside} if self.draw.random() < 0.6 else {**self.weights, "x": beside})

    # -- malice -------------------------------------------------------------------------------------------------

    def malicious(self) -> bytes:
        draw, proof = self.draw, str(self.canary)
        self.format = draw.choice(["zip", "old"])
        calls: list[tuple[Any, tuple[Any, ...]]] = [
            (os.system, (f"touch {proof}",)), (open, (proof, "w")), (exec, (f"open({proof!r}, 'w')",)), (eval, (f"open({proof!r}, 'w')",)),
            (subprocess.call, (["touch", proof],)), (subprocess.Popen, (["touch", proof],)), (Path.touch, (Path(proof),)),
            (getattr, (os, "system")), (map, (os.system, [f"touch {proof}"])), (torch.load, (proof,)), (bytearray, (10**12,)),
            (list, ([1] * 9,)), (os.makedirs, (proof,)), (__import__, ("antigravity",)),
        ]  # fmt: skip
        function, args = draw.choice(calls)

        class Evil:
            def __reduce__(self) -> Any:
                return function, args

        evil = Evil()
        content: Any = draw.choice([evil, {"params": self.weights, "x": evil}, {**self.weights, "x": evil}, {"params": evil}, [evil]])
        try:
            return draw.choice([saved, lambda value: saved(value, zipped=False), pickle.dumps])(content)
        except Exception:  # a module cannot be pickled
            return pickle.dumps({"x": 1})

    def machine(self) -> bytes:
        """A pickle of random operations, or one that wants much."""
        draw = self.draw
        self.expected = None
        programs = [
            b"\x80\x02}K\x01" + b"2\x86" * draw.choice([5, 60]) + b"K\x02s.", b"\x80\x02" + b"(" * 10_000 + b"t" * 10_000 + b".",
            b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".", b"\x80\x02]r" + struct.pack("<I", draw.randrange(2**32)) + b".",
            b"\x80\x04\x8d" + struct.pack("<Q", 2 ** draw.randrange(30, 63)) + b"x.",
            b"\x80\x02\x8b" + struct.pack("<I", 2**31 - 1) + b"\x01.",
            b"\x80\x02I" + b"9" * 20_000 + b"\n.", b"\x80\x02" + b"K\x010" * 100_000 + b"K\x01.", b"cos\nsystem\n(Stouch\ntR.",
            b"\x80\x02" + bytes(draw.choice(b"()]}NKtlsuaqhRbc0e.\x85\x86\x87Q") for _ in range(draw.choice([10, 200]))) + b".",
        ]  # fmt: skip
        program = draw.choice(programs)
        if self.format != "zip":
            return program
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a/data.pkl", program)
        return file.getvalue()

    def archive(self) -> bytes:
        """A zip archive that contradicts itself."""
        draw = self.draw
        self.format = "zip"
        whole = zipfile.ZipFile(io.BytesIO(saved(self.weights)))
        self.expected = None
        how, file = draw.randrange(7), io.BytesIO()
        packed = zipfile.ZIP_DEFLATED if how == 0 else zipfile.ZIP_STORED
        with zipfile.ZipFile(file, "w", packed) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in whole.namelist():
                content = whole.read(name)
                if how == 1 and name.endswith(("/data/0", "/data/3")):
                    content = content[: len(content) // 2]
                elif how == 2 and name.endswith("/data/1"):
                    continue
                elif how == 3 and name.endswith("data.pkl"):
                    archive.writestr(name, content)
                elif how == 4:
                    name = name.replace("archive/", draw.choice(["", "a/b/", "../", "/"]))
                elif how == 5 and name.endswith("byteorder"):
                    content = b"big"
                archive.writestr(name, content)
            if how == 6:
                archive.writestr(draw.choice(["x/data.pkl", "archive/code/a.py", "y.txt"]), b"\x80\x02N.")
        if how == 0:
            self.expected = dict(self.weights)
        return file.getvalue()

    def header(self) -> bytes:
        """A safetensors header that contradicts its data."""
        draw = self.draw
        self.format = "safetensors"
        self.expected = None
        data = safetensors.torch.save(self.weights)
        length = struct.unpack("<Q", data[:8])[0]
        header, numbers = json.loads(data[8 : 8 + length]), data[8 + length :]
        key = draw.choice([name for name in header if name != "__metadata__"])
        entry = header[key]
        change = draw.randrange(10)
        if change == 0:
            entry["data_offsets"] = [0, entry["data_offsets"][1] - entry["data_offsets"][0]]
        elif change == 1:
            entry["data_offsets"][draw.randrange(2)] += draw.choice([-4, 4, 2**40])
        elif change == 2:
            entry["shape"] = draw.choice([[2**62, 2**62], [-1], [0], [], "x", [3.5], [1] * 5000, None])
        elif change == 3:
            entry["dtype"] = draw.choice(["F64", "BF16", "F8_E4M3", "I64", "BOOL", "X", None, 3])
        elif change == 4:
            header[draw.choice(["x", "__metadata__"])] = draw.choice([entry, {"a": "b"}, {"a": 1}, [], None])
        elif change == 5:
            del header[key]
        elif change == 6:
            numbers += b"\0" * 7
        text = json.dumps(header).encode()
        if change == 7:
            text = b"[" * 20_000
        elif change == 8:
            text = text.replace(b":", b": ", 1)[:-1] + b', "y": {}}'
        size = len(text) if change != 9 else draw.choice([0, 1, len(text) - 1, len(text) + 1, 2**31, 2**63, 2**64 - 1])
        return struct.pack("<Q", size) + text + numbers

    def other_file(self) -> bytes:
        draw = self.draw
        self.format, self.expected = "other", None
        return draw.choice([
            b"", b"\0", bytes(5000), b"<html><title>" + draw.randbytes(50), b"version https://git-lfs.github.com/spec/v1\nsize 12\n",
            json.dumps({"a": [1] * draw.randrange(9)}).encode(), b"[" * 50_000, b"\x89PNG\r\n\x1a\n" + draw.randbytes(99),
            b"PK\x03\x04" + draw.randbytes(99), b"PK\x05\x06" + bytes(18), draw.randbytes(draw.choice([1, 9, 5000])),
            b"\x80" + draw.randbytes(20),
            b"\x08\x07pytorch" + bytes(9),
            b"\x89HDF\r\n\x1a\n" + bytes(100), b"GGUF" + bytes(9), bytes(257) + b"ustar" + bytes(250), b"text\n" * 100,
        ])  # fmt: skip


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    """Whether tensors are the seed's, under its names or behind a training program's."""
    if len(found) != len(expected):
        return False
    for key, tensor in expected.items():
        match = found.get(key, next((value for name, value in found.items() if name.endswith("." + key)), None))
        wanted = tensor.float() if tensor.is_floating_point() else tensor
        if match is None or not torch.equal(match, wanted):
            return False
    return True


def attempt(trial: Trial, path: Path, findings: list[str], counts: Counter[str]) -> None:
    """Read and load one file; what is wrong goes to `findings`."""
    path.write_bytes(trial.data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    about = f"{trial.kind}, {trial.format}, {trial.network}"
    network = None if trial.network == "spandrel" or trial.draw.random() < 0.4 else trial.network
    try:
        with limited(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = read_state_dict(path)
            counts["read"] += 1
            if trial.expected is not None and not same(found.tensors, trial.expected):
                if found.checked or trial.kind not in ("bits", "bytes", "cut"):
                    findings.append(f"{about}: other weights without a word")
                else:
                    counts[f"other weights, unseen without sha256: {trial.format}"] += 1
            load_model(ModelSpec("m", weights=path.name, network=network), found.tensors)
            counts["loaded"] += 1
    except XlliError as error:
        counts["refused"] += 1
        if "\n" in str(error) or "weights_only" in str(error) or len(str(error)) > 3000:
            findings.append(f"{about}: a message nobody should get: {str(error)[:300]!r}")
    except Hang:
        findings.append(f"{about}: more than {SECONDS} s")
    except BaseException:
        findings.append(f"{about}: {traceback.format_exc(limit=-4)}")
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak)
    if grown > ROOM:
        findings.append(f"{about}: {grown >> 20} MiB for a file of {len(trial.data):,} bytes")
    if trial.canary.exists():
        findings.append(f"{about}: code was run")
        subprocess.run(["rm", "-rf", str(trial.canary)], check=False)
    if trial.kind in ("bits", "bytes", "cut") and trial.data != trial.whole:
        import hashlib

        try:
            read_state_dict(path, sha256=hashlib.sha256(trial.whole).hexdigest())
            findings.append(f"{about}: other bytes without a word, though the sha256 was given")
        except XlliError:
            counts[f"damage seen with sha256: {trial.format}"] += 1


def fuzz(trials: int, seed: int, folder: Path) -> dict[str, Any]:
    """Run so many trials; a summary with all findings."""
    torch.set_num_threads(1)
    draw, seeds = random.Random(seed), networks()
    findings: list[str] = []
    counts: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for number in range(trials):
        trial = Trial(random.Random(draw.randrange(2**63)), seeds, folder / "canary")
        kinds[trial.kind] += 1
        before = len(findings)
        attempt(trial, folder / f"weights{trial.draw.choice(['.pth', '.pt', '.safetensors'])}", findings, counts)
        for i in range(before, len(findings)):
            findings[i] = f"trial {number}: {findings[i]}"
    return {"trials": trials, "seed": seed, "counts": dict(counts), "kinds": dict(kinds), "findings": findings}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        summary = fuzz(asked.trials, asked.seed, Path(folder))
    print(json.dumps(summary, indent=1))
    return 1 if summary["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
