"""A cluster of one node on this machine, started by a test with `ray start`, with its own ports, folder and token."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest


@dataclass
class Head:
    """A cluster of one node, started by this test, with its own ports, folder and token."""

    url: str
    """Of its Jobs API."""
    address: str
    """HOST:PORT for `--address`."""
    token: str
    """Without authentication one that nobody asks for."""
    env: dict[str, str] = field(default_factory=dict)

    def xlli(self, *arguments: str, token: bool = True) -> subprocess.CompletedProcess[str]:
        env = dict(self.env)
        if not token:
            del env["RAY_AUTH_TOKEN"], env["RAY_AUTH_MODE"]
        return subprocess.run(
            [sys.executable, "-m", "xlli_ray", *arguments], env=env, capture_output=True, text=True, timeout=240, check=False
        )


def free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """End the head by the pids that came from it, never by name: other people's Ray lives on this machine, too."""
    mine = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    process.send_signal(signal.SIGTERM)
    _, left = psutil.wait_procs(mine, timeout=10)
    for one in left:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=10)


@pytest.fixture
def jobs_head(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> Iterator[Head]:
    """Asks for a token, unless the test's parameter is "disabled" (RAY_AUTH_MODE)."""
    mode = getattr(request, "param", "token")
    gcs, dashboard, client, agent = free_ports(4)
    token = secrets.token_hex(32)
    # sockets below this folder have names of at most 107 bytes: pytest's folders are too deep
    folder = tempfile.mkdtemp(prefix="xr-")
    here = Path(__file__).parent
    env = {
        **os.environ,
        "RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        # networks of the user's must import on every node: toy.py, and slow_toy.py that a test writes
        "PYTHONPATH": os.pathsep.join(map(str, (root, here, tmp_path))), "HOME": str(tmp_path),
    }  # fmt: skip
    env.pop("RAY_ADDRESS", None)
    command = [
        str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={gcs}",
        "--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
        f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}", "--num-cpus=2",
        "--object-store-memory=157286400", f"--temp-dir={folder}", "--disable-usage-stats",
    ]  # fmt: skip
    log = (tmp_path / "head.log").open("wb")
    process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    made = Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}", token, env)
    try:
        end = time.monotonic() + 90
        while answer(made.url + "/api/version", token) != 200:
            assert process.poll() is None, (tmp_path / "head.log").read_text()
            assert time.monotonic() < end, (tmp_path / "head.log").read_text()
            time.sleep(0.5)
        yield made
    finally:
        end_tree(process)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def answer(url: str, token: str | None) -> int:
    """HTTP status of a request, 0 when nothing answers."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
