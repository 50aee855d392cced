"""Shared by all tests: where the fixtures are, and one thread per process."""

from __future__ import annotations

import gc
import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # what tests expect are the numbers of a CPU, also on a machine with a GPU

import pytest

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = Path(os.environ.get("XLLI_FIXTURES") or ROOT.parent / "shared" / "fixtures")


def pytest_configure(config: pytest.Config) -> None:
    """In CI the fixtures must be there: a skip would hide what they prove. Signals that whoever started us ignores (nohup, background)
    are as usual again, for the programs that tests start and signal."""
    for name, usual in (("SIGINT", signal.default_int_handler), ("SIGTERM", signal.SIG_DFL), ("SIGHUP", signal.SIG_DFL)):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
            signal.signal(getattr(signal, name), usual)
    if os.environ.get("XLLI_REQUIRE_FIXTURES") == "1" and not (FIXTURES / "MANIFEST.md").exists():
        raise pytest.UsageError(f"XLLI_REQUIRE_FIXTURES=1, but there are no fixtures at {FIXTURES}: set XLLI_FIXTURES")


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Folder of real weights, images, rain and clips."""
    if not (FIXTURES / "MANIFEST.md").exists():
        pytest.skip(f"no fixtures at {FIXTURES}; set XLLI_FIXTURES to run this test")
    return FIXTURES


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of a recipe's own run apart while the study is planned, as for users."""
    monkeypatch.setattr("xlli_ray.engine.run.network_process.OWN_PROCESS", True)


@pytest.fixture(autouse=True, scope="session")
def _networks_are_planned_here() -> Iterator[None]:
    """Toy networks are the tests' own and harm nobody: no process for each study, which would cost seconds each. See `own_process`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xlli_ray.engine.run.network_process.OWN_PROCESS", False)
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _garbage_is_collected_seldom() -> Iterator[None]:
    """Python looks for cycles after every 700 objects, among all that torch, Ray and pytest have made: a sixth of what a figure takes."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 20)
    yield
    gc.set_threshold(*before)


@pytest.fixture(autouse=True, scope="session")
def _no_wait_for_the_disk() -> Iterator[None]:
    """What this process writes is not forced to the disk: no test cuts the power, and every object of every study would wait for it twice.
    Tests of a disk that fails put their own `fsync` here; programs and workers that tests start keep the system's."""

    def at_once(handle: int) -> None:
        os.fstat(handle)  # a handle that is closed is an error still

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", at_once)
        yield


_DRAWN: dict[str, str] = {}


@pytest.fixture(scope="session")
def drawn_before(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Folder of the figures that this run of the tests has drawn, in whichever of its processes."""
    place = tmp_path_factory.getbasetemp()
    folder = (place.parent if hasattr(request.config, "workerinput") else place) / "drawn"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def _equal_figures_are_drawn_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, drawn_before: Path) -> None:
    """A view that was drawn in this session is not drawn again: analyses and pages draw the same few figures a hundred times. That the same
    view gives the same bytes is what `tests/plots` is for, which draws each anew."""
    if request.path.parent.name == "plots":
        return
    from xlli_ray.plots.kinds import KINDS
    from xlli_ray.plots.view import View, to_json

    def once(draw: Callable[[View], str]) -> Callable[[View], str]:
        def cached(view: View) -> str:
            key = to_json(view)
            if key not in _DRAWN:
                file = drawn_before / f"{hashlib.sha256(key.encode()).hexdigest()}.svg"
                if not file.exists():
                    begun = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
                    begun.write_text(draw(view))
                    begun.replace(file)
                _DRAWN[key] = file.read_text()
            return _DRAWN[key]

        return cached

    for kind in KINDS.values():
        monkeypatch.setattr(kind, "draw", once(kind.draw))
