"""A proxy before an object store that does what networks and servers do on bad days, by a rule that tests give.

Loopback only. It knows just enough HTTP/1.1: one request after the other on a connection, bodies by length or in chunks.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

FAULTS = ("slow", "503", "500", "reset", "cut", "lost")
"""What passes: a late answer; an answer that says so; a connection that breaks before the request went through; one that breaks in the
midst of the answer's body; one that breaks after the request went through, with nothing said."""
_PHRASES = {"503": "503 Slow Down", "500": "500 Internal Server Error", "403": "403 Forbidden", "429": "429 Too Many Requests"}
_STATUS = {
    "PermanentRedirect": "301 Moved Permanently", "AuthorizationHeaderMalformed": "400 Bad Request", "ExpiredToken": "400 Bad Request",
    "NoSuchBucket": "404 Not Found", "NotImplemented": "501 Not Implemented",
}  # fmt: skip
"""Of answers with a code, as Amazon gives them; else 403."""
_CODES = {"503": "SlowDown", "500": "InternalError", "403": "AccessDenied", "429": "TooManyRequests"}


@dataclass(frozen=True)
class Request:
    """What a rule may look at. `number` counts from 1."""

    method: str
    path: str
    number: int

    @property
    def creates(self) -> bool:
        return self.method == "PUT"


Rule = Callable[[Request], str]
"""The fault of a request: '' for none, one of FAULTS, '403', '429', or `code:CODE:message` for an answer with another code."""


def at_random(seed: int, share: float, kinds: tuple[str, ...] = FAULTS) -> Rule:
    """Each request has a fault with probability `share`."""
    chance, lock = random.Random(seed), threading.Lock()

    def rule(_: Request) -> str:
        with lock:
            return chance.choice(kinds) if chance.random() < share else ""

    return rule


class Faulty:
    """The proxy, in a thread of its own: `with Faulty(port) as proxy`. `proxy.rule` may be changed at any time."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.rule: Rule = lambda request: ""
        self.without: tuple[bytes, ...] = ()
        """Beginnings, in lower case, of the header lines that do not pass."""
        self.latency = 0.0
        """Seconds by which every answer comes later."""
        self.seen: Counter[str] = Counter()
        self.requests = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="faulty", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Faulty:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._talk, "127.0.0.1", 0, limit=1 << 20))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer. False when the connection is over."""
        head = await reader.readuntil(b"\r\n\r\n")
        if b"100-continue" in head.lower():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _body(reader, head)
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        self.requests += 1
        fault = self.rule(Request(method, path, self.requests))
        self.seen[fault.partition(":")[0]] += 1
        if self.latency:
            await asyncio.sleep(self.latency)
        if fault == "reset":
            return _reset(writer)
        if fault in _PHRASES or fault.startswith("code:"):
            code, message = (fault.split(":", 2)[1:]) if fault.startswith("code:") else (_CODES[fault], "by the proxy")
            phrase = _PHRASES.get(fault) or _STATUS.get(code, "403 Forbidden")
            text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()
            sent = b"" if method == "HEAD" else text
            writer.write(f"HTTP/1.1 {phrase}\r\nContent-Type: application/xml\r\nContent-Length: {len(sent)}\r\n\r\n".encode() + sent)
            await writer.drain()
            return True
        if fault == "slow":
            await asyncio.sleep(0.02)
        answer = await self._ask(head, body)
        if fault == "lost":
            return _reset(writer)
        if fault == "cut":
            start = answer.index(b"\r\n\r\n") + 4
            writer.write(answer[: start + (len(answer) - start) // 2] if len(answer) > start + 1 else answer[: start // 2])
            await writer.drain()
            return False
        writer.write(answer)
        await writer.drain()
        return True

    async def _ask(self, head: bytes, body: bytes) -> bytes:
        """The server's whole answer."""
        first, rest = head.split(b"\r\n", 1)
        kept = [line for line in rest.split(b"\r\n") if line and not line.lower().startswith((b"connection:", b"expect:", *self.without))]
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            writer.write(b"\r\n".join([first, *kept, b"Connection: close", b"", b""]) + body)
            await writer.drain()
            answer = await reader.read(-1)
        finally:
            writer.close()
        start = answer.index(b"\r\n\r\n")
        lines = [line for line in answer[:start].split(b"\r\n") if not line.lower().startswith(b"connection:")]
        return b"\r\n".join(lines) + answer[start:]


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        parts = []
        while True:
            size = await reader.readuntil(b"\r\n")
            data = await reader.readexactly(int(size.split(b";")[0], 16) + 2)
            parts += [size, data]
            if data == b"\r\n":
                return b"".join(parts)
    return await reader.readexactly(int(fields.get(b"content-length", b"0")))


def _reset(writer: asyncio.StreamWriter) -> bool:
    """Break the connection as a crashed peer would: RST, no goodbye."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False
