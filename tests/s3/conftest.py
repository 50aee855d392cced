"""One S3 server for the session, and a faulty way to it for each test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

for place in (Path(__file__).parent, Path(__file__).parents[1] / "engine"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from faulty import Faulty  # noqa: E402
from server import KEY, REGION, SECRET, Server  # noqa: E402


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A fault of it is a failure, not a skip: it is in the dev extra."""
    made = Server(tmp_path_factory.mktemp("seaweed") / "s3")
    made.start()
    try:
        made.make_buckets()
        yield made
    finally:
        made.stop()


@pytest.fixture
def proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """The way to the server that this process's environment names; without faults until its rule is set. Pauses are short."""
    from xlli_ray.corpus.files import outages
    from xlli_ray.remote import bucket, places

    monkeypatch.setattr(bucket, "PAUSES", (0.01,) * 6)
    monkeypatch.setattr(bucket, "FIRST_PAUSES", (0.01,) * 3)
    monkeypatch.setattr(bucket, "WITHIN", {"max_retries": 2, "backoff": {"init_backoff": timedelta(milliseconds=5)}})
    monkeypatch.setattr(places, "_OPEN", {})
    monkeypatch.setattr(outages, "PAUSES", (0.01, 0.02))
    monkeypatch.setattr(outages, "SECOND_LOOK", 0.01)
    with Faulty(server.port) as made:
        for name, value in {
            "AWS_ENDPOINT_URL": made.url, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION, "AWS_ALLOW_HTTP": "true", "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "2",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        yield made
