"""Whether the Ray of a run is still alive. Without its raylet or its GCS, Ray itself waits: for minutes, or forever.

The daemons of a private Ray are children of this process, and checking them costs a system call each; the raylet ends five seconds after
either of its agents. For an existing cluster a thread queries the head, and checks the raylet on this machine.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
import time
from typing import Any

import psutil

from xlli_ray.errors import ClusterLost

PING_SECONDS = 4.0
ANSWER_SECONDS = 5.0
PATIENCE_SECONDS = 18.0
"""How long a cluster's head may be silent; plus the time of one response, less than 30 s."""


class Watch:
    """Monitors the Ray that this process has joined. `check` raises ClusterLost once it is gone."""

    def __init__(self, address: str | None) -> None:
        self._worker: Any = importlib.import_module("ray._private.worker")
        self._address = address
        self._seen = time.monotonic()
        self._over = threading.Event()
        self.draining: dict[str, int] = {}
        """Id of each node of the cluster that was announced to leave → deadline (`draining.Places`)."""
        self.lost = ""
        """What is gone; empty while everything is alive."""
        if address is not None and not address.startswith("ray://"):
            threading.Thread(target=self._ask, name="xlli-watch", daemon=True).start()

    def check(self) -> None:
        """Raises ClusterLost. Cheap: called between jobs."""
        if not self.lost:
            self.lost = self._missing()
        if self.lost:
            raise ClusterLost(111, f"{self.lost}. Finished work is kept; run the same command again to continue.")

    def close(self) -> None:
        self._over.set()

    def _missing(self) -> str:
        if self._address is None:
            return dead_daemon(getattr(self._worker, "_global_node", None))
        silent = time.monotonic() - self._seen
        if silent > PATIENCE_SECONDS:
            return f"the head of the cluster at {self._address} has not responded for {silent:.0f} s"
        return ""

    def _ask(self) -> None:
        """Query the head until the watch is closed."""
        client, raylet = None, raylet_of(getattr(self._worker, "_global_node", None))
        while not self._over.wait(PING_SECONDS):
            sent = time.monotonic()
            if raylet is not None and not _lives(raylet):
                self.lost = self.lost or f"the raylet of the cluster at {self._address} on this machine has ended (process {raylet.pid})"
            with contextlib.suppress(Exception):
                if client is None:
                    node = self._worker._global_node
                    client = importlib.import_module("ray._raylet").GcsClient(address=node.gcs_address)
                client.internal_kv_keys(b"xlli", None, timeout=ANSWER_SECONDS)
                self._seen = sent
                self.draining.update(importlib.import_module("ray._private.state").state.get_draining_nodes())


def raylet_of(node: Any) -> psutil.Process | None:
    """The daemon on this machine that connects a driver to an existing cluster, None if it cannot be found."""
    socket = str(getattr(node, "raylet_socket_name", "") or "")
    for process in psutil.process_iter(["name", "cmdline"]):
        if socket and process.info["name"] == "raylet" and any(word.endswith(f"={socket}") for word in process.info["cmdline"] or ()):
            return process
    return None


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def dead_daemon(node: Any) -> str:
    """Description of a daemon of this process's private Ray that has ended, '' if none has or Ray manages them differently."""
    for kind, daemons in dict(getattr(node, "all_processes", None) or {}).items():
        for daemon in daemons:
            code = daemon.process.poll()
            if code is not None:
                how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
                what = f"the private Ray of this run has lost its {kind} (process {daemon.process.pid}, {how})"
                return f"{what}: out of memory, or killed"
    return ""
