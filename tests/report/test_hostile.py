"""A study from a stranger: its names reach neither SQL nor the page as anything but names, and its figures run and load nothing."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from toy_studies import Recipe, Stage

from xlli_ray.errors import StudyError
from xlli_ray.plots.heat import Heat
from xlli_ray.plots.view import to_json
from xlli_ray.report.explorer.write import BUNDLE
from xlli_ray.report.page import write_report
from xlli_ray.report.page_model import Figure as Shown
from xlli_ray.report.text import result_table, status_text
from xlli_ray.store.records.seal import sealed_json
from xlli_ray.store.tables.results import Column, Figure, Made, Result, Table, write_failure, write_result
from xlli_ray.store.verify.check_study import findings
from xlli_ray.study import open_study

Make = Callable[[Recipe], str]
EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'`"
QUOTE = 'x" as select 1; copy (select 1) to \'planted.csv\'; create view "y'
SVG = """<svg class="plot" viewBox="0 0 72 36" xmlns="http://www.w3.org/2000/svg"
 xmlns:xlink="http://www.w3.org/1999/xlink" onload="alert(1)">
<style>@import url(http://localhost:1/x.css); rect {fill: url(http://localhost:1/x.svg#a)}</style><script>alert(1)</script>
<foreignObject><body xmlns="http://www.w3.org/1999/xhtml"><iframe src="http://localhost:1/"></iframe></body></foreignObject>
<a xlink:href="javascript:alert(1)"><rect width="9" height="9"/></a><image href="http://localhost:1/x.png"/></svg>
<script>alert(2)</script>"""


class Elements(HTMLParser):
    """All elements with their attributes, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


OWN = [
    ("link", {"rel": "icon", "href": "data:,"}), ("link", {"rel": "stylesheet", "href": "explorer.css"}),
    ("script", {"src": "explorer.js", "defer": None}),
]  # fmt: skip
"""The explorer and an empty icon, this package's own: all else that a page may not have is looked for."""


def page_of(place: str) -> Elements:
    parser = Elements()
    parser.feed(Path(write_report(place)).read_text())
    assert [one for one in parser.found if one in OWN] == OWN
    assert (Path(place) / "report/explorer.js").read_bytes() == (BUNDLE / "explorer.js").read_bytes()
    parser.found = [one for one in parser.found if one not in OWN]
    return parser


@pytest.fixture
def place(make_study: Make) -> Path:
    """A study with one result."""
    where = make_study(Recipe([Stage("restore")]))
    columns = (Column("word", "string", "what `it` says"), Column("x", "float64", "a number"))
    made = Made("found", "unheard_of", 1, "Nobody, 2020", {"note": "p"}, "all", 0, "f" * 16, ())
    view = to_json(Heat("drawn", ("a",), ("b",), ((1.0,),)))
    figure = Figure("drawn", SVG.split("\n<script>")[0], "caption", view)
    result = Result({"finding": [{"word": "w", "x": 1.0}]}, [figure], {"x": 1.0}, ["flag"], ["note"])
    write_result(open_study(where).objects, made, [Table("finding", "about", columns)], result, {"python": "3"})
    return Path(where)


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Sealed again: a seal is no protection against people."""
    data = json.loads(path.read_text())
    data.pop("seal")
    edit(data)
    path.write_bytes(sealed_json(data))


def change_study(place: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    for path in [*(place / "study").glob("*.json"), place / "study.json"]:
        change(path, edit)


def put(place: str, value: str) -> Callable[[dict[str, Any]], None]:
    """Sets `a.0.b` to a value; a last part that names a list's field is replaced."""
    keys = [int(key) if key.isdigit() else key for key in place.split(".")]

    def edit(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return edit


FIELDS = [
    "name", "samples.buckets.0.name", "samples.buckets.0.blocks.0.0", "models.0.id", "cells.0.stage", "cells.0.model", "cells.0.what",
    "cells.0.kind", "cells.0.group", "cells.0.columns.0.0", "cells.0.columns.0.1", "cells.0.buckets.0.name", "recipe.stages.0.id",
]  # fmt: skip


NAMED = {"samples.buckets.0.blocks.0.0": "blocks", "cells.0.what": "output|what", "cells.0.columns.0.0": "columns",
         "cells.0.columns.0.1": "columns", "cells.0.buckets.0.name": "bucket", "samples.buckets.0.name": "bucket",
         "models.0.id": "model", "recipe.stages.0.id": "stages"}  # fmt: skip
"""How the message calls the field, where not by its last part."""


EVILS: list[Any] = [QUOTE, EVIL, "../../x", "a\nb", "", 7, "a" * 300]
SAID = [(field, evil) for field in FIELDS for evil in EVILS if (field, evil) != ("cells.0.model", "")]
"""A cell without a model is one of samples alone."""


@pytest.mark.parametrize(("field", "evil"), SAID)
def test_a_name_in_study_json_that_no_recipe_gives_is_refused_with_file_and_field(place: Path, field: str, evil: Any) -> None:
    change_study(place, put(field, evil))
    with pytest.raises(StudyError, match=rf"{place}/study/000000.000.json: .*{NAMED.get(field, field.split('.')[-1])}"):
        open_study(place)


def test_a_cell_that_lost_its_model_has_no_records_and_its_page_is_made(place: Path) -> None:
    change_study(place, put("cells.0.model", ""))
    study = open_study(place)
    assert next(cell["done"] for cell in study.status()["cells"]) == 0
    assert any("3 units without a record" in str(finding) for finding in findings(study.archive))
    assert write_report(str(place))


@pytest.mark.parametrize("evil", [QUOTE, EVIL, "../../x", "a\nb", ""])
@pytest.mark.parametrize(
    "field",
    ["tables.0.name", "tables.0.file", "tables.0.columns.0.name", "figures.0.name", "figures.0.file", "views.0.name", "views.0.file",
     "made.analysis"],
)  # fmt: skip
def test_a_name_in_result_json_reaches_no_statement(place: Path, monkeypatch: pytest.MonkeyPatch, field: str, evil: str) -> None:
    monkeypatch.chdir(place)
    change(place / "results/found/result.json", put(field, evil))
    before = {path for path in place.parent.rglob("*") if path.is_file()}
    study = open_study(place)
    for ask in (lambda: study.sql("from finding"), lambda: study.results, lambda: write_report(str(place)), study.status):
        with pytest.raises(StudyError, match=r"results/found/result.json: "):
            ask()
    assert {path for path in place.parent.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("field", "evil"), [("notes", [3]), ("flags", "abc"), ("figures.0.about", None), ("tables.0.rows", "many"), ("more", 1)]
)
def test_a_result_whose_values_are_of_other_types_is_as_good_as_none(place: Path, field: str, evil: Any) -> None:
    """A note that was a number ended the page in a traceback."""
    change(place / "results/found/result.json", put(field, evil))
    assert open_study(place).results == {}
    assert write_report(str(place))


def test_texts_of_a_study_are_text_on_the_page(place: Path) -> None:
    def texts(data: dict[str, Any]) -> None:
        data |= {"command": EVIL, "device": EVIL, "versions": {EVIL: EVIL}}
        data["recipe"]["note"] = EVIL
        for model in data["models"]:
            model |= {"source": EVIL, "network": EVIL, "output": EVIL, "tags": {"<script>x</script>": EVIL}}
        for cell in data["cells"]:
            cell["params"] = {"a": EVIL}
            cell["buckets"][0]["refused"] = EVIL

    def words(data: dict[str, Any]) -> None:
        data |= {"flags": [EVIL, f"`{EVIL}`"], "notes": [EVIL], "values": {EVIL: 1}}
        data["made"] |= {"reference": EVIL, "params": {"a": EVIL}}
        data["tables"][0]["about"] = data["tables"][0]["columns"][0]["about"] = data["figures"][0]["about"] = EVIL

    change_study(place, texts)
    change(place / "results/found/result.json", words)
    write_failure(open_study(place).objects, "found", EVIL)
    page = page_of(str(place))
    assert not {"script", "iframe", "object", "embed", "link", "base", "form"} & {tag for tag, _ in page.found}
    assert not [name for _, attributes in page.found for name in attributes if name.startswith("on")]
    assert all((attributes.get("src") or "data:").startswith("data:") for _, attributes in page.found)
    assert page.text.count("<script>alert(1)</script>") >= 15
    assert status_text(open_study(place).status())
    assert result_table(str(place))


def test_a_tampered_view_is_refused_with_its_file_and_field(place: Path) -> None:
    evil = (place / "results/found/drawn.json").read_text().replace('"a"', "7")
    (place / "results/found/drawn.json").write_text(evil)
    change(place / "results/found/result.json", put("views.0.sha256", sha256(evil.encode()).hexdigest()))
    with pytest.raises(StudyError, match=rf"{place}/results/found/drawn.json: rows\[0\] is 7"):
        _ = open_study(place).result("found").views


def test_a_result_from_before_there_were_views_is_read_and_has_none(place: Path) -> None:
    change(place / "results/found/result.json", lambda data: data.pop("views"))
    result = open_study(place).result("found")
    assert set(result.figures) == {"drawn"}
    assert result.views == {}
    (place / "results/found/drawn.json").unlink()
    assert not [finding for finding in findings(open_study(place).archive) if finding.kind == "result"]
    assert "caption" in page_of(str(place)).text


def test_columns_of_results_say_unit_and_which_way_is_better_and_older_ones_say_neither(place: Path) -> None:
    def said(data: dict[str, Any]) -> None:
        data["tables"][0]["columns"][1] |= {"about": "mean; null: none", "unit": "furlongs", "better": "higher"}

    def before(data: dict[str, Any]) -> None:
        for column in data["tables"][0]["columns"]:
            del column["unit"], column["better"]

    change(place / "results/found/result.json", said)
    assert "mean, furlongs, higher is better; null: none" in page_of(str(place)).text
    assert "furlongs ↑" in page_of(str(place)).text
    change(place / "results/found/result.json", put("tables.0.columns.1.better", "sideways"))
    assert open_study(place).results == {}, "as good as none: it is made again"
    change(place / "results/found/result.json", before)
    (_, column) = open_study(place).result("found").stored.tables[0].columns
    assert (column.about, column.unit, column.better) == ("mean; null: none", "", None)
    assert "furlongs ↑" not in page_of(str(place)).text


@pytest.mark.parametrize("name", ["result", "failed"])
def test_no_view_takes_the_place_of_what_says_how_the_analysis_went(place: Path, name: str) -> None:
    change(place / "results/found/result.json", put("figures.0.name", name))
    change(place / "results/found/result.json", put("figures.0.file", f"{name}.svg"))
    change(place / "results/found/result.json", put("views.0.name", name))
    change(place / "results/found/result.json", put("views.0.file", f"{name}.json"))
    with pytest.raises(StudyError, match=rf"result.json: views\[0\].name is '{name}'"):
        _ = open_study(place).results


def test_a_tampered_figure_is_an_image_in_which_nothing_runs(place: Path) -> None:
    (place / "results/found/drawn.svg").write_text(SVG)
    change(place / "results/found/result.json", put("figures.0.sha256", sha256(SVG.encode()).hexdigest()))
    page = page_of(str(place))
    (shown,) = (attributes for tag, attributes in page.found if tag == "img" and attributes.get("alt") == "caption")
    assert base64.b64decode((shown["src"] or "").removeprefix("data:image/svg+xml;base64,")).decode() == SVG
    assert shown["width"] == "96"
    assert not {"script", "foreignobject", "iframe"} & {tag for tag, _ in page.found}
    assert all((attributes.get("href") or "#").startswith("#") for _, attributes in page.found)
    assert "localhost" not in Path(place, "report/index.html").read_text()


def test_the_page_allows_itself_only_what_lies_beside_it(place: Path) -> None:
    page = page_of(str(place))
    (policy,) = (found["content"] for _, found in page.found if found.get("http-equiv") == "Content-Security-Policy")
    rules = dict(re.split(r"\s+", rule.strip(), maxsplit=1) for rule in (policy or "").split(";"))
    assert rules.pop("img-src") == "data:"
    assert rules.pop("style-src") == "'unsafe-inline' 'self'"
    assert rules.pop("script-src") == rules.pop("connect-src") == "'self'", "no script in the page, none from elsewhere"
    assert rules == {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'"}


def test_a_study_of_odd_tags_is_queried_by_their_names(place: Path) -> None:
    change_study(place, lambda data: [model["tags"].update({'a"b; --': 5}) for model in data["models"]] and None)
    assert open_study(place).sql('select "a""b; --" as x from models')["x"].to_pylist() == [5, 5]


@pytest.mark.parametrize(("box", "width"), [("0 0 72 36", 96), ("0 0 1.2.3 36", 720), ("0 0 . 36", 720), ("0 0 72.5 36", 97), ("", 720)])
def test_a_figure_whose_width_is_no_number_has_the_usual_one(box: str, width: int) -> None:
    assert Shown(SVG.replace("0 0 72 36", box), "caption", foreign=True).width == width
