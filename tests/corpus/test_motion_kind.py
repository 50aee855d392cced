"""The corpus kind `motion`: its clips, its sample table, its by-products, and what it says of recipes and photographs that do not do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from PIL import Image

import xlli_ray
from xlli_ray.corpus.degradations.noise import Noise
from xlli_ray.corpus.motion.flow import by_products
from xlli_ray.corpus.motion.moves import Motion
from xlli_ray.corpus.resize import downscale
from xlli_ray.corpus.sample import Loader, Sample, sample_from_row
from xlli_ray.corpus.scan import expand, list_sources, scan_source
from xlli_ray.corpus.spec import CorpusSpec


def photographs(folder: Path, count: int, *, size: tuple[int, int] = (150, 180)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def corpus(folder: Path, **more: Any) -> CorpusSpec:
    given = {"images": str(folder / "*.png"), "window": 3, "size": 32, "speeds": [0, 1.5, [2, 5]], **more}
    return CorpusSpec(motion=given, scale=2, degradations=["clean", {"noise": 20}])


def scan(spec: CorpusSpec) -> tuple[list[dict[str, Any]], pa.Table]:
    rows = [scan_source(source, spec, 3) for source in list_sources(spec, ".")]
    batches = list(expand(rows, spec, 3))
    return rows, pa.Table.from_batches(batches) if batches else pa.table({})


def samples(spec: CorpusSpec) -> list[Sample]:
    return [sample_from_row(row) for row in scan(spec)[1].to_pylist()]


def test_a_ladder_of_speeds_over_the_same_photographs(tmp_path: Path) -> None:
    spec = corpus(photographs(tmp_path, 2), per_image=2)
    rows, table = scan(spec)
    assert [row["status"] for row in rows] == ["ok"] * 6
    found = table.to_pylist()
    assert len(found) == 2 * 3 * 2 * 2
    assert len({row["source_sha"] for row in found}) == 2, "photographs are the units of intervals"
    assert len({row["content"] for row in found}) == 12
    assert len({row["sample_id"] for row in found}) == 24
    assert {row["bucket"] for row in found} == {"t0003h0016w0016"}
    asked = {0.0: (0, 0), 1.5: (1.5, 1.5), 3.5: (2, 5)}
    assert {row["speed"] for row in found} == set(asked)
    for row in found:
        low, high = asked[row["speed"]]
        assert low - 0.36 <= np.hypot(row["velocity_x"], row["velocity_y"]) <= high + 0.36, "components are rounded to halves"
        assert (2 * row["velocity_x"]).is_integer()
    assert pa.Table.from_batches(expand(rows[::-1], spec, 3)).equals(table)


def test_names_and_order_of_files_do_not_matter_and_equal_files_are_one(tmp_path: Path) -> None:
    first, other = photographs(tmp_path / "a", 2), tmp_path / "b"
    other.mkdir()
    shutil.copy(first / "0.png", other / "9.png")
    shutil.copy(first / "1.png", other / "3.png")
    shutil.copy(first / "1.png", other / "4.png")
    names = ("source", "clip", "aliases")
    one, two = (scan(corpus(folder))[1].drop(names) for folder in (first, other))
    assert one.equals(two)


def test_the_input_is_made_from_the_frames_without_borders_of_its_own(tmp_path: Path) -> None:
    spec = corpus(photographs(tmp_path, 1))
    photograph = np.asarray(Image.open(tmp_path / "0.png"))
    loader = Loader(mixture=spec.mixture, beside=spec.mixtures)
    for sample in samples(spec):
        motion = Motion.from_json(sample.columns["motion"])
        loaded = loader.load(sample)
        assert loaded.target is not None
        assert loaded.input.shape == sample.size.shape()
        for t, moment in enumerate((-1, 0, 1)):
            top = motion.place[0] - int(2 * motion.velocity[1] * moment)
            left = motion.place[1] - int(2 * motion.velocity[0] * moment)
            assert np.array_equal(loaded.target[t] * 255, photograph[top : top + 32, left : left + 32].transpose(2, 0, 1))
            row, column = top % 2, left % 2
            whole = photograph[row : row + (150 - row) // 2 * 2, column : column + (180 - column) // 2 * 2]
            small = downscale(whole.astype(np.float32) / np.float32(255), 2)[top // 2 : top // 2 + 16, left // 2 : left // 2 + 16]
            if sample.label == "noise20":
                small = Noise.of(20).apply(small, key=f"3|{sample.content}|{t}").image
            assert np.array_equal(loaded.input[t], small.transpose(2, 0, 1) / np.float32(255))
        place = np.empty(sample.size.shape(), np.float32)
        assert loader.load(sample, into=place).input is place


def test_by_products_are_what_the_corpus_declares(tmp_path: Path) -> None:
    spec = corpus(photographs(tmp_path, 1), layers=2, rotation=[-2, 2])
    for sample in samples(spec):
        extras = Loader(mixture=spec.mixture, beside=spec.mixtures).load(sample).extras
        assert {name: (array.shape, str(array.dtype)) for name, array in extras.items()} == spec.extras(sample.size, 2)
        for name, array in by_products(Motion.from_json(sample.columns["motion"])).items():
            assert np.array_equal(extras[name], array, equal_nan=array.dtype == np.float32)


def test_photographs_without_room_and_flat_ones_are_rows_with_their_reasons(tmp_path: Path) -> None:
    photographs(tmp_path, 1)
    Image.fromarray(np.full((150, 180, 3), 90, np.uint8)).save(tmp_path / "flat.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    Image.fromarray(np.full((1, 180, 3), 90, np.uint8)).save(tmp_path / "thin.png")
    rows, table = scan(corpus(tmp_path, speeds=[1, [90, 100]]))
    said = {(Path(row["uri"]).stem, number): (row["status"], row["reason"]) for number, row in enumerate(rows)}
    by_name: dict[str, list[tuple[str, str]]] = {}
    for (name, _), value in said.items():
        by_name.setdefault(name, []).append(value)
    room = "no clip: 3 frames of 32 x 32 pixels that move by 90 to 100 input pixels a frame do not fit into 180 x 150 pixels"
    assert by_name["0"] == [("ok", None), ("skipped", room)]
    assert by_name["flat"] == [("skipped", "no clip: the photograph is too flat, min_std is 5"), ("skipped", room)]
    assert all(status == "failed" and reason.startswith("not an image") for status, reason in by_name["broken"])
    assert all(reason == "too small: 180 x 1 pixels cannot be downscaled by 2" for _, reason in by_name["thin"])
    assert table.num_rows == 2


@pytest.mark.parametrize(
    ("given", "more", "message"),
    [
        ({}, {}, "images\n.*Field required"),
        ({"images": "a", "speeds": []}, {}, "the list is empty; expected at least one speed"),
        ({"images": "a", "speeds": [1, [1, 1]]}, {}, r"\[1.0, 1.0\] is listed twice"),
        ({"images": "a", "speeds": [[4, 1]]}, {}, r"speeds: \[4.0, 1.0\] is no range; expected \[low, high\]"),
        ({"images": "a", "speeds": [-1]}, {}, "within 0 to 1000"),
        ({"images": "a", "zoom": 3}, {}, "within 0.5 to 2"),
        ({"images": "a", "size": 33}, {}, "motion.size must be a multiple of scale 2, got 33"),
        ({"images": "a"}, {"patches": {"size": 32}}, "patches is only for images; the frames of motion have motion.size"),
        ({"images": "a"}, {"pies": {}}, "pies is only for images"),
        ({"images": "a", "speed": 3}, {}, "Extra inputs"),
        ({"images": "a"}, {"scale": None}, "scale is missing"),
    ],
)
def test_mistakes_are_told(given: dict[str, Any], more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CorpusSpec(**{"motion": given, "scale": 2, **more})


def test_a_study_stores_the_true_flow_and_continues_only_with_the_same_motions(tmp_path: Path) -> None:
    photographs(tmp_path / "photos", 2)
    motion = {"images": "photos/*.png", "window": 3, "size": 32, "speeds": [1, 4], "layers": 1}
    recipe = {"name": "m", "corpus": {"motion": motion, "scale": 2},
              "stages": [{"inputs": {"save": ["target", "flow_next", "occluded_previous"]}}]}  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    place = tmp_path / "study"
    xlli_ray.run(str(tmp_path / "recipe.yaml"), str(place))
    study = xlli_ray.open_study(place)
    assert study.failures.num_rows == 0
    found = study.sql("select sample_id, speed, motion from samples order by row").to_pylist()
    assert sorted(row["speed"] for row in found) == [1, 1, 4, 4]
    ids = [row["sample_id"] for row in found]
    stored, hidden = (study.array("inputs/-/inputs", name).rows(ids) for name in ("flow_next", "occluded_previous"))
    for number, row in enumerate(found):
        wanted = by_products(Motion.from_json(row["motion"]))
        assert np.array_equal(stored[number], wanted["flow_next"], equal_nan=True)
        assert np.array_equal(hidden[number], wanted["occluded_previous"])
    motion["speeds"] = [1, 3]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(xlli_ray.XlliError, match=r"corpus\.motion was"):
        xlli_ray.run(str(tmp_path / "recipe.yaml"), str(place))
