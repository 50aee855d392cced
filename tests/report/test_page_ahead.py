"""What a page needs can be loaded before: the page is the same, and nothing is compiled for it again."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest

from xlli_ray.report import compiled_templates, page_ahead
from xlli_ray.report.page import TEMPLATES, environment


def test_templates_are_compiled_once_and_again_when_they_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiled_templates, "COMPILED", compiled_templates.CompiledTemplates())
    settings = dict(matplotlib.rcParams)
    page_ahead.load()
    assert dict(matplotlib.rcParams) == settings
    compiled: list[str] = []
    first = environment()
    monkeypatch.setattr(type(first), "_compile", lambda self, source, filename: compiled.append(filename))
    for path in TEMPLATES.glob("*.j2"):
        first.get_template(path.name)
    assert compiled == []
    monkeypatch.setattr("xlli_ray.report.page.TEMPLATES", tmp_path)
    (tmp_path / "page.html.j2").write_text("another")
    with pytest.raises(TypeError):
        environment().get_template("page.html.j2")  # what it is compiled to is nothing here
    assert compiled == [str(tmp_path / "page.html.j2")]
