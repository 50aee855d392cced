"""`xlli doctor`: what could go wrong here, looked at before a run does. Each line says what was found and, when ill, the way out.

Nothing is started and nothing is joined: Ray is only imported. With a study: whether it can be opened, written to and believed.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from xlli_ray.errors import XlliError, counted

State = Literal["ok", "note", "ILL"]

PYTHON = (3, 11)
PACKAGES = (
    "torch", "torchvision", "spandrel", "safetensors", "ray", "zarr", "numcodecs", "obstore", "fsspec", "pyarrow", "duckdb", "xarray",
    "numpy", "scipy", "scikit-image", "Pillow", "pydantic", "matplotlib", "jinja2",
)  # fmt: skip
LOW_DISK = 5 * 10**9
FULL_DISK = 10**8
FILES = 1024
"""Open files below which Ray and many readers run out."""
REINSTALL = "install xlli_ray again in a fresh virtual environment"


@dataclass(frozen=True)
class Finding:
    """One line."""

    state: State
    text: str


def examine(study: str | None = None) -> tuple[list[str], bool]:
    """(lines, whether something is ill) for this machine, and for the study at `study` when one is named."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python, _packages, _zfpy, _zarr, _torch, _spandrel, _ray, _weights, _photographs, _machine,
    ]  # fmt: skip
    findings = [finding for check in checks for finding in _run(check)]
    if study is not None:
        findings += _run(lambda: _study(study))
    return [f"{finding.state:<4}  {finding.text}" for finding in findings], any(f.state == "ILL" for f in findings)


def _run(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """The findings of one check; one that falls over is a finding, too."""
    out: list[Finding] = []
    try:
        out.extend(check())
    except Exception as error:
        out.append(Finding("ILL", f"{check.__name__.strip('_<>')}: {type(error).__name__}: {error}"))
    return out


# -- this machine -----------------------------------------------------------------------------------------------


def _python() -> Iterator[Finding]:
    text = f"python {platform.python_version()} at {sys.executable}, {platform.platform(terse=True)}"
    if sys.version_info[:2] < PYTHON:
        yield Finding("ILL", f"{text}: xlli_ray needs {PYTHON[0]}.{PYTHON[1]} or later")
    else:
        yield Finding("ok", text)


def _packages() -> Iterator[Finding]:
    installed, absent = [], []
    for name in ("xlli_ray", *PACKAGES):
        try:
            installed.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            absent.append(name)
    yield Finding("ok", ", ".join(installed))
    if "xlli_ray" in absent:
        yield Finding("note", "xlli_ray runs from its source folder: workers on other nodes do not find it; `pip install .`")
        absent.remove("xlli_ray")
    if absent:
        yield Finding("ILL", f"not installed: {', '.join(absent)}; {REINSTALL}")


def _zfpy() -> Iterator[Finding]:
    """zfpy's release 1.0.1.post0 has a version that numcodecs cannot read, and then `import zarr` fails with ValueError 'post0'."""
    try:
        installed = version("zfpy")
    except PackageNotFoundError:
        return
    try:
        numbers = [int(part) for part in installed.split(".")]
    except ValueError:
        yield Finding(
            "ILL",
            f"zfpy {installed} is installed: numcodecs cannot read this version number and `import zarr` fails "
            f"(ValueError: {installed.rsplit('.', 1)[-1]!r}). xlli_ray does not need zfpy: {sys.executable} -m pip uninstall zfpy",
        )
        return
    yield Finding("note", f"zfpy {'.'.join(map(str, numbers))} is installed; not needed, and some versions of it break `import zarr`")


def _zarr() -> Iterator[Finding]:
    for name in ("numcodecs", "zarr"):
        if (problem := _import(name)) is not None:
            yield Finding("ILL", f"`import {name}` fails: {problem}; {REINSTALL}")
            return
    yield Finding("ok", "zarr and numcodecs import")


def _torch() -> Iterator[Finding]:
    if (problem := _import("torch")) is not None:
        yield Finding("ILL", f"`import torch` fails: {problem}; {REINSTALL}")
        return
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding(
        "ok", f"cpu: {counted(cores or 1, 'core')}, torch rounds as {torch.backends.cpu.get_cpu_capability()}, "
        f"{counted(torch.get_num_threads(), 'thread')} by default"
    )
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Finding("ok", f"gpu: {', '.join(names)}; `xlli run` uses all of them, or --device cpu")
    else:
        built = f" (torch is built for CUDA {torch.version.cuda}, no device answers)" if torch.version.cuda else ""
        yield Finding("ok", f"gpu: none{built}; networks run on the cpu")


def _spandrel() -> Iterator[Finding]:
    problem = _import("spandrel")
    if problem is None:
        yield Finding("ok", "spandrel imports: checkpoints without `network` can be recognised")
    else:
        yield Finding("ILL", f"`import spandrel` fails: {problem}; torch and torchvision must be of one release; {REINSTALL}")


def _ray() -> Iterator[Finding]:
    if importlib.util.find_spec("ray") is None:
        yield Finding("ILL", f"ray is not installed: only --workers 0 can run; {REINSTALL}")
        return
    if (problem := _import("ray")) is not None:
        yield Finding("ILL", f"`import ray` fails: {problem}; only --workers 0 can run; {REINSTALL}")
        return
    yield Finding("ok", "ray imports; without --address each run starts a private one on this machine")
    if address := os.environ.get("RAY_ADDRESS"):
        shown = address.split("@")[-1]
        yield Finding(
            "note",
            f"RAY_ADDRESS={shown} is set: `xlli run` does not follow it without --address, other programs' ray.init() joins that "
            "cluster; use --address auto to run there, or unset it",
        )


def _weights() -> Iterator[Finding]:
    from xlli_ray.models.build_model import load_model
    from xlli_ray.models.builtin_weights import builtin_names, builtin_path
    from xlli_ray.models.checkpoint import read_state_dict
    from xlli_ray.models.model_spec import ModelSpec

    good = []
    for name in builtin_names():
        try:
            tensors = read_state_dict(builtin_path(name), name=name).tensors
            load_model(ModelSpec(name, weights=f"builtin:{name}"), tensors)  # its card knows the network
            good.append(name)
        except (XlliError, OSError) as error:
            yield Finding("ILL", f"built-in weights: {error}")
    if good:
        yield Finding("ok", f"built-in weights load, sha256 as on their cards: {', '.join(good)}")
    elif not builtin_names():
        yield Finding("ILL", f"no built-in weights came with the package: the quickstart cannot run; {REINSTALL}")


def _photographs() -> Iterator[Finding]:
    from xlli_ray.corpus.decode import decode
    from xlli_ray.corpus.files.sources import list_files, read_bytes

    try:
        names = list_files(["skimage://*"], os.curdir)
        decode(read_bytes(names[0]))
    except (XlliError, OSError, ImportError) as error:
        yield Finding("ILL", f"photographs of scikit-image (skimage://*, the quickstart's corpus): {error}")
        return
    yield Finding("ok", f"{len(names)} photographs of scikit-image: {', '.join(name.split('//')[1] for name in names)}")


def _machine() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    yield Finding("ok", f"memory: {memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free")
    yield _disk(os.getcwd(), "here")
    try:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < FILES:
            yield Finding("note", f"open files: {soft} (ulimit -n); Ray may run out, raise it: ulimit -n {min(hard, 65536)}")
        else:
            yield Finding("ok", f"open files: {soft} (ulimit -n)")
    except ImportError:  # no such limits on this system
        pass


def _disk(place: str, where: str) -> Finding:
    free = shutil.disk_usage(place).free
    text = f"disk {where}: {free / 1e9:.1f} GB free ({place})"
    if free < FULL_DISK:
        return Finding("ILL", f"{text}: full; free some, or give --out on another disk")
    if free < LOW_DISK:
        return Finding("note", f"{text}: little; `xlli plan` says what a study needs")
    return Finding("ok", text)


def _import(name: str) -> str | None:
    """Why a package cannot be imported, None when it can."""
    try:
        importlib.import_module(name)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


# -- one study --------------------------------------------------------------------------------------------------


def _study(place: str) -> Iterator[Finding]:
    from xlli_ray.store.objects.client import LocalObjects, open_objects, probe_create_only
    from xlli_ray.store.records.documents import load_manifest

    objects = open_objects(place)
    local = isinstance(objects, LocalObjects)
    if isinstance(objects, LocalObjects) and not objects.root.exists():
        # Trying to write would make the folder of a mistyped path.
        yield Finding("note", f"study: {objects.url} does not exist; `xlli run RECIPE --out {place}` makes it")
        parent = next(folder for folder in objects.root.parents if folder.exists())
        state: State = "ok" if os.access(parent, os.W_OK) else "ILL"
        yield Finding(state, f"study: {parent} {'can' if state == 'ok' else 'cannot'} be written to by this user")
        yield _disk(str(parent), "of the study")
        return
    try:
        manifest = load_manifest(objects)
    except XlliError as error:
        yield Finding("ILL", f"study: {error}")
        return
    if manifest is None:
        yield Finding("note", f"study: no study.json in {objects.url}; `xlli run RECIPE --out {place}` makes it")
    else:
        rows = manifest.samples.rows if manifest.samples else 0
        yield Finding(
            "ok",
            f"study: {manifest.name}, store format {manifest.format}, {counted(rows, 'sample')}, {counted(len(manifest.models), 'model')}, "
            f"{counted(len(manifest.cells), 'cell')}, planned for {manifest.device}",
        )
        yield from _device(manifest.device)
    try:
        probe_create_only(objects)
        yield Finding("ok", "study: can be written to, and an object cannot be created twice")
    except XlliError as error:
        text = getattr(error, "strerror", None) or str(error)
        yield Finding("ILL", f"study: {text}")
    for model in manifest.models if manifest is not None else ():
        if not _has(objects, f"weights/{model.weights_sha256}.safetensors"):
            yield Finding("ILL", f"study: the weights of {model.id} are gone; run the recipe again where {model.source} can be read")
    if local:
        yield _disk(objects.url, "of the study")


def _device(planned: str) -> Iterator[Finding]:
    """Numbers are promised to be the same on one kind of device only."""
    import torch

    here = [f"cpu/{torch.backends.cpu.get_cpu_capability()}"]
    here += [f"cuda/{torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    if planned not in (*here, "any"):
        yield Finding(
            "note", f"study: planned for {planned}, here is {', '.join(here)}: workers here refuse it; --any-device, or a new --out"
        )


def _has(objects: object, key: str) -> bool:
    from xlli_ray.store.objects.client import Missing

    try:
        objects.get_range(key, 0, 1)  # type: ignore[attr-defined]
    except Missing:
        return False
    return True
