"""What the explorer is given equals what the study holds."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cem_studies import BLOCK, BLOCKS, PLACES, blocks, cem_stage
from PIL import Image
from toy_studies import Recipe, Stage

from xlli_ray.errors import StudyError
from xlli_ray.probes.cem.verdicts import decided_again
from xlli_ray.report.explorer import parts as module
from xlli_ray.report.explorer import write
from xlli_ray.report.explorer.columns import ExplorerColumn
from xlli_ray.report.explorer.encoding import coded_planes, number_planes, script
from xlli_ray.report.explorer.held_samples import held_order
from xlli_ray.report.explorer.parts import Parts
from xlli_ray.report.explorer.thumbnails import SIDE
from xlli_ray.report.page import write_report
from xlli_ray.report.page_context import open_context
from xlli_ray.study import open_study

Make = Callable[[Recipe], str]


def outputs(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng((model, row)).integers(0, 255, shape)


RESTORE = Stage("restore", name="output", shape=(3, 128, 128), dtype="uint8", array=outputs)
FEATURES = Stage("features", "features", (), ["body.0.out"], shape=(16, 8, 8))


@contextmanager
def opened(place: str) -> Iterator[Parts]:
    study = open_study(place).as_it_is()
    assert study.manifest.samples is not None
    with open_context(study, study.manifest.samples) as context:
        yield Parts(context, place)


def read(path: Path) -> tuple[str, Any]:
    """Name and content of a part on disk."""
    match = re.fullmatch(r'xlli\.put\(("[^"]*"),(.*)\);\n', path.read_text(), re.DOTALL)
    assert match
    return json.loads(match[1]), json.loads(match[2])


def floats(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def pixels(planes: dict[str, Any]) -> np.ndarray:
    """(planes, H, W[, 3])."""
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(planes["png"]))))
    return image.reshape(len(planes["places"]), planes["height"], planes["width"], *image.shape[2:])


def test_columns_are_those_that_sql_gives(make_study: Make) -> None:
    place = make_study(Recipe([RESTORE], models=3, pictures=4, failed=(2,)))
    with opened(place) as parts:
        about = parts.study([])
        index, column = next((i, one) for i, one in enumerate(about["columns"]) if one["id"] == "restore/psnr_y")
        assert (column["models"], column["better"], column["unit"], column["most"]) == (["net0", "net1", "net2"], "higher", "dB", 1)
        values = floats(parts.part(f"column-{index}")["f4"]).reshape(3, 8)
    expected = np.full((3, 8), np.nan, np.float32)
    for line in open_study(place).sql("select model, row, psnr_y from restore where status = 'ok'").to_pylist():
        expected[int(line["model"][3:]), line["row"]] = line["psnr_y"]
    np.testing.assert_array_equal(values, expected)
    assert np.isnan(values[:, 2]).all()


def test_words_and_failures_of_samples_are_columns(make_study: Make) -> None:
    place = make_study(Recipe([RESTORE], pictures=3, failed=(1, 4)))
    with opened(place) as parts:
        columns = {column.id: column for column in parts.columns}
        label = columns["sample/label"]
        assert [label.words[code - 1] for code in label.values[0]] == open_study(place).sql("select label from samples order by row")[
            "label"
        ].to_pylist()
        assert columns["sample/failures"].values[0].tolist() == [0, 2, 0, 0, 2, 0]
        failed = {(one["row"], one["model"]) for one in parts.part("names-0")["failures"]}
        assert failed == {(row, model) for row in (1, 4) for model in ("net0", "net1")}
        assert "sample/height" not in columns, "the same for all: nothing to sort by"


def test_a_stage_with_several_rows_a_sample_gives_their_mean_and_says_so(make_study: Make) -> None:
    def windows(model: int, row: int, label: str) -> list[dict[str, Any]]:
        return [{"psnr_y": 10.0 * row + window, "ssim_y": 0.5} for window in range(3)]

    with opened(make_study(Recipe([Stage("many", "novel", whats=("a", "a.control"), value=windows)]))) as parts:
        (column,) = (one for one in parts.columns if one.name == "psnr_y")
        assert column.most == 3
        np.testing.assert_array_equal(column.values[0], [1, 11, 21, 31, 41, 51])


def test_a_samples_images_are_the_stored_ones_to_the_level(make_study: Make) -> None:
    place = make_study(Recipe([RESTORE, FEATURES]))
    study = open_study(place)
    with opened(place) as parts:
        part = parts.part("sample-1")
    sample = study.sample(part["id"])
    np.testing.assert_array_equal(pixels(part["images"]["restore/net1/restore:output"])[0], np.moveaxis(sample.output("net1"), 0, 2))
    assert sample.target is not None
    levels = np.floor(np.moveaxis(sample.target, 0, 2) * 255 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(pixels(part["images"]["target"])[0], levels)
    assert (part["height"], part["width"]) == sample.input.shape[1:]
    assert part["missing"] == []
    exact = study.sql("select psnr_y from restore where row = 1 and model = 'net1'")["psnr_y"][0].as_py()
    assert part["values"]["restore/psnr_y"]["net1"] == exact


def test_a_page_has_the_features_that_vary_most_and_a_server_all_of_them(make_study: Make) -> None:
    def maps(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
        return np.random.default_rng(row).normal(size=shape) * np.arange(16)[::-1, None, None]

    layers = Stage("features", "features", (), ["body.0.out"], shape=(16, 8, 8), array=maps)
    place = make_study(Recipe([layers]))
    stored = open_study(place).array("features/net0/body.0.out")
    with opened(place) as parts:
        index = next(i for i, one in enumerate(parts.arrays) if one.key == "features/net0/body.0.out:features")
        few, every = parts.part("sample-3")["images"][parts.arrays[index].key], parts.part(f"array-3-{index}")
        row = np.asarray(stored.rows([parts.part("sample-3")["id"]]))[0]
    assert (few["places"], few["total"]) == ([[0], [1], [2], [3], [4], [5]], 16)
    np.testing.assert_array_equal(floats(every["f4"]).reshape(16, 8, 8), row)
    low, high = np.array(few["low"])[:, None, None], np.array(few["high"])[:, None, None]
    assert np.abs(low + pixels(few) / 255 * (high - low) - row[:6]).max() <= ((high - low) / 255 / 2 + 1e-6).max()


def test_levels_keep_the_ends_and_nan_is_kept_where_numbers_are_exact() -> None:
    values = np.array([[[0.0, 1.0], [np.nan, 4.0]], [[np.nan] * 2] * 2, [[7.0, 7.0], [7.0, 7.0]]])
    exact = number_planes(values, [[0], [1], [2]], 3)
    np.testing.assert_array_equal(floats(exact["f4"]).reshape(values.shape), values.astype(np.float32))
    coarse = number_planes(values, [[0], [1], [2]], 3, exact=0)
    assert (coarse["low"], coarse["high"]) == ([0.0, 0.0, 7.0], [4.0, 0.0, 7.0])
    assert pixels(coarse)[0].tolist() == [[0, 64], [0, 255]]


def test_causal_effects_have_their_errors_draws_and_verdicts_beside_them(make_study: Make) -> None:
    place = make_study(Recipe([RESTORE, cem_stage()], pictures=2))
    with opened(place) as parts:
        sample = parts.part("sample-1")
        kinds = {array.key: array.form for array in parts.arrays if array.stage == "cem"}
        index = next(i for i, one in enumerate(parts.arrays) if one.key == "cem/net1/cem:effect")
        whole = parts.part(f"array-1-{index}")
    assert kinds == {f"cem/{model}/cem:effect": "effects" for model in ("net0", "net1")}
    shown, made = sample["images"]["cem/net1/cem:effect"], {name: values[:2] for name, values in blocks(1, 1).items()}
    assert whole == shown
    assert (shown["places"], shown["total"]) == ([[0], [1]], 3), "the third window is perfect: it has no effect"
    shape = (2, BLOCKS, BLOCKS)
    np.testing.assert_array_equal(floats(shown["f4"]).reshape(shape), made["effect"].astype(np.float32))
    np.testing.assert_array_equal(floats(shown["beside"]["error"]["f4"]).reshape(shape), made["error"].astype(np.float32))
    coded = {name: np.array(planes["table"])[pixels(planes)] for name, planes in shown["beside"].items() if "table" in planes}
    np.testing.assert_array_equal(coded["draws"], made["draws"])
    np.testing.assert_array_equal(coded["decided"], decided_again(made, {}))
    assert set(np.unique(coded["decided"])) == {-1, 0, 1, 2}
    assert not coded["decided"][coded["draws"] == 0].any()
    numbers = [one for one in sample["windows"] if one["model"] == "net1"]
    assert [(one["top"], one["left"], one["block"], one["bound"]) for one in numbers] == [(*corner, BLOCK, 2.5) for corner in PLACES]
    assert numbers[1]["values"]["helping"] == 11
    assert [one["values"]["undefined"] for one in numbers] == [0, 0, 1]


def test_windows_of_all_networks_and_stages_are_one_statement(make_study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty cells asked thirty times for the windows of each sample: three of ten seconds of a page's SQL."""
    with opened(make_study(Recipe([RESTORE, cem_stage(), cem_stage("again")], models=3, pictures=2))) as parts:
        said: list[str] = []
        ask = parts.context.tables.arrow
        monkeypatch.setattr(parts.context.tables, "arrow", lambda sql, values=(): said.append(sql) or ask(sql, values))
        sample = parts.part("sample-1")
    assert len([sql for sql in said if '"window"' in sql]) == 1
    places = [(one["stage"], one["model"], one["place"]) for one in sample["windows"]]
    assert places == [(stage, f"net{i}", window) for i in range(3) for stage in ("again", "cem") for window in range(len(PLACES))]


def test_integers_of_which_few_differ_are_levels_with_their_values() -> None:
    values = np.array([[[0, 64], [4, 4]], [[64, 0], [0, 0]]])
    planes = coded_planes(values, [[0], [1]], 2)
    assert planes["table"] == [0, 4, 64]
    np.testing.assert_array_equal(np.array(planes["table"])[pixels(planes)], values)
    with pytest.raises(ValueError, match="257 different values"):
        coded_planes(np.arange(257).reshape(1, 1, 257), [[0]], 1)


def test_thumbnails_are_the_inputs_in_order(make_study: Make) -> None:
    with opened(make_study(Recipe([RESTORE], pictures=9))) as parts:
        part, ids = parts.part("thumbnails-0"), parts.part("names-0")["ids"]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(part["uri"].removeprefix("data:image/webp;base64,")))), np.float64)
    assert image.shape == (2 * SIDE, 16 * SIDE, 3), "18 samples, 16 in a row"
    sheet_means = [image[i // 16 * SIDE : i // 16 * SIDE + SIDE, i % 16 * SIDE : i % 16 * SIDE + SIDE].mean() for i in range(18)]
    study_means = [255 * one.input.mean() for one in map(open_study(parts.place).sample, ids)]
    assert np.abs(np.array(sheet_means) - study_means).max() < 4, "lossy, but each in its place"


def test_in_a_large_study_samples_of_one_content_share_a_thumbnail(make_study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EACH", 7)
    with opened(make_study(Recipe([RESTORE], pictures=4))) as parts:
        loaded: list[Any] = []
        load = type(parts.context.samples.loader).load
        monkeypatch.setattr(type(parts.context.samples.loader), "load", lambda self, sample: loaded.append(sample) or load(self, sample))
        uri = parts.part("thumbnails-0")["uri"]
        assert len(loaded) == 4, "eight samples, four contents"
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/webp;base64,")))), np.float64)
    first, second = (np.stack([image[:SIDE, i * SIDE : (i + 1) * SIDE].mean((0, 1)) for i in half]) for half in (range(4), range(4, 8)))
    assert np.abs(first - second).max() < 4


def test_a_corpus_that_is_gone_leaves_numbers_and_outputs(make_study: Make) -> None:
    place = make_study(Recipe([RESTORE]))
    for path in Path(open_study(place).sql("select source from samples")["source"][0].as_py()).parent.iterdir():
        path.unlink()
    with opened(place) as parts:
        part = parts.part("sample-0")
        assert "restore/net0/restore:output" in part["images"]
        assert [one["key"] for one in part["missing"]] == ["input"]
        assert parts.part("thumbnails-0")["uri"].startswith("data:image/webp")


def test_extremes_differences_and_failures_are_held_first() -> None:
    score = np.array([[5, 9, 1, 6, 6, 6], [5, 9, 1, 6, 2, 6]], np.float32)
    columns = [
        ExplorerColumn("restore", "psnr_y", "number", models=("a", "b"), values=score),
        ExplorerColumn("sample", "failures", "number", values=np.array([[0, 0, 0, 3, 0, 0]], np.float32)),
    ]
    order = held_order(6, columns)
    assert sorted(order) == [0, 1, 2, 3, 4, 5]
    assert set(order[:4]) >= {2, 1, 3}
    assert set(order[:6]) >= {4}, "the largest difference between a and b"
    assert held_order(3, []) == [0, 1, 2]


def test_the_same_study_gives_the_same_files_and_a_later_page_leaves_no_old_ones(make_study: Make) -> None:
    place = make_study(Recipe([RESTORE, FEATURES]))
    folder = Path(write_report(place)).parent
    first = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "data/sample-99.js").write_text("old")
    write_report(place)
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == first
    name, about = read(folder / "data/study.js")
    assert (name, about["rows"], about["format"]) == ("study", 6, 1)
    assert about["held"] == sorted(int(path.stem.split("-")[1]) for path in folder.glob("data/sample-*.js"))


def test_the_budget_ends_what_is_held_but_not_below_the_fewest(make_study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "BUDGET", 0)
    monkeypatch.setattr(write, "FEWEST", 2)
    folder = Path(write_report(make_study(Recipe([RESTORE])))).parent
    assert len(list(folder.glob("data/sample-*.js"))) == 2


@pytest.mark.parametrize(
    "name", ["", "study", "sample-6", "sample--1", "sample-1.5", "names-1", "column-99", "figure-0", "array-0-0", "array-0-99", "array-9-2",
             "x" * 500, "../study", "sample-1\n", "thumbnails-1"],
)  # fmt: skip
def test_a_part_that_there_is_not_is_an_error(make_study: Make, name: str) -> None:
    with opened(make_study(Recipe([RESTORE]))) as parts, pytest.raises(StudyError, match="has no part"):
        parts.part(name)


def test_a_part_holds_any_text_and_no_number_that_is_not_json() -> None:
    evil = "</script><script>alert(1)</script>\"'\u2028\u2029\u202e\ud800" + "x" * 5000
    text = script("names-0", {"names": [evil]})
    assert b"<" not in text
    assert "\u2028".encode() not in text
    inside = text.decode().removeprefix('xlli.put("names-0",').removesuffix(");\n")
    assert json.loads(inside)["names"][0] == evil
    with pytest.raises(ValueError, match="JSON"):
        script("x", {"a": math.nan})


def test_the_list_of_parts_is_written_when_they_are_there(make_study: Make) -> None:
    """Parts go out several at once: a page that is stopped meanwhile must not list what was not written."""
    place = make_study(Recipe([RESTORE], pictures=4))
    objects = open_study(place).objects
    ended: list[str] = []

    def put(key: str, data: bytes) -> None:
        if not key.endswith("data/study.js"):
            time.sleep(0.01)
        else:
            before.extend(ended)
        objects.put(key, data)
        ended.append(key)

    before: list[str] = []
    with opened(place) as parts:
        write.write_explorer(SimpleNamespace(put=put, list=objects.list, delete=objects.delete), parts)  # type: ignore[arg-type]
    assert ended[-1].endswith("data/study.js")
    assert sorted(before) == sorted(ended[:-1])
    assert len(before) > 4
