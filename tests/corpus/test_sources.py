"""Finding and reading files: local, by URL, and inside scikit-image's wheel."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path

import fsspec
import pytest

from xlli_ray.corpus.decode import decode
from xlli_ray.corpus.files import sources
from xlli_ray.corpus.files.sources import SKIMAGE, list_files, pair_files, read_bytes
from xlli_ray.errors import EnvironmentFailure, RecipeError, SampleError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.png", "c.jpg", "sub/d.png", "sub/deep/e.png", "[x]/f.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def names(folder: Path, uris: list[str]) -> list[str]:
    return [os.path.relpath(uri, folder) for uri in uris]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["*.png"], ["a.png", "b.png"]),
        (["*.png", "a.*", "c.jpg"], ["a.png", "b.png", "c.jpg"]),
        (["**/*.png"], ["[x]/f.png", "a.png", "b.png", "sub/d.png", "sub/deep/e.png"]),
        (["sub/../[ab].png"], ["a.png", "b.png"]),
        (["./c.jpg"], ["c.jpg"]),
        (["[x]/f.png"], ["[x]/f.png"]),
        (["*"], ["a.png", "b.png", "c.jpg"]),
    ],
)
def test_local_globs_give_sorted_unique_absolute_paths(folder: Path, patterns: list[str], expected: list[str]) -> None:
    found = list_files(patterns, folder)
    assert all(os.path.isabs(uri) and os.path.normpath(uri) == uri for uri in found)
    assert found == sorted(found)
    assert sorted(names(folder, found)) == sorted(expected)
    assert (
        list_files([str(folder / pattern) for pattern in patterns if "[x]" not in pattern] or patterns, folder) == found
    )


def test_brackets_in_the_base_folder_are_no_wildcards(folder: Path) -> None:
    assert names(folder, list_files(["*.png"], folder / "[x]")) == ["[x]/f.png"]


def test_a_pattern_without_match_says_where_it_looked_and_what_is_there(folder: Path) -> None:
    with pytest.raises(RecipeError, match=rf"'\*\.tif' matches no file: {folder} holds 6 files \(5 \.png, 1 \.jpg\)"):
        list_files(["*.png", "*.tif"], folder)
    with pytest.raises(RecipeError, match=rf"'sib/\*\.png' matches no file: there is no folder {folder}/sib; {folder} contains .*sub"):
        list_files(["sib/*.png"], folder)
    (folder / "sub" / "IMG.PNG").write_bytes(b"")
    (folder / "photos").mkdir()
    (folder / "photos" / "IMG.PNG").write_bytes(b"")
    with pytest.raises(RecipeError, match=r"'photos/\*\.png' matches no file: 1 file differs in letter case only, e\.g\. IMG\.PNG"):
        list_files(["photos/*.png"], folder)
    with pytest.raises(RecipeError, match="the photographs are astronaut"):
        list_files(["skimage://zebra"], folder)


def test_a_folder_means_all_images_below_it_whatever_the_case_of_their_endings(tmp_path: Path) -> None:
    wanted = ["a.png", "B.JPG", "deep/er/c.TIFF", "deep/d.webp"]
    others = ["notes.txt", ".hidden.png", ".git/e.png", "__MACOSX/a.png", "deep/data.npy"]
    for name in (*wanted, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert sorted(names(tmp_path, list_files(["."], tmp_path))) == sorted(wanted)
    assert list_files([str(tmp_path)], "/") == list_files(["."], tmp_path)
    assert names(tmp_path, list_files(["deep"], tmp_path)) == ["deep/d.webp", "deep/er/c.TIFF"]


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.npy", "README"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(RecipeError, match=r"without images: it contains 4 files \(2 \.txt, 1 \.npy, 1 without extension\).*images: \.png"):
        list_files([str(tmp_path)], "/")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match="without images: it contains no file"):
        list_files(["empty"], tmp_path)


@pytest.mark.parametrize("slip", ["/", "/.", "/../", "file:///", "/**/*.png", "/**"])
def test_the_whole_file_system_is_no_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slip: str) -> None:
    monkeypatch.setattr(os, "walk", lambda *_: pytest.fail("walked"))
    with pytest.raises(RecipeError, match="is the whole file system"):
        list_files([slip], tmp_path)
    with pytest.raises(RecipeError, match="is the whole file system"):
        list_files([os.path.relpath("/", tmp_path)], tmp_path)


def test_braces_stand_for_alternatives(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg", "c.tif", "x/d.png", "y/d.png", "{z}.png", "u,v.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert names(tmp_path, list_files(["?.{png,jpg,webp}"], tmp_path)) == ["a.png", "b.jpg"]
    assert names(tmp_path, list_files(["{x,y}/*.{p{ng,pm},tif}"], tmp_path)) == ["x/d.png", "y/d.png"]
    assert names(tmp_path, list_files(["{z}.png"], tmp_path)) == ["{z}.png"], "braces without a comma are literal"
    with pytest.raises(RecipeError, match=r"its braces expand to more than 1000 patterns"):
        list_files(["{a,b}" * 20], tmp_path)
    with pytest.raises(RecipeError, match=r"'\*\.\{bmp,gif\}' matches no file: "):
        list_files(["*.{bmp,gif}"], tmp_path)


def test_pairs_are_told_by_braces_and_by_folders_too(tmp_path: Path) -> None:
    for name in ("1_LR.png", "1_HR.png", "2_LR.jpg", "2_HR.jpg", "lr/s/3.png", "hr/s/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = pair_files("*_LR.{png,jpg}", "*_HR.{png,jpg}", tmp_path)
    assert [names(tmp_path, pair) for pair in found] == [["1_LR.png", "1_HR.png"], ["2_LR.jpg", "2_HR.jpg"]]
    assert [names(tmp_path, pair) for pair in pair_files("lr", "hr", tmp_path)] == [["lr/s/3.png", "hr/s/3.png"]]


def test_brackets_and_braces_in_the_recipes_own_folder_are_no_wildcards(tmp_path: Path) -> None:
    from xlli_ray.recipe.absolute_paths import resolve_glob

    home = tmp_path / "study [1] {a,b} *"
    (home / "photos").mkdir(parents=True)
    (home / "photos" / "a.png").write_bytes(b"")
    for pattern in ("photos/*.png", "photos", "photos/a.png"):
        assert list_files([resolve_glob(pattern, home)], "/") == [str(home / "photos" / "a.png")], pattern
    with pytest.raises(RecipeError, match=r"holds 1 file \(1 \.png\)"):
        list_files([resolve_glob("photos/*.tif", home)], "/")


def test_file_urls_are_local_paths(folder: Path) -> None:
    assert list_files([f"file://{folder}/*.png"], "/") == list_files(["*.png"], folder)


def test_urls_are_listed_and_read_through_fsspec() -> None:
    memory = fsspec.filesystem("memory")
    for name in ("b.png", "a.png", "c.txt"):
        memory.pipe(f"/test_sources/{name}", name.encode())
    found = list_files(["memory://test_sources/*.png"], "/nowhere")
    assert [uri.rpartition("/")[2] for uri in found] == ["a.png", "b.png"]
    assert [read_bytes(uri) for uri in found] == [b"a.png", b"b.png"]
    assert list_files(["memory://test_sources/a.png"], "/nowhere") == ["memory://test_sources/a.png"]
    with pytest.raises(SampleError, match="missing file"):
        read_bytes("memory://test_sources/gone.png")


def test_files_inside_an_archive_keep_the_archives_address(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("x_LR.png", "x_HR.png", "y_LR.png", "y_HR.png"):
            archive.writestr(name, name)
    url = f"::file://{tmp_path}/set.zip"
    found = list_files([f"zip://*_LR.png{url}"], "/")
    assert found == [f"zip://x_LR.png{url}", f"zip://y_LR.png{url}"]
    assert read_bytes(found[1]) == b"y_LR.png"
    pairs = pair_files(f"zip://*_LR.png{url}", f"zip://*_HR.png{url}", "/")
    assert pairs == [(f"zip://{k}_LR.png{url}", f"zip://{k}_HR.png{url}") for k in "xy"]


def test_a_question_mark_in_http_is_a_query() -> None:
    assert list_files(["https://host.invalid/a.png?size=full"], "/") == ["https://host.invalid/a.png?size=full"]


def test_an_unknown_protocol_and_a_missing_package_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match="cannot be listed"):
        list_files(["nosuch://bucket/*.png"], "/")

    def absent(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", absent)
    for call in (lambda: read_bytes("zip://a.png::s3://bucket/a.zip"), lambda: list_files(["zip://*.png::s3://bucket/a.zip"], "/")):
        with pytest.raises(EnvironmentFailure, match=r"s3fs.*pip install 'xlli_ray\[s3\]'"):
            call()


def test_scikit_images_photographs_are_there_and_are_colour() -> None:
    found = list_files(["skimage://*"], "/")
    assert found == [f"skimage://{name}" for name in sorted(SKIMAGE)]
    assert list_files(["skimage://c*"], "/") == ["skimage://chelsea", "skimage://coffee"]
    digests = set()
    for uri in found:
        image = decode(read_bytes(uri))
        assert min(image.pixels.shape[:2]) >= 300
        assert abs(image.pixels[..., 0] - image.pixels[..., 2]).mean() > 0.01  # grey would be 0
        digests.add(image.pixels.tobytes())
    assert len(digests) == len(found)


def test_an_unknown_photograph_names_the_closest() -> None:
    with pytest.raises(SampleError, match=r"no photograph 'astronut'\. Closest: astronaut"):
        read_bytes("skimage://astronut")


def test_reasons_for_unreadable_files_are_told_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SampleError, match=r"missing file: .*gone\.png"):
        read_bytes(str(folder / "gone.png"))
    with pytest.raises(SampleError, match="a folder, not a file"):
        read_bytes(str(folder / "sub"))

    # Root may read everything, so the system's answers are played.
    for number, kind, message in (
        (errno.EACCES, SampleError, "permission denied: .*a.png"),
        (errno.EIO, EnvironmentFailure, "a.png cannot be read.*Input/output"),
        (errno.ESTALE, EnvironmentFailure, "a.png cannot be read.*mount"),
        (errno.EMFILE, EnvironmentFailure, "Too many open files. Raise the limit"),
        (errno.ENOMEM, EnvironmentFailure, "cannot be opened"),
    ):

        def refuse(*_: object, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(sources, "open", refuse, raising=False)
        with pytest.raises(kind, match=message):
            read_bytes(str(folder / "a.png"))


def test_permission_denied_for_real(folder: Path) -> None:
    """Nobody may read it. Root may read everything, so a process of root's becomes somebody else for the while."""
    image = folder / "a.png"
    image.chmod(0)
    was_root = os.geteuid() == 0
    if was_root:
        for parent in image.parents[:3]:
            parent.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(SampleError, match="permission denied"):
            read_bytes(str(image))
    finally:
        if was_root:
            os.seteuid(0)


def test_missing_credentials_stop_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCredentialsError(Exception):
        pass

    def refuse(*_: object, **__: object) -> None:
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(EnvironmentFailure, match="no credentials"):
        read_bytes("zip://a.png::s3://bucket/a.zip")


# -- pairs ------------------------------------------------------------------------------------------------------------


def touch(folder: Path, *files: str) -> None:
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def test_pairs_are_matched_by_what_the_star_stands_for(tmp_path: Path) -> None:
    touch(tmp_path, "x4/2_LR.png", "x4/10_LR.png", "x4/2_HR.png", "x4/10_HR.png", "x4/other.txt")
    pairs = pair_files("x4/*_LR.png", ["x4/*_HR.png"], tmp_path)
    assert [names(tmp_path, list(pair)) for pair in pairs] == [
        ["x4/10_LR.png", "x4/10_HR.png"],
        ["x4/2_LR.png", "x4/2_HR.png"],
    ]


def test_pairs_in_nested_folders_and_of_several_patterns(tmp_path: Path) -> None:
    touch(
        tmp_path, "in/a/1.png", "in/b/1.png", "in/2.png", "gt/a/1.jpg", "gt/b/1.jpg", "gt/2.jpg", "q/k.png", "r/k.png"
    )
    pairs = pair_files(["in/**/*.png", "q/?.png"], ["gt/**/*.jpg", "r/?.png"], tmp_path)
    assert [tuple(names(tmp_path, list(pair))) for pair in pairs] == [
        ("in/2.png", "gt/2.jpg"),
        ("in/a/1.png", "gt/a/1.jpg"),
        ("in/b/1.png", "gt/b/1.jpg"),
        ("q/k.png", "r/k.png"),
    ]


def test_two_files_without_wildcards_are_a_pair(tmp_path: Path) -> None:
    touch(tmp_path, "rain[1].png", "dry.png")
    (pair,) = pair_files("rain[1].png", "dry.png", tmp_path)
    assert names(tmp_path, list(pair)) == ["rain[1].png", "dry.png"]


def test_left_over_files_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "1_LR.png", "2_LR.png", "1_HR.png")
    with pytest.raises(RecipeError, match=r"1 input has \(.*2_LR.png\) no target of the same name under '\*_HR.png'"):
        pair_files("*_LR.png", "*_HR.png", tmp_path)
    touch(tmp_path, *(f"{k}_HR.png" for k in range(2, 10)))
    with pytest.raises(RecipeError, match=r"7 targets have \(.*and 2 more\) no input"):
        pair_files("*_LR.png", "*_HR.png", tmp_path)


def test_patterns_that_cannot_correspond_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "1_LR.png", "1_HR.png")
    with pytest.raises(RecipeError, match="different numbers of wildcards"):
        pair_files("*_LR.png", "*_*R.png", tmp_path)
    with pytest.raises(RecipeError, match="1 input patterns and 2 target patterns"):
        pair_files("*_LR.png", ["*_HR.png", "1*"], tmp_path)
    touch(tmp_path, "1_GT.png")
    with pytest.raises(RecipeError, match="expected one target per input"):
        pair_files(["*_LR.png", "*_LR.png"], ["*_HR.png", "*_GT.png"], tmp_path)
