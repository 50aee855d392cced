"""A corpus in a bucket: the same files as fsspec finds, and as few requests as can be."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from faulty import Faulty, Request
from helpers import image
from PIL import Image
from server import CORPUS, KEY, SECRET, Server

from xlli_ray.corpus.files.faults import FileFault
from xlli_ray.corpus.files.prefetch import Ahead
from xlli_ray.corpus.files.sources import list_files, pair_files, read_bytes
from xlli_ray.corpus.scan import list_sources, scan_source
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.errors import EnvironmentFailure, RecipeError
from xlli_ray.remote import bucket

ODD = ("a b.png", "a%20b.png", "a#b.png", "a?b.png", "ä.png", "[1].png", "1*.png", "a~b.png", "a+b.png", "{x}.png", "a'\"b.png",
       ".hidden.png", "sub/1.png", "sub/deep/2.png", "sub/deep/3.jpg", "sub2/1.png", "sub.png", "IMG.PNG")  # fmt: skip
PATTERNS = ("*.png", "*", "**", "**/*.png", "**/[0-9].*", "s*/*.png", "sub/*", "sub/**/*.png", "*/deep/*", "?.png", "[[]1].png", "a*b.png",
            "[!a]*.png", "*.[pP][nN][gG]", "none/*.png", "sub*", "sub/", "**/deep/**")  # fmt: skip


@pytest.fixture(scope="module")
def files(server: Server) -> s3fs.S3FileSystem:
    return s3fs.S3FileSystem(key=KEY, secret=SECRET, endpoint_url=server.url, skip_instance_cache=True)


@pytest.fixture(scope="module")
def odd(files: s3fs.S3FileSystem) -> str:
    folder = f"{CORPUS}/{uuid.uuid4().hex}"
    for name in ODD:
        files.pipe_file(f"{folder}/{name}", name.encode())
    return folder


@pytest.fixture
def asked(proxy: Faulty) -> list[str]:
    """Requests, as the server sees them."""
    seen: list[str] = []

    def note(request: Request) -> str:
        seen.append(f"LIST {request.path}" if "list-type=2" in request.path else f"{request.method} {request.path}")
        return ""

    proxy.rule = note
    return seen


@pytest.mark.parametrize("pattern", [one for one in PATTERNS if any(magic in one for magic in "*?[")])
def test_a_pattern_finds_in_a_bucket_what_fsspec_finds(
    odd: str, files: s3fs.S3FileSystem, asked: list[str], pattern: str
) -> None:
    wanted = sorted(f"s3://{name}" for name, info in files.glob(f"{odd}/{pattern}", detail=True).items() if info["type"] == "file")
    if wanted:
        assert list_files([f"s3://{odd}/{pattern}"], "/") == wanted
    else:
        with pytest.raises(RecipeError, match="matches no file"):
            list_files([f"s3://{odd}/{pattern}"], "/")
    assert [line.split()[0] for line in asked] == ["LIST"], "one page"


def test_a_folder_above_a_large_one_is_listed_without_reading_all_its_names(
    files: s3fs.S3FileSystem, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a server lists folders in another order than names: `sub-1.png` comes after `sub/…`, or before."""
    monkeypatch.setattr(bucket, "PAGE", 4)
    place = f"{CORPUS}/{uuid.uuid4().hex}"
    flat = ("sub-1.png", "sub.png", "sub0.png", "z.png")
    for name in (*flat, *(f"sub/{i}.png" for i in range(9))):
        files.pipe_file(f"{place}/{name}", b"1")
    assert list_files([f"s3://{place}/*.png"], "/") == [f"s3://{place}/{name}" for name in flat]
    assert len(list_files([f"s3://{place}/**/*.png"], "/")) == 13
    assert ["delimiter=" in line for line in asked] == [False, True, False]


def test_a_file_of_any_name_is_one_get(odd: str, asked: list[str]) -> None:
    for name in ODD:
        assert read_bytes(f"s3://{odd}/{name}") == name.encode()
    assert [line.split()[0] for line in asked] == ["GET"] * len(ODD)
    for impossible in ("a//b.png", "a\x01.png"):
        with pytest.raises(FileFault, match="unreadable file"):
            read_bytes(f"s3://{odd}/{impossible}")


def test_a_list_and_what_it_names_lie_in_a_bucket(odd: str, files: s3fs.S3FileSystem, asked: list[str]) -> None:
    """Names in a list are relative to its own folder, also there."""
    out = BytesIO()
    pq.write_table(pa.table({"image": ["sub/1.png", f"s3://{odd}/sub.png"]}), out)
    files.pipe_file(f"{odd}/lists/all.parquet", out.getvalue())
    sources = list_sources(CorpusSpec.model_validate({"list": f"s3://{odd}/lists/all.parquet", "scale": 2}), "/")
    assert [source.uri for source in sources] == [f"s3://{odd}/lists/sub/1.png", f"s3://{odd}/sub.png"]
    assert [line.split()[0] for line in asked] == ["GET"]


def test_pairs_lie_in_buckets(odd: str, proxy: Faulty) -> None:
    assert pair_files(f"s3://{odd}/sub/*.png", f"s3://{odd}/sub2/*.png", "/") == [(f"s3://{odd}/sub/1.png", f"s3://{odd}/sub2/1.png")]


def test_a_bucket_with_wildcards_in_its_name_is_refused() -> None:
    with pytest.raises(RecipeError, match="expected the name of one bucket"):
        list_files(["s3://photos-*/1.png"], "/")


def test_a_scan_of_a_bucket_lists_once_and_gets_each_image_once(
    files: s3fs.S3FileSystem, asked: list[str], tmp_path: Path
) -> None:
    """And its rows are those of the same files in a folder, in the same order, but for their addresses."""
    place = uuid.uuid4().hex
    for i in range(12):
        Image.fromarray(image(i, 24 + 8 * (i % 2), 24)).save(tmp_path / f"{i:02d}.png")
        files.pipe_file(f"{CORPUS}/{place}/{i:02d}.png", (tmp_path / f"{i:02d}.png").read_bytes())
    rows = []
    for root in (f"s3://{CORPUS}/{place}", str(tmp_path)):
        spec = CorpusSpec.model_validate({"images": [f"{root}/*.png"], "scale": 2, "degradations": ["clean", {"noise": 20}]})
        scanned = [scan_source(source, spec, 0) for source in list_sources(spec, "/")]
        assert all(root in str(row) for row in scanned)
        rows.append([str(row).replace(root, "HERE") for row in scanned])
    assert rows[0] == rows[1]
    assert [line.split()[0] for line in sorted(asked)] == ["GET"] * 12 + ["LIST"]


def test_files_are_fetched_ahead_once_each(odd: str, asked: list[str]) -> None:
    ahead = Ahead(read_bytes)
    uris = [f"s3://{odd}/{name}" for name in ODD]
    ahead.fetch(uris)
    assert [ahead(uri) for uri in uris] == [name.encode() for name in ODD]
    ahead.close()
    assert len(asked) == len(ODD)


REFUSALS: dict[str, Callable[[str], object]] = {
    "read": lambda odd: read_bytes(f"s3://{odd}/sub.png"),
    "list": lambda odd: list_files([f"s3://{odd}/*.png"], "/"),
}


def test_a_denied_file_may_be_the_files_matter_a_denied_list_never_is(odd: str, proxy: Faulty) -> None:
    proxy.rule = lambda request: "403"
    with pytest.raises(FileFault, match=r"permission denied: s3://.*sub\.png"):
        REFUSALS["read"](odd)
    with pytest.raises(EnvironmentFailure, match=r"AccessDenied.*this key's rights\. Nothing is marked"):
        REFUSALS["list"](odd)
