"""The environment of a worker: package versions (recorded), the device (a different one is refused), and memory allocation."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache

from xlli_ray.errors import EnvironmentFailure

# Of <malloc.h>.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8

WITHOUT_CONTEXT = 0.95
"""Of a share of a GPU's memory: the rest is for CUDA's own, which torch does not count."""


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of packages that can change numbers: written into each record and into study.json."""
    from importlib.metadata import PackageNotFoundError

    from xlli_ray.registry import version_of

    out = {"python": platform.python_version()}
    for name in ("xlli_ray", "torch", "numpy", "pillow", "zarr", "ray", "spandrel", "pyarrow", "opencv-python-headless"):
        try:
            out[name] = version_of(name)
        except PackageNotFoundError:
            continue
    return out


def version_changes(then: Mapping[str, str]) -> list[str]:
    """One line if the version of a package that can change numbers has changed since the study began."""
    now = versions()
    changed = [f"{name} {then[name]} → {now[name]}" for name in now if name in then and then[name] != now[name]]
    if not changed:
        return []
    return [f"versions changed since this study's last run: {', '.join(changed)}; new results may be rounded differently"]


def own_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_name(device: str) -> str:
    """What determines rounding: the GPU's model, or the CPU's vector instructions. EnvironmentFailure if torch has no GPU."""
    import torch

    if device.startswith("cuda"):
        try:
            return f"cuda/{torch.cuda.get_device_name(torch.device(device))}"
        except (RuntimeError, AssertionError) as error:  # no driver; torch without CUDA
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            built = f"torch {torch.__version__} is built " + (f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA")
            raise EnvironmentFailure(
                19, f"torch cannot use a GPU on {socket.gethostname()}: {reason} ({built}). --device cpu computes on the CPU"
            ) from error
    if device == "mps":
        if not torch.backends.mps.is_available():
            raise EnvironmentFailure(19, f"torch cannot use Apple's GPU on {socket.gethostname()}. --device cpu computes on the CPU")
        return f"mps/{platform.processor()}"
    return f"cpu/{torch.backends.cpu.get_cpu_capability()}"


def take_share(device: str, share: float) -> None:
    """Limit the memory that this process may take of its GPU to `share`, if workers share it: none can starve the others."""
    if device.startswith("cuda") and 0 < share < 1:
        import torch

        torch.cuda.set_per_process_memory_fraction(share * WITHOUT_CONTEXT, torch.device(device).index)


def check_kind(planned: str, device: str) -> None:
    """Raise EnvironmentFailure if a torch device is of another kind than that of a plan (`device_name`): before a worker is asked."""
    if planned.partition("/")[0] not in (device.partition(":")[0], "any"):
        raise EnvironmentFailure(
            95, f"this study was planned for {planned}, which {socket.gethostname()} does not have; on the {device} numbers could differ. "
            "Run it where it was planned, or use a new --out",
        )  # fmt: skip


def check_device(wanted: str, here: str) -> None:
    """Raise EnvironmentFailure if a worker's device would round differently from the plan's."""
    if wanted != here and wanted != "any":
        raise EnvironmentFailure(
            95,
            f"this study was planned for {wanted}, worker on {socket.gethostname()} has {here}: numbers could differ. "
            "Use workers of one kind, a new --out, or --any-device if small differences do not matter.",
        )


@cache
def one_arena() -> bool:
    """Let all threads that start from now on allocate from one arena. False if that cannot be set.

    glibc gives threads an arena each, and all but the first return large blocks to the kernel whatever is set below: the thread that
    computes would keep its memory or not by chance. An arena that exists stays in use, and importing pyarrow starts a thread, so `xlli`
    calls this first of all. Ray's processes have threads before Python begins: theirs comes with the environment (`ray_pool`).
    """
    return _mallopt({_ARENA_MAX: 1})


@cache
def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks for the next batch instead of returning them to the kernel. False where that cannot be set.

    A forward pass frees and takes the same tens of megabytes again and again; by default each is unmapped and mapped anew, and touching
    fresh pages costs more than the convolutions of a small network (`tests/benchmarks/extraction.py`: half of the CPU time an image).
    The peak stays, more of it is kept between peaks.
    """
    return one_arena() & _mallopt({_MMAP_THRESHOLD: 1 << 30, _TRIM_THRESHOLD: 2**31 - 1})


def _mallopt(settings: Mapping[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc
        return False
    accepted = [mallopt(name, value) for name, value in settings.items()]  # all of them, even after one is refused
    return all(accepted)


HAND_OVER_SECONDS = 2e-4


@contextmanager
def loading() -> Iterator[None]:
    """Context for loading modules.

    Nearly all that they make stays, so the collector of cycles rests: a tenth off the import of torch. And threads hand the interpreter
    over after 0.2 ms, not 5: one that starts daemons asks for it hundreds of times.
    """
    collects, interval = gc.isenabled(), sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(HAND_OVER_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        if collects:
            gc.freeze()  # existing objects stay: later collections skip them
            gc.enable()
