"""The files and modules that docs/extending.md and docs/architecture.md name exist: a file that moves takes its mention along."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xlli_ray import registry

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "xlli_ray"
PAGES = ("extending.md", "architecture.md")
FILE = re.compile(r"(?<![\w/.])(?:[a-z_0-9]+/)+[a-z_0-9]+\.py\b")
BARE = re.compile(r"`([a-z_0-9]+\.py)`")
DOTTED = re.compile(r"(?<![\w/.-])xlli_ray(?:\.[A-Za-z_]\w*)+")
SHORT = re.compile(r"`((?:[a-z_]+)(?:\.[A-Za-z_]\w*){2,}|registry\.[A-Z_]+)")
GROUPS = {table.group for table in vars(registry).values() if isinstance(table, registry.Registry)}
EXAMPLES = {
    "tests/probes/test_total_variation.py", "xlli_ray/probes/total_variation.py", "xlli_ray/analyses/agreement.py",
    "xlli_ray.probes.total_variation.total_variation", "xlli_ray.probes.total_variation", "xlli_ray.analyses.agreement",
    "xlli_ray.models.networks.espcn",
}  # fmt: skip
"""Files that a reader of the page makes."""


def files_in(page: str, text: str) -> set[str]:
    """In architecture.md also by the file's name alone; in the other page such a name is a reader's own file."""
    return {*FILE.findall(text), *(BARE.findall(text) if page == "architecture.md" else ())} - EXAMPLES


def names_in(text: str) -> set[str]:
    """Dotted names of modules and of what is in them, `xlli_ray.` in front."""
    parts = {path.stem for path in PACKAGE.iterdir()}
    short = {f"xlli_ray.{name}" for name in SHORT.findall(text) if name.partition(".")[0] in parts}
    return {*DOTTED.findall(text), *short} - EXAMPLES - GROUPS


def file_exists(name: str) -> bool:
    """From the root, or the end of a path inside the package."""
    return (ROOT / name).is_file() or any(path.as_posix().endswith(f"/{name}") for path in PACKAGE.rglob(Path(name).name))


def name_exists(name: str) -> bool:
    """A module, or a name that the file of the module before it has."""
    *above, last = name.split(".")
    here = ROOT.joinpath(*above, last)
    if here.with_suffix(".py").is_file() or (here / "__init__.py").is_file():
        return True
    module = ROOT.joinpath(*above)
    found = [file for file in (module.with_suffix(".py"), module / "__init__.py") if file.is_file()]
    return any(re.search(rf"\b{re.escape(last)}\b", file.read_text()) for file in found)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_module_that_the_page_names_exists(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    files, names = files_in(page, text), names_in(text)
    assert len(files) + len(names) > 10, "the page names files and modules"
    assert [file for file in sorted(files) if not file_exists(file)] == []
    assert [name for name in sorted(names) if not name_exists(name)] == []


def test_what_is_gone_would_be_found() -> None:
    text = "`engine/run/gone.py`, `xlli_ray/gone.py`, `gone.py`, `xlli_ray.gone.Probe`, `stats.gone.rank`, `registry.GONE`, "
    text += "`xlli_ray.probes.gone`"
    assert [file for file in files_in("architecture.md", text) if file_exists(file)] == []
    assert len(files_in("architecture.md", text)) == 3
    assert len(names_in(text)) == 4
    assert [name for name in names_in(text) if name_exists(name)] == []
