"""A private Ray: only what runs tasks, Ray itself left as it was, and the interpreter's settings given back."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from xlli_ray.engine import private_ray
from xlli_ray.engine.environment import HAND_OVER_SECONDS, loading


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


def test_ray_has_its_own_methods_back(ray_session: None) -> None:
    from ray._private import node, services

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

    answers = [{}, {}, {"node": 1}]
    asked: list[str] = []

    class Client:
        def __init__(self, address: str) -> None:
            asked.append(address)

        def get_all_node_info(self, timeout: float) -> dict[str, int]:
            return answers.pop(0)

    monkeypatch.setattr(ray._raylet, "GcsClient", Client)
    assert private_ray._once_registered(lambda address, node: (address, node, len(answers)))("here:1", "n") == ("here:1", "n", 0)
    assert asked == ["here:1"]


def test_without_a_client_ray_finds_the_node_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray._raylet

    monkeypatch.delattr(ray._raylet, "GcsClient")
    assert private_ray._once_registered(lambda address, node: node)("here:1", "n") == "n"


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
