"""The S3 side of `kills.py`: a server on loopback, and before it a proxy that delays requests, spoils some, and kills a run at one."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from kill_worlds import ROOT, make_images

if TYPE_CHECKING:
    from kills import Place

sys.path.insert(0, str(ROOT / "tests" / "s3"))
from faulty import Faulty, Request, at_random
from server import CORPUS, KEY, REGION, SECRET, STUDIES, Server

KINDS = ("503", "reset", "cut", "lost")


class Way:
    """The proxy's rule: `share` of the requests fail, and before or after one of them something happens."""

    def __init__(self, proxy: Faulty, seed: int, share: float) -> None:
        self._proxy, self._spoiled = proxy, at_random(seed, share, KINDS)
        self._lock = threading.Lock()
        self._count, self._at, self._do = 0, 0, None
        self._last: dict[str, str] = {}
        proxy.rule = self

    def start_over(self) -> None:
        """Count from here; nothing is to happen."""
        with self._lock:
            self._count, self._at, self._do = 0, 0, None
            self._last.clear()

    def at(self, number: int, do: Callable[[], None]) -> None:
        """`do()` at the request of this number, counted since `start_over`."""
        with self._lock:
            self._at, self._do = number, do

    def last_key(self, out: str) -> str:
        """The object of the study that was written or deleted last, since `start_over`."""
        return self._last.get(out, "")

    def __call__(self, request: Request) -> str:
        place = unquote(urlsplit(request.path).path).removeprefix(f"/{STUDIES}/")
        study, _, key = place.partition("/")
        with self._lock:
            self._count += 1
            if request.method in ("PUT", "DELETE") and key and not key.endswith(".beat"):
                self._last[f"s3://{STUDIES}/{study}"] = key
            do = self._do if self._count == self._at else None
        if do is not None:
            do()
        return self._spoiled(request)


@contextlib.contextmanager
def s3_place(folder: Path, temporary: Path, seed: int, latency: float, share: float) -> Iterator[Place]:
    """A server with the images in CORPUS, and the way to it. This process asks the server itself; the runs of the campaign, the proxy."""
    from kills import Place

    server = Server(folder / f"seaweed{os.getpid()}")
    server.start()
    try:
        server.make_buckets()
        make_images(folder / f"upload{os.getpid()}")
        for part in (folder / f"upload{os.getpid()}").iterdir():
            server.upload(part, part.name)
        settings = {
            "AWS_ENDPOINT_URL": server.url, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION, "AWS_ALLOW_HTTP": "true", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        os.environ.update(settings)
        with Faulty(server.port) as proxy:
            proxy.latency = latency
            way = Way(proxy, seed, share)
            yield Place("s3", folder, f"s3://{CORPUS}", {"TMPDIR": str(temporary), "AWS_ENDPOINT_URL": proxy.url}, way)
            print(f"{proxy.requests} requests; faults: {dict(proxy.seen)}", flush=True)
    finally:
        server.stop()
        for name in ("seaweed", "upload"):
            shutil.rmtree(folder / f"{name}{os.getpid()}", ignore_errors=True)
