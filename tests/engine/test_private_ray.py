"""A private Ray: only what runs tasks, Ray itself left as it was, and the interpreter's settings given back."""

from __future__ import annotations

import contextlib
import gc
import http.client
import ipaddress
import os
import signal
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from xlli_ray.engine.pools import private_ray
from xlli_ray.engine.worker.environment import HAND_OVER_SECONDS, loading
from xlli_ray.errors import EnvironmentFailure


def below(pid: int) -> list[str]:
    """Command lines of all processes below `pid`."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    out = []
    for child in parents:
        above = child
        while above != pid and above in parents:
            above = parents[above]
        if above == pid and child != pid:
            try:
                out.append(Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return out


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc, which is Linux's")
def test_a_private_ray_starts_no_autoscaler_no_api_server_and_no_reader_of_logs(ray_session: None) -> None:
    commands = below(os.getpid())
    assert any("raylet" in command for command in commands)
    assert any("gcs_server" in command for command in commands)
    for name in ("monitor.py", "dashboard/dashboard.py", "log_monitor.py"):
        assert not any(name in command for command in commands), name


def test_a_private_ray_listens_on_the_loopback_interface_only_and_serves_no_metrics(ray_session: None) -> None:
    import psutil
    import ray

    ray.get(ray.remote(lambda: None).remote())  # a worker is there
    listening = {}
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            for socket in process.net_connections("inet"):
                if socket.status == psutil.CONN_LISTEN:
                    listening[process.name(), socket.laddr.port] = socket.laddr.ip
    names = {name for name, _ in listening}
    assert {"gcs_server", "raylet"} <= names
    beyond = {who: where for who, where in listening.items() if not ipaddress.ip_address(where.removeprefix("::ffff:")).is_loopback}
    assert beyond == {}
    for _, port in listening:
        try:
            urllib.request.urlopen(f"http://{private_ray.LOOPBACK}:{port}/metrics", timeout=5)
        except (OSError, http.client.HTTPException):  # refused, no HTTP, or no such page
            continue
        raise AssertionError(f"port {port} serves metrics")


def test_only_its_user_can_enter_the_folder_of_a_private_ray_and_every_process_of_it_is_known_by_it(ray_session: None) -> None:
    from xlli_ray.engine.pools.ray_folder import processes

    folder = private_ray._folder
    assert folder is not None
    # Ray opens the folder itself again whenever a driver joins; nobody else gets past the one that it lies in.
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert folder.parent.stat().st_uid == os.getuid()
    assert any(folder.rglob("sockets/*"))
    names = {process.name() for process in processes(folder)}
    assert {"gcs_server", "raylet"} <= names
    assert any(name.startswith("ray::") for name in names)


@pytest.mark.skipif(sys.platform == "win32", reason="asks the C library, where signals are handled")
def test_a_private_ray_leaves_signals_to_python(ray_session: None) -> None:
    import ctypes

    handler = ctypes.pythonapi.PyOS_getsig
    handler.restype = ctypes.c_void_p
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        pythons = handler(int(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    signal.signal(signal.SIGUSR2, signal.default_int_handler)
    assert handler(int(signal.SIGUSR2)) == pythons
    assert os.environ["RAY_DISABLE_FAILURE_SIGNAL_HANDLER"] == "1"


def test_ray_has_its_own_methods_back(ray_session: None) -> None:
    from ray._private import node, services

    for name in ("resolve_ip_for_localhost", "start_ray_process", "ConsolePopen"):
        assert getattr(services, name).__module__ == "ray._private.services"
    for name in private_ray.HELPERS:
        assert getattr(node.Node, name).__module__ == "ray._private.node"
    assert services.get_node.__module__ == "ray._private.services"


def test_a_method_is_given_back_when_the_start_fails_and_a_missing_one_is_left_missing() -> None:
    owner = SimpleNamespace(there=1)

    def fail() -> None:
        with private_ray._replaced(owner, "there", lambda kept: kept + 1):
            raise OSError(f"no {owner.there}")

    with pytest.raises(OSError, match="no 2"):
        fail()
    with private_ray._replaced(owner, "absent", lambda kept: kept):
        assert not hasattr(owner, "absent")
    assert vars(owner) == {"there": 1}


def test_a_node_that_is_not_registered_is_asked_for_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray._raylet

    answers: list[dict[str, int] | Exception] = [{}, RuntimeError("no answer within a second"), {"node": 1}]
    asked: list[str] = []

    class Client:
        def __init__(self, address: str) -> None:
            asked.append(address)

        def get_all_node_info(self, timeout: float) -> dict[str, int]:
            if isinstance(answer := answers.pop(0), Exception):
                raise answer
            return answer

    monkeypatch.setattr(ray._raylet, "GcsClient", Client)
    assert private_ray._once_registered(lambda address, node: (address, node, len(answers)), [])("here:1", "n") == ("here:1", "n", 0)
    assert asked == ["here:1"]


def test_without_a_client_ray_finds_the_node_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray._raylet

    monkeypatch.delattr(ray._raylet, "GcsClient")
    assert private_ray._once_registered(lambda address, node: node, [])("here:1", "n") == "n"


def test_a_starting_ray_is_waited_for_as_long_as_its_daemons_live(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray._raylet

    class Client:
        def __init__(self, address: str) -> None: ...

        def get_all_node_info(self, timeout: float) -> dict[str, int]:
            return {}

    class Daemon:
        looks = 0

        def poll(self) -> int | None:
            self.looks += 1
            return 1 if self.looks == 3 else None

    daemon = Daemon()
    monkeypatch.setattr(ray._raylet, "GcsClient", Client)
    assert private_ray._once_registered(lambda address, node: node, [daemon])("here:1", "n") == "n"
    assert daemon.looks == 3


def test_loading_gives_collector_and_hand_over_back_after_an_error_too() -> None:
    before = sys.getswitchinterval()
    seen = []

    def fail() -> None:
        with loading():
            seen.append((gc.isenabled(), round(sys.getswitchinterval(), 6)))
            raise ImportError("no such module")

    with pytest.raises(ImportError):
        fail()
    assert seen == [(False, HAND_OVER_SECONDS)]
    assert gc.isenabled()
    assert sys.getswitchinterval() == before


def test_loading_leaves_a_collector_off_that_was_off() -> None:
    gc.disable()
    try:
        with loading():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


PINNED = """
import os, ray
from xlli_ray.engine.pools.ray_pool import RayPool
from xlli_ray.engine.worker.tasks import WorkerSpec
pool = RayPool(WorkerSpec(".", 1, "cuda", only_gpu="GPU-5"), workers=1, gpus=0.5)
try:
    assert len(pool.wait_ready()) == 1
    seen = ray.remote(lambda: os.environ["CUDA_VISIBLE_DEVICES"]).options(num_cpus=0, num_gpus=0.5).remote()
    print(ray.cluster_resources()["GPU"], ray.get(seen, timeout=60), os.environ["CUDA_VISIBLE_DEVICES"])
finally:
    pool.close()
"""


def test_workers_of_a_private_ray_see_the_gpu_that_was_chosen_and_no_other() -> None:
    """Ray counts the GPUs that it is told of: this needs none. Its own process: it has another Ray than the other tests."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "3,GPU-5"}
    done = subprocess.run([sys.executable, "-c", PINNED], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["1.0", "GPU-5", "3,GPU-5"], done.stderr


def test_a_ray_that_does_not_start_is_an_error_that_says_what_to_do_and_leaves_no_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a machine with a load of fifty, Ray's node timed out, and the user saw forty lines of traceback."""
    import ray

    def late(**_given: object) -> None:
        raise Exception("The current node timed out during startup. This could happen because some of the raylet failed to startup.")

    folder = tmp_path / "ray"
    folder.mkdir()
    monkeypatch.setattr(ray, "init", late)
    monkeypatch.setattr(private_ray, "_folder", None)
    monkeypatch.setattr(private_ray, "make_folder", lambda: folder)
    with pytest.raises(EnvironmentFailure, match=r"^Ray did not start: .*timed out during startup.*--workers 0"):
        private_ray.start(1, 1)
    assert not folder.exists()
    assert private_ray._folder is None
