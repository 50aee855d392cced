"""Scanning: one row per file whatever is in it, and the sample table that follows from the rows alone."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from xlli_ray.corpus import table as table_module
from xlli_ray.corpus.box import Box
from xlli_ray.corpus.decode import luma_full
from xlli_ray.corpus.ids import content_id, sample_id
from xlli_ray.corpus.scan import SCHEMA, CorpusSpec, Source, expand, list_sources, scan_source
from xlli_ray.errors import EnvironmentFailure, RecipeError

DEGRADATIONS = ["clean", {"noise": 20}, {"blur": 2.0, "noise": 10}]


def noise_image(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def scan(spec: CorpusSpec, base: Path, seed: int = 0) -> list[dict[str, Any]]:
    rows = [scan_source(source, spec, seed) for source in list_sources(spec, base)]
    assert json.loads(json.dumps(rows)) == rows  # plain values, that survive JSON
    return rows


def table(rows: Iterable[dict[str, Any]], spec: CorpusSpec, seed: int = 0) -> pa.Table:
    return pa.Table.from_batches(expand(rows, spec, seed), SCHEMA)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for k, (height, width) in enumerate([(64, 64), (96, 80), (50, 70), (64, 64), (97, 83)]):
        write(tmp_path / f"{k}.png", noise_image(height, width, k))
    return tmp_path


PATCHES = CorpusSpec(images=["*.png"], scale=4, patches={"size": 32, "per_image": 3}, degradations=DEGRADATIONS)
WHOLE = CorpusSpec(images=["*.png"], scale=4, degradations=DEGRADATIONS)


# -- rows -------------------------------------------------------------------------------------------------------------


def test_a_row_says_what_the_file_is(folder: Path) -> None:
    row = scan(PATCHES, folder)[1]
    assert row["status"] == "ok"
    assert row["reason"] is None
    assert row["uri"] == str(folder / "1.png")
    assert row["sha"] == sha256((folder / "1.png").read_bytes()).hexdigest()
    assert [row[key] for key in ("height", "width", "bits", "mode", "scale", "size")] == [96, 80, 8, "RGB", 4, 32]


def test_boxes_are_the_first_of_the_stated_order(folder: Path) -> None:
    row = scan(PATCHES, folder, seed=7)[1]
    boxes = [Box(top, left, 32) for top in (0, 32, 64) for left in (0, 32)]
    contents = {sha256(f"7|{content_id(row['sha'], None, box)}".encode()).hexdigest(): box for box in boxes}
    assert row["boxes"] == [[contents[key].top, contents[key].left] for key in sorted(contents)[:3]]


def test_flat_patches_are_left_out(tmp_path: Path) -> None:
    image = np.full((64, 96, 3), 90, np.uint8)
    image[32:, 64:] = noise_image(32, 32, 0)
    image[0, 0] = 200  # a speck: the tile varies, but too little
    write(tmp_path / "a.png", image)
    everything = CorpusSpec(images=["*.png"], scale=4, patches={"size": 32, "min_std": 0, "per_image": None})
    assert len(scan(everything, tmp_path)[0]["boxes"]) == 6
    assert scan(PATCHES, tmp_path)[0]["boxes"] == [[32, 64]]


def test_a_patch_exactly_at_the_threshold_stays(tmp_path: Path) -> None:
    image = np.full((32, 32, 3), 100, np.uint8)
    image[:16] = 110  # standard deviation exactly 5
    assert luma_full(image).std() == pytest.approx(5)
    write(tmp_path / "a.png", image)
    assert scan(PATCHES, tmp_path)[0]["boxes"] == [[0, 0]]


def test_bad_files_are_rows_with_reasons_and_the_rest_goes_on(folder: Path) -> None:
    good = (folder / "0.png").read_bytes()
    (folder / "p_truncated.png").write_bytes(good[: len(good) // 2])
    (folder / "q_empty.png").write_bytes(b"")
    (folder / "r_text.png").write_bytes(b"not an image at all")
    write(folder / "s_tiny.png", noise_image(3, 40, 9))
    Image.new("CMYK", (64, 64)).save(folder / "t_cmyk.jpg")
    write(folder / "u_large.png", noise_image(120, 120, 9))
    spec = WHOLE.model_copy(update={"images": ["*.png", "*.jpg"], "max_pixels": 10_000})
    rows = scan(spec, folder)
    reasons = {Path(row["uri"]).stem: row["reason"] for row in rows if row["status"] == "failed"}
    expected = {
        "p_truncated": "truncated PNG file",
        "q_empty": "empty file",
        "r_text": "not an image",
        "s_tiny": "too small: 40 x 3 pixels cannot be downscaled by 4",
        "t_cmyk": "colour mode CMYK is refused",
        "u_large": "the limit is 10000",
    }
    assert reasons.keys() == expected.keys()
    for name, text in expected.items():
        assert text in reasons[name]
    made = table(rows, spec)
    assert made.num_rows == 5 * len(DEGRADATIONS)
    assert {Path(uri).stem for uri in made["source"].to_pylist()} == {"0", "1", "2", "3", "4"}


def test_a_file_that_is_gone_is_a_row_but_a_missing_package_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = scan_source(Source("images", str(tmp_path / "gone.png")), WHOLE, 0)
    assert row["status"] == "failed"
    assert "missing file" in row["reason"]

    def absent(uri: str) -> bytes:
        raise EnvironmentFailure("needs s3fs")

    monkeypatch.setattr("xlli_ray.corpus.scan.read_bytes", absent)
    with pytest.raises(EnvironmentFailure):
        scan_source(Source("images", "s3://b/a.png"), WHOLE, 0)


def test_images_without_a_patch_are_skipped_and_say_why(tmp_path: Path) -> None:
    write(tmp_path / "flat.png", np.full((64, 64, 3), 90, np.uint8))
    write(tmp_path / "small.png", noise_image(31, 64, 0))
    flat, small = scan(PATCHES, tmp_path)
    assert (flat["status"], small["status"]) == ("skipped", "skipped")
    assert flat["reason"] == "no patch: min_std is 5, the most varied of 4 has 0.00"
    assert small["reason"] == "no patch: 64 x 31 pixels have no tile of size 32"
    assert table([flat, small], PATCHES).num_rows == 0


# -- pairs, inputs, lists ---------------------------------------------------------------------------------------------


def test_pairs_take_their_scale_from_the_files(tmp_path: Path) -> None:
    for name, small, large in (("a", (10, 12), (30, 36)), ("b", (10, 12), (10, 12)), ("c", (10, 12), (30, 37))):
        write(tmp_path / f"{name}_lr.png", noise_image(*small, 1 + ord(name)))
        write(tmp_path / f"{name}_hr.png", noise_image(*large, 2))
    write(tmp_path / "d_lr.png", noise_image(20, 20, 3))
    write(tmp_path / "d_hr.png", noise_image(10, 10, 3))
    write(tmp_path / "e_lr.png", noise_image(4, 4, 4))
    (tmp_path / "e_hr.png").write_bytes(b"")
    spec = CorpusSpec(pairs={"input": "*_lr.png", "target": "*_hr.png"})
    rows = scan(spec, tmp_path)
    assert [row["status"] for row in rows] == ["ok", "ok", "failed", "failed", "failed"]
    assert "input 12 x 10, target 37 x 30" in rows[2]["reason"]
    assert "input 20 x 20, target 10 x 10" in rows[3]["reason"]
    assert rows[4]["reason"].startswith(f"target {tmp_path / 'e_hr.png'}: empty file")
    made = {Path(row["source"]).stem: row for row in table(rows, spec).to_pylist()}
    assert made["a_lr"]["scale"] == 3
    assert made["b_lr"]["scale"] == 1
    one = made["a_lr"]
    assert [one[key] for key in ("height", "width", "target_height", "target_width", "top", "bucket")] == [
        10, 12, 30, 36, None, "h0010w0012",
    ]  # fmt: skip
    assert one["content"] == content_id(rows[0]["sha"], rows[0]["target_sha"])
    assert one["sample_id"] == sample_id(one["content"], 3, "given", 0)
    assert (one["label"], one["type"], one["kind"], one["blur"]) == ("given", "given", "pairs", None)


def test_patches_of_pairs_must_fit_their_scale(tmp_path: Path) -> None:
    write(tmp_path / "a_lr.png", noise_image(20, 20, 1))
    write(tmp_path / "a_hr.png", noise_image(60, 60, 2))
    write(tmp_path / "b_lr.png", noise_image(30, 30, 3))
    write(tmp_path / "b_hr.png", noise_image(60, 60, 4))
    spec = CorpusSpec(pairs={"input": "*_lr.png", "target": "*_hr.png"}, patches={"size": 16})
    first, second = scan(spec, tmp_path)
    assert first["reason"] == "patches.size 16 is not a multiple of this pair's scale 3"
    made = table([first, second], spec).to_pylist()
    assert len(made) == 8  # of nine tiles of the target
    assert {(row["height"], row["target_height"], row["size"]) for row in made} == {(8, 16, 16)}


def test_inputs_have_no_target_and_no_scale(folder: Path) -> None:
    spec = CorpusSpec(inputs=["*.png"])
    made = table(scan(spec, folder), spec).to_pylist()
    assert len(made) == 5
    for row in made:
        assert (row["scale"], row["target"], row["target_height"], row["label"]) == (0, None, None, "given")
        assert row["sample_id"] == sample_id(row["content"], 0, "given", 0)
    patched = CorpusSpec(inputs=["*.png"], patches={"size": 30, "per_image": 1})
    assert {(row["height"], row["size"]) for row in table(scan(patched, folder), patched).to_pylist()} == {(30, 30)}


def test_a_list_is_the_same_corpus_as_its_globs(folder: Path, tmp_path: Path) -> None:
    path = folder / "lists" / "files.parquet"
    path.parent.mkdir()
    names = [f"../{k}.png" for k in (3, 0, 1, 2, 4, 0)]
    pq.write_table(pa.table({"image": names, "note": ["x"] * 6}), path)
    spec = CorpusSpec(list="lists/files.parquet", scale=4, degradations=DEGRADATIONS)
    assert [source.uri for source in list_sources(spec, folder)] == [source.uri for source in list_sources(WHOLE, folder)]
    found = pa.Table.from_batches(expand(scan(spec, folder), spec, 0))
    assert found.drop_columns("note").equals(table(scan(WHOLE, folder), WHOLE))
    assert set(found["note"].to_pylist()) == {"x"}


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"file": ["a.png"]}, {"scale": 4}, "has columns file; expected image"),
        ({"image": ["a.png"], "input": ["b.png"]}, {"scale": 4}, "expected image, or input"),
        ({"image": ["a.png"]}, {}, "corpus.scale is missing"),
        ({"input": ["a.png"]}, {"scale": 4}, "only for images"),
        ({"input": ["a.png"], "target": ["b.png"]}, {"degradations": ["clean"]}, "only for images"),
        ({"image": ["a.png", None]}, {"scale": 4}, "a text in every row"),
        ({"image": [1, 2]}, {"scale": 4}, "a text in every row"),
    ],
)
def test_lists_that_make_no_sense(
    columns: dict[str, list[Any]], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "files.parquet")
    with pytest.raises(RecipeError, match=message):
        list_sources(CorpusSpec(list="files.parquet", **options), tmp_path)


def test_lists_of_pairs_and_lists_that_are_none(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"input": ["a.png", "s3://b/c.png"], "target": ["A.png", "s3://b/C.png"]}), tmp_path / "p.parquet"
    )
    assert list(list_sources(CorpusSpec(list="p.parquet"), tmp_path)) == [
        Source("pairs", str(tmp_path / "a.png"), str(tmp_path / "A.png")),
        Source("pairs", "s3://b/c.png", "s3://b/C.png"),
    ]
    (tmp_path / "x.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(RecipeError, match="not a Parquet file"):
        list_sources(CorpusSpec(list="x.parquet"), tmp_path)
    with pytest.raises(RecipeError, match="missing file"):
        list_sources(CorpusSpec(list="gone.parquet"), tmp_path)


def test_a_damaged_list_is_a_recipe_error_whichever_of_its_bytes_are_wrong(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"image": ["a.png"] * 9}), path)
    data = bytearray(path.read_bytes())
    data[-8 - int.from_bytes(data[-8:-4], "little")] ^= 0xFF  # arrow says OSError of a broken footer
    path.write_bytes(data)
    with pytest.raises(RecipeError, match="not a Parquet file, or is damaged"):
        list_sources(CorpusSpec(list="list.parquet", scale=2), tmp_path)
    pq.write_table(pa.table({"image": pa.array([b"\xff.png"]).view(pa.string())}), path)
    with pytest.raises(RecipeError, match=r"damaged: .*UTF8"):
        list_sources(CorpusSpec(list="list.parquet", scale=2), tmp_path)


# -- the table --------------------------------------------------------------------------------------------------------


def test_ids_columns_and_sizes_of_patches(folder: Path) -> None:
    rows = scan(PATCHES, folder, seed=3)
    made = table(rows, PATCHES, seed=3)
    assert made.schema == SCHEMA
    assert made["row"].to_pylist() == list(range(made.num_rows))
    assert made.num_rows == (3 + 3 + 2 + 3 + 3) * 3
    for row in made.to_pylist():
        box = Box(row["top"], row["left"], row["size"])
        assert row["content"] == content_id(row["source_sha"], None, box)
        assert row["sample_id"] == sample_id(row["content"], 4, row["label"], 3)
        same = {"bucket": "h0008w0008", "height": 8, "width": 8, "target_height": 32, "target_width": 32}
        same |= {"seed": 3, "scale": 4, "kind": "images"}
        assert {key: row[key] for key in same} == same
        levels = {"clean": (None, None), "noise20": (None, 20.0), "blur2+noise10": (2.0, 10.0)}[row["label"]]
        assert (row["blur"], row["noise"]) == levels
        assert row["type"] == {"clean": "clean", "noise20": "noise", "blur2+noise10": "blur+noise"}[row["label"]]
        assert row["jpeg"] is None
    assert len(set(made["sample_id"].to_pylist())) == made.num_rows


def test_whole_images_are_cut_to_multiples_of_the_scale(folder: Path) -> None:
    made = table(scan(WHOLE, folder), WHOLE).to_pylist()
    sizes = {
        Path(row["source"]).stem: tuple(row[key] for key in ("height", "width", "target_height", "target_width"))
        for row in made
    }
    assert sizes == {
        "0": (16, 16, 64, 64),
        "1": (24, 20, 96, 80),
        "2": (12, 17, 48, 68),
        "3": (16, 16, 64, 64),
        "4": (24, 20, 96, 80),
    }
    assert all(row["top"] is row["left"] is row["size"] is None for row in made)


def test_rows_are_sorted_by_bucket_degradation_image_patch(folder: Path) -> None:
    spec = WHOLE.model_copy(update={"degradations": [{"noise": 20}, "clean"]})  # the recipe's order, not the alphabet's
    made = table(scan(spec, folder), spec).to_pylist()
    order = [(row["bucket"], ["noise20", "clean"].index(row["label"]), row["source_sha"]) for row in made]
    assert order == sorted(order)
    assert len({key[0] for key in order}) == 3
    rows = scan(PATCHES, folder)
    chosen = {row["sha"]: row["boxes"] for row in rows}
    boxes = [[row["top"], row["left"]] for row in table(rows, PATCHES).to_pylist()[:14]]
    assert boxes == [box for sha in sorted(chosen) for box in chosen[sha]]


def test_names_folders_and_order_do_not_matter(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for k, name in enumerate(("z", "m", "a", "q", "b")):
        shutil.copy(folder / f"{k}.png", elsewhere / f"{name}.png")
    here, there = (table(scan(PATCHES, place), PATCHES) for place in (folder, elsewhere))
    assert here.drop_columns(["source"]).equals(there.drop_columns(["source"]))
    assert here["source"] != there["source"]


def test_equal_bytes_twice_are_one_sample_with_an_alias(folder: Path) -> None:
    before = table(scan(PATCHES, folder), PATCHES)
    for name in ("0_copy.png", "0_again.png", "copies/a.png"):
        (folder / "copies").mkdir(exist_ok=True)
        shutil.copy(folder / "0.png", folder / name)
    spec = PATCHES.model_copy(update={"images": ["**/*.png"]})
    rows = scan(spec, folder)
    after = table(rows, spec)
    assert after["sample_id"].to_pylist() == before["sample_id"].to_pylist()
    aliases = {row["source"]: row["aliases"] for row in after.to_pylist()}
    copies = [str(folder / name) for name in ("0_again.png", "0_copy.png", "copies/a.png")]
    assert aliases.pop(str(folder / "0.png")) == copies
    assert set(map(tuple, aliases.values())) == {()}
    random.Random(0).shuffle(rows)
    assert table(rows, spec).equals(after)


def test_an_input_paired_with_two_targets_is_two_samples(tmp_path: Path) -> None:
    for name, seed in (("1_in", 0), ("2_in", 0), ("1_gt", 1), ("2_gt", 2)):
        write(tmp_path / f"{name}.png", noise_image(8, 8, seed))
    spec = CorpusSpec(pairs={"input": "*_in.png", "target": "*_gt.png"})
    made = table(scan(spec, tmp_path), spec).to_pylist()
    assert len({row["content"] for row in made}) == 2
    assert [row["aliases"] for row in made] == [[], []]


def test_an_input_with_two_equal_targets_is_one_sample_and_no_alias_of_itself(tmp_path: Path) -> None:
    write(tmp_path / "in.png", noise_image(8, 8, 0))
    for name in ("a.png", "b.png"):
        write(tmp_path / name, noise_image(8, 8, 1))
    pq.write_table(pa.table({"input": ["in.png"] * 2, "target": ["b.png", "a.png"]}), tmp_path / "p.parquet")
    spec = CorpusSpec(list="p.parquet")
    (row,) = table(scan(spec, tmp_path), spec).to_pylist()
    assert (row["target"], row["aliases"]) == (str(tmp_path / "a.png"), [])


def test_count_caps_contents_by_their_hash(folder: Path) -> None:
    def contents(count: int | None, seed: int) -> list[str]:
        spec = PATCHES.model_copy(update={"patches": PATCHES.patches.model_copy(update={"count": count})})  # type: ignore[union-attr]
        made = table(scan(spec, folder, seed), spec, seed)
        assert made.num_rows == len(DEGRADATIONS) * len(set(made["content"].to_pylist()))
        return made["content"].to_pylist()[: made.num_rows // len(DEGRADATIONS)]

    everything = contents(None, 0)
    ranked = sorted(everything, key=lambda content: sha256(f"0|{content}".encode()).hexdigest())
    assert len(everything) == 14
    for count in (1, 5, 13):
        assert set(contents(count, 0)) == set(ranked[:count])
        assert contents(count, 0) == [content for content in everything if content in ranked[:count]]  # order is kept
    assert contents(14, 0) == contents(1000, 0) == everything


def fake_row(k: int, boxes: int, width: int) -> dict[str, Any]:
    row = {
        "kind": "images",
        "uri": f"/p/{k}.png",
        "target": None,
        "status": "ok",
        "reason": None,
        "scale": 2,
        "size": 8,
    }
    row |= {"sha": sha256(str(k % 17).encode()).hexdigest(), "target_sha": None, "bits": 8, "mode": "RGB"}
    row |= {"height": 64, "width": width, "target_height": None, "target_width": None}
    return row | {"boxes": [[8 * i, 0] for i in range(boxes)]}


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(25)), st.integers(1, 60), st.integers(1, 7))
def test_any_order_of_rows_and_any_batch_size_give_the_same_table(order: list[int], count: int, size: int) -> None:
    spec = CorpusSpec(images=["*"], scale=2, patches={"size": 8, "count": count}, degradations=DEGRADATIONS)
    rows = [fake_row(k, 1 + k % 17 % 5, 32) for k in range(25)]  # 17 distinct files, some of them twice
    expected = table(rows, spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_module, "BATCH_ROWS", size)
        batches = list(expand((rows[i] for i in order), spec, 0))
    assert max(batch.num_rows for batch in batches) <= size
    assert pa.Table.from_batches(batches).equals(expected)
    assert expected.num_rows == 3 * min(count, sum(1 + k % 5 for k in range(17)))


def test_rows_are_handed_out_while_they_are_made() -> None:
    spec = CorpusSpec(images=["*"], scale=2, patches={"size": 8}, degradations=DEGRADATIONS)
    stream = expand((fake_row(k, 5, 32) for k in range(17)), spec, 0)
    assert next(stream).num_rows == 17 * 5  # one bucket and one degradation
    assert next(stream)["row"][0].as_py() == 85


def test_an_empty_corpus_gives_an_empty_table() -> None:
    assert table([], WHOLE).num_rows == 0
    failed = scan_source(Source("images", "/nonexistent/a.png"), WHOLE, 0)
    assert table([failed], WHOLE).num_rows == 0


def test_buckets_group_equal_sizes_only() -> None:
    spec = CorpusSpec(images=["*"], scale=2)
    rows = [fake_row(k, 0, 32 + 2 * (k % 3)) | {"size": None, "boxes": None, "sha": f"{k:064x}"} for k in range(400)]
    made = table(rows, spec).to_pylist()
    assert [row["source_sha"] for row in made] == [f"{k:064x}" for rest in range(3) for k in range(rest, 400, 3)]
    assert [row["bucket"] for row in made] == sorted(f"h0032w{16 + k % 3:04d}" for k in range(400))
    assert all(row["bucket"] == f"h{row['height']:04d}w{row['width']:04d}" for row in made)


def test_an_image_of_a_few_kilobytes_that_decodes_to_a_gigabyte_is_refused_unless_the_recipe_says_so(tmp_path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))
    from fuzz_images import bomb

    (tmp_path / "bomb.png").write_bytes(bomb(9_500))
    source = Source("inputs", str(tmp_path / "bomb.png"))
    assert (tmp_path / "bomb.png").stat().st_size < 400_000
    row = scan_source(source, CorpusSpec(inputs=["x"]), 0)
    assert row["status"] == "failed"
    assert row["reason"].startswith("too large: 9500 x 9500 = 90250000 pixels by its header, 1.1 GB decoded; the limit is 89478485 pixels")
    (tmp_path / "small.png").write_bytes(bomb(60))
    assert scan_source(Source("inputs", str(tmp_path / "small.png")), CorpusSpec(inputs=["x"], max_pixels=100), 0)["status"] == "failed"


def test_a_name_that_is_not_utf8_is_a_row_with_a_reason(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\xe4.png"
    with open(path, "wb") as file:
        file.write(b"")
    (source,) = list_sources(CorpusSpec(inputs=[f"{tmp_path}/*.png"]), "/")
    row = scan_source(source, CorpusSpec(inputs=["x"]), 0)
    assert row["status"] == "failed"
    assert row["reason"] == rf"its name is not UTF-8: {tmp_path}/\xff\xe4.png; rename the file"
    assert row["uri"].encode("utf-8").endswith(rb"\xff\xe4.png")
