"""A study's objects in a bucket behind a faulty way: tried again, resolved, and said in words that lead on."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from faulty import FAULTS, Faulty, Request, at_random
from server import PUBLIC, STUDIES

from xlli_ray.corpus.files.sources import list_files, read_bytes
from xlli_ray.errors import EnvironmentFailure, RecipeError, StudyError
from xlli_ray.remote import bucket as module
from xlli_ray.store.objects import bucket_objects
from xlli_ray.store.objects.atomic_file import AtomicFile
from xlli_ray.store.objects.client import Missing, Objects, fenced, open_objects, probe_create_only
from xlli_ray.store.records.lease import Lease, lease_key


@pytest.fixture
def place(proxy: Faulty) -> Objects:
    made = open_objects(f"s3://{STUDIES}/{uuid.uuid4().hex}")
    made.put("big", b"x" * 200_000)
    made.put("many/1", b"1")
    return made


CALLS: dict[str, tuple[Callable[[Objects], object], object]] = {
    "get": (lambda place: len(place.get("big")), 200_000),
    "range": (lambda place: place.get_range("big", -3, 3), b"xxx"),
    "create": (lambda place: place.create("new", b"mine"), True),
    "put": (lambda place: place.put("put", b"1"), None),
    "list": (lambda place: list(place.list("many")), ["many/1"]),
    "delete": (lambda place: place.delete(["many/1"]), None),
}


@pytest.mark.parametrize("fault", ["503", "500", "429", "reset", "cut", "lost"])
def test_each_call_survives_a_fault_of_one_request(place: Objects, proxy: Faulty, fault: str) -> None:
    for call, wanted in CALLS.values():
        faults = iter([fault])
        proxy.rule = lambda request, faults=faults: next(faults, "")  # type: ignore[misc]
        assert call(place) == wanted
        assert next(faults, None) is None, "the fault was met"
    proxy.rule = lambda request: ""
    assert place.get("new") == b"mine"


@pytest.mark.parametrize("fault", ["503", "cut", "lost", "reset"])
def test_a_fault_without_end_is_an_end_with_the_reason_after_a_bounded_number_of_requests(
    place: Objects, proxy: Faulty, fault: str
) -> None:
    before = proxy.requests
    proxy.rule = lambda request: fault
    with pytest.raises(EnvironmentFailure, match="run the same command again") as caught:
        place.get("big")
    assert "Debug source" not in str(caught.value)
    most = (len(module.PAUSES) + 1) * (module.WITHIN["max_retries"] + 1)  # type: ignore[operator]
    assert proxy.requests - before <= most
    before = proxy.requests
    with pytest.raises(EnvironmentFailure):
        place.put("put", b"1")
    assert proxy.requests - before <= most / (len(module.PAUSES) + 1), "a store that is down is not waited for again"
    proxy.rule = lambda request: ""
    assert len(place.get("big")) == 200_000


def test_when_patience_is_over_there_is_no_further_try(place: Objects, proxy: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes requests and never answers must not cost half a minute for each of many tries."""
    monkeypatch.setattr(module, "PATIENCE", -1.0)
    before = proxy.requests
    proxy.rule = lambda request: "reset"
    with pytest.raises(EnvironmentFailure):
        place.create("new", b"1")
    assert proxy.requests == before + 1


def test_of_many_creators_exactly_one_wins_however_many_answers_are_lost(place: Objects, proxy: Faulty) -> None:
    proxy.rule = at_random(3, 0.4, ("lost", "cut", "503", "reset"))
    won: list[int] = []

    def create(i: int) -> None:
        try:
            if place.create("one", b"%d" % i):
                won.append(i)
        except EnvironmentFailure:
            pass  # it never heard

    threads = [threading.Thread(target=create, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    proxy.rule = lambda request: ""
    assert len(won) <= 1
    assert not won or place.get("one") == b"%d" % won[0]
    assert not place.create("one", b"late")


def test_the_lost_answer_of_a_lease_a_record_and_the_probe_is_resolved_by_reading_it_back(place: Objects, proxy: Faulty) -> None:
    """Every first PUT of a key goes through and is not answered."""
    seen: set[str] = set()

    def rule(request: Request) -> str:
        first = request.method == "PUT" and request.path not in seen
        seen.add(request.path)
        return "lost" if first else ""

    proxy.rule = rule
    probe_create_only(place)
    lease = Lease.acquire(place)
    assert lease.epoch == 1
    assert place.create("records/a/0000000.000001.arrow", b"host a, pid 1")
    assert not place.create("records/a/0000000.000001.arrow", b"host b, pid 2"), "somebody else's"
    lease.release()
    assert b"token" in place.get(lease_key(1))
    assert proxy.seen["lost"] >= 4


def test_a_network_file_systems_lost_answer_to_a_link_is_no_other_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def twice(source: object, target: object, **options: object) -> None:
        link(source, target, **options)  # type: ignore[arg-type]
        raise FileExistsError(17, "File exists")

    monkeypatch.setattr(os, "link", twice)
    place = open_objects(tmp_path)
    assert place.create("a", b"mine")
    monkeypatch.undo()
    assert not place.create("a", b"other")
    assert place.get("a") == b"mine"
    assert AtomicFile.create.__doc__


WAYS_OUT = {
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY",
    "InvalidAccessKeyId": "AWS_ACCESS_KEY_ID",
    "RequestTimeTooSkewed": "set the clock",
    "ExpiredToken": "AWS_SESSION_TOKEN",
    "AuthorizationHeaderMalformed": "AWS_REGION",
    "NoSuchBucket": "check its name",
    "PermanentRedirect": "AWS_REGION",
    "NotImplemented": "conditional puts",
    "AccessDenied": "rights",
}


@pytest.mark.parametrize("code", WAYS_OUT)
def test_what_an_object_store_refuses_keeps_its_reason_and_names_the_way_out(place: Objects, proxy: Faulty, code: str) -> None:
    proxy.rule = lambda request: f"code:{code}:the server's own words"
    said = "redirect without LOCATION" if code == "PermanentRedirect" else f"{code}: the server's own words"  # obstore drops those of a 301
    for call in ("get", "create", "put", "list", "delete"):
        with pytest.raises(EnvironmentFailure, match=f"{said}.*{WAYS_OUT[code]}"):
            CALLS[call][0](place)
    if code != "AccessDenied":  # for a single file, that may be the file's matter (tests/corpus/test_outage_watch.py)
        for read in (lambda: read_bytes("s3://corpus/a.png"), lambda: list_files(["s3://corpus/*.png"], "/")):
            with pytest.raises(EnvironmentFailure, match=f"{said}.*{WAYS_OUT[code]}"):
                read()


def test_a_store_without_conditional_puts_is_refused_by_name(proxy: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of today behind a way that forgets the condition, as servers did before 2024. Without a signature, which covers it."""
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    place = open_objects(f"s3://{PUBLIC}/{uuid.uuid4().hex}")
    probe_create_only(place)
    proxy.without = (b"if-none-match:",)
    with pytest.raises(EnvironmentFailure, match=r"s3://public/.*created the same object twice.*a bucket with conditional puts"):
        probe_create_only(place)


def test_objects_are_deleted_in_bulk_and_the_fence_is_checked_before_each_request(
    place: Objects, proxy: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[int] = []

    class Noting:
        known: ClassVar[dict[str, None]] = {}

        def check(self) -> None:
            checks.append(proxy.requests)

        def gone(self, key: str) -> None:
            self.known[key] = None

    for i in range(7):
        place.put(f"d/{i}", b"x")
    monkeypatch.setattr(bucket_objects, "MOST_DELETED", 3)
    before = proxy.requests
    fenced(place, Noting()).delete(f"d/{i}" for i in (*range(7), 99))  # type: ignore[arg-type]
    assert checks == [before, before + 1, before + 2]
    assert proxy.requests == before + 3
    assert sorted(Noting.known) == [*(f"d/{i}" for i in range(7)), "d/99"]
    assert list(place.list("d")) == []


def test_a_wrong_secret_for_real(proxy: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(EnvironmentFailure, match=r"SignatureDoesNotMatch.*AWS_SECRET_ACCESS_KEY"):
        probe_create_only(open_objects(f"s3://{STUDIES}/x"))


def test_a_bucket_that_is_not_there_is_said(proxy: Faulty) -> None:
    with pytest.raises(EnvironmentFailure, match=r"NoSuchBucket.*check its name"):
        probe_create_only(open_objects("s3://no-such-bucket/x"))
    with pytest.raises(EnvironmentFailure, match=r"no-such-bucket.*no such bucket there"):
        list_files(["s3://no-such-bucket/*.png"], "/")
    with pytest.raises(EnvironmentFailure, match=r"NoSuchBucket.*check its name"):
        read_bytes("s3://no-such-bucket/a.png")
    with pytest.raises(RecipeError, match="matches no file"):
        list_files(["s3://corpus/none-of-these/*.png"], "/")


def test_http_that_was_not_allowed_and_a_server_that_is_not_there_are_said(monkeypatch: pytest.MonkeyPatch, proxy: Faulty) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(EnvironmentFailure, match="AWS_ALLOW_HTTP=true"):
        open_objects(f"s3://{STUDIES}/x").get("a")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(EnvironmentFailure, match=r"Connection refused.*AWS_ENDPOINT_URL"):
        open_objects(f"s3://{STUDIES}/x").get("a")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://host/x", "studies at ftp:// are not supported"),
        ("foo://x", "studies at foo:// are not supported"),
        ("s3://", "does not name a bucket"),
        ("s3:///x", "does not name a bucket"),
        ("gs:///x", "does not name a bucket"),
        ("http://host/x", "AWS_ENDPOINT_URL"),
        ("https://host/x", "AWS_ENDPOINT_URL"),
        ("az://container/x", "AZURE_STORAGE_ACCOUNT_NAME"),
    ],
)
def test_an_address_where_no_study_can_lie_is_refused_in_one_sentence(url: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(StudyError, match=words) as caught:
        open_objects(url)
    assert "\n" not in str(caught.value)


def test_an_unknown_scheme_of_a_corpus_is_refused_before_any_work() -> None:
    for pattern in ("s4://bucket/a.png", "s4://bucket/*.png"):
        with pytest.raises(RecipeError, match="s4://; did you mean s3"):
            list_files([pattern], "/")


def test_an_object_that_is_missing_is_missing_at_once(place: Objects, proxy: Faulty) -> None:
    before = proxy.requests
    with pytest.raises(Missing):
        place.get("never")
    assert proxy.requests == before + 1


@pytest.mark.parametrize("seed", range(4))
def test_a_bad_way_changes_no_byte(place: Objects, proxy: Faulty, seed: int) -> None:
    proxy.rule = at_random(seed, 0.15, FAULTS)
    for i in range(20):
        data = os.urandom(1000 + i)
        place.put(f"a/{i:02d}", data)
        assert place.get(f"a/{i:02d}") == data
        assert place.get_range(f"a/{i:02d}", 5, 10) == data[5:15]
    assert list(place.list("a")) == [f"a/{i:02d}" for i in range(20)]
    place.delete([f"a/{i:02d}" for i in range(0, 20, 2)])
    proxy.rule = lambda request: ""
    assert list(place.list("a")) == [f"a/{i:02d}" for i in range(1, 20, 2)]
