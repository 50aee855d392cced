from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_studies import Recipe, Stage, write_study

from xlli_ray.errors import StudyError
from xlli_ray.report.page import write_report
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records.documents import save_manifest
from xlli_ray.store.records.manifest import Manifest
from xlli_ray.store.zarr.read import ArrayReader
from xlli_ray.study import open_study

Make = Callable[[Recipe], str]
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Balanced(HTMLParser):
    """Collects text and attributes, and fails on a tag that is not closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [(name, value or "") for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def page_of(place: str) -> tuple[str, Balanced]:
    path = write_report(place)
    assert path == f"{place}/report/index.html"
    html = Path(path).read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids)), "two elements share an id"
    return html, parser


def images(height: int = -1, width: int = -2) -> Stage:
    """A `restore` stage that keeps its outputs."""

    def output(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
        return np.random.default_rng(row).integers(0, 255, shape)

    return Stage("restore", name="output", shape=(3, height, width), dtype="uint8", array=output)


def features(count: int = 1, **fields: Any) -> Stage:
    """A `features` stage of `count` layers."""
    return Stage("features", "features", (), [f"body.{i}.out" for i in range(count)], shape=(16, 8, 8), **fields)


def test_the_page_opens_without_network_and_runs_only_the_explorer(make_study: Make) -> None:
    html, page = page_of(make_study(Recipe([images(), features(2)])))
    beside = [link for _, link in page.links if not link.startswith(("#", "data:image/"))]
    assert beside == ["data:,", "explorer.css", "explorer.js"], "the first is an icon: without one browsers ask for it"
    assert html.count("<script") == 1
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_the_page_says_what_the_study_is_and_how_it_was_made(make_study: Make) -> None:
    place = make_study(Recipe([images(), features()], models=3))
    _, page = page_of(place)
    for words in (
        "6 samples of 3 contents in 2 degradations, seen by 3 networks",
        "xlli run toy.yaml --workers 2",
        "torch 2.6",
        "blur2",
        "family",
        "cpu",
        f'xlli_ray.open_study("{place}")',
        'study.array("restore/net0/restore")',
        "Wang et al., IEEE TIP 13(4), 2004",
        "@software{xlli_ray,",
        "PSNR on luma, dB, higher is better",
    ):
        assert words in page.text
    sample = open_study(place).sql("select sample_id from samples order by row limit 1")["sample_id"][0].as_py()
    assert sample in page.text
    assert "Not finished" not in page.text
    assert {"corpus", "networks", "stage-restore", "stage-features", "provenance", "open", "cite"} <= set(page.ids)


def test_the_python_lines_of_the_page_work_as_they_stand(make_study: Make) -> None:
    html, _ = page_of(make_study(Recipe([features()])))
    found = re.search(r"<pre>(import xlli_ray.*?)</pre>", html, flags=re.DOTALL)
    assert found
    names: dict[str, Any] = {}
    exec(found[1].replace("&#34;", '"'), names)
    assert names["stored"].rows([names["study"].sample_rows(0, 1)["sample_id"][0].as_py()]).shape == (1, 16, 8, 8)


def test_the_numbers_of_the_page_are_the_means_over_contents(make_study: Make) -> None:
    place = make_study(Recipe([Stage("restore")]))
    _, page = page_of(place)
    table = open_study(place).sql("select model, label, avg(psnr_y) as v from restore join samples using (sample_id) group by all")
    for row in table.to_pylist():
        assert f"{row['v']:.2f}" in page.text
    # The networks differ by 0.1 dB on each picture: b − a is all of it, not the half that lies between one and their mean.
    assert re.search(r"net1−net033\+0.100\+0.100…\+0.100", page.text.replace(" ", ""))
    assert "Mean over photographs, each weighing the same, with 95 %, skewness-corrected t over photographs." in page.text
    assert "value by value, mean over photographs, with 95 %, t over photographs" in page.text


def test_a_column_that_lacks_a_picture_says_how_many_its_mean_is_over(make_study: Make) -> None:
    def value(model: int, row: int, label: str) -> dict[str, Any]:
        return {"psnr_y": 30.0 + row, "ssim_y": 0.8 + 0.01 * row, **({"psnr_y": float("inf")} if row == 0 else {})}

    _, page = page_of(make_study(Recipe([Stage("restore", value=value)], pictures=5, degradations=["clean"])))
    assert "over 4 of 5" in page.text
    assert "photographsvalues" in page.text.replace(" ", "")


def test_two_photographs_have_no_interval_and_the_page_says_why(make_study: Make) -> None:
    html, page = page_of(make_study(Recipe([Stage("restore")], pictures=2)))
    assert "Means over fewer than 3 photographs have no interval" in page.text
    assert '<span class="range">' not in html


def test_one_model_can_be_chosen_to_compare_with(make_study: Make) -> None:
    place = make_study(Recipe([Stage("restore")], models=3))
    write_report(place, "net1")
    html = Path(f"{place}/report/index.html").read_text(encoding="utf-8")
    assert "net0 − net1" in html
    assert "net1 − net0" not in html
    with pytest.raises(StudyError, match=r"no model .net7. to compare with\. Did you mean .net"):
        write_report(place, "net7")


def test_forty_networks_do_not_put_780_pairs_on_the_page() -> None:
    import pyarrow as pa

    from xlli_ray.report.page_parts.analysis import _shown
    from xlli_ray.store.tables.results import Column, StoredFile

    models = [f"m{i}" for i in range(40)]
    rows = [{"model": a, "other": b, "difference": 1.0} for i, a in enumerate(models) for b in models[i + 1 :]]
    columns = tuple(Column(name, "string", "") for name in ("model", "other", "difference"))
    file = StoredFile("lam_pairs", "pairs", "lam_pairs.parquet", "", 780, columns)
    shown = _shown(file, pa.Table.from_pylist(rows), "lam_summary", models)
    assert len(rows) == 780
    assert len(shown.rows) == 39
    assert shown.note == "Each model against m0; 741 rows of other pairs: xlli query"
    assert len(_shown(file, pa.Table.from_pylist(rows), "lam_summary", models, "m7").rows) == 39


def test_a_column_called_other_that_names_no_model_hides_no_row() -> None:
    """DDR's contrasts: `other` is a degradation there, or the model itself; no row was left, and the page ended in a traceback."""
    import pyarrow as pa

    from xlli_ray.report.page_parts.analysis import _shown
    from xlli_ray.store.tables.results import Column, StoredFile

    models = [f"m{i}" for i in range(8)]
    columns = tuple(Column(name, "string", "") for name in ("model", "other"))
    file = StoredFile("ddr_contrasts", "contrasts", "ddr_contrasts.parquet", "", 2, columns)
    for other in ("blur2", "m0", None):
        table = pa.table({"model": pa.array(["m0", "m0"]), "other": pa.array([other, other], pa.string())})
        shown = _shown(file, table, "ddr", models)
        assert (len(shown.rows), shown.note) == (2, ""), other


def test_the_query_that_the_page_offers_gives_its_numbers(make_study: Make) -> None:
    place = make_study(Recipe([Stage("restore")]))
    html, _ = page_of(place)
    command = re.search(r"<pre>(xlli query [^<]*psnr_y[^<]*)</pre>", html)
    assert command
    import html as entities
    import shlex

    statement = shlex.split(entities.unescape(command[1]))[3]
    assert open_study(place).sql(statement).num_rows == 4


def test_words_from_files_and_networks_cannot_become_markup(make_study: Make) -> None:
    evil = "<script>alert(1)</script>"
    html, page = page_of(make_study(Recipe([Stage("restore", params={"note": evil})], broken=1, failed=[0], reason=evil)))
    assert html.count("<script") == html.count('<script src="explorer.js" defer></script>') == 1
    assert "broken<b>0.png" in page.text  # as text
    assert page.text.count(evil) >= 2


def test_a_study_that_is_not_finished_says_so(make_study: Make) -> None:
    _, page = page_of(make_study(Recipe([images(), features()], done=0.5)))
    assert "Not finished. 8 of 12 units done so far" in page.text


@pytest.mark.parametrize("recipe", [
    Recipe([images(), features()], done=0.0),
    Recipe([images(), features()], failed=range(6)),
], ids=["nothing done", "everything failed"])  # fmt: skip
def test_no_valid_row_is_a_page_without_numbers(make_study: Make, recipe: Recipe) -> None:
    html, page = page_of(make_study(recipe))
    assert "No sample has been measured yet" in page.text
    assert "No array has a valid row yet" in page.text
    assert "<svg" not in html


def test_a_study_before_its_scan_has_a_page(tmp_path: Path) -> None:
    save_manifest(open_objects(tmp_path), Manifest("early", 0, {}, None, command="xlli run early.yaml"))
    _, page = page_of(str(tmp_path))
    assert "not been scanned yet" in page.text


def test_no_study_is_an_error_that_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="xlli run RECIPE"):
        write_report(str(tmp_path))


def test_columns_without_targets_are_named_and_not_drawn(make_study: Make) -> None:
    nothing = Stage("restore", value=lambda model, row, label: {}, shape=(3, -1, -2), name="output", dtype="uint8",
                    array=lambda model, row, shape: np.full(shape, row))  # fmt: skip
    html, page = page_of(make_study(Recipe([nothing], inputs=True)))
    assert "psnr_y: no value in 6 measured rows (perhaps there are no targets)" in page.text
    assert 'class="plot"' not in html
    assert "input" in page.text  # the outputs are still shown, without error maps
    assert "output − target" not in page.text


def test_infinite_and_missing_values_are_left_out_and_counted(make_study: Make) -> None:
    def value(model: int, row: int, label: str) -> dict[str, Any]:
        return {"psnr_y": float("inf") if row == 0 else 30.0, **({"ssim_y": 0.9} if row else {})}

    _, page = page_of(make_study(Recipe([Stage("restore", value=value)])))
    assert "psnr_y: 2 infinite values are left out of the means" in page.text
    assert "ssim_y: 2 of 12 measured rows have no value" in page.text


def test_failures_are_counted_and_the_first_fifty_listed(make_study: Make) -> None:
    recipe = Recipe([Stage("restore"), features()], models=5, pictures=8, failed=range(12), broken=1)
    html, page = page_of(make_study(recipe))
    assert "The first 50 of 121" in page.text
    assert "60 and 1 file rejected" in page.text  # 12 samples of 5 networks
    assert html.count("not finite: NaN or infinity") == 49
    assert "broken" in page.text


def test_the_gallery_shows_the_best_the_median_and_the_worst_sample(make_study: Make) -> None:
    html, page = page_of(make_study(Recipe([images()], pictures=5, degradations=["clean"])))
    for rank, score in (("best of 5 by psnr_y, mean over the models 34.05", 34), ("median of 5", 32), ("worst of 5", 30)):
        assert rank in page.text
        assert f"psnr_y {score}.00" in page.text  # net0's own
    assert "|output − target|, grey levels of 255" in page.text
    assert html.count('alt="target"') == 3
    assert html.count('alt="net1"') == 3


def test_outputs_of_many_networks_are_thinned_out_and_the_page_says_so(make_study: Make) -> None:
    html, page = page_of(make_study(Recipe([images()], models=9, pictures=2, size=32)))
    assert "6 of 9 models are shown side by side, evenly spaced by their mean psnr_y" in page.text
    assert 'alt="net8"' in html  # the best
    assert 'alt="net0"' in html  # the worst


def test_outputs_of_another_size_than_the_target_are_shown_without_it(make_study: Make) -> None:
    _, page = page_of(make_study(Recipe([images(80, 80)])))
    assert "output − target" not in page.text
    assert "best of 6" in page.text


def test_a_page_is_made_without_its_corpus(make_study: Make, tmp_path: Path) -> None:
    place = make_study(Recipe([images(), features()]))
    for picture in (tmp_path / "toy-pictures").iterdir():
        picture.unlink()
    _, page = page_of(place)
    assert "Inputs and targets cannot be shown:" in page.text
    assert "channel" in page.text


def test_thirty_layers_are_all_listed_and_twelve_drawn(make_study: Make) -> None:
    html, page = page_of(make_study(Recipe([features(30)], models=1)))
    assert "12 of 30 arrays are drawn" in page.text
    assert html.count("<h3>net0 · body.") == 12
    drawn = [int(number) for number in re.findall(r"<h3>net0 · body\.(\d+)", html)]
    assert drawn == sorted(drawn)  # in depth order: body.10 after body.2
    assert (drawn[0], drawn[-1]) == (0, 29)
    assert page.text.count("body.7.out") >= 1


def test_signed_features_get_a_symmetric_scale_and_others_start_at_zero(make_study: Make) -> None:
    positive = Stage("relu", "features", (), ["a.out"], shape=(4, 8, 8), array=lambda m, row, shape: np.full(shape, 2.0))
    html, _ = page_of(make_study(Recipe([features(), positive], models=1)))
    scales = re.findall(r'<span>([^<]+)</span><img [^>]*alt="colour scale"><span>([^<]+)</span>', html)
    (low, high), zero = scales
    assert low == f"−{high}"
    assert zero == ("0", "2")


def test_pooled_features_are_shown_as_samples_by_channels(make_study: Make) -> None:
    pooled = Stage("pooled", "features", (), ["a.out"], shape=(4, 16), dims=("moment", "channel"))
    tokens = Stage("tokens", "features", (), ["b.out"], shape=(64, 16), dims=("token", "channel"))
    vector = Stage("vector", "features", (), ["c.out"], shape=(16,), dims=("channel",))
    _, page = page_of(make_study(Recipe([pooled, tokens, vector], models=1)))
    assert "moment 3:" in page.text
    assert "token from top to bottom, channel from left to right" in page.text
    assert "16 float32. 6 of 6 samples from top to bottom" in page.text


def test_sums_by_bin_are_listed_and_not_drawn(make_study: Make) -> None:
    sums = Stage("sums", "motion_error", (), ["a"], shape=(2, 11), dims=("visibility", "bin"))
    _, page = page_of(make_study(Recipe([sums], models=1)))
    assert "2 × 11" in page.text
    assert "samples from top to bottom" not in page.text
    assert "No array has a valid row yet" not in page.text


def test_a_probe_that_the_report_has_never_seen_gets_a_section(make_study: Make) -> None:
    columns = (("index", "float64"), ("steps", "int64"), ("clipped", "bool"), ("path", "string"))

    def value(model: int, row: int, label: str) -> dict[str, Any]:
        return {"index": 0.1 * row, "steps": 50 + row, "clipped": row > 2, "path": "blur" if row % 2 else "straight"}

    stage = Stage("attribution", "novel", columns, ["window"], "map", (-1, -2), ("y", "x"), value=value)
    html, page = page_of(make_study(Recipe([stage])))
    assert "The probe 'novel' is not part of this installation" in page.text
    assert html.count('class="plot"') == 3  # nothing differs between the two networks: no figure of differences
    assert "path: blur (6), straight (6)" in page.text
    assert "<h3>window</h3>" in html
    assert html.count('alt="net1"') == 2  # two samples, the networks' maps side by side
    assert "clipped" in page.text


def test_only_the_rows_shown_are_read(make_study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make_study(Recipe([images(), features(3)], pictures=12))
    read: list[int] = []
    rows = ArrayReader.rows

    def counted(self: ArrayReader, positions: Any) -> np.ndarray:
        read.append(len(positions))
        return rows(self, positions)

    def whole(self: ArrayReader, **_: Any) -> Any:
        raise AssertionError("the page scanned a whole array")

    monkeypatch.setattr(ArrayReader, "rows", counted)
    monkeypatch.setattr(ArrayReader, "scan", whole)
    monkeypatch.setattr("xlli_ray.report.explorer.write.BUDGET", 0)
    write_report(place)
    on_the_page = 3 * 2 + 2 * 3 * 2  # images: three samples of two networks; maps: two samples of six layers
    held = len(list((Path(place) / "report/data").glob("sample-*.js")))
    assert held == 8
    assert sum(read) <= on_the_page + (held + 1) * (2 + 6)  # each array of each sample once; one sample more shows that the budget is spent


def test_a_sample_too_large_to_draw_is_named(make_study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xlli_ray.report.shown_samples.ROW_BYTES", 1000)
    _, page = page_of(make_study(Recipe([features()], models=1)))
    assert "a single sample is too large to be drawn here" in page.text


def test_a_damaged_shard_does_not_cost_the_page(make_study: Make) -> None:
    place = make_study(Recipe([Stage("restore"), features()], models=1))
    for shard in Path(place).glob("arrays.zarr/**/features/c/*/0/0/0"):
        shard.write_bytes(shard.read_bytes()[:-9])
    _, page = page_of(place)
    assert "Not all arrays can be read" in page.text
    assert "32.00" in page.text  # the numbers are there


def test_twenty_networks_and_thirty_eight_degradations_fit_a_page(make_study: Make) -> None:
    levels = [{"blur": 0.5 + i / 4} for i in range(12)] + [{"noise": 2 + i} for i in range(12)]
    levels += [{"jpeg": 30 + i} for i in range(11)] + [{"blur": 2, "noise": 10}, {"noise": 10, "jpeg": 50}]
    recipe = Recipe([Stage("restore")], models=20, pictures=2, size=32, degradations=["clean", *levels])
    place = make_study(recipe)
    start = time.process_time()
    html, page = page_of(place)
    assert time.process_time() - start < 20
    assert len(html) < 3e6
    assert html.count('class="plot"') == 3  # heat maps instead of 760 dots: psnr_y and its differences, ssim_y has none
    assert "in 38 degradations" in page.text


def test_the_same_study_gives_the_same_page(make_study: Make) -> None:
    place = make_study(Recipe([images(), features()]))
    first, _ = page_of(place)
    second, _ = page_of(place)
    assert first == second


def test_importing_the_report_imports_neither_matplotlib_nor_torch() -> None:
    code = (
        "import sys, xlli_ray.report.page, xlli_ray.report.doctor\n"
        "heavy = {'matplotlib', 'torch', 'ray', 'jinja2', 'zarr', 'xarray'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_study_in_a_bucket_gets_its_page_there(tmp_path: Path) -> None:
    objects = open_objects("memory://page/study")
    write_study(objects, Recipe([images(), features()]), tmp_path / "pictures")
    assert write_report("memory://page/study") == "memory://page/study/report/index.html"
    assert b"psnr_y" in objects.get("report/index.html")


def test_an_analysis_has_a_section_with_its_flags_first_and_every_tag_closed(tmp_path: Path) -> None:
    from xlli_ray.analyses.shared.freshness import asked_in
    from xlli_ray.engine.run.analysis_runner import run_analyses
    from xlli_ray.store.tables.study_tables import write_tables

    sys.path.append(str(Path(__file__).parents[1] / "analyses"))
    from lam_studies import Lam, lam_recipe

    class Silent:
        def event(self, *_: Any, **__: Any) -> None:
            pass

        def tell(self, text: str) -> None:
            pass

        def beating(self, text: Callable[[], str]) -> AbstractContextManager[None]:
            return nullcontext()

    place = tmp_path / "lam"
    objects = open_objects(str(place))
    others = [{"kind": "lam_summary", "id": "never", "params": {"of": "lam"}, "models": "all"}]
    manifest = write_study(objects, lam_recipe(Lam(blob=lambda m, r, w: 1.0), others=others), tmp_path / "pictures")
    write_tables(Archive(objects, manifest))
    ran = run_analyses(Archive(objects, manifest), asked_in(manifest)[:1], Silent(), check=lambda: None)  # type: ignore[arg-type]
    assert ran.failed == ()
    html, page = page_of(str(place))
    assert "Flag. most maps survive randomised weights (ρ beyond position ≥ 0.7): net0 (12 of 12)" in page.text
    assert page.text.index("Flag.") < page.text.index("Diffusion index, mean over images")
    assert "#result-lam_summary" in [link for name, link in page.links if name == "href"]
    assert "Local Attribution Maps" in page.text
    assert "Hall, Journal of the Royal Statistical Society" in page.text.split("What was measured, by the definitions of")[1]
    assert "Not there yet. it was not run yet." in page.text
    assert "never" in page.text
    assert html.count("<svg") + html.count("data:image/svg+xml;base64,") >= 4
    assert page_of(str(place))[0] == html
