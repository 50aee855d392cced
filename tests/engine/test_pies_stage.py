"""A PIES-like study from recipe to tables: equal sets, real ones without scores, hashes of what went in, the same bytes anywhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import digest, image
from PIL import Image

from xlli_ray.corpus.decode import decode
from xlli_ray.corpus.degradations import parse_label
from xlli_ray.corpus.resize import downscale
from xlli_ray.corpus.sample import Loader, study_loader
from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import Summary, plan_study
from xlli_ray.errors import PlanError, RecipeError
from xlli_ray.recipe import Recipe
from xlli_ray.report.array_images import corpus_panels
from xlli_ray.report.page import gather, render
from xlli_ray.report.page_means import Asked, Tables, summarise
from xlli_ray.report.shown_samples import Samples, positions_by_label
from xlli_ray.report.text import sets_text
from xlli_ray.stats.intervals import UNLIMITED
from xlli_ray.store.records.manifest import NO_MODEL
from xlli_ray.store.tables.sample_table import corpus_hash
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import Study, open_study

Make = Callable[..., Recipe]
Run = Callable[..., Summary]

SETS = ["clean", "blur1", "noise20", "blur1+noise20", "jpeg50"]
STAGES = [{"features": {"layers": ["head"], "dtype": "float32"}}, {"restore": {}}, {"inputs": {}}, {"gram": {"layers": ["head"]}}]


@pytest.fixture
def pies(corpus: Path, tmp_path: Path, recipe: Make) -> Callable[..., Recipe]:
    """A recipe over the twelve images, and two cameras' images as a real set."""
    for k in range(2):
        (tmp_path / "camera").mkdir(exist_ok=True)
        Image.fromarray(image(100 + k, 40, 32)).save(tmp_path / "camera" / f"{k}.png")

    def make(images: str = f"{corpus}/*.png", real: Any = "camera/*.png", **options: Any) -> Recipe:
        some = {"patches": 14, "size": 16, "min_std": 1.0, "sets": SETS, "real": real, **options}
        return recipe(corpus={"images": [images], "scale": 2, "pies": some}, stages=STAGES)

    return make


@pytest.fixture
def study(pies: Make, run: Run, tmp_path: Path) -> Study:
    run(pies())
    return open_study(str(tmp_path / "study"))


def test_every_set_has_the_same_number_and_only_made_ones_are_scored(study: Study) -> None:
    found = study.sql(
        "select label, count(*) as n, count(distinct content) as contents, count(*) filter (where isfinite(psnr_y)) as scored "
        "from samples join restore using (sample_id) where status = 'ok' group by label"
    ).to_pylist()
    assert {row["label"]: (row["n"], row["contents"], row["scored"]) for row in found} == {
        **dict.fromkeys(SETS, (14, 14, 14)), "real-camera": (14, 14, 0)
    }  # fmt: skip
    shared = study.sql("select count(*) as n from (select content from samples group by content having count(*) = 5)").to_pylist()
    assert shared[0]["n"] == 14
    grams = study.sql("select rows, shape from features where stage = 'gram'").to_pylist()
    assert [(row["rows"], row["shape"]) for row in grams] == [(6 * 14, [14])], "each set by itself, the real one too"
    assert study.failures.num_rows == 0
    assert list(verify(study.archive)) == []


def test_the_manifest_is_the_hash_of_pixels_that_anybody_can_make(study: Study) -> None:
    """By hand: whole image blurred, halved, cut, noise, JPEG; for real sets, the file's own bytes."""
    rows = study.sql("select * from samples join inputs using (sample_id)").to_pylist()
    assert len(rows) == 14 * 6
    assert {row["bits"] for row in rows} == {8}
    for row in rows:
        if row["label"] == "real-camera":
            whole = np.asarray(Image.open(row["source"]))
            top, left = row["top"], row["left"]
        else:
            mixture = parse_label(row["label"])
            pixels = decode(Path(row["source"]).read_bytes()).pixels
            whole = downscale(mixture.apply(pixels, "target", key="").image, 2)
            top, left = row["top"] // 2, row["left"] // 2
        patch = whole[top : top + 8, left : left + 8]
        if row["label"] != "real-camera":
            patch = parse_label(row["label"]).apply(np.ascontiguousarray(patch), "input", key=f"0|{row['content']}").image
        assert row["input_sha256"] == sha256(patch.tobytes()).hexdigest()


def test_the_page_compares_only_what_shows_the_same_contents(study: Study) -> None:
    table = study.manifest.samples
    assert table is not None
    with Tables(study) as tables:
        (found,) = summarise(tables, Asked("restore", "restore", {"psnr_y": UNLIMITED}), models=["small"], labels=list(table.labels))
        (bits,) = summarise(tables, Asked("inputs", "inputs", {"bits": UNLIMITED}), models=[NO_MODEL], labels=list(table.labels))
        (number,) = summarise(tables, Asked("inputs", "inputs", {"row": UNLIMITED}), models=[NO_MODEL], labels=list(table.labels))
    assert {label for _, label in found.values} == set(SETS), "a real set has no score"
    assert {(item.one, item.other) for item in found.differences} == {("clean", label) for label in SETS[1:]}
    noise = next(item for item in found.differences if item.other == "noise20")
    assert noise.interval.mean == pytest.approx(found.values["small", "noise20"].mean - found.values["small", "clean"].mean)
    assert {label for _, label in bits.values} == {*SETS, "real-camera"}
    assert bits.differences == [], "8 everywhere: nothing to compare"
    assert {label for _, label in number.values} == {*SETS, "real-camera"}
    assert {item.other for item in number.differences} == set(SETS[1:]), "a number that all have: other contents are compared with nothing"
    shown, note = corpus_panels(Samples(study, Loader()), table)
    assert shown is not None
    assert note == "One content of 5 degradations. A real set shows contents of its own."
    assert [panel.caption for panel in shown.rows[0].panels if panel] == [*SETS, "real-camera"]
    (cell,) = [cell for cell in study.manifest.cells if cell.kind == "features"]
    assert set(positions_by_label(table, cell.buckets[0])) == set(SETS)


@pytest.mark.usefixtures("ray_session")
def test_ray_and_other_names_give_the_bytes_of_a_run_in_this_process(pies: Make, run: Run, corpus: Path, tmp_path: Path) -> None:
    run(pies(), "here")
    run(pies(), "ray", workers=1)
    moved = tmp_path / "moved" / "camera"
    moved.mkdir(parents=True)
    for k, path in enumerate(sorted((tmp_path / "camera").glob("*.png"), reverse=True)):
        shutil.copy(path, moved / f"{k}-other.png")
    for k, path in enumerate(sorted(corpus.glob("*.png"), reverse=True)):
        shutil.copy(path, tmp_path / "moved" / f"{k:02d}-other.png")
    run(pies(f"{tmp_path}/moved/*.png", "moved/camera/*.png"), "moved-study")
    here = digest(tmp_path / "here")
    assert digest(tmp_path / "ray") == here
    moved_bytes = digest(tmp_path / "moved-study")
    assert {name for name in here if here[name] != moved_bytes[name]} == {"samples/part-00000.parquet"}, "addresses only"


def test_the_plan_says_sets_and_number_and_warns_below_800(pies: Make, tmp_path: Path) -> None:
    manifest, plan = plan_study(pies(patches=20), str(tmp_path / "a"), Options(workers=0, quiet=True))
    assert manifest.samples is not None
    assert sets_text(manifest.samples) == "6 sets of 20 samples: clean, blur1, noise20, blur1+noise20, jpeg50, real-camera"
    assert [note for note in plan.notes if "20 patches per set, PIES has 800" in note]
    everything = pies(patches=900, sets="all", real={})
    manifest, plan = plan_study(everything, str(tmp_path / "b"), Options(workers=0, quiet=True))
    assert manifest.samples is not None
    each = manifest.samples.rows // 38
    assert sets_text(manifest.samples) == (
        f"38 sets of {each} samples: clean, blur0.5 … blur8 (16), noise5 … noise50 (8), blur1+noise10 … blur4+noise20 (8), "
        "jpeg90 … jpeg10 (5)"
    )
    assert 0 < each < 800
    assert any(f"900 patches per set were requested, the images have {each} " in note for note in plan.notes)
    again, same = plan_study(everything, str(tmp_path / "b"), Options(workers=0, quiet=True))
    assert (again.samples, same.notes) == (manifest.samples, plan.notes)


def test_a_real_set_that_is_too_small_stops_the_scan_and_leaves_no_table(pies: Make, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"as many patches as the generated ones, 60; camera has 40\. Lower corpus\.pies\.patches to 40"):
        plan_study(pies(patches=60), str(tmp_path / "study"), Options(workers=0, quiet=True))
    assert not list((tmp_path / "study").glob("samples/*"))


def test_a_study_knows_its_set_and_its_real_folder_may_move(pies: Make, run: Run, tmp_path: Path) -> None:
    two = {"web": "camera/1.png", "camera": ["camera/*.png"]}
    run(pies(patches=4, real=two))
    with pytest.raises(PlanError, match=r"corpus\.pies was .*'window': None.* is now .*'window': 15"):
        run(pies(patches=4, real=two, window=15))
    with pytest.raises(PlanError, match=r"corpus\.pies was .*\['camera', 'web'\].* is now .*\['camera'\]"):
        run(pies(patches=4))
    (tmp_path / "camera").rename(tmp_path / "lens")
    assert run(pies(patches=4, real={"web": "lens/1.png", "camera": "lens/*.png"})).complete


def test_a_try_looks_at_made_sets_only(pies: Make, run: Run, tmp_path: Path) -> None:
    summary = run(pies(), "try", limit=3)
    assert (summary.samples, summary.notes) == (3, ())
    assert set(open_study(str(tmp_path / "try")).sql("select label from samples")["label"].to_pylist()) == {"clean", "blur1", "noise20"}


def test_a_plain_corpus_is_asked_for_as_before_there_were_such_sets(recipe: Make, run: Run, tmp_path: Path) -> None:
    """Else every study that was scanned earlier would be scanned again."""
    plain = recipe()
    run(plain)
    samples = open_study(str(tmp_path / "study")).manifest.samples
    assert samples is not None
    fields = ("images", "inputs", "pairs", "list", "scale", "patches", "degradations", "max_pixels")
    asked = {name: plain.dump()["corpus"][name] for name in fields}
    assert samples.corpus_hash == corpus_hash({**asked, "limit": None}, 0, {"decode": 1, "noise": 1})
    sources = [{"kind": "images", "uri": uri, "target": None} for uri in map(str, sorted((tmp_path / "images").glob("*.png")))]
    scan = sha256(json.dumps([samples.corpus_hash, sources], sort_keys=True).encode()).hexdigest()[:12]
    assert [path.name for path in (tmp_path / "study" / "records").glob("scan-*")] == [f"scan-{scan}"]


def test_every_sample_that_a_page_may_show_has_a_colour(study: Study) -> None:
    """All real sets are of one type in the sample table, and of one each in figures: a page that drew such a sample ended in an error."""
    table = study.manifest.samples
    assert table is not None
    page = gather(study, study.objects.url)
    samples = Samples(study, study_loader(study.manifest.recipe["corpus"]))
    assert {samples.colour(row) for row in range(table.rows)} == set(page.colours.values())
    assert "<td>real-camera</td>" in render(page)
