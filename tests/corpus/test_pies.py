"""The PIES-like set: which sets there are, how patches are spread, real sets beside made ones, and what a mistake is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from xlli_ray.corpus import pies_like_set
from xlli_ray.corpus.box import Box
from xlli_ray.corpus.degradations import parse_label
from xlli_ray.corpus.ids import content_id, order_key, sample_id
from xlli_ray.corpus.pies_like_set import PiesSpec, real_name, remarks, spread
from xlli_ray.corpus.sample import Loader, sample_from_row
from xlli_ray.corpus.scan import SCHEMA, CorpusSpec, expand, list_sources, scan_source
from xlli_ray.errors import RecipeError


def write(path: Path, height: int, width: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 2 + 1, width // 2 + 1, 3), dtype=np.uint8)
    Image.fromarray(np.kron(coarse, np.ones((2, 2, 1), np.uint8))[:height, :width]).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photographs of 12, 6, 2 and 1 tiles of 32 pixels; cameras of 8 and 4 tiles of 8; the web's one image of 6."""
    for k, size in enumerate([(96, 128), (64, 96), (40, 70), (32, 32)]):
        write(tmp_path / "photos" / f"{k}.png", *size, seed=k)
    write(tmp_path / "camera" / "a.png", 16, 32, seed=10)
    write(tmp_path / "camera" / "b.png", 16, 16, seed=11)
    write(tmp_path / "web" / "c.png", 16, 24, seed=12)
    return tmp_path


def corpus(**options: Any) -> CorpusSpec:
    some = {"patches": 10, "size": 32, "sets": ["clean", "blur1", "noise20"]}
    return CorpusSpec(images=["photos/*.png"], scale=4, pies={**some, **options})


def table(spec: CorpusSpec, base: Path, seed: int = 0) -> pa.Table:
    rows = [scan_source(source, spec, seed) for source in list_sources(spec, base)]
    assert json.loads(json.dumps(rows)) == rows
    return pa.Table.from_batches(expand(rows, spec, seed), SCHEMA)


def contents(made: pa.Table, label: str) -> list[str]:
    return [row["content"] for row in made.to_pylist() if row["label"] == label]


# -- the sets ---------------------------------------------------------------------------------------------------------


def test_the_38_made_sets() -> None:
    labels = [mixture.label for mixture in PiesSpec().mixtures]
    assert labels == [
        "clean",
        "blur0.5", "blur1", "blur1.5", "blur2", "blur2.5", "blur3", "blur3.5", "blur4", "blur4.5", "blur5", "blur5.5", "blur6", "blur6.5",
        "blur7", "blur7.5", "blur8",
        "noise5", "noise10", "noise15", "noise20", "noise25", "noise30", "noise40", "noise50",
        "blur1+noise10", "blur1+noise20", "blur2+noise10", "blur2+noise20", "blur3+noise10", "blur3+noise20",
        "blur4+noise10", "blur4+noise20",
        "jpeg90", "jpeg70", "jpeg50", "jpeg30", "jpeg10",
    ]  # fmt: skip
    assert [pies_like_set.LEVELS.keys(), len(labels)] == [dict.fromkeys(["clean", "blur", "noise", "blur+noise", "jpeg"]).keys(), 38]
    assert all(mixture.type in pies_like_set.LEVELS for mixture in PiesSpec().mixtures)


def test_sets_are_chosen_by_type_or_label_in_the_order_given() -> None:
    chosen = PiesSpec(sets=["jpeg", "clean", "blur2.25+jpeg80"]).mixtures
    assert [mixture.label for mixture in chosen] == ["jpeg90", "jpeg70", "jpeg50", "jpeg30", "jpeg10", "clean", "blur2.25+jpeg80"]
    assert PiesSpec(sets="noise").mixtures == PiesSpec(sets=["noise"]).mixtures


def test_a_window_is_in_the_label_of_every_blur_and_of_nothing_else() -> None:
    own, other = PiesSpec().mixtures, PiesSpec(window=15).mixtures
    for one, two in zip(own, other, strict=True):
        assert (one.label != two.label) == ("blur" in one.type)
        assert (two.level("blur"), two.type) == (one.level("blur"), one.type)
        assert parse_label(two.label) == two
    assert [mixture.label for mixture in other if mixture.level("noise") == 20.0][:2] == ["noise20", "blur1w15+noise20"]


def test_a_window_gives_other_ids_and_other_pixels_of_the_same_contents(folder: Path) -> None:
    own, other = (table(corpus(sets=["clean", "blur4", "blur4+noise20"], window=window), folder) for window in (None, 15))
    assert own["content"].equals(other["content"])
    assert own["blur"].equals(other["blur"])
    loader = Loader()
    for one, two in zip(own.to_pylist(), other.to_pylist(), strict=True):
        left, right = (loader.load(sample_from_row(row)).input for row in (one, two))
        assert (one["sample_id"] == two["sample_id"]) == np.array_equal(left, right) == (one["label"] == "clean")


# -- patches ----------------------------------------------------------------------------------------------------------


def by_rounds(available: list[int], order: list[bytes], total: int) -> list[int]:
    """`spread` as its docstring says it, patch by patch."""
    quota = [0] * len(available)
    while sum(quota) < min(total, sum(available)):
        for i in sorted((i for i, have in enumerate(available) if quota[i] < have), key=lambda i: order[i]):
            if sum(quota) < total:
                quota[i] += 1
    return quota


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=9), st.integers(0, 70), st.integers(0, 5))
def test_patches_are_dealt_round_by_round(available: list[int], total: int, seed: int) -> None:
    order = [order_key(seed, str(i)) for i in range(len(available))]
    quota = spread(available, order, total)
    assert quota == by_rounds(available, order, total)
    more = spread(available, order, total + 1)
    assert all(one <= two for one, two in zip(quota, more, strict=True))


def test_every_set_shows_the_same_contents_evenly_spread_over_the_photographs(folder: Path) -> None:
    made = table(corpus(), folder)
    assert made.num_rows == 30
    assert contents(made, "clean") == contents(made, "blur1") == contents(made, "noise20")
    rows = [row for row in made.to_pylist() if row["label"] == "clean"]
    counts = {stem: [Path(row["source"]).stem for row in rows].count(stem) for stem in "0123"}
    assert sorted(counts.values()) == [1, 2, 3, 4]
    assert (counts["3"], counts["2"]) == (1, 2)
    for row in rows:
        box = Box(row["top"], row["left"], row["size"])
        assert row["content"] == content_id(row["source_sha"], None, box)
        assert row["sample_id"] == sample_id(row["content"], 4, "clean", 0)
        assert (row["size"], row["height"], row["target_height"], row["kind"]) == (32, 8, 32, "images")


def test_a_larger_number_adds_patches_and_changes_none(folder: Path) -> None:
    seen: set[str] = set()
    for number in (1, 3, 4, 7, 10, 15, 21, 800):
        made = set(contents(table(corpus(patches=number), folder), "clean"))
        assert len(made) == min(number, 21)
        assert seen <= made
        seen = made


def test_names_and_order_of_files_do_not_matter_and_the_seed_does(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "photos").mkdir(parents=True)
    for k, name in enumerate("zmaq"):
        shutil.copy(folder / "photos" / f"{k}.png", elsewhere / "photos" / f"{name}.png")
    here, there = (table(corpus(), place).drop_columns(["source"]) for place in (folder, elsewhere))
    assert here.equals(there)
    assert set(contents(table(corpus(), folder, seed=1), "clean")) != set(contents(here, "clean"))


def test_per_image_and_min_std_hold_and_too_few_are_counted(folder: Path) -> None:
    assert len(contents(table(corpus(per_image=2), folder), "clean")) == 2 + 2 + 2 + 1
    assert table(corpus(min_std=127), folder).num_rows == 0
    assert remarks(PiesSpec(), 800) == []
    (few, small) = remarks(PiesSpec(size=32, per_image=2), 7)
    assert "800 patches per set were requested, the images have 7 (size 32, min_std 5, per_image 2)" in few
    assert "7 patches per set, PIES has 800" in small
    (small,) = remarks(PiesSpec(patches=400), 400)
    assert "400 patches per set, PIES has 800" in small


def test_a_list_of_images_will_do_and_one_of_inputs_will_not(folder: Path) -> None:
    names = [str(folder / "photos" / f"{k}.png") for k in range(4)]
    for column in ("image", "input"):
        pq.write_table(pa.table({column: names}), folder / f"{column}.parquet")
    options = {"scale": 4, "pies": {"patches": 10, "size": 32, "sets": ["clean", "blur1", "noise20"]}}
    assert table(CorpusSpec(list="image.parquet", **options), folder).equals(table(corpus(), folder))
    with pytest.raises(RecipeError, match=r"corpus\.pies are only for images, but the list has inputs"):
        list_sources(CorpusSpec(list="input.parquet", **options), folder)


# -- real sets --------------------------------------------------------------------------------------------------------


def test_real_sets_follow_the_made_ones_with_as_many_contents_of_their_own(folder: Path) -> None:
    made = table(corpus(patches=6, real=["web/*.png", "camera/*.png"]), folder)
    assert [made["label"].to_pylist()[i] for i in range(0, 30, 6)] == ["clean", "blur1", "noise20", "real-camera", "real-web"]
    assert made.num_rows == 30
    assert made["row"].to_pylist() == list(range(30))
    assert set(made["bucket"].to_pylist()) == {"h0008w0008"}
    plain = table(corpus(patches=6), folder)
    assert made.slice(0, 18).equals(plain), "real sets change nothing of the made ones"
    names = {label: set(contents(made, label)) for label in ("clean", "real-camera", "real-web")}
    assert [len(some) for some in names.values()] == [6, 6, 6]
    assert len(set.union(*names.values())) == 18
    for row in made.to_pylist()[18:]:
        assert (row["kind"], row["scale"], row["type"], row["size"]) == ("inputs", 0, "real", 8)
        assert (row["blur"], row["target"], row["target_height"]) == (None, None, None)
        assert row["content"] == content_id(row["source_sha"], None, Box(row["top"], row["left"], 8))
        assert row["sample_id"] == sample_id(row["content"], 0, row["label"], 0)
    stems = [Path(row["source"]).stem for row in made.to_pylist()[18:]]
    assert [stems.count(stem) for stem in "abc"] == [3, 3, 6], "evenly spread"


def test_real_pixels_go_in_as_they_are_without_a_target(folder: Path) -> None:
    loader = Loader()
    for row in table(corpus(patches=6, real={"web": "web/*.png"}), folder).to_pylist()[18:]:
        found = loader.load(sample_from_row(row))
        whole = np.asarray(Image.open(row["source"]))
        patch = whole[row["top"] : row["top"] + 8, row["left"] : row["left"] + 8]
        np.testing.assert_array_equal(found.input, patch.transpose(2, 0, 1).astype(np.float32) / np.float32(255))
        assert found.target is None


def test_a_file_may_be_in_several_sets(folder: Path) -> None:
    made = table(corpus(patches=4, real={"one": "photos/0.png", "two": ["photos/0.png", "web/*.png"]}), folder)
    assert [len(contents(made, label)) for label in ("clean", "real-one", "real-two")] == [4, 4, 4]
    assert len(set(made["sample_id"].to_pylist())) == made.num_rows


def test_a_real_set_with_fewer_patches_is_refused_by_name_with_the_way_out(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"as many patches as the generated ones, 10; web has 6\. Lower corpus\.pies\.patches to 6"):
        table(corpus(patches=10, real=["camera/*.png", "web/*.png"]), folder)
    (folder / "web" / "c.png").write_bytes(b"broken")
    with pytest.raises(RecipeError, match=r"web has 0\. Add images"):
        table(corpus(patches=10, real=["camera/*.png", "web/*.png"]), folder)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("/data/camera/*.png", "camera"),
        ("/data/camera/**/*.png", "camera"),
        ("/data/camera/IMG_[0-9]*.png", "camera"),
        ("/data/camera/one.png", "camera"),
        ("s3://bucket/web-2/*.jpg", "web-2"),
    ],
)
def test_a_set_is_called_after_its_folder(pattern: str, name: str) -> None:
    assert real_name(pattern) == name


# -- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pies": {}, "patches": {"size": 128}}, "patches and pies are both given"),
        ({"pies": {}, "degradations": ["clean"]}, "degradations and pies are both given.*omit degradations"),
        ({"pies": {"size": 130}}, r"pies\.size must be a multiple of scale 4, got 130"),
        ({"pies": {}, "scale": None}, "scale is missing"),
        ({"pies": {}, "images": None, "inputs": ["a"], "scale": None}, "pies is only for images"),
        ({"pies": {"window": 14}}, "window must be an odd number of pixels from 3 to 511, or null, got 14"),
        ({"pies": {"window": 1}}, "or null, got 1"),
        ({"pies": {"sets": []}}, "the list is empty; expected all, or some of clean, blur"),
        ({"pies": {"sets": ["blur", "blur2"]}}, "blur2 is listed twice"),
        ({"pies": {"sets": ["blurr2"]}}, "'blurr' does not exist. Closest: blur"),
        ({"pies": {"sets": ["blur2w15"]}}, "write the label without its window"),
        ({"pies": {"patches": 0}}, "greater than or equal to 1"),
        ({"pies": {"patchs": 3}}, "Extra inputs"),
        ({"pies": {"real": ["a/cam/*.png", "b/cam/*.png"]}}, "two sets would be named 'cam'"),
        ({"pies": {"real": ["skimage://*"]}}, "has no folder to name the set after"),
        ({"pies": {"real": ["/my photos/*.png"]}}, "has no folder to name the set after"),
        ({"pies": {"real": {"my photos": "a/*.png"}}}, "is not a valid name of a set"),
        ({"pies": {"real": {"web": []}}}, "web: the list is empty"),
        ({"pies": {"real": [3]}}, "valid"),
    ],
)
def test_mistakes_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CorpusSpec(**{"images": ["a/*.png"], "scale": 4, **options})


def test_what_is_saved_is_read_back_the_same() -> None:
    spec = corpus(window=21, real=["camera/*.png"], sets=["clean", "blur"])
    assert CorpusSpec(**json.loads(json.dumps(spec.model_dump(mode="json")))) == spec
    assert spec.pies is not None
    assert spec.pies.real == {"camera": ["camera/*.png"]}


def test_the_ids_are_those_of_a_plain_corpus_of_the_same_patches(folder: Path) -> None:
    """A label means the same pixels everywhere."""
    plain = CorpusSpec(images=["photos/*.png"], scale=4, patches={"size": 32, "per_image": None}, degradations=["clean", {"blur": 1}])
    rows = [scan_source(source, plain, 0) for source in list_sources(plain, folder)]
    ids = set(pa.Table.from_batches(expand(rows, plain, 0), SCHEMA)["sample_id"].to_pylist())
    made = table(corpus(patches=21, sets=["clean", "blur1"]), folder)
    assert set(made["sample_id"].to_pylist()) == ids
