"""Sizes of inputs: axes, shapes and the names of buckets, which the store must take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from xlli_ray.corpus.size import Size
from xlli_ray.store.records.manifest import Bucket, BucketPlan
from xlli_ray.store.tables.checked_names import BUCKET

EDGE = st.integers(1, 999_999_999)


@given(EDGE, EDGE, st.integers(0, 999_999_999))
def test_every_size_is_read_back_from_its_bucket_whose_name_the_store_takes(height: int, width: int, frames: int) -> None:
    size = Size(height, width, frames)
    assert Size.of_bucket(size.bucket) == size
    assert BUCKET.fullmatch(size.bucket)
    assert len(size.axes) == len(size.shape())


def test_images_keep_their_names_and_clips_have_an_axis_more() -> None:
    assert (Size(64, 86).bucket, Size(64, 86, 7).bucket) == ("h0064w0086", "t0007h0064w0086")
    assert (Size(64, 86).axes, Size(64, 86).shape()) == (("channel", "y", "x"), (3, 64, 86))
    assert (Size(64, 86, 7).axes, Size(64, 86, 7).shape(1)) == (("frame", "channel", "y", "x"), (7, 1, 64, 86))
    assert Size(64, 86, 7).times(4) == Size(256, 344, 7)


@pytest.mark.parametrize("name", ["", "h64w86", "h0064w0086x", "t0000h0064w0086", "h00064w0086", "../h0064w0086"])
def test_what_no_size_is_called_is_no_bucket(name: str) -> None:
    with pytest.raises(ValueError, match="is not a bucket"):
        Size.of_bucket(name)


@pytest.mark.parametrize(
    "made", [Bucket("h0004w0004", 4, 4, 0, 1, (("clean", 0, 1),), 1, (2,)), BucketPlan("h0004w0004", 4, 4, 1, 1, 1, 0, ((0, 1),), ())]
)
def test_documents_from_before_there_were_clips_are_read(made: Bucket | BucketPlan) -> None:
    def without(document: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in document.items() if name != "frames"}

    adapter = TypeAdapter(type(made))
    data = adapter.dump_json(made)
    assert adapter.validate_json(data) == made
    old = TypeAdapter(dict[str, Any]).dump_json(without(asdict(made)))
    assert b"frames" not in old
    assert adapter.validate_json(old) == made
