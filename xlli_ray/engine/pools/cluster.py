"""Connecting to an existing cluster: whether there is one at an address, within seconds, and what to do if there is none.

Ray retries a dead address for minutes, and prints a page of library output for a wrong token. So the port is tried first, then the head is
asked for its nodes, with the library output suppressed.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from xlli_ray.errors import EnvironmentFailure

T = TypeVar("T")

PORT_SECONDS = 5.0
HEAD_SECONDS = 8.0
JOIN_SECONDS = 12.0
"""Together less than 30 s."""
REGISTER_SECONDS = 10.0
"""For a node of this machine to be registered with its head."""
POLL_SECONDS = 0.5
CURRENT = "ray_current_cluster"
WAYS = "Give --address HOST:6379 of a running one, start one (`ray start --head`), or omit --address to start a private Ray."
TOKEN = (
    "it requires a token. Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the cluster's token (or put that into ~/.ray/auth_token; on the "
    "head, `ray get-auth-token` shows it)"
)
REFUSED_TOKEN = (
    "it rejects the token given here. RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token) must be the cluster's own; on the "
    "head, `ray get-auth-token` shows it"
)


def reach(address: str) -> str:
    """The address for Ray to join: `auto` resolved, others unchanged. Raises EnvironmentFailure, in less than 20 s, if no cluster responds
    there, its token differs, or this machine is not one of its nodes."""
    if address == "auto":
        address, where = find_cluster()
    else:
        where = address
    if address.startswith(("http://", "https://")):
        raise EnvironmentFailure(
            22, f"{address} is not the address of a cluster but of its Jobs API: `xlli submit RECIPE --address {address}`. --address takes "
            "auto, HOST:6379 or ray://HOST:10001",
        )  # fmt: skip
    host, port = _host_and_port(address)
    try_port(host, port, where, WAYS)
    if not address.startswith("ray://"):
        _ask_head(f"{host}:{port}", where)
    return address


def find_cluster() -> tuple[str, str]:
    """(address, how it was found) for `auto`: $RAY_ADDRESS, else the cluster last started with `ray start` on this machine. Ray itself
    would also join a cluster that another program runs here for itself."""
    if address := os.environ.get("RAY_ADDRESS", ""):
        return address, f"{address} (RAY_ADDRESS)"
    services: Any = importlib.import_module("ray._private.services")
    utils: Any = importlib.import_module("ray._private.utils")
    if address := utils.read_ray_address(None) or "":
        return address, f"{address} (the cluster last started on this machine, according to {CURRENT} in Ray's temporary folder)"
    others = sorted(other for other in services.find_gcs_addresses() if not other.startswith(("127.", "localhost", "[::1]")))
    seen = f" (There is a Ray at {', '.join(others)}; give its address to use it.)" if others else ""
    raise EnvironmentFailure(
        111, f"--address auto: RAY_ADDRESS is not set, and `ray start` has started no cluster on this machine.{seen} {WAYS}"
    )


def _host_and_port(address: str) -> tuple[str, int]:
    """Of HOST:PORT or ray://HOST:PORT, as Ray interprets them: 127.0.0.1 is the machine's own address."""
    client = address.startswith("ray://")
    try:
        parts = urlsplit(address if client else f"//{address}")
        if parts.hostname and parts.port:
            services: Any = importlib.import_module("ray._private.services")
            return (parts.hostname if client else services.resolve_ip_for_localhost(parts.hostname)), parts.port
    except ValueError:
        pass
    raise EnvironmentFailure(22, f"--address {address}: write auto, HOST:PORT (6379 is usual) or ray://HOST:PORT (10001 is usual)")


def try_port(host: str, port: int, where: str, ways: str) -> None:
    """Raise EnvironmentFailure if nothing listens there; includes name resolution."""

    def connect() -> None:
        socket.create_connection((host, port), timeout=PORT_SECONDS).close()

    try:
        within(PORT_SECONDS + 1, connect)
    except OSError as error:
        why = error.strerror or str(error) or "no answer"
        raise EnvironmentFailure(111, f"no response from {where} ({why}). {ways}") from error


def _ask_head(address: str, where: str) -> None:
    """Raise EnvironmentFailure unless the head of a cluster responds at HOST:PORT and has this machine among its nodes."""
    raylet: Any = importlib.import_module("ray._raylet")
    services: Any = importlib.import_module("ray._private.services")

    def ask() -> set[str]:
        nodes = raylet.GcsClient(address=address).get_all_node_info(timeout=HEAD_SECONDS)
        return {node_id.hex() for node_id in nodes}

    until = time.monotonic() + REGISTER_SECONDS
    try:
        with quiet_libraries():
            nodes, here = within(HEAD_SECONDS, ask), set(services.find_node_ids())
            # a head that was started this moment listens before its own node is registered
            while not nodes & here and not (nodes and not here) and time.monotonic() < until:
                time.sleep(POLL_SECONDS)
                nodes, here = within(HEAD_SECONDS, ask), set(services.find_node_ids())
    except Exception as error:
        if is_about_token(error):
            raise EnvironmentFailure(13, f"the cluster at {where} denies access: {token_advice()}.") from error
        raise EnvironmentFailure(
            111, f"{where} does not respond like the head of a Ray cluster ({type(error).__name__}). {WAYS}"
        ) from error
    if not nodes & here:
        raise EnvironmentFailure(
            111, f"this machine is not one of the {len(nodes)} nodes of the cluster at {where}: run on one of them, add it (`ray start "
            f"--address={address}`), or submit the recipe: `xlli submit RECIPE --address http://HEAD:8265`.",
        )  # fmt: skip


def has_token() -> bool:
    """Whether a token is given here, in one of Ray's ways."""
    given = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return given or (Path.home() / ".ray" / "auth_token").exists()


def use_token(*, anywhere: bool) -> None:
    """Authenticate with the token given here, unless RAY_AUTH_MODE is set. Call before Ray's libraries load. `anywhere`: also use one from
    the user's file, which is for the cluster of this machine; one in the environment is for the address that the user gives."""
    given = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if given or (anywhere and has_token()):
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def is_about_token(error: BaseException) -> bool:
    text = f"{type(error).__name__} {error}".lower()
    return "authentication" in text or "unauthenticated" in text or "token" in text


def token_advice() -> str:
    """Advice about a token that is missing, not used, or refused."""
    return REFUSED_TOKEN if has_token() and os.environ.get("RAY_AUTH_MODE", "").lower() == "token" else TOKEN


def within(seconds: float, function: Callable[[], T]) -> T:
    """`function()`, or TimeoutError if it takes longer; it then continues in a thread that is not joined."""
    result: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="xlli-within", daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not result:
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return result[0]


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Suppress terminal output of C++ libraries: they write to the file descriptor, not to `sys.stderr`, which still works."""
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    try:
        with tempfile.TemporaryFile() as nowhere:
            try:
                os.dup2(nowhere.fileno(), 2)
                yield
            finally:
                os.dup2(kept, 2)
    finally:
        os.close(kept)
