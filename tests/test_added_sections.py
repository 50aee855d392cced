"""The promise, as tests: a section of the page is a classmethod in one file of one's own, and nothing in `xlli_ray/` changes; what it gives
is data and cannot become markup, and the code of a study that came from elsewhere is not run for it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import xlli_ray
from xlli_ray import registry, user_code
from xlli_ray.plots.view import to_json
from xlli_ray.report.page import write_report
from xlli_ray.study import open_study

EVIL = "<script>alert(1)</script>"
NET = "from torch import nn\n\n\ndef make():\n    return nn.Upsample(scale_factor=2)\n\n\ndef same():\n    return nn.Identity()\n"
DOCS = Path(__file__).parents[1] / "docs" / "extending.md"
SPREAD = f'''
"""Spread: how far apart the PSNR of the best and the worst image are."""
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from pydantic import BaseModel
from xlli_ray.analyses.analysis import Column, Result, Table, cells_of
from xlli_ray.plots.view import View
from xlli_ray.report.section import Drawing, Image, Images, Rows, Text


class SpreadParams(BaseModel):
    of: str = "restore"


@dataclass(frozen=True)
class Raw(View):
    KIND: ClassVar[str] = "raw"

    def draw(self):
        return '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72">{EVIL}</svg>'


class Spread:
    KIND, VERSION, REFERENCE, Params = "spread", 1, "nobody's", SpreadParams
    TABLES = (Table("spread", "a line a model", (Column("model", "string", "id"), Column("spread", "float64", "range", unit="dB"))),)

    @classmethod
    def inputs(cls, params, cells):
        return [cell.id for cell in cells_of(cells, params.of, "restore", asked_by="spread.of")]

    @classmethod
    def run(cls, params, view, seed):
        rows = view.sql("select model, max(psnr_y) - min(psnr_y) as spread from restore group by model order by model").to_pylist()
        return Result({{"spread": rows}})

    @classmethod
    def section(cls, context):
        (row,) = context.result.tables["spread"].to_pylist()
        yield Text(f"the spread of {{context.models[0]}} is {{row['spread'] > 0}} {EVIL}")
        yield Drawing(Raw("raw {EVIL}"), "drawn {EVIL}")
        yield Rows("{EVIL}", (Column("a", "string", "{EVIL}"),), [{{"a": "{EVIL}"}}], "{EVIL}")
        yield Images("{EVIL}", [("{EVIL}", [Image(np.zeros((4, 5), np.uint8), "{EVIL}", "{EVIL}"), None])])
        yield "{EVIL}"
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with photographs and somebody's files. What recipes allow is forgotten afterwards."""
    (tmp_path / "photos").mkdir()
    for i in range(2):
        coarse = np.random.default_rng(i).normal(0.4, 0.1 + 0.1 * i, (8, 10, 3)).clip(0, 1)
        Image.fromarray((np.kron(coarse, np.ones((4, 4, 1))) * 255).astype(np.uint8)).save(tmp_path / "photos" / f"{i}.png")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "class Flatness" in block)
    (tmp_path / "someones_flatness.py").write_text(code)
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "class Removal" in block)
    (tmp_path / "someones_removal.py").write_text(code)
    (tmp_path / "someones_spread.py").write_text(SPREAD)
    (tmp_path / "someones_net.py").write_text(NET)
    monkeypatch.setattr(user_code, "_allowed", set())
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if "someones" in name:
            del sys.modules[name]


def study(folder: Path, *stages: Any) -> Path:
    """The study's folder, its page written in the process that read the recipe."""
    data = {
        "name": "added", "baseline": False, "corpus": {"images": ["photos/*.png"], "scale": 2},
        "models": [{"id": "net", "network": "someones_net.py:make", "scale": 2}], "stages": list(stages),
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data))
    xlli_ray.run(str(folder / "recipe.yaml"), str(folder / "study"))
    return folder / "study"


def page_of(place: Path) -> str:
    return Path(write_report(str(place))).read_text()


def forget(folder: Path) -> None:
    """As in another process, that got the study only: nothing is allowed, and running the code would leave a trace."""
    user_code._allowed.clear()
    for name in [name for name in sys.modules if "someones" in name]:
        del sys.modules[name]
    for file in folder.glob("someones_*.py"):
        file.write_text(f"open({str(folder / 'ran')!r}, 'w')")


def test_the_image_panels_of_the_docs_show_what_lies_in_the_study_and_are_kept_as_references(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("clean", "rainy", "masks"):
        (folder / name).mkdir()
    for i in range(2):
        clean = np.kron(rng.normal(0.4, 0.1, (8, 10, 3)).clip(0, 1) * 200, np.ones((4, 4, 1))).astype(np.uint8)
        mask = rng.random((32, 40)) < 0.2
        Image.fromarray(clean).save(folder / "clean" / f"{i}.png")
        Image.fromarray(clean + 40 * mask[..., None].astype(np.uint8)).save(folder / "rainy" / f"{i}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / f"{i}.png")
    data = {
        "name": "removal", "baseline": False,
        "corpus": {"pairs": {"input": "rainy/*.png", "target": "clean/*.png", "mask": "masks/*.png"}},
        "models": [{"id": "net", "network": "someones_net.py:same", "scale": 1}],
        "stages": [{"restore": {"save": True}}, {"someones_removal.py:Removal": {}}],
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data))
    xlli_ray.run(str(folder / "recipe.yaml"), str(folder / "study"))
    page = page_of(folder / "study")
    part = page.split("What was removed")[1]
    assert "ended with" not in page
    for caption in ("input", "output of net", "target", "mask", "removed", "destroyed"):
        assert part.count(f'alt="{caption}"') == 2
    (kept,) = [item for item in open_study(folder / "study").page_views if item.section == "removal"][-1:]
    assert kept.view.title == "What was removed"
    text = to_json(kept.view)
    assert '"array":"mask"' in text
    assert "iVBORw0K" not in text, "no pixels"
    (folder / "masks" / "0.png").unlink()
    page = page_of(folder / "study")
    assert "Not all images can be shown: " in page.split("What was removed")[1]


def test_the_section_of_the_docs_is_on_the_page_and_a_page_of_a_received_study_runs_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = study(folder, {"someones_flatness.py:Flatness": {}})
    page = page_of(place)
    for text in ("where <code>flat</code> jumps", 'aria-label="flatness of all outputs"', "the flattest output of each", "of 1</span>",
                 "input of the flattest output"):  # fmt: skip
        assert text in page
    assert "is not run here" not in page
    assert "repeat(2,minmax(0,190px))" in page.split("What is flat")[1], "one small image does not fill the page"
    forget(folder)
    monkeypatch.chdir(folder)  # as one who looks at it where the files lie
    page = page_of(place)
    assert "The code of the probe &#39;flatness&#39; lies outside of xlli_ray (someones_flatness.py:Flatness) and is not run here" in page
    assert "flatness of all outputs" not in page
    assert "share of flat pixels, 0..1" in page, "what every stage has is still there"
    assert not (folder / "ran").exists()


def test_an_analysis_brings_its_section_and_nothing_that_it_says_becomes_markup(folder: Path) -> None:
    place = study(folder, {"restore": {}}, {"someones_spread.py:Spread": {}})
    page = page_of(place)
    assert "the spread of net is True" in page
    own = page.count('<script src="explorer.js" defer></script>')
    assert page.count("<script") == own == 1, "a drawing that draws itself is an image, texts are text"
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 9
    assert "The section that spread brings ended with TypeError: expected Text, Drawing, Animation, Rows or Images" in page
    assert 'range, dB' in page, "what was given before, and what every analysis has, is still there"
    forget(folder)
    page = page_of(place)
    assert "the spread of net" not in page
    assert "The code of the analysis &#39;spread&#39; lies outside of xlli_ray (someones_spread.py:Spread) and is not run here" in page
    assert not (folder / "ran").exists()


def test_an_installed_package_shows_more_of_a_kind_that_is_not_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "someones_gallery.py").write_text(
        "from xlli_ray.report.section import Text\n\n\ndef gallery(context):\n    n = len(context.rows('from restore'))\n"
        "    return [Text(f'{context.kind} of {context.models} by {context.labels}: {n} rows, like {context.colour(\"clean\")}')]\n"
    )
    about = folder / "someones-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: someones\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[xlli_ray.sections]\nrestore = someones_gallery:gallery\nlam = someones_gallery:gone\n")
    place = study(folder, {"restore": {}})
    assert "2 rows" not in page_of(place)
    monkeypatch.syspath_prepend(folder)
    registry.SECTIONS.__dict__.pop("_installed", None)
    try:
        assert "restore of [&#39;net&#39;] by [&#39;clean&#39;]: 2 rows, like #3d4450" in page_of(place)
        assert registry.SECTIONS["lam"].startswith("xlli_ray."), "a name of ours stays ours"
        (folder / "someones_gallery.py").write_text("raise RuntimeError('broken package')")
        sys.modules.pop("someones_gallery")
        assert "broken package" in page_of(place), "the page stands"
    finally:
        registry.SECTIONS.__dict__.pop("_installed", None)


def test_images_and_tables_that_no_page_can_show_are_refused_where_they_are_made() -> None:
    from xlli_ray.report.section import Column, Drawing, Image, Rows, Text

    for pixels in (np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8), "x.png"):
        with pytest.raises(ValueError, match="uint8"):
            Image(pixels)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="4 × 2000 pixels, expected at most 1024"):
        Image(np.zeros((2000, 4), np.uint8))
    with pytest.raises(ValueError, match="no column 'b'"):
        Rows("t", (Column("a", "string", "x"),), [{"a": "1"}, {"b": "2"}])
    with pytest.raises(TypeError, match="a drawing is a view"):
        Drawing("<svg/>", "caption")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a paragraph is a text"):
        Text(7)  # type: ignore[arg-type]
