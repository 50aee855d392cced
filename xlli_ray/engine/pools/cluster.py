"""Reaching a cluster of others: whether there is one at an address, in seconds, and what to do where there is none.

Ray tries a dead address for minutes, and prints a page of its libraries' text for a token that is wrong. So the port is tried first, then
the head is asked for its nodes, with the libraries' text kept off the terminal.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import tempfile
import threading
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
CURRENT = "ray_current_cluster"
WAYS = "Give --address HOST:6379 of one that runs, start one (`ray start --head`), or leave --address out: a private Ray is started then."
TOKEN = (
    "it asks for a token. Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the cluster's token (or put that into ~/.ray/auth_token; on the "
    "head, `ray get-auth-token` shows it)"
)
REFUSED_TOKEN = (
    "it does not take the token given here. RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token) must be the cluster's own; on the "
    "head, `ray get-auth-token` shows it"
)


def reach(address: str) -> str:
    """The address that Ray is to join: `auto` resolved, the others as they are. Raises EnvironmentFailure, in less than 20 s, when no
    cluster answers there, when its token is another, or when this machine is none of its nodes."""
    if address == "auto":
        address, where = find_cluster()
    else:
        where = address
    if address.startswith(("http://", "https://")):
        raise EnvironmentFailure(
            22, f"{address} is no address of a cluster but of its Jobs API: `xlli submit RECIPE --address {address}`. --address takes "
            "auto, HOST:6379 or ray://HOST:10001",
        )  # fmt: skip
    host, port = _host_and_port(address)
    try_port(host, port, where, WAYS)
    if not address.startswith("ray://"):
        _ask_head(f"{host}:{port}", where)
    return address


def find_cluster() -> tuple[str, str]:
    """(address, how it was found) of what `auto` means: $RAY_ADDRESS, else the cluster that `ray start` started on this machine last. Ray
    itself would also join whatever another program runs here for itself."""
    if address := os.environ.get("RAY_ADDRESS", ""):
        return address, f"{address} (RAY_ADDRESS)"
    services: Any = importlib.import_module("ray._private.services")
    utils: Any = importlib.import_module("ray._private.utils")
    if address := utils.read_ray_address(None) or "":
        return address, f"{address} (the cluster that was started on this machine last, says {CURRENT} in Ray's temporary folder)"
    others = sorted(found for found in services.find_gcs_addresses() if not found.startswith(("127.", "localhost", "[::1]")))
    seen = f" (There is a Ray at {', '.join(others)}; name it if it is meant.)" if others else ""
    raise EnvironmentFailure(
        111, f"--address auto: RAY_ADDRESS is not set, and `ray start` has started no cluster on this machine.{seen} {WAYS}"
    )


def _host_and_port(address: str) -> tuple[str, int]:
    """Of HOST:PORT or ray://HOST:PORT, as Ray itself will take them: 127.0.0.1 is the machine's own address for it."""
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
    """Raise EnvironmentFailure when nothing listens there. Looking up a name counts, too."""

    def connect() -> None:
        socket.create_connection((host, port), timeout=PORT_SECONDS).close()

    try:
        within(PORT_SECONDS + 1, connect)
    except OSError as error:
        why = error.strerror or str(error) or "no answer"
        raise EnvironmentFailure(111, f"nothing answers at {where} ({why}). {ways}") from error


def _ask_head(address: str, where: str) -> None:
    """Raise EnvironmentFailure unless the head of a cluster answers at HOST:PORT and counts this machine among its nodes."""
    raylet: Any = importlib.import_module("ray._raylet")
    services: Any = importlib.import_module("ray._private.services")

    def ask() -> set[str]:
        nodes = raylet.GcsClient(address=address).get_all_node_info(timeout=HEAD_SECONDS)
        return {node_id.hex() for node_id in nodes}

    try:
        with quiet_libraries():
            nodes = within(HEAD_SECONDS, ask)
    except Exception as error:
        if is_about_token(error):
            raise EnvironmentFailure(13, f"the cluster at {where} does not let us in: {token_advice()}.") from error
        raise EnvironmentFailure(
            111, f"something listens at {where}, but answers not as the head of a Ray cluster ({type(error).__name__}). {WAYS}"
        ) from error
    if not nodes & set(services.find_node_ids()):
        raise EnvironmentFailure(
            111, f"this machine is none of the {len(nodes)} nodes of the cluster at {where}: run on one of them, make it one (`ray start "
            f"--address={address}`), or send the recipe there: `xlli submit RECIPE --address http://HEAD:8265`.",
        )  # fmt: skip


def has_token() -> bool:
    """Whether a token is given here, in one of the ways that Ray knows."""
    given = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return given or (Path.home() / ".ray" / "auth_token").exists()


def use_token(*, anywhere: bool) -> None:
    """Authenticate with the token that is given here, unless RAY_AUTH_MODE says how. Before Ray's libraries load. `anywhere`: one from the
    user's file, too, which is meant for the cluster of this machine; one in the environment is meant for where the user says."""
    given = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if given or (anywhere and has_token()):
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def is_about_token(error: BaseException) -> bool:
    text = f"{type(error).__name__} {error}".lower()
    return "authentication" in text or "unauthenticated" in text or "token" in text


def token_advice() -> str:
    """What to do about a token that is missing, not used, or refused."""
    return REFUSED_TOKEN if has_token() and os.environ.get("RAY_AUTH_MODE", "").lower() == "token" else TOKEN


def within(seconds: float, function: Callable[[], T]) -> T:
    """`function()`, or TimeoutError when it takes longer; it then goes on in a thread that nobody waits for."""
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
    """Keep what libraries in C++ write to the terminal off it: they write to the file, not to `sys.stderr`, which stays."""
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
