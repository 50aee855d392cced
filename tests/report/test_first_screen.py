"""The page begins with what was found: sentences with links that lead somewhere, before corpus, provenance and definitions."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from toy_studies import Recipe, Stage

from xlli_ray.analyses import analysis_class
from xlli_ray.analyses.shared.worse_than_baseline import Below, Loss
from xlli_ray.plots.heat import Heat
from xlli_ray.plots.view import to_json, to_svg
from xlli_ray.report.page import write_report
from xlli_ray.report.page_parts.first_screen import samples_route
from xlli_ray.store.tables.results import Figure, Made, Result, write_result
from xlli_ray.study import open_study

Make = Callable[[Recipe], str]
INDEX = "The diffusion index (DI, 0 to 100) of the local attribution maps (LAM)"
EVIL = "<script>alert(1)</script>\"'\u202e"


class Words(HTMLParser):
    """The text, ids, and targets of links."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.tags = "", set[str]()
        self.ids, self.links, self.scripts = set[str](), set[str](), list[str | None]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.scripts += [dict(attrs).get("src")] if tag == "script" else []
        self.ids |= {value for name, value in attrs if name == "id" and value}
        self.links |= {value for name, value in attrs if name == "href" and value}

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(place: str) -> Words:
    words = Words()
    words.feed(Path(write_report(place)).read_text())
    words.text = re.sub(r"\s+", " ", words.text)
    own = {link for link in words.links if link in ("explorer.css", "data:,") or link.startswith("#/")}  # of the explorer; no icon
    assert {link.removeprefix("#") for link in words.links - own} <= words.ids, "a link leads nowhere"
    return words


def add_result(place: str, model: str, **more: object) -> None:
    """A result of `lam_summary` with one network and one figure."""
    row = {"model": model, "label": "clean", "height": 64, "width": 64, "images": 5, "windows": 9, "di": 6.0, "di_low": 5.0, "di_high": 7.0,
           "undefined": 0, "inexact": 0}  # fmt: skip
    view = Heat("drawn", ("a",), ("b",), ((1.0,),))
    tables = {table.name: [] for table in analysis_class("lam_summary").TABLES} | {"lam_summary": [row | more]}
    made = Made("found", "lam_summary", 4, "Nobody, 2020", {"of": "lam"}, "all", 0, "f" * 16, ())
    result = Result(tables, [Figure("di", to_svg(view), "caption", to_json(view))])
    write_result(open_study(place).objects, made, analysis_class("lam_summary").TABLES, result, {"python": "3"})


@pytest.fixture
def place(make_study: Make) -> str:
    return make_study(Recipe([Stage("restore")]))


def test_findings_come_first_then_the_corpus_then_definitions(place: str) -> None:
    add_result(place, "net0")
    page = page_of(place)
    found = page.text.index(f"{INDEX} of net0 is 6.00 (95 % interval 5.00 to 7.00; 5 photographs).")
    order = [page.text.index(words) for words in ("Findings", "xlli run toy.yaml", "Definition and conventions", "store format")]
    assert order[0] < found < order[1] < order[2] < order[3]
    assert {"#figure-found-di", "#result-found"} <= page.links
    notice = "Out of date. The findings below were made by an earlier version or from other inputs than the study has now"
    assert page.text.index("Findings") < page.text.index(notice) < found, "said before the sentences"
    assert page.text.count("Out of date") == 1
    assert "Flag: whether the maps depend on the networks was not tested (no controls)." in page.text
    assert "has the highest PSNR" not in page.text  # an analysis concludes, so the means need not


def test_without_analyses_the_means_of_restore_are_the_finding(place: str) -> None:
    page = page_of(place)
    found = page.text.index("On clean, net1 has the highest PSNR on luma (PSNR-Y), ")
    assert "photographs); 0.10 dB more than net0 (interval 0.10 to 0.10)." in page.text
    assert "The mean PSNR-Y of net1 is the highest in 2 of 2 degradations, clean included." in page.text
    assert found < page.text.index("xlli run toy.yaml")
    assert {"#figure-restore-psnr_y", "#stage-restore"} <= page.links
    routes = [dict(parse_qsl(link.removeprefix("#/samples?"))) for link in page.links if link.startswith("#/samples?")]
    best, rest = sorted(routes, key=len, reverse=True)
    sort = {"dir": "asc", "sort": "restore/psnr_y@net1−net0"}
    assert best == {"compare": "net0,net1", "labels": "clean", "measure": "restore/psnr_y", **sort}
    assert rest == {"measure": "restore/psnr_y"}, "a sentence about all degradations leads to all samples"


def _below(model: str, *losses: Loss) -> Below:
    return Below("restore", model, "bicubic", losses[0].label, losses[0].by, 9, len(losses), 4, losses)


def test_a_network_below_the_baseline_is_flagged_once_with_the_degradations_and_an_interval(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same number stood in two flags, and the second degradation had no name."""
    add_result(place, "net1")
    first = _below("net1", Loss("noise20", 1.99, 1.06, 2.91), Loss("jpeg50", 0.12, -0.14, 0.38))
    other = _below("net0", *(Loss(label, by, by / 2, 2 * by) for label, by in (("a", 3.0), ("b", 2.0), ("c", 1.0))))
    monkeypatch.setattr("xlli_ray.report.page_parts.first_screen.below_baseline", lambda *_, intervals: [other, first])
    page = page_of(place)
    under = "the PSNR-Y of {} is below that of bicubic on "
    losses = "noise20 by 1.99 dB (95 % interval 1.06 to 2.91); "
    losses += "on jpeg50 no difference is shown (0.12 dB, −0.14 to 0.38)"
    assert page.text.count(under.format("net1") + losses) == 1
    rest = f"other networks below the baseline T{under.format('net0')[1:]}a by 3.00 dB, altogether on 3 of 4 kinds of input."
    assert rest in page.text


def test_the_samples_behind_a_sentence_are_points_where_no_stage_has_numbers() -> None:
    assert samples_route(None, [], "figure-ddr-embedding") == "#/scatter?cloud=figure-ddr-embedding%3A0"
    assert samples_route(None, []) == ""


def test_two_photographs_are_said_to_have_no_interval(make_study: Make) -> None:
    page = page_of(make_study(Recipe([Stage("restore")], pictures=2)))
    assert "no difference from net0 is shown (0.10 dB, no interval)" in page.text
    assert "dB (no interval; 2 photographs)" in page.text


def test_failures_are_among_the_findings(make_study: Make) -> None:
    page = page_of(make_study(Recipe([Stage("restore")], failed=(1, 3), broken=1)))
    assert "4 pairs of sample and network have a failed measurement and 1 file was rejected; the rest went on." in page.text
    assert "#failures" in page.links


def test_a_strangers_names_are_text(place: str) -> None:
    add_result(place, EVIL + "x" * 5000)
    page = page_of(place)
    assert page.scripts == ["explorer.js"]
    assert f"{INDEX} of <script>alert(1)</script>\"'\N{REPLACEMENT CHARACTER}xxx" in page.text


def test_a_finding_that_cannot_be_told_costs_only_itself(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    add_result(place, "net0")
    monkeypatch.setattr(analysis_class("lam_summary"), "findings", lambda outcome: outcome.rows("lam_summary")[0]["gone"])
    page = page_of(place)
    assert "What was found is not told in sentences: KeyError" in page.text
    assert "has the highest PSNR on luma (PSNR-Y)" in page.text


def test_the_same_study_has_the_same_findings(place: str) -> None:
    add_result(place, "net0")
    first = Path(write_report(place)).read_bytes()
    assert Path(write_report(place)).read_bytes() == first
