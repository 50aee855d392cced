"""Which requests are answered at all.

The server is reached by every program and user of this machine, and by every page in its browsers. Only the link's token says who may read:
a page of another host that has found the port is refused by the headers `Host` (its own name may resolve to this machine) and `Origin`.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from http import HTTPStatus
from typing import Protocol

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:; style-src 'self' "
    "'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""With every answer."""

Refusal = tuple[HTTPStatus, str]


class Fields(Protocol):
    """Header fields of a request, as `email.message.Message` has them."""

    def get_all(self, name: str, failobj: None = None) -> Sequence[str] | None: ...


def refusal(fields: Fields, port: int) -> Refusal | None:
    """Why a request to `port` is refused whatever it asks for, with the status; None: it is not."""
    names = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
    names |= {"127.0.0.1", "localhost", "[::1]"} if port == 80 else set()  # browsers leave the usual port out
    hosts = fields.get_all("Host") or []
    if len(hosts) != 1 or hosts[0].strip().lower() not in names:
        return HTTPStatus.MISDIRECTED_REQUEST, "this server is called 127.0.0.1, and nothing else"
    if any(origin.strip().lower() not in {f"http://{name}" for name in names} for origin in fields.get_all("Origin") or []):
        return HTTPStatus.FORBIDDEN, "pages of other servers are not answered"
    return None


def knows(token: str, given: str) -> bool:
    """Whether `given` is the token; how long this takes does not say how much of it is right."""
    return hmac.compare_digest(token.encode(), given.encode("utf-8", "surrogateescape"))
