"""PyTorch's checkpoint files: the current zip archive and the format before 1.6. Content first, numbers only on request.

The archive holds a pickle (`data.pkl`) and one entry per storage; every entry has a CRC, and all are checked, which PyTorch's own reader
does not do: there a flipped bit silently gives different weights. The old format is a sequence of pickles followed by the raw storages;
it has no checksums, so only lengths can be checked.

A tensor in such a file is a view that may repeat elements (`expand` has stride 0): a few bytes can describe terabytes. So the size of all
tensors is computed before any is created (`TorchFile.take`).
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xlli_ray.models.pickled import Damaged, Machine, Storage, Stored

OLD_MAGIC = 0x1950A86A20F9469CFC6C
OLD_PROTOCOL = 1001
ROOM = 64 << 20
"""Bytes that tensors may take in addition to `GROWTH` times the file."""
GROWTH = 8
"""Bytes of tensors per byte of the file: float8 grows fourfold when converted to float32, and weights may be tied."""


@dataclass(frozen=True)
class TorchFile:
    """A file whose description has been read. `content`: plain values, with `Stored` in place of tensors.

    `foreign`, `harmful`: names that the pickle instantiates or calls, which was not done (`pickled`). `checked`: whether the format has
    checksums; if so, all of them match.
    """

    content: Any
    foreign: tuple[str, ...]
    harmful: tuple[str, ...]
    checked: bool
    _source: _Archive | _Old

    def take(self, tensors: Mapping[str, Stored]) -> dict[str, Tensor]:
        """The tensors, on the CPU, in their dtypes; views of one storage share its memory. Raises Damaged, naming the tensor."""
        total, most = 0, GROWTH * self._source.length + ROOM
        for name, stored in tensors.items():
            total += _checked(name, stored)
            if total > most:
                raise Damaged(
                    f"{name[:80]!r}: shape {_shape(stored.size)} over a storage of {stored.storage.numel:,} numbers would take the tensors"
                    f" of this file of {self._source.length:,} bytes above {most:,} bytes in memory"
                )
        read: dict[str, bytearray] = {}
        return {name: _view(stored, read, self._source) for name, stored in tensors.items()}


def _shape(size: Iterable[int]) -> str:
    return f"({', '.join(f'{n:,}' if n < 10**12 else f'{n:.1e}' for n in size)})"


def _checked(name: str, stored: Stored) -> int:
    """Bytes that the tensor takes. Raises Damaged if it extends beyond its storage."""
    if stored.dtype is None or stored.storage.dtype is None:
        raise Damaged(f"{name[:80]!r} has a dtype unknown to this version")
    held = stored.storage.numel * stored.storage.dtype.itemsize // stored.dtype.itemsize
    count = math.prod(stored.size)
    last = stored.offset + sum((n - 1) * step for n, step in zip(stored.size, stored.stride)) if count else 0
    if count and last >= held:
        raise Damaged(f"{name[:80]!r}: shape {_shape(stored.size)} extends beyond its storage of {held:,} numbers")
    return count * max(stored.dtype.itemsize, 4)


def _view(stored: Stored, read: dict[str, bytearray], source: _Archive | _Old) -> Tensor:
    """The tensor over its storage's bytes, which `read` holds once for all views."""
    assert stored.dtype is not None
    if not math.prod(stored.size):
        return torch.empty(stored.size, dtype=stored.dtype)
    if stored.storage.key not in read:
        read[stored.storage.key] = bytearray(source.storage(stored.storage))  # PyTorch requires writable memory
    numbers = read[stored.storage.key]
    assert stored.storage.dtype is not None
    skipped = stored.storage.start * stored.storage.dtype.itemsize
    flat = torch.frombuffer(numbers, dtype=stored.dtype, offset=skipped)
    return flat.as_strided(stored.size, stored.stride, stored.offset)


def read_torch(data: bytes) -> TorchFile:
    """Read a file that `torch.save` wrote. Raises Damaged, and NotTorch for another type of archive or pickle."""
    machine = Machine()
    if data.startswith(b"PK"):
        archive = _Archive(data)
        content = machine.load(io.BytesIO(archive.pickle))
        return TorchFile(content, tuple(machine.foreign), tuple(machine.harmful), True, archive)
    old, content = _Old.read(data, machine)
    return TorchFile(content, tuple(machine.foreign), tuple(machine.harmful), False, old)


class NotTorch(ValueError):
    """An intact file of another type; `str` says which, and what to do with it."""


class _Archive:
    """The zip archive."""

    def __init__(self, data: bytes) -> None:
        self.length = len(data)
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            entries = self._zip.infolist()
            names = [entry.filename for entry in entries]
            if len(set(names)) < len(names):
                raise Damaged("the archive holds two entries of the same name")
            if sum(entry.file_size for entry in entries) > GROWTH * self.length + ROOM:
                raise Damaged(f"{self.length:,} bytes that unpack to {sum(entry.file_size for entry in entries):,}")
            bad = self._zip.testzip()
        except Damaged:
            raise
        except Exception as error:  # zipfile raises BadZipFile, zlib.error, NotImplementedError, RuntimeError, struct.error, …
            raise Damaged(f"the zip archive is truncated or damaged ({type(error).__name__}: {str(error)[:120]})") from None
        if bad is not None:
            raise Damaged(f"the checksum of {bad!r} is wrong")
        roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
        self._refuse_others(names, roots)
        self._root = roots[0]
        self._sizes = {entry.filename: entry.file_size for entry in entries}
        if self._sizes.get(f"{self._root}byteorder", 6) == 3:
            raise Damaged("it was written on a machine with the other byte order; save it again on this one")
        self.pickle = self._zip.read(f"{self._root}data.pkl")

    @staticmethod
    def _refuse_others(names: list[str], roots: list[str]) -> None:
        if any("/code/" in name or name.endswith("/constants.pkl") for name in names):
            raise NotTorch(
                "a TorchScript program, not a state dict. Save its weights once with torch.save(torch.jit.load(...).state_dict(), ...)"
                " and name its `network`"
            )
        if len(roots) == 1:
            return
        if any(name.endswith((".weights.h5", "keras_metadata.pb")) for name in names):
            raise NotTorch("a Keras model. Its weights have to be converted to a PyTorch state dict")
        if names and all(name.endswith(".npy") for name in names):
            raise NotTorch("arrays of NumPy (.npz). Save them with safetensors.numpy.save_file")
        inside = [name for name in names if name.endswith((".pth", ".pt", ".ckpt", ".safetensors", ".bin"))]
        if inside:
            raise NotTorch(f"a zip archive with {inside[0]!r} inside. Unpack it and name that file")
        first = ", ".join(repr(name) for name in names[:3]) or "nothing"
        raise NotTorch(f"a zip archive, but not from torch.save: it holds {first}")

    def storage(self, storage: Storage) -> bytes:
        assert storage.dtype is not None
        entry, wanted = f"{self._root}data/{storage.key}", (storage.start + storage.numel) * storage.dtype.itemsize
        if self._sizes.get(entry, -1) < wanted:
            held = f"has {self._sizes[entry]:,}" if entry in self._sizes else "is missing"
            raise Damaged(f"storage {storage.key!r} should have {wanted:,} bytes and {held}")
        return self._zip.read(entry)


class _Old:
    """The format before 1.6: magic number, protocol, system, content, keys of storages, storages."""

    def __init__(self, data: bytes, places: Mapping[str, tuple[int, int]]) -> None:
        self.length = len(data)
        self._data, self._places = data, places

    @classmethod
    def read(cls, data: bytes, machine: Machine) -> tuple[_Old, Any]:
        stream = io.BytesIO(data)
        first = machine.load(stream)
        if first != OLD_MAGIC or isinstance(first, bool):
            if machine.harmful:
                return cls(data, {}), first
            raise NotTorch("a pickle, but not from torch.save. Load it where it was written, and save the state dict with torch.save")
        if machine.load(stream) != OLD_PROTOCOL:
            raise Damaged("the header is not that of a PyTorch file")
        system = machine.load(stream)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise Damaged("the header is not that of a PyTorch file written on a machine with this byte order")
        content = machine.load(stream)
        keys = machine.load(stream)
        if not isinstance(keys, list):
            raise Damaged("the list of storages is missing")
        places: dict[str, tuple[int, int]] = {}
        for key in map(str, keys):
            described = machine.storages.get(key)
            head = stream.read(8)
            if described is None or described.dtype is None or len(head) < 8 or struct.unpack("<q", head)[0] != described.numel:
                raise Damaged(f"storage {key!r} does not have the length that its tensors need")
            size = described.numel * described.dtype.itemsize
            places[key] = (stream.tell(), size)
            if stream.tell() + size > len(data):
                raise Damaged(f"truncated within storage {key!r}")
            stream.seek(size, io.SEEK_CUR)
        if stream.tell() != len(data):
            raise Damaged(f"{len(data) - stream.tell():,} unexpected bytes at its end")
        return cls(data, places), content

    def storage(self, storage: Storage) -> bytes:
        if storage.key not in self._places:
            raise Damaged(f"storage {storage.key!r} is missing")
        start, size = self._places[storage.key]
        return self._data[start : start + size]
