"""What is told of pairs from disk: masks, labels with or without parameters, and further columns of a list."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from xlli_ray.corpus.ids import content_id, sample_id
from xlli_ray.corpus.sample import Loader, sample_from_row
from xlli_ray.corpus.scan import SCHEMA, CorpusSpec, expand, list_sources, scan_source
from xlli_ray.errors import RecipeError
from xlli_ray.recipe import parse_recipe

PAIRS: dict[str, Any] = {"input": "light/*.png", "target": "clean/*.png"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three scenes of 24 x 32 pixels, each clean and under `light` and `heavy` rain, with masks of where it falls."""
    for name in ("clean", "light", "heavy", "masks"):
        (tmp_path / name).mkdir()
    for i in range(3):
        clean = np.random.default_rng(i).integers(0, 200, (24, 32, 3), dtype=np.uint8)
        save(tmp_path / "clean" / f"{i}.png", clean)
        for name, share in (("light", 0.1), ("heavy", 0.5)):
            falls = np.random.default_rng((i, int(10 * share))).random((24, 32)) < share
            save(tmp_path / name / f"{i}.png", np.where(falls[..., None], 255, clean).astype(np.uint8))
            if name == "light":
                save(tmp_path / "masks" / f"{i}.png", falls.astype(np.uint8) * 255)
    return tmp_path


def save(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(path)


def scan(spec: CorpusSpec, folder: Path) -> list[dict[str, Any]]:
    return [json.loads(json.dumps(scan_source(source, spec, 0))) for source in list_sources(spec, folder)]


def table(folder: Path, **corpus: Any) -> pa.Table:
    spec = CorpusSpec(**corpus)
    return pa.Table.from_batches(expand(scan(spec, folder), spec, 0))


def listed(folder: Path, **columns: list[Any]) -> dict[str, Any]:
    pq.write_table(pa.table(columns), folder / "list.parquet")
    return {"list": "list.parquet"}


def test_pairs_of_which_nothing_is_told_are_dumped_and_named_as_before_there_were_masks_and_labels(folder: Path) -> None:
    spec = CorpusSpec(pairs=PAIRS)
    assert spec.model_dump(mode="json")["pairs"] == {"input": ["light/*.png"], "target": ["clean/*.png"]}
    found = table(folder, pairs=PAIRS)
    assert found.schema == SCHEMA
    for row in found.to_pylist():
        assert row["content"] == content_id(row["source_sha"], row["target_sha"])
        assert row["sample_id"] == sample_id(row["content"], 1, "given", 0)


def test_a_mask_is_a_by_product_of_its_pair_and_is_cut_as_the_input_is(folder: Path) -> None:
    whole = table(folder, pairs={**PAIRS, "mask": "masks/*.png"})
    cut = table(folder, pairs={**PAIRS, "mask": "masks/*.png"}, patches={"size": 8, "per_image": 2, "min_std": 0})
    assert (whole.num_rows, cut.num_rows) == (3, 6)
    for row in whole.to_pylist() + cut.to_pylist():
        sample = sample_from_row(row)
        assert [Path(uri).parent.name for uri, _ in sample.files] == ["light", "clean", "masks"]
        loaded = Loader().load(sample)
        mask = loaded.extras["mask"]
        assert mask.dtype == bool
        assert loaded.target is not None
        assert np.array_equal(mask, (loaded.input != loaded.target).any(axis=0)), "it rains where the input is not the target"
        assert 0 < mask.sum() < mask.size


def test_the_bytes_of_a_mask_are_part_of_what_a_sample_is(folder: Path) -> None:
    pairs = {**PAIRS, "mask": "masks/*.png"}
    plain, before = table(folder, pairs=PAIRS), table(folder, pairs=pairs)
    save(folder / "masks" / "1.png", np.zeros((24, 32), np.uint8))
    after = table(folder, pairs=pairs)
    assert plain["content"].equals(before["content"])
    assert before["content"].equals(after["content"])
    assert not set(plain["sample_id"].to_pylist()) & set(before["sample_id"].to_pylist())
    assert len(set(before["sample_id"].to_pylist()) & set(after["sample_id"].to_pylist())) == 2


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((32, 24), np.uint8), r"mask .*1\.png: it has 24 x 32 pixels, the input 32 x 24; both must have the same size"),
        (np.eye(24, 32, dtype=np.uint8), r"its brightest value is 1 of 255; expected 0 where it is false and 255 where it is true"),
        (None, r"mask .*1\.png: "),
    ],
)
def test_a_mask_that_is_none_is_a_row_of_rejected_that_says_why(folder: Path, mask: np.ndarray | None, message: str) -> None:
    if mask is None:
        (folder / "masks" / "1.png").write_bytes(b"nothing of the kind")
    else:
        save(folder / "masks" / "1.png", mask)
    spec = CorpusSpec(pairs={**PAIRS, "mask": "masks/*.png"})
    failed = [row for row in scan(spec, folder) if row["status"] == "failed"]
    assert [Path(row["uri"]).name for row in failed] == ["1.png"]
    assert re.search(message, failed[0]["reason"])


def test_masks_are_matched_as_targets_are(folder: Path) -> None:
    (folder / "masks" / "2.png").unlink()
    with pytest.raises(RecipeError, match=r"1 input has \(.*2\.png\) no mask of the same name under 'masks"):
        table(folder, pairs={**PAIRS, "mask": "masks/*.png"})
    with pytest.raises(RecipeError, match="1 input patterns and 2 mask patterns"):
        table(folder, pairs={**PAIRS, "mask": ["masks/*.png", "more/*.png"]})


def test_a_row_of_a_list_without_a_mask_has_one_that_is_false_everywhere(folder: Path) -> None:
    corpus = listed(folder, input=["light/0.png", "heavy/1.png"], target=["clean/0.png", "clean/1.png"], mask=["masks/0.png", None])
    with_mask, without = sorted((sample_from_row(row) for row in table(folder, **corpus).to_pylist()), key=lambda one: one.source)[::-1]
    assert Loader().load(with_mask).extras["mask"].any()
    assert Loader().load(without).extras["mask"].shape == (24, 32)
    assert not Loader().load(without).extras["mask"].any()


BOTH = {"input": ["heavy/*.png", "light/*.png"], "target": ["clean/*.png", "clean/*.png"]}


def test_labels_share_the_contents_and_the_patches_of_their_targets(folder: Path) -> None:
    pairs = {"input": [*BOTH["input"], "clean/*.png"], "target": ["clean/*.png"] * 3, "label": ["rain-h", "rain-l", "clean"]}
    found = table(folder, pairs=pairs, patches={"size": 8, "per_image": 2, "min_std": 0}).to_pylist()
    by_label: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        by_label.setdefault(row["label"], []).append(row)
    assert list(by_label) == ["rain-h", "rain-l", "clean"], "in the recipe's order"
    for name in ("content", "top", "left", "target_sha"):
        columns = [[row[name] for row in rows] for rows in by_label.values()]
        assert columns[0] == columns[1] == columns[2]
    assert len({row["sample_id"] for row in found}) == len(found) == 18
    assert {(row["label"], row["type"], row["blur"]) for row in found} == {(label, label, None) for label in by_label}


def test_a_second_input_of_one_target_is_a_content_of_its_own_and_a_cap_counts_contents(folder: Path) -> None:
    inputs = ["light/0.png", "heavy/0.png", "light/1.png", "heavy/2.png"]
    targets = [f"clean/{path[-5]}.png" for path in inputs]
    corpus = listed(folder, input=inputs, target=targets, label=["a", "a", "a", "b"])
    found = table(folder, **corpus).to_pylist()
    assert len({row["content"] for row in found}) == 4
    capped = table(folder, pairs={**BOTH, "label": ["h", "l"]}, patches={"size": 8, "count": 5, "min_std": 0}).to_pylist()
    assert len(capped) == 10
    assert len({row["content"] for row in capped}) == 5


def test_parameters_give_a_label_its_type_and_its_level(folder: Path) -> None:
    pairs = {**BOTH, "label": ["wet", None], "parameters": [{"blur": {"sigma": 1.6}}, {"blur": 2, "noise": 10}]}
    found = {(row["label"], row["type"], row["blur"], row["noise"]) for row in table(folder, pairs=pairs).to_pylist()}
    assert found == {("wet", "blur", 1.6, None), ("blur2+noise10", "blur+noise", 2.0, 10.0)}
    listing = listed(
        folder, input=["light/0.png", "light/1.png"], target=["clean/0.png", "clean/1.png"], label=["wet", None],
        parameters=['{"blur": 1.6}', None],
    )  # fmt: skip
    found = {(row["label"], row["type"], row["blur"], row["noise"]) for row in table(folder, **listing).to_pylist()}
    assert found == {("wet", "blur", 1.6, None), ("given", "given", None, None)}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"label": "given"}, "label 'given': expected letters"),
        ({"label": "real-rain"}, "label 'real-rain'"),
        ({"label": "so wet"}, "label 'so wet'"),
        ({"label": ["a", "b", "c"]}, "label: 3 of them and 2 input patterns; expected one for all, or one per pattern"),
        ({"label": "wet", "parameters": [{"blur": 1}, {"blur": 2}]}, "label 'wet' has two sets of parameters"),
        ({"parameters": {"blurr": 1}}, "degradation 'blurr' does not exist. Closest: blur"),
        ({"parameters": {"blur": 1, "label": "wet"}}, "the label belongs beside them"),
        ({"label": "clean", "parameters": {"blur": 1}}, "nor clean with parameters"),
    ],
)
def test_labels_that_mean_nothing_are_refused_in_the_recipe(folder: Path, more: dict[str, Any], message: str) -> None:
    rest = {"name": "x", "models": [{"id": "b", "network": "bicubic", "scale": 1}], "stages": [{"restore": {}}]}
    with pytest.raises(RecipeError, match=message):
        parse_recipe({**rest, "corpus": {"pairs": {**BOTH, **more}}}, base=folder)


def test_paths_of_a_recipe_are_its_folders_and_labels_are_no_paths(folder: Path) -> None:
    rest = {"name": "x", "models": [{"id": "b", "network": "bicubic", "scale": 1}], "stages": [{"restore": {}}]}
    given = parse_recipe({**rest, "corpus": {"pairs": {**PAIRS, "mask": "masks/*.png", "label": "wet"}}}, base=folder).corpus.given
    assert (given.mask, given.label) == ([str(folder / "masks/*.png")], ["wet"])


def test_a_file_under_two_labels_is_refused_by_name(folder: Path) -> None:
    pairs = {"input": ["light/*.png", "light/0.png"], "target": ["clean/*.png", "clean/0.png"], "label": ["a", "b"]}
    with pytest.raises(RecipeError, match=r"light/0\.png has two labels, a and b"):
        table(folder, pairs=pairs)


def test_further_columns_of_a_list_are_columns_of_samples_with_their_types_and_missing_cells_are_null(folder: Path) -> None:
    names = [f"clean/{i}.png" for i in range(3)]
    kept = {"scene": ["park", None, "sea"], "iso": [100, None, 400], "exposure": [0.5, 0.25, None], "indoors": [True, None, False]}
    found = table(folder, **listed(folder, image=names, **kept), scale=2, degradations=["clean", {"blur": 1}])
    assert found.schema.names[len(SCHEMA) :] == list(kept)
    assert [str(found.schema.field(name).type) for name in kept] == ["string", "int64", "double", "bool"]
    rows = {Path(row["source"]).name: row for row in found.to_pylist()}
    for i in range(3):
        assert {name: rows[f"{i}.png"][name] for name in kept} == {name: cells[i] for name, cells in kept.items()}
    plain = table(folder, **listed(folder, image=names), scale=2, degradations=["clean", {"blur": 1}])
    assert found.select(plain.column_names).equals(plain)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"content": ["x"]}, "list.parquet: column 'content': the sample table, or one joined with it, has a column"),
        ({"Bucket": ["x"]}, "column 'Bucket'"),
        ({"status": ["x"]}, "column 'status'"),
        ({"scene": ["x"], "SCENE": ["y"]}, "column 'SCENE'"),
        ({"two words": ["x"]}, "column 'two words': expected at most 63 letters"),
        ({"tags": [["x"]]}, "column 'tags': its type is list<"),
        ({"label": ["x"]}, "has a column label, which is only for input and target"),
        ({"mask": ["x.png"]}, "expected image, or input, or input and target, optionally mask"),
    ],
)
def test_columns_that_cannot_be_kept_are_refused_by_name(folder: Path, columns: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        list_sources(CorpusSpec(**listed(folder, image=["clean/0.png"], **columns), scale=2), folder)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": ["wet", "a b"]}, "list.parquet: row 1: label 'a b'"),
        ({"label": [1, 2]}, "column 'label': its type is int64; expected texts"),
        ({"parameters": ['{"blur": 1}', "blur 1"]}, "row 1: parameters 'blur 1': expected JSON"),
        ({"label": ["wet", "wet"], "parameters": ['{"blur": 1}', '{"blur": 2}']}, "label 'wet' has two sets of parameters"),
        ({"parameters": ['{"streaks": 1}', None], "streaks": [1, 2]}, "degradation 'streaks' does not exist"),
    ],
)
def test_labels_of_a_list_that_mean_nothing_are_refused_with_their_row(folder: Path, columns: dict[str, list[Any]], message: str) -> None:
    corpus = listed(folder, input=["light/0.png", "light/1.png"], target=["clean/0.png", "clean/1.png"], **columns)
    with pytest.raises(RecipeError, match=message):
        list_sources(CorpusSpec(**corpus), folder)
