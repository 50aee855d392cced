"""Who may know whom: the direction of imports, read from the source (docs/architecture.md, "Imports point one way").

Imports inside functions count, too: an arrow hidden in a function is still an arrow. Only `if TYPE_CHECKING:` blocks are left out; and
what importing the package costs is measured by doing it in a fresh interpreter.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = "xlli_ray"
ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / PACKAGE

EVERYTHING = {"corpus", "models", "probes", "store", "engine", "stats", "plots", "analyses", "training", "report", "recipe", "study",
              "api", "terminal", "views", "remote"}  # fmt: skip
MAY = {
    "errors": set(),
    "registry": set(),
    "user_code": set(),
    "stats": set(),
    "remote": set(),
    "corpus": {"remote"},
    "models": {"stats", "corpus"},
    "probes": {"stats", "corpus", "models"},
    "training": {"stats", "corpus", "models", "recipe", "plots"},
    "store": {"remote"},
    "plots": {"stats"},
    "terminal": set(),
    "analyses": {"stats", "store", "plots", "corpus"},
    "recipe": {"corpus", "probes", "analyses", "store"},
    "views": {"corpus", "store", "plots"},
    "study": {"analyses", "store", "views", "plots"},
    "engine": EVERYTHING - {"report", "plots", "study", "api", "views"},
    "report": EVERYTHING - {"engine", "training", "recipe", "api"},
    "api": {"stats", "corpus", "models", "probes", "analyses", "plots", "views"},
    "cli": EVERYTHING | {"cli_jobs", "cli_options"},
    "cli_jobs": EVERYTHING | {"cli_options"},
    "cli_options": EVERYTHING,
    "__main__": EVERYTHING | {"cli"},
    "__init__": {"recipe", "study", "engine", "api"},
}
"""Part of the package → parts it may import; `errors`, `registry` and `user_code` may be imported by all."""

TOLERATED: dict[tuple[str, str], str] = {}
"""(file, part) that breaks the rule, and why."""

ONLY = {
    "ray": {"engine"},
    "zarr": {"store"},
    "numcodecs": {"store"},
    "obstore": {"remote"},
    "duckdb": {"store"},
    "spandrel": {"models"},
    "torch": {"models", "probes", "training", "engine", "report", "stats", "analyses", "api"},
    "matplotlib": {"plots", "report", "api", "views"},
}
"""Library → the parts that may import it."""


def part_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def sources() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


@cache
def imports(path: Path) -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """(line, module, names) of each import that runs."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    text = path.read_text()
    tree = ast.parse(text, str(path))
    typing_only: set[int] = set()
    for node in ast.walk(tree) if "TYPE_CHECKING" in text else ():
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            typing_only |= {id(inner) for statement in node.body for inner in ast.walk(statement)}
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield node.lineno, node.module or "", tuple(alias.name for alias in node.names)


def inner_arrows() -> Iterator[tuple[str, str, str]]:
    """(where, importing part, imported part)."""
    for path in sources():
        here = part_of(path)
        for line, module, names in imports(path):
            parts = module.split(".")
            if parts[0] != PACKAGE:
                continue
            targets = [parts[1]] if len(parts) > 1 else [name for name in names if name != "__version__"]
            for target in targets:
                if target not in (here, "errors", "registry", "user_code"):
                    yield f"{path.relative_to(SOURCE)}:{line}", here, target


def test_imports_point_one_way() -> None:
    wrong = [
        f"{where}: {here} imports {target}"
        for where, here, target in inner_arrows()
        if target not in MAY[here] and (where.split(":")[0], target) not in TOLERATED
    ]
    assert wrong == []


def test_every_part_of_the_package_has_its_rule() -> None:
    assert {part_of(path) for path in sources()} <= set(MAY)


def test_no_exception_outlives_its_reason() -> None:
    seen = {(where.split(":")[0], target) for where, _, target in inner_arrows()}
    assert set(TOLERATED) <= seen, "these are gone: remove them from TOLERATED"


@pytest.mark.parametrize("library", sorted(ONLY))
def test_a_library_is_known_only_where_it_belongs(library: str) -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}"
        for path in sources()
        for line, module, _ in imports(path)
        if module.split(".")[0] == library and part_of(path) not in ONLY[library]
    ]
    assert wrong == []


def test_the_rules_would_catch_what_they_forbid(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ray\n\n"
        "def f():\n    import zarr.storage\n    from torch import nn\n"
    )
    assert [(line, module) for line, module, _ in imports(bad)] == [(1, "typing"), (6, "zarr.storage"), (7, "torch")]


LIGHT = """
import sys
{statements}
heavy = [name for name in ("torch", "ray", "zarr", "spandrel", "matplotlib") if name in sys.modules]
sys.exit(", ".join(heavy) or 0)
"""


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param("import xlli_ray", id="the package"),
        pytest.param("import xlli_ray; xlli_ray.load_recipe; xlli_ray.open_study; xlli_ray.XlliError", id="its public names"),
        pytest.param("import xlli_ray.cli; xlli_ray.cli.app.help_print", id="the command line"),
        pytest.param(
            "from xlli_ray.probes import probe_class\nfrom xlli_ray.registry import PROBES\n"
            "[probe_class(kind).Params for kind in PROBES]",
            id="every probe and its fields",
        ),
        pytest.param(
            "from xlli_ray.analyses import analysis_class\nfrom xlli_ray.registry import ANALYSES\n"
            "[analysis_class(kind).Params for kind in ANALYSES]",
            id="every analysis and its fields",
        ),
        pytest.param(f"import xlli_ray\nxlli_ray.load_recipe({str(ROOT / 'tests/recipes/set5.yaml')!r})", id="a recipe, read"),
        pytest.param("import xlli_ray.stats.fidelity, xlli_ray.corpus.scan, xlli_ray.store.zarr.read", id="stats, corpus, store"),
    ],
)
def test_neither_torch_nor_ray_is_imported_by(statements: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(statements=statements)], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode == 0, f"imports {done.stderr}"
