"""Which addresses the client of buckets reads, web servers without a faulty way, and profiles."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from xlli_ray.corpus.files.faults import FileFault
from xlli_ray.corpus.files.sources import read_bytes
from xlli_ray.errors import EnvironmentFailure
from xlli_ray.remote import bucket, places
from xlli_ray.remote.aws_profile import settings_of_profile
from xlli_ray.remote.places import place_of


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("s3://b/a/1.png", ("s3://b", "a/1.png")),
        ("s3://b/a b#1?[x]%20.png", ("s3://b", "a b#1?[x]%20.png")),
        ("abfs://c@account.dfs.core.windows.net/1.png", ("abfs://c@account.dfs.core.windows.net", "1.png")),
        ("https://host:8/a%20b/%C3%A4.png", ("https://host:8", "a b/ä.png")),
        ("https://host/a b.png", ("https://host", "a b.png")),
        ("https://host/a.png?X-Amz-Signature=1", None),
        ("https://host/a%2Fb.png", None),
        ("https://host/a//b.png", None),
        ("https://host", None),
        ("zip://a.png::s3://b/set.zip", None),
        ("hf://datasets/a/b.png", None),
        ("s3:///a.png", None),
    ],
)
def test_addresses_for_the_client_of_buckets_are_told_from_those_for_fsspec(uri: str, place: tuple[str, str] | None) -> None:
    assert place_of(uri) == place


class Pages(http.server.BaseHTTPRequestHandler):
    """`/busy/…` is refused once, `/chunked/…` has no length."""

    protocol_version = "HTTP/1.1"
    seen: list[str] = []

    def do_GET(self) -> None:
        self.seen.append(f"{self.command} {self.path}")
        busy = self.path.startswith("/busy") and self.seen.count(f"GET {self.path}") == 1
        status = 503 if busy else {"missing": 404, "gone": 410, "denied": 403}.get(self.path.split("/")[1], 200)
        body = self.path.encode()
        self.send_response(status)
        if self.path.startswith("/chunked"):
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(bucket, "WITHIN", {"max_retries": 0})
    monkeypatch.setattr(bucket, "FIRST_PAUSES", (0.01,))
    monkeypatch.setattr(places, "_OPEN", {})
    Pages.seen = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_file_of_a_web_server_is_one_request_tried_again_where_that_helps(web: str) -> None:
    assert read_bytes(f"{web}/a%20b/%C3%A4.png") == b"/a%20b/%C3%A4.png"
    assert Pages.seen == ["GET /a%20b/%C3%A4.png"]
    assert read_bytes(f"{web}/busy/1.png") == b"/busy/1.png"
    for kind, path in (("missing", "missing/1.png"), ("missing", "gone/1.png"), ("denied", "denied/1.png")):
        with pytest.raises(FileFault) as caught:
            read_bytes(f"{web}/{path}")
        assert caught.value.kind == kind


def test_a_web_server_that_tells_no_size_and_an_address_with_a_query_are_read_all_the_same(web: str) -> None:
    assert read_bytes(f"{web}/chunked/1.png") == b"/chunked/1.png"
    assert read_bytes(f"{web}/a.png?size=full") == b"/a.png?size=full"


def test_a_web_server_that_is_down_is_an_outage(web: str) -> None:
    with pytest.raises(EnvironmentFailure, match=r"Check the address and the network\. Nothing is marked") as caught:
        read_bytes("http://127.0.0.1:1/a.png")
    assert caught.value.passing


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with profiles, and no variable of Amazon's."""
    for name in ("ACCESS_KEY_ID", "PROFILE", "REGION", "DEFAULT_REGION", "ENDPOINT_URL", "SKIP_SIGNATURE", "CONFIG_FILE",
                 "SHARED_CREDENTIALS_FILE", "ENDPOINT_URL_S3", "WEB_IDENTITY_TOKEN_FILE"):  # fmt: skip
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = A\naws_secret_access_key = S%1\n[lab]\naws_access_key_id = B\naws_secret_access_key = T\n"
    )
    (tmp_path / ".aws" / "config").write_text(
        "[default]\nregion = eu-west-1\n[profile lab]\nregion = us-east-2\nendpoint_url = https://s3.lab\n[profile sso]\nsso_session = x\n"
    )
    return tmp_path


def test_a_profile_gives_what_the_environment_does_not(aws: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_of_profile() == {"access_key_id": "A", "secret_access_key": "S%1", "region": "eu-west-1"}
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert settings_of_profile() == {
        "access_key_id": "B", "secret_access_key": "T", "region": "us-east-2", "endpoint": "https://s3.lab",
    }  # fmt: skip
    store, _ = places.open_stores("s3://bucket")
    assert store.config["access_key_id"] == "B"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "E")
    monkeypatch.setenv("AWS_REGION", "here")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://there")
    assert settings_of_profile() == {}


def test_a_profile_without_keys_names_the_command_that_gets_them(aws: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "sso")
    with pytest.raises(EnvironmentFailure, match="aws configure export-credentials --profile sso"):
        read_bytes("s3://bucket/a.png")


def test_a_machine_without_profiles_has_no_settings(aws: Path) -> None:
    (aws / ".aws" / "credentials").write_text("no section\n")
    (aws / ".aws" / "config").unlink()
    assert settings_of_profile() == {}
