"""Checkpoints: from a file's bytes to plain named tensors, without running anything that the file brings along.

A checkpoint here is data: names and numbers. PyTorch's own format is a pickle, which can hold code; it is read with
`weights_only=True` always, so that a pickled network (`torch.save(model)`) is refused, never executed. Safetensors
holds nothing but tensors and is preferred.

What is undone on the way: nesting (`params_ema`, `params`, `state_dict`, `net`, `model`), prefixes that wrappers add to
every name (`module.`, `_orig_mod.`), half precision (all floating-point numbers become float32).

The identity of weights is the sha256 of `to_safetensors`: the same tensors have the same identity whether they came as
`.pth` or `.safetensors`, nested or flat.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xlli_ray.errors import WeightsError

NESTS = ("params_ema", "params", "state_dict", "net", "model", "model_state_dict")  # the first one present is opened
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
MAX_HEADER = 100_000_000  # bytes of a safetensors header, the format's own limit

# The format's names of dtypes. Floating point is float32 by the time it is written; the rest are buffers.
_DTYPES = {
    torch.float32: "F32", torch.int64: "I64", torch.int32: "I32", torch.int16: "I16",
    torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


@dataclass(frozen=True)
class StateDict:
    """`tensors`: name -> tensor, on the CPU, contiguous, float32 (integer and boolean buffers keep their dtype).
    `file_sha256`: of the bytes as read; it names the file, `weights_sha256` names the numbers."""

    tensors: dict[str, Tensor]
    file_sha256: str

    @property
    def weights_sha256(self) -> str:
        """Identity of the weights: sha256 of `to_safetensors(self.tensors)`, 64 hex digits."""
        return weights_sha256(self.tensors)


def read_state_dict(data: bytes | str | os.PathLike[str], *, name: str | None = None) -> StateDict:
    """Read a checkpoint, given as its bytes or as a local path. `name` is what messages call it (default: the path).

    Raises WeightsError when the file is absent, empty, damaged, no checkpoint, holds a pickled object (named in the
    message and not executed), or no tensors at a place that is known.
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
    content = _read_safetensors(data, name) if _is_safetensors(data) else _read_pickle(data, name)
    return StateDict(_plain(_unprefixed(_unnested(content, name)), name), hashlib.sha256(data).hexdigest())


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of a module as `read_state_dict` would give it: copies on the CPU, float32. For networks that
    come with their own weights."""
    return _plain(module.state_dict(), type(module).__name__)


def to_safetensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Canonical safetensors bytes of `tensors`: sorted names, no metadata, data in the order of names.

    Written by hand, since these bytes are an identity and must not change with a version of a library; any safetensors
    reader reads them.
    """
    header: dict[str, dict[str, Any]] = {}
    blocks: list[bytes] = []
    offset = 0
    for name, tensor in sorted(_plain(tensors, "weights").items()):
        block = tensor.numpy().tobytes()
        kind = _DTYPES[tensor.dtype]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [offset, offset + len(block)]}
        blocks.append(block)
        offset += len(block)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)  # the format wants the data aligned to 8 bytes
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


def _read_pickle(data: bytes, name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols and sparse tensors: both end in messages of ours
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, EOFError, KeyError, ... on bad files
        # Not chained: torch's text advises weights_only=False, which runs whatever the file says.
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:
            raise WeightsError(
                f"{name}: refused, not executed. The file is a pickled Python object that wants {refused.group(1)!r},"
                " not a state dict; loading it would run code from the file. Where you trust it and can import that"
                " class, save its weights once with torch.save(model.state_dict(), ...) (or as safetensors) and name"
                " its `network`."
            ) from None
        if "TorchScript" in str(error):
            raise WeightsError(
                f"{name}: refused, not executed. The file is a TorchScript program, not a state dict. Save its weights"
                " once with torch.save(torch.jit.load(...).state_dict(), ...) and name its `network`."
            ) from None
        raise WeightsError(
            f"{name}: no checkpoint that can be read: neither safetensors nor a PyTorch state dict, or damaged"
            f" ({_first_line(error)}). Check the file, or copy it again."
        ) from None


def _unnested(content: Any, name: str) -> Mapping[str, Any]:
    """The mapping that holds the tensors, found by the names in `NESTS`, however deep."""
    while isinstance(content, Mapping):
        nest = next((key for key in NESTS if isinstance(content.get(key), Mapping)), None)
        if nest is None:
            break
        content = content[nest]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        what = f"the keys {', '.join(map(str, list(content)[:8]))}" if isinstance(content, Mapping) else "no mapping"
        raise WeightsError(
            f"{name}: no tensors where they are looked for (at the top, or under {', '.join(NESTS)}); found {what}."
            " Save the state dict itself: torch.save(checkpoint[...], ...)."
        )
    return content


def _unprefixed(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Names without the prefixes that stand before every one of them."""
    while True:
        prefix = next((p for p in PREFIXES if all(str(key).startswith(p) for key in content)), None)
        if prefix is None:
            return content
        content = {str(key)[len(prefix) :]: value for key, value in content.items()}


def _plain(content: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    """Copies of the tensors: CPU, contiguous, float32 or an integer type. Numbers and texts beside them are dropped."""
    tensors: dict[str, Tensor] = {}
    for key, value in content.items():
        if not isinstance(value, Tensor):
            if value is None or isinstance(value, int | float | str):
                continue  # an epoch, a version
            raise WeightsError(
                f"{name}: {key!r} is a {type(value).__name__}, expected a tensor. Save the state dict alone:"
                " torch.save(model.state_dict(), ...)."
            )
        if value.layout != torch.strided or value.is_quantized or value.is_complex():
            raise WeightsError(
                f"{name}: {key!r} is sparse, quantised or complex; only plain tensors are read. Save it dequantised and"
                " dense."
            )
        wanted = torch.float32 if value.is_floating_point() else value.dtype
        if wanted not in _DTYPES:
            raise WeightsError(f"{name}: {key!r} has dtype {value.dtype}, which no network here uses. Convert it.")
        tensors[str(key)] = value.detach().to("cpu", wanted).clone(memory_format=torch.contiguous_format)
    return tensors


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
