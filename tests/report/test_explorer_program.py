"""The explorer's program: its own unit tests, that the bundle is made from its source, and what it does in Chromium and Firefox."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cem_studies import cem_stage
from explorer_figures import add_every_kind
from lam_studies import Lam
from toy_studies import Recipe, Stage, write_study

from xlli_ray.plots.colour_scale import lut
from xlli_ray.report.explorer import write
from xlli_ray.report.explorer.encoding import script
from xlli_ray.report.page import write_report
from xlli_ray.report.view_server.server import ViewServer
from xlli_ray.report.view_server.shown_study import ShownStudy
from xlli_ray.store.objects.client import open_objects
from xlli_ray.views import cem

WEB = Path(__file__).parents[2] / "xlli_ray/report/explorer/web"
BUNDLE = WEB.parent / "bundle"
BROWSER_TESTS = sorted(path.name for path in (WEB / "browser").glob("*.test.mjs"))
BROWSERS = ("chrome", "firefox")
ONLY_CHROME = ("accessible.test.mjs",)
BRIEF = ("served.test.mjs", "hostile.test.mjs")
LARGEST = 80 << 10
"""Bytes of the program, compressed."""


def needed(*programs: str) -> None:
    """Skip without node, its packages or browsers; in CI they must be there."""
    missing = [name for name in ("node", *programs) if shutil.which(name) is None]
    if not missing and not (WEB / "node_modules").exists():
        missing = [f"packages: cd {WEB} && npm ci --ignore-scripts"]
    if missing and os.environ.get("XLLI_REQUIRE_FIXTURES") == "1":
        pytest.fail(f"needed here: {', '.join(missing)}")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def node(*command: str, **environment: str) -> None:
    ran = subprocess.run(command, cwd=WEB, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=280)
    assert ran.returncode == 0, f"{' '.join(command)}\n{ran.stdout[-6000:]}\n{ran.stderr[-3000:]}"


def test_the_types_of_the_program_are_right() -> None:
    needed()
    node("node_modules/.bin/tsc", "--noEmit")


def test_its_functions_do_what_they_say() -> None:
    needed()
    node("npm", "test")


def test_the_bundle_is_what_its_source_makes(tmp_path: Path) -> None:
    needed()
    before = {path.name: path.read_bytes() for path in BUNDLE.iterdir()}
    node("node", "build.mjs", str(tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before, f"cd {WEB} && node build.mjs"


def test_its_colours_are_those_of_the_figures() -> None:
    tables = json.loads((WEB / "src/sample/colour_maps.json").read_text())
    for name, text in tables.items():
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(text), np.uint8).reshape(256, 3), lut(name), name)


def test_its_verdicts_look_as_those_of_the_figures() -> None:
    rules = json.loads((WEB / "src/sample/verdicts.json").read_text())
    names = {1: "helps", -1: "harms", 2: "undecided", 0: "neutral"}
    assert rules["colours"] == {names[verdict]: list(colour) for verdict, colour in cem.COLOURS.items()}
    assert (rules["veil"], rules["dark"], rules["least"]) == (cem.VEIL, cem.DARK, cem.LEAST)


def test_the_program_is_small() -> None:
    import gzip

    assert len(gzip.compress((BUNDLE / "explorer.js").read_bytes(), 9)) <= LARGEST


EVIL = "</script><script>window.broken=1</script><img src=x onerror='window.broken=2'>\"'`\u202e\u200f&amp;"


def hostile(page: Path) -> None:
    """What a stranger's study could say in every name, label, id and reason: markup, quotes, marks that turn text round, 5,000 letters."""
    for path in sorted((page.parent / "data").glob("*.js")):
        name, text = re.fullmatch(r'xlli\.put\("([^"]*)",(.*)\);\n', path.read_text(), re.DOTALL).groups()  # type: ignore[union-attr]
        for i, word in enumerate(("net0", "net1", "clean", "blur2", "evil", "p00.png", "p01.png", "toy", "out of memory")):
            text = text.replace(json.dumps(word), json.dumps(f"{EVIL}{i}" + "x" * 5000))
        path.write_bytes(script(name, json.loads(text)))


def outputs(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng((model, row)).integers(0, 255, shape)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Name → URL of pages on disk: `toy` (6 photographs, 2 degradations, 3 networks), `few` (two samples are held), `lam` (with maps),
    `cem` (with maps and effects), `figures` (one of each kind), `evil` (strangers' names); and of `served`, the first as `xlli view`
    serves it."""
    folder = tmp_path_factory.mktemp("pages")

    def make(name: str, recipe: Recipe, change: Callable[[Path], None] = lambda page: None) -> str:
        write_study(open_objects(folder / name), recipe, folder / f"{name}-pictures")
        page = Path(write_report(str(folder / name)))
        change(page)
        return page.as_uri()

    def few() -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(write, "FEWEST", 2)
            patch.setattr(write, "BUDGET", 0)
            return make("few", Recipe([restore], pictures=3))

    restore = Stage("restore", name="output", shape=(3, -1, -2), dtype="uint8", array=outputs)
    features = Stage("features", "features", (), ["body.0.out", "body.1.out"], shape=(16, 8, 8))
    maps: list[Any] = [stage for stage in Lam().stages() if stage.kind == "lam"]
    figures = make("figures", Recipe([restore], models=2, pictures=6))
    add_every_kind(folder / "figures")
    made = {
        "figures": figures,
        "toy": make("toy", Recipe([restore, features], models=3, pictures=6)),
        "lam": make("lam", Recipe([restore, *maps], models=2, pictures=4, degradations=("clean",))),
        "cem": make("cem", Recipe([restore, *maps, cem_stage()], models=2, pictures=2, degradations=("clean",))),
        "few": few(),
        "evil": make("evil", Recipe([restore, features], models=2, pictures=2, failed=(0,), reason="out of memory"), hostile),
    }  # fmt: skip
    with ViewServer(ShownStudy(str(folder / "toy"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made | {"served": server.link}
        server.shutdown()


def in_browser(browser: str, name: str) -> Any:
    """In Firefox by default only that a page opens, without and with a server: it repeats what Chromium shows, and takes as long."""
    return pytest.param(browser, name, marks=[] if browser == "chrome" or name in BRIEF else pytest.mark.slow, id=f"{browser}-{name}")


PAIRS = [(browser, name) for browser in BROWSERS for name in BROWSER_TESTS if browser == "chrome" or name not in ONLY_CHROME]


@pytest.mark.parametrize(("browser", "name"), [in_browser(*pair) for pair in PAIRS])
def test_in_chromium_and_firefox(pages: dict[str, str], browser: str, name: str) -> None:
    needed("chromium", "firefox-esr")
    node("node", "--test", "--test-concurrency=1", f"browser/{name}", XLLI_PAGES=json.dumps(pages), XLLI_BROWSERS=browser)
