"""The server itself: an address for the page, the explorer's program, its parts and the study's objects; GET and HEAD only.

    /TOKEN/report/index.html      the page
    /TOKEN/report/explorer.js     its program, and explorer.css
    /TOKEN/report/data/PART.js    a part of the explorer's data
    /TOKEN/study/KEY              an object of the study, also in parts (Range), for Zarr readers
    /ONCE                         leads to the page, one time: a browser's command line is read by other users
"""

from __future__ import annotations

import secrets
import socketserver
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from xlli_ray.errors import EnvironmentFailure, XlliError
from xlli_ray.report.explorer.source import MissingPart
from xlli_ray.report.explorer.write import BUNDLE, PROGRAM
from xlli_ray.report.view_server.byte_range import Unsatisfiable, byte_range
from xlli_ray.report.view_server.guard import HEADERS, knows, refusal
from xlli_ray.report.view_server.shown_study import ShownStudy
from xlli_ray.report.view_server.study_objects import BLOCK, reading
from xlli_ray.store.objects.client import Missing

ADDRESS = "127.0.0.1"
PAGE = "report/index.html"
SCRIPT, STYLE, TEXT = "text/javascript; charset=utf-8", "text/css; charset=utf-8", "text/plain; charset=utf-8"
OF_STRANGERS = {"Content-Security-Policy": "default-src 'none'; sandbox", "Content-Disposition": "attachment"}
"""With objects of the study: a page among them is a file to a browser, not a page."""
NO_FIELDS: Mapping[str, str] = {}
IDLE_SECONDS = 60
"""A connection without a request is closed after this time."""


class ViewServer(ThreadingHTTPServer):
    """Serves one study on the loopback interface. `serve_forever` serves, `shutdown` ends it, `server_close` releases the port."""

    daemon_threads = True

    def __init__(self, shown: ShownStudy, port: int = 0) -> None:
        """`port`: 0 for any that is free. Raises EnvironmentFailure for one that cannot be had."""
        self.shown = shown
        self.token = secrets.token_urlsafe(32)
        self.once = {secrets.token_urlsafe(32)}
        """The keys that lead to the page and have not been used."""
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            way = "choose another, or leave --port out for any that is free"
            raise EnvironmentFailure(error.errno, f"port {port} of {ADDRESS} cannot be had ({error.strerror}): {way}") from error

    def server_bind(self) -> None:
        """Without the look-up of this machine's name that `http.server` does, which may wait for a name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.socket.getsockname()[1]

    @property
    def link(self) -> str:
        """The address of the page."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/{PAGE}"

    @property
    def link_once(self) -> str:
        """Leads to `link` when first asked for."""
        return f"http://{ADDRESS}:{self.server_port}/{next(iter(self.once))}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        if self.headers.get("Content-Length") or self.headers.get("Transfer-Encoding"):
            self.close_connection = True  # a body that is not read is not the next request
        refused = refusal(self.headers, self.server.server_port)
        if refused is not None:
            return self._text(*refused)
        first, _, rest = unquote(self.path.partition("?")[0].removeprefix("/"), errors="surrogateescape").partition("/")
        if not rest and any(knows(key, first) for key in list(self.server.once)):
            self.server.once.discard(first)
            return self._send(HTTPStatus.SEE_OTHER, TEXT, b"", {"Location": f"/{self.server.token}/{PAGE}"})
        if not self.path.startswith("/") or not knows(self.server.token, first):
            return self._text(HTTPStatus.FORBIDDEN, "open the link that xlli view has printed")
        try:
            self._answer(rest)
        except (MissingPart, Missing):
            self._text(HTTPStatus.NOT_FOUND, "there is nothing here")
        except XlliError as error:
            self._text(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}")

    do_HEAD = do_GET

    def _answer(self, path: str) -> None:
        if path == PAGE:
            return self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.shown.page())
        folder, _, name = path.partition("/")
        if folder == "report" and name in PROGRAM:
            return self._send(HTTPStatus.OK, SCRIPT if name.endswith(".js") else STYLE, (BUNDLE / name).read_bytes())
        if folder == "report" and name.startswith("data/") and name.endswith(".js"):
            part = name.removeprefix("data/").removesuffix(".js")
            return self._send(HTTPStatus.OK, SCRIPT, self.server.shown.part(part))
        if folder == "study":
            return self._object(name)
        raise Missing(path)

    def _object(self, key: str) -> None:
        with reading(self.server.shown.objects, key) as found:
            wanted = None
            fields = {**OF_STRANGERS, "Accept-Ranges": "bytes"}
            if self.command == "GET" and self.headers.get("If-Range") is None:  # nothing that an If-Range could match is sent
                try:
                    wanted = byte_range(self.headers.get("Range"), found.size)
                except Unsatisfiable:
                    given = {"Content-Range": f"bytes */{found.size}"}
                    return self._text(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "no such bytes", given)
            start, length = wanted or (0, found.size)
            if wanted:
                fields["Content-Range"] = f"bytes {start}-{start + length - 1}/{found.size}"
            first = found.read(start, min(BLOCK, length)) if self.command == "GET" and length else b""  # an error is still an answer
            self._head(HTTPStatus.PARTIAL_CONTENT if wanted else HTTPStatus.OK, "application/octet-stream", length, fields)
            if self.command == "GET":
                self._body(found, start, length, first)

    def _body(self, found: Any, start: int, length: int, block: bytes) -> None:
        """An object that became shorter, or cannot be read on, ends the connection: what was promised does not come."""
        end = start + length
        while block:
            self.wfile.write(block)
            start += len(block)
            try:
                block = found.read(start, min(BLOCK, end - start)) if start < end else b""
            except (XlliError, Missing, OSError):
                block = b""
        if start < end:
            self.close_connection = True

    def _text(self, status: HTTPStatus, text: str, fields: Mapping[str, str] = NO_FIELDS) -> None:
        self._send(status, TEXT, f"{text}\n".encode("utf-8", "backslashreplace"), fields)

    def _send(self, status: HTTPStatus, kind: str, data: bytes, fields: Mapping[str, str] = NO_FIELDS) -> None:
        self._head(status, kind, len(data), fields)
        if self.command != "HEAD":
            self.wfile.write(data)

    def _head(self, status: HTTPStatus, kind: str, length: int, fields: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(length), **HEADERS, **fields}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Requests that are none, and methods other than GET and HEAD."""
        self.close_connection = True
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        self._text(status, status.phrase, {"Allow": "GET, HEAD"} if status is HTTPStatus.METHOD_NOT_ALLOWED else {})

    def version_string(self) -> str:
        """Without versions: they are nobody's business."""
        return "xlli"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal shows the link."""
