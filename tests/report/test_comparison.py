"""Two studies on one page: what is the same is paired, and nothing else."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from lam_studies import Lam
from toy_studies import Recipe, Stage, scores

from xlli_ray import cli
from xlli_ray.errors import StudyError
from xlli_ray.plots.embedding import Cloud, Embedding, Group
from xlli_ray.report.comparison.joined_columns import joined_columns
from xlli_ray.report.comparison.joined_parts import JoinedParts
from xlli_ray.report.comparison.not_the_same import not_the_same
from xlli_ray.report.comparison.paired_means import paired_means
from xlli_ray.report.comparison.same_samples import SameSamples, same_samples
from xlli_ray.report.comparison.write_comparison import write_comparison
from xlli_ray.report.explorer.columns import ExplorerColumn
from xlli_ray.report.explorer.parts import Parts, SeenFigure
from xlli_ray.report.page_context import open_context
from xlli_ray.study import open_study

Make = Callable[[Recipe], str]


def better(model: int, row: int, label: str) -> dict[str, Any]:
    """Half a dB more on even rows, 1.5 on odd ones."""
    given = scores(model, row, label)
    return {**given, "psnr_y": given["psnr_y"] + 0.5 + row % 2}


def outputs(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng((model, row)).integers(0, 255, shape)


FEATURES = Stage("features", "features", (), ["body.0.out"], shape=(16, 8, 8))
ONE = Recipe([Stage("restore"), FEATURES], pictures=5, degradations=("clean", {"blur": 2}), name="one", failed=(3,))
OTHER = Recipe([Stage("restore", value=better), FEATURES], models=3, pictures=7, degradations=({"blur": 2}, {"noise": 20}), name="other")


@contextmanager
def joined(one: str, other: str) -> Iterator[JoinedParts]:
    studies = [open_study(place).as_it_is() for place in (one, other)]
    tables = [study.sample_rows(0, study.manifest.samples.rows) for study in studies if study.manifest.samples]
    with open_context(studies[0], studies[0].manifest.samples) as first, open_context(studies[1], studies[1].manifest.samples) as second:  # type: ignore[arg-type]
        yield JoinedParts((Parts(first, one), Parts(second, other)), ("one", "other"), same_samples(*tables))


def floats(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def table(*rows: tuple[str, str, str]) -> pa.Table:
    return pa.table(dict(zip(("sample_id", "content", "label"), map(list, zip(*rows)))))


def test_samples_are_the_same_by_id_else_by_content_and_degradation_where_that_is_one() -> None:
    one = table(("a", "A", "clean"), ("b", "B", "noise"), ("c", "C", "noise"), ("d", "D", "x"), ("e", "D", "x"))
    other = table(("c2", "C", "noise"), ("a", "A", "clean"), ("f", "D", "x"), ("g", "B", "blur"))
    same = same_samples(one, other)
    assert same.one.tolist() == [0, 1, 2, 3, 4, -1, -1]
    assert same.other.tolist() == [1, -1, 0, -1, -1, 2, 3]
    assert (same.by_id, same.by_content) == (1, 1)
    assert same.joined(0).tolist() == [0, 1, 2, 3, 4]
    assert same.joined(1).tolist() == [2, 0, 5, 6]


def test_the_means_are_of_the_same_network_on_the_same_samples_over_photographs(make_study: Make) -> None:
    with joined(make_study(ONE), make_study(OTHER)) as parts:
        one, other = (side.context for side in parts.sides)
        means = paired_means(one, other, parts.same)
        assert {mean.label for mean in means} == {"blur2"}
        assert [mean.model for mean in means] == ["net0", "net0", "net1", "net1"], "no network of one study alone, no empty column"
        assert not any(mean.alike for mean in means if mean.column.name == "psnr_y")
        wanted = []
        for row in np.flatnonzero(parts.same.both):
            a, b = int(parts.same.one[row]), int(parts.same.other[row])
            if a not in ONE.failed:
                wanted.append(better(0, b, "blur2")["psnr_y"] - scores(0, a, "blur2")["psnr_y"])
        first = means[0]
        assert (first.column.name, first.difference.photographs, first.difference.values) == ("psnr_y", len(wanted), len(wanted))
        assert first.difference.mean == pytest.approx(np.mean(wanted))
        assert first.other - first.one == pytest.approx(np.mean(wanted))
        half = 2.7764451 if len(wanted) == 5 else 3.1824463  # Student's t with n − 1 degrees of freedom
        spread = np.std(wanted, ddof=1) / np.sqrt(len(wanted))
        assert first.difference.high - first.difference.mean == pytest.approx(half * spread, rel=1e-6)


def test_windows_are_paired_by_their_place(make_study: Make) -> None:
    recipe = Recipe([stage for stage in Lam().stages() if stage.kind == "lam"], degradations=("clean",), name="maps")
    place = make_study(recipe)
    with joined(place, place) as parts:
        context = parts.sides[0].context
        means = paired_means(context, context, parts.same)
        assert means
        assert all(mean.alike and mean.difference.mean == 0 for mean in means)
        own = "stage = 'lam' and model = 'net0' and what = (select min(what) from lam)"
        (line,) = context.tables.rows(f"select count(*) as n from lam where {own}")
        assert max(mean.difference.values for mean in means) == line["n"], "each window once"


def test_networks_stand_side_by_side_in_one_column(make_study: Make) -> None:
    with joined(make_study(ONE), make_study(OTHER)) as parts:
        about = parts.study([])
        assert about["compared"] == ["one", "other"]
        assert set(about) == set(parts.sides[0].study([]))
        assert about["place"] == about["command"] == "", "what can be run again is one study"
        assert about["rows"] == about["thumbnails"] == len(parts.same.one)
        names = ["one: net0", "one: net1", "other: net0", "other: net1", "other: net2"]
        assert [model["id"] for model in about["models"]] == names
        assert len({model["colour"] for model in about["models"]}) == len(names)
        assert [(label["label"], label["rows"]) for label in about["labels"]] == [("clean", 5), ("blur2", 7), ("noise20", 7)]
        index = next(i for i, column in enumerate(about["columns"]) if column["id"] == "restore/psnr_y")
        assert about["columns"][index]["models"] == names
        values = floats(parts.part(f"column-{index}")["f4"]).reshape(len(names), -1)
        sides = [next(c for c in side.columns if c.id == "restore/psnr_y").values for side in parts.sides]
        for joined_row, (a, b) in enumerate(zip(parts.same.one, parts.same.other)):
            for k, (side, row, model) in enumerate([(0, a, 0), (0, a, 1), (1, b, 0), (1, b, 1), (1, b, 2)]):
                np.testing.assert_equal(values[k, joined_row], sides[side][model, row] if row >= 0 else np.nan)


def test_names_failures_and_images_of_each_row_are_those_of_its_study(make_study: Make) -> None:
    with joined(make_study(ONE), make_study(OTHER)) as parts:
        names = parts.part("names-0")
        for row, (a, b) in enumerate(zip(parts.same.one, parts.same.other)):
            side, own = (0, a) if a >= 0 else (1, b)
            theirs = parts.sides[side].context.study.sample_rows(int(own), int(own) + 1)
            assert names["ids"][row] == theirs["sample_id"][0].as_py()
        assert {(failure["row"], failure["model"]) for failure in names["failures"]} == {(3, "one: net0"), (3, "one: net1")}
        assert parts.part("thumbnails-0")["uri"].startswith("data:image/webp")
        arrays = parts.study([])["arrays"]
        assert [array["title"] for array in arrays if array["kind"] == "image"] == ["input", "target"]
        both, alone = int(np.flatnonzero(parts.same.both)[0]), len(parts.same.one) - 1
        for row, wanted in ((both, {"one", "other"}), (alone, {"other"})):
            sample = parts.part(f"sample-{row}")
            json.dumps(sample, allow_nan=False)
            assert sample["row"] == row
            assert {key.split(":")[0] for key in sample["images"]} - {"input", "target"} == wanted
            assert {model.split(":")[0] for model in sample["values"]["restore/psnr_y"]} == wanted
        index = next(i for i, array in enumerate(arrays) if array["model"] == "other: net1")
        a, b = int(parts.same.one[both]), int(parts.same.other[both])
        study = parts.sides[1].context.study
        stored = study.array("features/net1/body.0.out").rows([study.sample_rows(b, b + 1)["sample_id"][0].as_py()])[0]
        assert np.array_equal(floats(parts.part(f"array-{both}-{index}")["f4"]).reshape(16, 8, 8), stored)
        assert a >= 0
        only_one = int(np.flatnonzero(parts.same.other < 0)[0])
        with pytest.raises(StudyError, match="this sample is not in other"):
            parts.part(f"array-{only_one}-{index}")
        for name in ("sample-99", "array-0-0", "array-99-2", "array-0-99", "column-99", "names-9", "figure-0", "study", "", "sample-1.js"):
            with pytest.raises(StudyError, match="has no part"):
                parts.part(name)


def test_windows_and_their_maps_keep_their_network(make_study: Make) -> None:
    recipe = Recipe([stage for stage in Lam().stages() if stage.kind == "lam"], degradations=("clean",), name="maps")
    place = make_study(recipe)
    with joined(place, place) as parts:
        sample = parts.part("sample-0")
        own = parts.sides[0].part("sample-0")
        assert len(sample["windows"]) == 2 * len(own["windows"])
        for window in sample["windows"]:
            assert window["model"].startswith(("one: ", "other: "))
            assert not window["key"] or window["key"] in sample["images"]


def test_points_of_embeddings_are_the_samples_of_the_comparison(make_study: Make) -> None:
    cloud = Cloud("pca", (0.0, 1.0), (0.0, 1.0), (0, 0), (0, 13))
    view = Embedding("drawn", ("a",), ("b",), (Group("clean", "#000000"),), ((cloud,),))
    with joined(make_study(ONE), make_study(OTHER)) as parts:
        seen = SeenFigure("ddr", "figure-ddr-drawn", "caption", view)
        parts = JoinedParts((parts.sides[0], replace(parts.sides[1], figures=[seen])), parts.names, parts.same)
        (about,) = parts.study([])["figures"]
        assert (about["section"], about["caption"], about["anchor"]) == ("other: ddr", "other: caption", "")
        rows = parts.part("figure-0")["panels"][0][0]["rows"]
        assert rows == [int(np.flatnonzero(parts.same.other == row)[0]) for row in (0, 13)]


def column(name: str, kind: Any, values: list[Any], words: tuple[str, ...] = (), models: tuple[str, ...] = ()) -> ExplorerColumn:
    return ExplorerColumn("sample", name, kind, values=np.array([values], np.uint32 if kind == "word" else np.float32), words=words,
                          models=models)  # fmt: skip


def test_columns_that_say_different_things_of_a_sample_stay_two() -> None:
    same = SameSamples(np.array([0, 1, -1]), np.array([-1, 0, 1]), 1, 0)
    names = ("one", "other")

    def of(one: ExplorerColumn, other: ExplorerColumn) -> list[tuple[str, list[float], tuple[str, ...]]]:
        return [(j.column.name, j.column.values[0].tolist(), j.column.words) for j in joined_columns([one], [other], same, names)]

    assert of(column("x", "number", [1, 2]), column("x", "number", [2, 5])) == [("x", [1, 2, 5], ())]
    assert [item[0] for item in of(column("x", "number", [1, 2]), column("x", "number", [3, 5]))] == ["x (one)", "x (other)"]
    words = of(column("w", "word", [1, 2], ("a", "b")), column("w", "word", [2, 1], ("c", "b")))
    assert words == [("w", [1, 2, 3], ("a", "b", "c"))]
    assert len(of(column("w", "word", [1, 2], ("a", "b")), column("w", "word", [1, 1], ("c",)))) == 2
    assert len(of(column("x", "number", [1, 2]), column("x", "word", [1, 0], ("a",)))) == 2
    assert len(of(column("x", "number", [1, 2]), column("x", "number", [2, 5], models=("net",)))) == 2


def test_what_differs_is_listed_and_nothing_else(make_study: Make) -> None:
    one, other = (open_study(make_study(recipe)).manifest for recipe in (ONE, OTHER))
    assert not_the_same(one, one) == []
    changed = replace(
        other, models=(replace(other.models[0], weights_sha256="f" * 64), *other.models[1:]), versions={**other.versions, "torch": "2.9"},
        cells=tuple(replace(cell, identity={**cell.identity, "probe version": 2}) for cell in other.cells),
    )  # fmt: skip
    told = {row.what: (row.one, row.other) for group in not_the_same(one, changed) for row in group.rows}
    assert told["net0: weights sha256"] == ("0" * 16, "f" * 16)
    assert told["net2"] == ("–", "has it")
    assert told["torch"] == ("2.6", "2.9")
    assert told["probe version"] == ("–", "2")
    assert told["corpus.degradations"] == ('["clean", {"blur": 2}]', '[{"blur": 2}, {"noise": 20}]')
    assert not [what for what in told if what.startswith("net1")]


def text_of(path: str) -> str:
    return re.sub(r"<[^>]+>", " ", Path(path).read_text())


def test_the_page_says_how_two_studies_differ_and_is_the_same_bytes_again(make_study: Make, tmp_path: Path) -> None:
    one, other = make_study(ONE), make_study(OTHER)
    before = {path: path.stat().st_mtime_ns for place in (one, other) for path in Path(place).rglob("*")}
    page = write_comparison(one, other, str(tmp_path / "both"))
    files = {path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / "both").rglob("*") if path.is_file()}
    assert {path: path.stat().st_mtime_ns for place in (one, other) for path in Path(place).rglob("*")} == before, "nothing in a study"
    said = " ".join(text_of(page).split())
    assert re.search(r"psnr_y of net0 on blur2 is [\d.]+ dB (lower|higher) in other than in one \(95 % interval ", said)
    assert "Of 4 paired means, " in said
    assert f"xlli report {one} {other} --out {tmp_path}/both" in said
    (tmp_path / "both/data/sample-999.js").write_text("old")
    (tmp_path / "both/data/mine.txt").write_text("of somebody")
    write_comparison(one, other, str(tmp_path / "both"))
    again = {path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / "both").rglob("*") if path.is_file()}
    assert again.pop(Path("both/data/mine.txt")) == b"of somebody"
    assert again == files
    script = (tmp_path / "both/data/study.js").read_text()
    about = json.loads(script.removeprefix('xlli.put("study",').removesuffix(");\n"))
    assert {f"sample-{row}.js" for row in about["held"]} == {path.name for path in (tmp_path / "both/data").glob("sample-*.js")}


def test_a_study_beside_itself_is_equal_and_a_stranger_has_nothing_in_common(make_study: Make, tmp_path: Path) -> None:
    place = make_study(ONE)
    page = write_comparison(place, place, str(tmp_path / "self"))
    assert "are equal, value for value, over 10 samples in both" in text_of(page)
    assert "Recipe, networks, versions and device are the same." in text_of(page)
    assert "A: net0" in (tmp_path / "self/data/study.js").read_text(), "neither name nor folder tells them apart"
    stranger = make_study(Recipe([Stage("restore")], size=48, name="stranger"))
    assert "no sample in common" in text_of(write_comparison(place, stranger, str(tmp_path / "strangers")))


def test_names_from_strangers_are_text(make_study: Make, tmp_path: Path) -> None:
    one, other = make_study(ONE), make_study(OTHER)
    odd = str(tmp_path / "<script>alert(1)&amp;\"'")
    Path(other).rename(odd)
    page = Path(write_comparison(one, odd, f"{odd} out")).read_text()
    assert "&lt;script&gt;alert(1)&amp;amp;" in page
    assert "<script>alert" not in page


@pytest.mark.parametrize(
    ("words", "said"),
    [(["a", "b", "c"], "compares two studies; 3 were given: a, b, c"), (["a", "--out", "x"], "--out is for the page of two studies"),
     (["a", "b", "--against", "net0"], "--against is for the page of one study")],
)  # fmt: skip
def test_the_command_says_what_it_can_do(words: list[str], said: str) -> None:
    with pytest.raises(StudyError, match=re.escape(said)):
        cli.app(["report", *words], result_action="return_value", exit_on_error=False)


def test_the_command_writes_where_it_is_told(make_study: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = make_study(ONE), make_study(OTHER)
    assert cli.app(["report", one, other, "--out", str(tmp_path / "x")], result_action="return_value") == 0
    assert capsys.readouterr().out == f"report: {tmp_path}/x/index.html\n"


def test_a_page_is_not_written_into_a_study_or_among_other_files(make_study: Make, tmp_path: Path) -> None:
    one = make_study(ONE)
    with pytest.raises(StudyError, match="is a study: name another folder"):
        write_comparison(one, one, one)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/mine.txt").write_text("x")
    with pytest.raises(StudyError, match="has other files in it"):
        write_comparison(one, one, str(tmp_path / "photos"))
    with pytest.raises(StudyError, match="not a study"):
        write_comparison(one, str(tmp_path / "nothing"), str(tmp_path / "x"))
