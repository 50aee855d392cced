"""Names in a bucket that a pattern wants, without holding the names of all others."""

from __future__ import annotations

import obstore
import pytest
from obstore.store import MemoryStore

from xlli_ray.remote import bucket as module
from xlli_ray.remote.bucket import Bucket

MARKERS = ("a", "c/d", "e")


def filled(*keys: str) -> Bucket:
    store = MemoryStore()
    for key in keys:
        store.put(key, b"" if key in MARKERS else b"x")
    return Bucket("memory://x", store)


@pytest.mark.parametrize("page", [1000, 3, 1])
def test_names_directly_in_a_folder_and_below_it(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", page)
    deep = [f"d/m/{i:03d}.png" for i in range(20)]
    flat = ["d/a.png", "d/m-1.png", "d/m.png", "d/m0.png", "d/z.png"]
    bucket = filled(*deep, *flat, "e/x.png", "top.png")
    assert bucket.find("d", lambda key: key.count("/") == 1, flat=True) == flat
    assert bucket.find("d", lambda key: True, flat=False) == sorted([*deep, *flat])
    assert bucket.find("", lambda key: "/" not in key, flat=True) == ["top.png"]


def test_a_flat_list_does_not_go_through_what_lies_deeper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 4)
    pages: list[int] = []
    real = obstore.list
    monkeypatch.setattr(obstore, "list", lambda *args, **options: (pages.append(1) or page for page in real(*args, **options)))
    bucket = filled("d/0.png", *(f"d/m/{i:03d}.png" for i in range(400)), "d/z.png")
    assert bucket.find("d", lambda key: key.count("/") == 1, flat=True) == ["d/0.png", "d/z.png"]
    assert len(pages) == 2


@pytest.mark.parametrize("page", [1000, 1])
def test_an_empty_object_is_the_marker_of_a_folder_if_keys_below_it_follow(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", page)
    bucket = filled("a", "a-1.png", "a/1.png", "b", "c/d", "c/d/2.png", "e", "f.png")
    assert bucket.find("", lambda key: True, flat=False) == ["a-1.png", "a/1.png", "b", "c/d/2.png", "e", "f.png"]
    assert bucket.find("", lambda key: "/" not in key, flat=True) == ["a-1.png", "b", "e", "f.png"]
