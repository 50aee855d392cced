"""A network of the user's that ends its process or hangs costs neither the plan nor the program that asked for it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xlli_ray.engine.options import Options
from xlli_ray.engine.pools.local import Lost
from xlli_ray.engine.run import network_process as apart
from xlli_ray.engine.run.driver import plan_study
from xlli_ray.engine.run.network_process import is_foreign
from xlli_ray.engine.run.study_weights import keep_models
from xlli_ray.errors import NetworkError
from xlli_ray.recipe import Recipe
from xlli_ray.store.objects.client import open_objects

Make = Callable[..., Recipe]
QUIET = Options(workers=0, quiet=True)
NET = """
import ctypes, os, signal, subprocess, time
import torch
from torch import nn
{at_import}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x):
        {at_forward}
        return self.net(x)

def make():
    {at_call}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net()
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture
def net(recipe: Make, tmp_path: Path) -> Callable[..., Recipe]:
    """A recipe whose network's file does this and that."""

    def make(*, at_import: str = "pass", at_call: str = "pass", at_forward: str = "pass", **sections: Any) -> Recipe:
        (tmp_path / "ending_net.py").write_text(NET.format(at_import=at_import, at_call=at_call, at_forward=at_forward))
        return recipe("ending_net.py:make", stages=[{"restore": {}}], batch={"restore": 2}, **sections)

    return make


@pytest.mark.usefixtures("own_process")
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"at_import": "os._exit(3)"}, r"exit code 3\) when ending_net\.py:make was imported"),
        ({"at_call": "ctypes.string_at(0)"}, r"signal SIGSEGV when ending_net\.py:make\(\) was called"),
        ({"at_forward": KILL}, r"signal SIGKILL .*memory.* when model small \(ending_net\.py:make\) was given an input of 1×3×64×64"),
    ],
    ids=["import", "native", "forward"],
)
def test_a_network_that_ends_its_process_ends_no_plan_and_is_named_with_its_input(
    net: Callable[..., Recipe], tmp_path: Path, how: dict[str, str], message: str
) -> None:
    with pytest.raises(NetworkError, match=message) as caught:
        plan_study(net(**how), str(tmp_path / "study"), QUIET)
    assert str(caught.value).startswith("model small (ending_net.py:make): ended its process")
    assert "raise an exception instead" in str(caught.value)


@pytest.mark.usefixtures("own_process")
def test_a_network_that_dies_on_trial_only_is_planned_with_one_image_at_a_time_and_a_note(
    net: Callable[..., Recipe], tmp_path: Path
) -> None:
    """Bright images kill; shapes and sizes are found without any. What becomes of such samples in workers: `test_resume`."""
    bright = net(at_forward=f"if x.device.type != 'meta' and float(x.mean()) > 0.45: {KILL}")
    manifest, plan = plan_study(bright, str(tmp_path / "study"), QUIET)
    (note,) = [note for note in plan.notes if "batches of one" in note]
    assert "SIGKILL" in note
    assert "was given an input of 1×3×" in note
    assert {bucket.batch for cell in manifest.cells for bucket in cell.buckets} == {1}


@pytest.mark.usefixtures("own_process")
def test_a_network_whose_process_was_killed_once_is_planned_as_if_it_had_not_been(net: Callable[..., Recipe], tmp_path: Path) -> None:
    """From outside, as the kernel does when another program took the memory: it gave a plan with other batches, and so other numbers."""
    calm, _ = plan_study(net(), str(tmp_path / "calm"), QUIET)
    marker = str(tmp_path / "marker")
    once = f"if x.device.type != 'meta' and not os.path.exists({marker!r}): open({marker!r}, 'w').close(); {KILL}"
    killed, plan = plan_study(net(at_forward=once), str(tmp_path / "killed"), QUIET)
    assert Path(marker).exists()
    assert [cell.buckets for cell in killed.cells] == [cell.buckets for cell in calm.cells]
    assert not [note for note in plan.notes if "batches of one" in note]


@pytest.mark.usefixtures("own_process")
def test_a_network_that_hangs_is_ended_with_what_it_started_and_named(
    net: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the step that hangs has a short limit: on a busy machine those before it take seconds too."""
    calm = apart.limit_seconds
    monkeypatch.setattr(apart, "limit_seconds", lambda step: 4.0 if "make() was called" in step.what else calm(step))
    pid = tmp_path / "pid"
    hangs = f"open({str(pid)!r}, 'w').write(str(subprocess.Popen(['sleep', '600']).pid)); time.sleep(600)"
    with pytest.raises(NetworkError, match=r"did not respond for 4 s when ending_net\.py:make\(\) was called: it hangs"):
        plan_study(net(at_call=hangs), str(tmp_path / "study"), QUIET)
    stat = Path(f"/proc/{int(pid.read_text())}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.usefixtures("own_process")
def test_what_is_planned_apart_is_what_is_planned_here(
    net: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells, records, notes, and the errors of the package, which keep their kind."""
    made, there = plan_study(net(), str(tmp_path / "there"), QUIET)
    wrong = net()
    layers = wrong.stages[0].model_copy(update={"kind": "features", "params": {"layers": ["nett.*"]}})
    with pytest.raises(LookupError, match=r"layer pattern 'nett\.\*' matches no layer of model 'small'.*Closest: net"):
        plan_study(wrong.model_copy(update={"stages": [layers]}), str(tmp_path / "wrong"), QUIET)
    monkeypatch.setattr(apart, "OWN_PROCESS", False)
    here_made, here = plan_study(net(), str(tmp_path / "here"), QUIET)
    assert replace(there, timed=None) == replace(here, timed=None), "but for how long each took"
    assert made.models == here_made.models


def test_only_code_of_others_needs_a_process() -> None:
    assert is_foreign([None, "imdn", "my.py:make"])
    assert not is_foreign([None, "imdn"])


def test_a_network_that_ends_the_worker_it_is_built_in_is_named(recipe: Make, tmp_path: Path) -> None:
    class Lossy:
        workers = 1

        def run(self, task: str, jobs: deque[Any], stop: Callable[[], None]) -> Iterator[tuple[Any, Lost]]:
            yield jobs.popleft(), Lost("worker 7 ended by signal 11")

        def close(self) -> None: ...

    asked = recipe(models=[{"id": "net", "weights": "builtin:srresnet-gr-clean"}])
    objects = open_objects(str(tmp_path / "study"))
    lent = apart.Apart(objects, foreign=False, paths=())
    lent.lend(Lossy)
    with pytest.raises(NetworkError, match=r"^model net \(builtin:srresnet-gr-clean\): worker 7 ended by signal 11 when .*exception"):
        keep_models(objects, asked, (), lent)


def test_a_process_whose_run_was_told_to_end_says_nothing() -> None:
    """It had loaded just then, and its first message had nobody to read it: a traceback after the last line of the run."""
    own, its = socket.socketpair()
    with its:
        code = apart._SERVE.format(paths=sys.path, handle=its.fileno())
        child = subprocess.Popen([sys.executable, "-c", code], pass_fds=(its.fileno(),), stderr=subprocess.PIPE, text=True)
    own.close()
    _, errors = child.communicate(timeout=120)
    assert (child.returncode, errors) == (0, "")


def test_work_of_the_plan_whose_worker_was_killed_is_done_by_another(tmp_path: Path) -> None:
    ends: list[Any] = [Lost("worker 7 ended by signal 9", killed=True), "a plan"]

    class Killed:
        workers = 1

        def run(self, task: str, jobs: deque[Any], stop: Callable[[], None]) -> Iterator[tuple[Any, Any]]:
            yield jobs.popleft(), ends.pop(0)

        def close(self) -> None: ...

    lent = apart.Apart(open_objects(str(tmp_path)), foreign=False, paths=())
    lent.lend(Killed)
    assert lent(plan_of) == "a plan"
    ends[:] = [Lost("worker 7 ended by signal 9", killed=True)] * 2
    with pytest.raises(apart.Ended):
        lent(plan_of)


def plan_of(objects: object) -> str:
    raise AssertionError("another process does it")
