"""`xlli view`: all of a study on loopback for who knows the link, and nothing for anybody else."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_studies import Recipe, Stage

from xlli_ray.errors import EnvironmentFailure, StudyError
from xlli_ray.report.page import write_report
from xlli_ray.report.view_server.byte_range import Unsatisfiable, byte_range
from xlli_ray.report.view_server.server import ViewServer
from xlli_ray.report.view_server.shown_study import ShownStudy
from xlli_ray.store.records.manifest import Manifest
from xlli_ray.study import open_study

Make = Callable[[Recipe], str]
FEATURES = Stage("features", "features", (), ["body.0.out"], shape=(16, 8, 8))
PATH = "arrays.zarr/features/net0/body.0.out"


@contextmanager
def serving(place: str) -> Iterator[ViewServer]:
    server = ViewServer(ShownStudy(place))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        server.shown.close()
        thread.join(10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from toy_studies import write_study

    from xlli_ray.store.objects.client import open_objects

    inside = tmp_path_factory.mktemp("served")
    write_study(open_objects(inside / "toy"), Recipe([Stage("restore"), FEATURES]), inside / "images")
    (inside / "secret").write_text("secret")
    return inside / "toy"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ViewServer]:
    with serving(str(folder)) as made:
        yield made


def ask(
    server: ViewServer, path: str, fields: dict[str, str] | None = None, *, method: str = "GET", token: bool = True, host: str | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Sent as it is: http.client does not tidy a path."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.putrequest(method, f"/{server.token}{path}" if token else path, skip_host=True, skip_accept_encoding=True)
    if host != "":
        connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    for name, value in (fields or {}).items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, data


def part(server: ViewServer, name: str) -> Any:
    status, _, data = ask(server, f"/report/data/{name}.js")
    assert status == 200
    match = re.fullmatch(r'xlli\.put\(("[^"]*"),(.*)\);\n', data.decode(), re.DOTALL)
    assert match is not None, data[:200]
    assert json.loads(match[1]) == name
    return json.loads(match[2])


def content(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def test_the_page_is_that_of_xlli_report_and_nothing_is_written(server: ViewServer, folder: Path, make_study: Make) -> None:
    before = content(folder)
    status, fields, page = ask(server, "/report/index.html")
    assert (status, fields["content-type"]) == (200, "text/html; charset=utf-8")
    assert part(server, "names-0")["ids"]
    assert content(folder) == before
    other = make_study(Recipe([Stage("restore"), FEATURES]))
    with serving(other) as second:
        served = ask(second, "/report/index.html")[2].decode()
    written = Path(write_report(other)).read_text()
    digest = re.compile(r'data-parts="\w+"')
    assert digest.sub("", served) == digest.sub("", written)
    assert b'<script src="explorer.js" defer>' in page


def test_program_and_style_are_those_of_the_package(server: ViewServer) -> None:
    import xlli_ray.report.explorer as explorer

    bundle = Path(explorer.__file__).parent / "bundle"
    for name, kind in (("explorer.js", "text/javascript"), ("explorer.css", "text/css")):
        status, fields, data = ask(server, f"/report/{name}")
        assert (status, data) == (200, (bundle / name).read_bytes())
        assert fields["content-type"].startswith(kind)


def test_every_sample_and_every_whole_array_can_be_opened(server: ViewServer, folder: Path) -> None:
    about = part(server, "study")
    assert about["served"] is True
    assert about["held"] == []
    for name in ("thumbnails-0", "column-0"):
        part(server, name)
    study = open_study(folder)
    index = next(i for i, array in enumerate(about["arrays"]) if array["key"] == "features/net0/body.0.out:features")
    for row in range(about["rows"]):
        name = study.sample_rows(row, row + 1)["sample_id"][0].as_py()
        assert part(server, f"sample-{row}")["id"] == name
    planes = part(server, f"array-0-{index}")
    stored = study.array("features/net0/body.0.out").rows([study.sample_rows(0, 1)["sample_id"][0].as_py()])
    assert planes["total"] == len(planes["places"]) == 16
    assert np.array_equal(np.frombuffer(base64.b64decode(planes["f4"]), "<f4").reshape(16, 8, 8), stored[0])


@pytest.mark.parametrize(
    "name", ["sample-6000", "sample-00000000000", "array-0-999", "array-0-0", "column--1", "figures-0", "", "study.js", "..%2fstudy", "%00"]
)
def test_what_is_no_part_is_not_there(server: ViewServer, name: str) -> None:
    assert ask(server, f"/report/data/{name}.js")[0] == 404


def test_a_part_that_cannot_be_made_says_why_and_the_others_are_made(make_study: Make) -> None:
    place = make_study(Recipe([Stage("restore", name="output", shape=(3, 128, 128), dtype="uint8")]))
    for shard in (Path(place) / "arrays.zarr/restore/net1").rglob("*"):
        if shard.is_file() and "/c/" in str(shard) and "output" in str(shard):
            shard.write_bytes(b"x" * 100)
    with serving(place) as server:
        about = part(server, "study")
        index = next(i for i, array in enumerate(about["arrays"]) if array["model"] == "net1")
        data = ask(server, f"/report/data/array-0-{index}.js")[2].decode()
        match = re.fullmatch(r'xlli\.fail\("array-0-\d+","(.+)"\);\n', data)
        assert match is not None
        assert "net1" in match[1]
        assert part(server, "sample-0")["missing"][0]["key"] == about["arrays"][index]["key"]


def test_objects_of_the_study_are_read_whole_and_in_parts(server: ViewServer, folder: Path) -> None:
    shard = next(path for path in (folder / PATH).rglob("*") if path.is_file() and "/c/" in str(path))
    data, path = shard.read_bytes(), f"/study/{shard.relative_to(folder)}"
    status, fields, whole = ask(server, path)
    assert (status, whole, fields["accept-ranges"]) == (200, data, "bytes")
    for text, wanted in (("bytes=0-9", data[:10]), ("bytes=5-", data[5:]), ("bytes=-20", data[-20:]), (f"bytes=7-{10**15}", data[7:]),
                         (f"bytes=-{10**15}", data)):  # fmt: skip
        status, fields, got = ask(server, path, {"Range": text})
        assert (status, got) == (206, wanted), text
        first = len(data) - len(wanted) if text != "bytes=0-9" else 0
        assert fields["content-range"] == f"bytes {first}-{first + len(wanted) - 1}/{len(data)}"
    for text in (f"bytes={len(data)}-", "bytes=-0"):
        status, fields, _ = ask(server, path, {"Range": text})
        assert (status, fields["content-range"]) == (416, f"bytes */{len(data)}")
    for text in ("bytes=9-2", "bytes=0-1,5-6", "bytes=-", "lines=1-2", "bytes=٣-٤", "bytes=" + "9" * 5000 + "-"):
        assert ask(server, path, {"Range": text.encode().decode("latin-1")})[::2] == (200, data), text
    assert ask(server, path, {"Range": "bytes=0-9", "If-Range": '"mark"'})[::2] == (200, data)


def test_the_range_of_an_empty_object_is_none() -> None:
    assert byte_range(None, 0) is None
    for text in ("bytes=0-", "bytes=-1"):
        with pytest.raises(Unsatisfiable):
            byte_range(text, 0)


def test_zarr_reads_the_served_arrays(server: ViewServer, folder: Path) -> None:
    """Not only our own reader: zarr-python asks for ends and parts of shards."""
    zarr, fsspec = pytest.importorskip("zarr"), pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    bucket = next(path.name for path in (folder / PATH).iterdir() if path.is_dir())
    from zarr.storage import FsspecStore

    assert fsspec is not None
    store = FsspecStore.from_url(f"http://127.0.0.1:{server.server_port}/{server.token}/study/{PATH}/{bucket}/features", read_only=True)
    ours = open_study(folder).array("features/net0/body.0.out").reader(bucket)
    assert np.array_equal(np.asarray(zarr.open_array(store, mode="r")[:]), ours.rows(range(ours.meta.rows)))


def test_head_says_what_get_would_and_sends_nothing(server: ViewServer, folder: Path) -> None:
    for path in ("/report/index.html", "/report/data/study.js", "/study/study.json", "/study/nothing"):
        got, told = ask(server, path), ask(server, path, {"Range": "bytes=0-1"}, method="HEAD")
        assert told[0] == got[0]
        assert told[1]["content-length"] == str(len(got[2]))
        assert told[2] == b""


OUTSIDE = ["/../secret", "/%2e%2e/secret", "/..%2fsecret", "/%2e%2e%2fsecret", "/%252e%252e%252fsecret", "/..\\secret", "/..%5csecret",
           "/x/../../secret", "/./../secret", "//secret", "/tables/%2e%2e/%2e%2e/secret", "/..;/secret", "/%c0%ae%c0%ae/secret",
           "/..%00/secret", "/study.json%00", "/study.json/", "/.", "/..", "/", "", "/tables", "/~/secret", "/file:///etc/passwd",
           "/%2fetc%2fpasswd", "//etc/passwd", "/%EF%BC%8E%EF%BC%8E/secret",
           "/link", "/linked/secret", "/tables/inner", "/.hidden", "/fifo", "/" + "a" * 300]  # fmt: skip


@pytest.fixture(scope="module")
def traps(folder: Path) -> None:
    """Ways out of the study: links, a FIFO that would block, a file being written."""
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "linked").symlink_to(folder.parent)
    (folder / "tables").mkdir(exist_ok=True)
    (folder / "tables/inner").symlink_to("../study.json")
    (folder / ".hidden").write_text("secret")
    os.mkfifo(folder / "fifo")


@pytest.mark.usefixtures("traps")
@pytest.mark.parametrize("way", OUTSIDE)
@pytest.mark.parametrize("below", ["/study", "/report", "/report/data"])
def test_there_is_no_way_out_of_the_study(server: ViewServer, way: str, below: str) -> None:
    status, _, data = ask(server, below + way)
    assert status == 404
    assert b"secret" not in data
    assert b"root:" not in data


@pytest.mark.parametrize("path", ["*", "http://127.0.0.1/study/study.json", "study/study.json", "//127.0.0.1/study"])
def test_a_request_without_a_path_is_refused(server: ViewServer, path: str) -> None:
    assert ask(server, path, token=False)[0] == 403


def test_only_the_link_opens_anything(server: ViewServer) -> None:
    token = server.token
    for path in ("/", "/report/index.html", "/study/study.json", f"/{token[:-1]}/study/study.json", f"/{token}x/study/study.json",
                 f"/{token.swapcase()}/study/study.json", "/%ff/study/study.json", "//study/study.json"):  # fmt: skip
        status, _, data = ask(server, path, token=False)
        assert status == 403, path
        assert token.encode() not in data
    assert len(token) >= 43, "256 bits"


def test_the_key_on_the_browsers_command_line_leads_to_the_page_once(server: ViewServer) -> None:
    with serving(server.shown.place) as other:
        way = other.link_once.removeprefix(f"http://127.0.0.1:{other.server_port}")
        status, fields, _ = ask(other, way, token=False)
        assert (status, fields["location"]) == (303, f"/{other.token}/report/index.html")
        assert ask(other, way, token=False)[0] == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:{port}", 200), ("localhost:{port}", 200), ("LOCALHOST:{port}", 200), ("[::1]:{port}", 200), ("127.0.0.1", 421),
     ("127.0.0.1:1", 421), ("evil.example:{port}", 421), ("127.0.0.1.evil.example:{port}", 421), ("evil.example", 421),
     ("localhost:{port}@evil.example", 421), ("0.0.0.0:{port}", 421), (" ", 421), ("", 421)],
)  # fmt: skip
def test_a_name_that_was_made_to_lead_here_is_refused(server: ViewServer, host: str, status: int) -> None:
    assert ask(server, "/study/study.json", host=host.format(port=server.server_port))[0] == status


def test_two_host_fields_are_refused(server: ViewServer) -> None:
    assert ask(server, "/study/study.json", {"host": "evil.example"})[0] == 421


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://127.0.0.1:{port}", 200), ("http://localhost:{port}", 200), ("null", 403), ("https://127.0.0.1:{port}", 403),
     ("http://127.0.0.1", 403), ("http://evil.example", 403), ("http://127.0.0.1:{port}.evil.example", 403), ("", 403)],
)  # fmt: skip
def test_a_page_of_another_host_is_refused(server: ViewServer, origin: str, status: int) -> None:
    answer, fields, _ = ask(server, "/study/study.json", {"Origin": origin.format(port=server.server_port)})
    assert answer == status
    assert not [name for name in fields if name.startswith("access-control")]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"])
def test_nothing_but_reading(server: ViewServer, folder: Path, method: str) -> None:
    before = content(folder)
    status, fields, _ = ask(server, "/study/study.json", {"Content-Length": "0"}, method=method)
    assert (status, fields["allow"], fields["connection"]) == (405, "GET, HEAD", "close")
    assert content(folder) == before


def test_every_answer_keeps_browsers_from_more(server: ViewServer) -> None:
    for path, method in (("/report/index.html", "GET"), ("/report/data/study.js", "GET"), ("/report/explorer.js", "GET"), ("/x", "GET"),
                         ("/study/study.json", "GET"), ("/study/study.json", "POST")):  # fmt: skip
        fields = ask(server, path, method=method)[1]
        assert fields["x-content-type-options"] == "nosniff"
        assert fields["referrer-policy"] == "no-referrer"
        assert fields["cross-origin-resource-policy"] == "same-origin"
        assert fields["cache-control"] == "no-store"
        assert fields["content-security-policy"].startswith("default-src 'none'")
    fields = ask(server, "/study/study.json")[1]
    assert (fields["content-type"], fields["content-security-policy"]) == ("application/octet-stream", "default-src 'none'; sandbox")


@pytest.mark.parametrize(
    "sent", [b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x00\xff", b"GET /\r\n", b"x" * 70000]
)
def test_what_is_no_request_ends_the_connection_and_nothing_else(
    server: ViewServer, sent: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            assert server.token.encode() not in connection.recv(1 << 16)
    assert ask(server, "/study/study.json")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_body_is_not_taken_for_the_next_request(server: ViewServer) -> None:
    inner = f"GET /{server.token}/study/study.json HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        head = f"GET /x HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\nContent-Length: {len(inner)}\r\n\r\n".encode()
        connection.sendall(head + inner)
        got = b""
        with suppress(ConnectionResetError):
            while block := connection.recv(1 << 16):
                got += block
    assert got.count(b"HTTP/1.1 ") == 1


def test_a_browser_that_goes_away_is_no_traceback(server: ViewServer, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import struct

    big = folder / "tables" / "big"
    big.parent.mkdir(exist_ok=True)
    big.write_bytes(bytes(16 << 20))
    connection = socket.create_connection(("127.0.0.1", server.server_port), timeout=10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing is a reset
    connection.sendall(f"GET /{server.token}/study/tables/big HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
    connection.recv(100)
    connection.close()
    for _ in range(3):
        assert ask(server, "/study/study.json")[0] == 200
    assert len(ask(server, "/study/tables/big")[2]) == 16 << 20
    big.unlink()
    assert capfd.readouterr().err == ""


def test_an_object_that_became_shorter_ends_the_connection_early(
    server: ViewServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xlli_ray.report.view_server import server as module

    monkeypatch.setattr(module, "BLOCK", 1000)
    size = (folder / "study.json").stat().st_size
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda handle, length, start: real(handle, length, start) if start < 2000 else b"")
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(server, "/study/study.json")
    assert len(caught.value.partial) == 2000 < size


def test_two_readers_at_once_get_what_one_gets(server: ViewServer) -> None:
    names = [*(f"sample-{row}" for row in range(6)), "column-0", "thumbnails-0", "names-0", "study"]
    alone = {name: ask(server, f"/report/data/{name}.js")[2] for name in names}
    wrong: list[str] = []

    def read(order: list[str]) -> None:
        for name in order:
            if ask(server, f"/report/data/{name}.js")[2] != alone[name]:
                wrong.append(name)
            if ask(server, "/report/index.html")[0] != 200:
                wrong.append("page")

    threads = [threading.Thread(target=read, args=(order,)) for order in (names, names[::-1], names[3:] + names[:3])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert wrong == []


def test_the_page_of_a_running_study_is_that_of_now_when_it_is_asked_for_again(tmp_path: Path) -> None:
    import toy_studies

    from xlli_ray.store.objects.client import open_objects

    objects = open_objects(tmp_path / "toy")
    recipe = Recipe([Stage("restore")], done=0.5)
    manifest: Manifest = toy_studies.write_study(objects, recipe, tmp_path / "images")
    with serving(str(tmp_path / "toy")) as server:
        assert b"Not finished." in ask(server, "/report/index.html")[2]
        column = next(i for i, one in enumerate(part(server, "study")["columns"]) if one["id"] == "restore/psnr_y")
        half = part(server, f"column-{column}")
        for cell in manifest.cells:
            for unit in range(round(0.5 * cell.units), cell.units):
                toy_studies._unit(objects, cell, recipe.stages[0], unit, recipe, toy_studies.rows_of(objects, manifest.samples))  # type: ignore[arg-type]
        assert part(server, f"column-{column}") == half, "a page and its parts are of one moment"
        assert b"Not finished." not in ask(server, "/report/index.html")[2]
        assert part(server, f"column-{column}") != half


def test_a_study_without_a_corpus_has_a_page_and_no_parts(tmp_path: Path) -> None:
    from xlli_ray.store.objects.client import open_objects
    from xlli_ray.store.records.documents import save_manifest

    save_manifest(open_objects(tmp_path / "new"), Manifest("new", 0, samples=None, models=(), cells=(), recipe={"name": "new"}))
    with serving(str(tmp_path / "new")) as server:
        assert b"has not been scanned" in ask(server, "/report/index.html")[2]
        assert ask(server, "/report/data/study.js")[0] == 404


def test_no_study_and_a_taken_port_are_said_with_what_to_do(server: ViewServer, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="not a study"):
        ShownStudy(str(tmp_path / "nothing"))
    with pytest.raises(EnvironmentFailure, match=rf"port {server.server_port} .*leave --port out"):
        ViewServer(server.shown, server.server_port)


def test_it_listens_on_the_loopback_interface_only(server: ViewServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"
    assert server.link == f"http://127.0.0.1:{server.server_port}/{server.token}/report/index.html"


def test_the_command_prints_one_line_and_ends_cleanly(folder: Path) -> None:
    command = [sys.executable, "-m", "xlli_ray", "view", str(folder), "--no-browser"]
    done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.stdout is not None
    line = done.stdout.readline()
    match = re.fullmatch(r"view: (http://127\.0\.0\.1:\d+/[\w-]{43}/report/index\.html) \(Ctrl-C ends it\)\n", line)
    assert match, line
    done.send_signal(signal.SIGINT)
    out, err = done.communicate(timeout=60)
    assert (done.returncode, out) == (0, "ended\n")
    assert err.startswith("reading the study"), "what the reader waits for, before the link"
    assert err.count("\n") == 1
