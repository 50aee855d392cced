"""An address without a cluster, of another program, of a cluster that asks for a token: each one message, in seconds."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from xlli_ray.engine.pools import cluster
from xlli_ray.engine.pools.cluster import find_cluster, quiet_libraries, reach, use_token, within
from xlli_ray.errors import EnvironmentFailure


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without a token, on a machine where nobody has started a cluster."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("ray._private.utils.read_ray_address", lambda _folder: None)
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", frozenset)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts and never says a word."""
    with socket.create_server(("", 0)) as server:
        yield server.getsockname()[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("kind", ["{}", "ray://{}"])
def test_an_address_that_nobody_listens_at_is_said_so_with_the_ways_out(kind: str) -> None:
    address = kind.format(f"127.0.0.1:{free_port()}")
    ways = "ray start --head.*omit --address"
    with pytest.raises(EnvironmentFailure, match=rf"no response from {address} \(Connection refused\).*{ways}"):
        reach(address)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:2"])
def test_a_port_that_ray_would_not_take_is_no_other_case(address: str) -> None:
    with pytest.raises(EnvironmentFailure, match="no response from"):
        reach(address)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("address", ["head", "head:", "head:port", "ray://", ":6379"])
def test_what_is_no_address_is_told_how_one_looks(address: str) -> None:
    with pytest.raises(EnvironmentFailure, match="write auto, HOST:PORT"):
        reach(address)


def test_the_address_of_the_jobs_api_is_told_apart() -> None:
    with pytest.raises(EnvironmentFailure, match=r"xlli submit RECIPE --address http://head:8265"):
        reach("http://head:8265")


@pytest.mark.usefixtures("alone")
def test_auto_without_a_cluster_says_how_to_start_one() -> None:
    with pytest.raises(EnvironmentFailure, match=r"`ray start` has started no cluster.*ray start --head.*omit --address"):
        reach("auto")


@pytest.mark.usefixtures("alone")
def test_auto_does_not_join_what_another_program_started_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", lambda: frozenset({"10.0.0.7:41234", "127.0.0.1:5555"}))
    with pytest.raises(EnvironmentFailure, match=r"There is a Ray at 10.0.0.7:41234; give its address to use it"):
        reach("auto")


@pytest.mark.usefixtures("alone")
def test_auto_is_the_environments_cluster_and_else_the_one_that_was_started_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray._private.utils.read_ray_address", lambda _folder: "10.0.0.1:6379")
    assert find_cluster()[0] == "10.0.0.1:6379"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    assert find_cluster() == ("10.0.0.2:6379", "10.0.0.2:6379 (RAY_ADDRESS)")


@pytest.mark.usefixtures("alone")
def test_the_file_that_names_a_cluster_which_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray._private.utils.read_ray_address", lambda _folder: f"127.0.0.1:{free_port()}")
    with pytest.raises(EnvironmentFailure, match="the cluster last started on this machine, according to ray_current_cluster"):
        reach("auto")


@pytest.mark.usefixtures("alone")
def test_what_listens_and_is_no_cluster_is_given_up_in_time(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "HEAD_SECONDS", 0.5)
    place = f"127.0.0.1:{silent}"
    with pytest.raises(EnvironmentFailure, match=f"{place} does not respond like the head"):
        reach(place)


@pytest.mark.usefixtures("ray_session")
def test_a_cluster_with_another_token_is_one_message_that_names_the_variables() -> None:
    """Asked by another process: Ray's libraries read the token once."""
    import subprocess
    import sys

    from ray._private.worker import _global_node

    code = "import sys; from xlli_ray.engine.pools.cluster import _ask_head as ask\n"
    code += "try:\n    ask(sys.argv[1], 'there')\nexcept OSError as e:\n"
    command = [sys.executable, "-c", f"{code}    print(e)", _global_node.gcs_address]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    without = subprocess.run(command, env=plain, capture_output=True, text=True, timeout=60)
    assert "the cluster at there denies access: it requires a token. Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN" in without.stdout
    wrong = {**plain, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    other = subprocess.run(command, env=wrong, capture_output=True, text=True, timeout=60)
    assert "rejects the token given here. RAY_AUTH_TOKEN" in other.stdout
    assert (without.stderr, other.stderr) == ("", "")
    assert without.stdout.count("\n") == other.stdout.count("\n") == 1


@pytest.mark.usefixtures("ray_session")
def test_a_machine_that_is_no_node_of_the_cluster_is_told_to_submit(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.worker import _global_node

    address = _global_node.gcs_address
    cluster._ask_head(address, address)
    monkeypatch.setattr("ray._private.services.find_node_ids", lambda: {"another"})
    monkeypatch.setattr(cluster, "REGISTER_SECONDS", 0.0)
    with pytest.raises(EnvironmentFailure, match=r"this machine is not one of the 1 nodes of the cluster.*xlli submit RECIPE"):
        cluster._ask_head(address, address)


@pytest.mark.usefixtures("alone")
def test_a_token_of_the_environment_is_used_anywhere_and_one_of_a_file_on_this_machine_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
    use_token(anywhere=False)
    assert "RAY_AUTH_MODE" not in os.environ
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    use_token(anywhere=True)
    assert os.environ["RAY_AUTH_MODE"] == "disabled"  # the user has said how
    monkeypatch.delenv("RAY_AUTH_MODE")
    use_token(anywhere=True)
    assert os.environ["RAY_AUTH_MODE"] == "token"
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    use_token(anywhere=False)
    assert os.environ["RAY_AUTH_MODE"] == "token"
    monkeypatch.delenv("RAY_AUTH_MODE")


def test_what_takes_too_long_is_left_alone_and_what_fails_fails() -> None:
    go = threading.Event()
    with pytest.raises(TimeoutError, match="no answer within"):
        within(0.05, go.wait)
    go.set()
    assert within(5, lambda: 3) == 3
    with pytest.raises(KeyError):
        within(5, lambda: {}["absent"])


def test_what_libraries_write_is_kept_off_the_terminal_and_comes_back_after(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_libraries():
        os.write(2, b"seven raw lines\n")
    os.write(2, b"ours\n")
    assert capfd.readouterr().err == "ours\n"


def test_a_jobs_api_that_is_gone_is_said_so() -> None:
    from xlli_ray.engine.submit.ray_jobs import job_status

    with pytest.raises(EnvironmentFailure, match=r"no response from http://127.0.0.1:\d+ \(.*\)\. Is it the head's Jobs API"):
        job_status(f"http://127.0.0.1:{free_port()}#job")
    with pytest.raises(EnvironmentFailure, match="write the head's Jobs API as"):
        job_status("http://:8265#job")


def test_a_node_that_is_still_being_registered_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch job starts Ray and then its driver: the head listened, and the driver was told that its machine is no node."""
    from types import SimpleNamespace

    class Node:
        def hex(self) -> str:
            return "aa"

    answers = iter([[], [], [Node()]])
    monkeypatch.setattr(cluster, "POLL_SECONDS", 0.0)
    monkeypatch.setattr("ray._raylet.GcsClient", lambda address: SimpleNamespace(get_all_node_info=lambda timeout: next(answers)))
    monkeypatch.setattr("ray._private.services.find_node_ids", lambda: ["aa"])
    cluster._ask_head("127.0.0.1:6379", "there")
    assert next(answers, None) is None
