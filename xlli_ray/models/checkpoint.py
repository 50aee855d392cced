"""Checkpoints: from a file's bytes to plain named tensors, without executing anything in the file.

A checkpoint here is data: names and numbers. PyTorch's own format is a pickle, which can hold code; it is read by a restricted interpreter
that builds only tensors (`pickled`, `torch_file`), so that a pickled network (`torch.save(model)`) is refused, never executed.
Safetensors holds only tensors and is preferred. Any other file is reported by its type (`filekind`).

Normalized while reading: nesting (`params_ema`, `params`, `state_dict`, …: `nested_weights`), prefixes that wrappers add to every name
(`module.`, `_orig_mod.`), half precision (all floating-point numbers become float32).

The identity of weights is the sha256 of `to_safetensors`: the same tensors have the same identity whether they came as `.pth` or
`.safetensors`, nested or flat.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xlli_ray.errors import WeightsError
from xlli_ray.models.filekind import not_weights
from xlli_ray.models.model_spec import check_sha256
from xlli_ray.models.nested_weights import WRAPPERS, Chosen, choose
from xlli_ray.models.pickled import Damaged, Foreign, Stored, Unusable
from xlli_ray.models.torch_file import NotTorch, TorchFile, read_torch

MAX_HEADER = 100_000_000  # bytes of a safetensors header, the format's own limit

# The format's names of dtypes. Floating point is float32 by the time it is written; the rest are buffers.
_DTYPES = {
    torch.float32: "F32", torch.int64: "I64", torch.int32: "I32", torch.int16: "I16",
    torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


@dataclass(frozen=True)
class StateDict:
    """`tensors`: name -> tensor, on the CPU, contiguous, float32 (integer and boolean buffers keep their dtype).
    `file_sha256`: of the bytes as read; it identifies the file, `weights_sha256` the numbers.
    `notes`: decisions made while reading, for people. `checked`: whether the file's format has checksums; if so, all of them match."""

    tensors: dict[str, Tensor]
    file_sha256: str
    notes: tuple[str, ...] = ()
    checked: bool = False

    @property
    def weights_sha256(self) -> str:
        """Identity of the weights: sha256 of `to_safetensors(self.tensors)`, 64 hex digits."""
        return weights_sha256(self.tensors)


def read_state_dict(
    data: bytes | str | os.PathLike[str], *, name: str | None = None, key: str | None = None, sha256: str | None = None
) -> StateDict:
    """Read a checkpoint, given as its bytes or as a local path. `name` is used in messages (default: the path).

    `key`: where in the file the weights are; None: the usual places (`nested_weights`). `sha256`: expected of the file, 64 hex digits.

    Raises WeightsError if the file is missing, empty, damaged, of another type, holds a pickled object (named in the message and not
    executed), no tensors in a known place, or numbers that no network can use.
    """
    if not isinstance(data, bytes):
        path = Path(data)
        name = name or str(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise WeightsError(f"{name}: cannot be read ({error.strerror}). Check the path of `weights`.") from error
    name = name or "checkpoint"
    if not data:
        raise WeightsError(f"{name}: the file is empty. Copy it again.")
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None:
        check_sha256(digest, sha256, name=name)
    if _is_safetensors(data):
        chosen = _chosen(_read_safetensors(data, name), name, key)
        return StateDict(_plain(_unwrapped(chosen.tensors), name), digest, chosen.notes)
    if kind := not_weights(data):
        raise WeightsError(f"{name}: the file is {kind}.")
    file = _read_torch(data, name)
    try:
        chosen = _chosen(file.content, name, key)
    except WeightsError:
        if file.foreign and key is None:
            raise WeightsError(_refused(name, file.foreign[0], "is a pickled Python object that requires")) from None
        raise
    described = {k: v for k, v in chosen.tensors.items() if isinstance(v, Stored)}
    try:
        made = file.take({str(k): v for k, v in described.items()})
    except Damaged as error:
        raise WeightsError(f"{name}: {error}. Save the weights again, or copy the file again.") from None
    except MemoryError as error:
        raise WeightsError(f"{name}: too large for the memory of this machine.") from error
    content = {k: made[str(k)] if isinstance(v, Stored) else v for k, v in chosen.tensors.items()}
    return StateDict(_plain(_unwrapped(content), name), digest, chosen.notes, file.checked)


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of a module as `read_state_dict` would return it: copies on the CPU, float32. For networks that
    come with their own weights."""
    return _plain(module.state_dict(), type(module).__name__)


def to_safetensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Canonical safetensors bytes of `tensors`: sorted names, no metadata, data in the order of names.

    Written by hand, since these bytes are an identity and must not change with a library version; any safetensors
    reader can read them.
    """
    header: dict[str, dict[str, Any]] = {}
    blocks: list[bytes] = []
    offset = 0
    for name, tensor in sorted(_plain(tensors, "weights", check=False).items()):
        block = tensor.numpy().tobytes()
        kind = _DTYPES[tensor.dtype]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [offset, offset + len(block)]}
        blocks.append(block)
        offset += len(block)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)  # the format requires 8-byte alignment of the data
    return b"".join((struct.pack("<Q", len(text)), text, *blocks))


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """sha256, 64 hex digits, of `to_safetensors(tensors)`."""
    return hashlib.sha256(to_safetensors(tensors)).hexdigest()


def _is_safetensors(data: bytes) -> bool:
    """A safetensors file starts with the length of its header (8 bytes, little endian) and then the header, `{...}`."""
    return len(data) > 9 and data[8:9] == b"{" and struct.unpack("<Q", data[:8])[0] <= MAX_HEADER


def _read_safetensors(data: bytes, name: str) -> Mapping[str, Any]:
    import safetensors.torch

    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
        return tensors
    except Exception as error:  # the reader raises its own type, KeyError for unknown dtypes and RuntimeError
        raise WeightsError(f"{name}: damaged safetensors file ({_first_line(error)}). Copy it again.") from error


def _read_torch(data: bytes, name: str) -> TorchFile:
    try:
        file = read_torch(data)
    except NotTorch as error:
        raise WeightsError(f"{name}: the file is {error}.") from None
    except Damaged as error:
        raise WeightsError(
            f"{name}: not a readable checkpoint: neither safetensors nor a PyTorch state dict, or damaged: {error}. Check the file, or"
            " copy it again."
        ) from None
    except MemoryError as error:
        raise WeightsError(f"{name}: too large for the memory of this machine.") from error
    if file.harmful:
        raise WeightsError(_refused(name, file.harmful[0], "asks to call"))
    return file


def _refused(name: str, what: str, how: str) -> str:
    return (
        f"{name}: refused, not executed. The file {how} {what[:120]!r}, which no state dict needs; loading it elsewhere would run code"
        " from the file. If you trust it and can import that class, save its weights once with torch.save(model.state_dict(), ...)"
        " (or as safetensors) and name its `network`."
    )


def _chosen(content: Any, name: str, key: str | None) -> Chosen:
    try:
        return choose(content, key=key)
    except WeightsError as error:
        raise WeightsError(f"{name}: {error}") from None


def _unwrapped(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Names without the prefixes that all of them share."""
    while True:
        prefix = next((p for p in WRAPPERS if content and all(str(key).startswith(p) for key in content)), None)
        if prefix is None:
            return content
        content = {str(key)[len(prefix) :]: value for key, value in content.items()}


def _plain(content: Mapping[Any, Any], name: str, *, check: bool = True) -> dict[str, Tensor]:
    """Copies of the tensors: CPU, contiguous, float32 or an integer type. Numbers and strings are dropped."""
    tensors: dict[str, Tensor] = {}
    for key, value in content.items():
        if not isinstance(value, Tensor):
            if value is None or isinstance(value, int | float | str):
                continue  # an epoch, a version
            what = value.name[:120] if isinstance(value, Foreign) else type(value).__name__
            if isinstance(value, Unusable):
                raise WeightsError(f"{name}: {_named(key)} is {value.why}; only plain tensors are read. Save it dequantised and dense.")
            raise WeightsError(
                f"{name}: {_named(key)} is a {what}, expected a tensor. Save the state dict alone: torch.save(model.state_dict(), ...)."
            )
        if value.layout != torch.strided or value.is_quantized or value.is_complex():
            raise WeightsError(
                f"{name}: {_named(key)} is sparse, quantised or complex; only plain tensors are read. Save it dequantised and"
                " dense."
            )
        if value.is_meta:
            raise WeightsError(f"{name}: {_named(key)} has a shape and no numbers (it is on the meta device). Save the loaded network.")
        wanted = torch.float32 if value.is_floating_point() else value.dtype
        if wanted not in _DTYPES:
            raise WeightsError(f"{name}: {_named(key)} has dtype {value.dtype}, which no network here uses. Convert it.")
        plain = value.detach().to("cpu", wanted).clone(memory_format=torch.contiguous_format)
        if check and value.is_floating_point():
            _check_numbers(plain, value, name, key)
        tensors[str(key)] = plain
    return tensors


def _check_numbers(plain: Tensor, value: Tensor, name: str, key: Any) -> None:
    """Refuse NaN, and infinity from overflow to float32; masks may legitimately hold infinity."""
    if bool(torch.isfinite(plain).all()):
        return
    if count := int(plain.isnan().sum()):
        raise WeightsError(
            f"{name}: {_named(key)} holds NaN ({count} of {plain.numel()} numbers): the training diverged, or the file is damaged. Take"
            " an earlier checkpoint, or copy the file again."
        )
    if bool((plain.isinf() & value.detach().cpu().isfinite()).any()):
        raise WeightsError(f"{name}: {_named(key)} holds numbers above 3.4e38, too large for float32, in which everything is computed.")


def _named(key: Any) -> str:
    """A tensor's name for a message."""
    return repr(str(key)[:80])


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
