"""The GPUs that processes of this machine may use, found in milliseconds, without torch or Ray.

NVIDIA's management library answers (as for `nvidia-smi` and Ray); in a container that has only what computes, the device files are counted.
CUDA_VISIBLE_DEVICES is read as CUDA does: what follows the first entry that names nothing is hidden, too. AMD's are counted by Ray.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlli_ray.errors import counted

VISIBLE = "CUDA_VISIBLE_DEVICES"
DEVICES = Path("/dev")
AMD = "kfd"
NAME_BYTES = 96


@dataclass(frozen=True)
class Gpus:
    """`names`: the model of each visible GPU, in the order of torch's indices. `ids`: what names each in CUDA_VISIBLE_DEVICES."""

    names: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return len(self.names)

    def __str__(self) -> str:
        """`2 GPUs (NVIDIA H200)`."""
        return f"{counted(self.count, 'GPU')} ({', '.join(dict.fromkeys(self.names))})" if self.names else "no GPU"


def gpus_here() -> Gpus:
    """The visible GPUs of this machine."""
    names = _nvidia() or _device_files()
    if names:
        return visible(names, os.environ.get(VISIBLE))
    count = _counted_by_ray() if (DEVICES / AMD).exists() else 0
    return Gpus(("AMD",) * count, tuple(map(str, range(count))))


def visible(names: Sequence[str], setting: str | None) -> Gpus:
    """Those of the GPUs `names` that a value of CUDA_VISIBLE_DEVICES (None: not set) lets a process use."""
    if setting is None:
        return Gpus(tuple(names), tuple(map(str, range(len(names)))))
    chosen: list[tuple[str, str]] = []
    for entry in map(str.strip, setting.split(",")):
        if entry.isdigit() and int(entry) < len(names):
            chosen.append((names[int(entry)], entry))
        elif entry.startswith(("GPU-", "MIG-")):  # which of several models has this id is not asked
            chosen.append((names[0] if len(set(names)) == 1 else entry[:12], entry))
        else:
            break
    return Gpus(tuple(name for name, _ in chosen), tuple(entry for _, entry in chosen))


def torch_computes_on_gpus() -> bool:
    """Whether the installed torch is built for CUDA or ROCm; read from its version file, without importing it."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return False
    text = (Path(found.origin).parent / "version.py").read_text()
    return re.search(r"^(cuda|hip)\b.*=\s*['\"]", text, re.MULTILINE) is not None


def _nvidia() -> tuple[str, ...]:
    """Models of all NVIDIA GPUs, by the driver's management library (NVML)."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        if library.nvmlInit_v2() != 0:
            return ()
    except (OSError, AttributeError):
        return ()
    try:
        count = ctypes.c_uint()
        if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return ()
        names = []
        for index in range(count.value):
            handle, name = ctypes.c_void_p(), ctypes.create_string_buffer(NAME_BYTES)
            library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle))
            library.nvmlDeviceGetName(handle, name, ctypes.c_uint(NAME_BYTES))
            names.append(name.value.decode(errors="replace") or "NVIDIA")
        return tuple(names)
    finally:
        library.nvmlShutdown()


def _device_files() -> tuple[str, ...]:
    """One name for each device file of an NVIDIA GPU, if CUDA's driver can be loaded."""
    count = sum(file.name.removeprefix("nvidia").isdigit() for file in DEVICES.glob("nvidia*"))
    try:
        if count:
            ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ()
    return ("NVIDIA",) * count


def _counted_by_ray() -> int:
    accelerators: Any = importlib.import_module("ray._private.accelerators")
    manager = accelerators.get_accelerator_manager_for_resource("GPU")
    have, shown = int(manager.get_current_node_num_accelerators()), manager.get_current_process_visible_accelerator_ids()
    return have if shown is None else min(have, len(shown))
