"""`xlli run` of a finished study: it loads neither torch nor Ray and draws nothing, and still notices whatever changed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from xlli_ray import registry
from xlli_ray.analyses.shared import remembered_means
from xlli_ray.analyses.shared.remembered_means import means
from xlli_ray.engine.options import Options
from xlli_ray.engine.run import known_models
from xlli_ray.engine.run.driver import run_study
from xlli_ray.recipe import Recipe, load_recipe, parse_recipe
from xlli_ray.registry import ALIGNMENTS, FLOW_ESTIMATORS, NETWORKS, PROBES, declared_version
from xlli_ray.report.page import write_report
from xlli_ray.report.page_freshness import kept_page
from xlli_ray.report.text import result_table
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records.documents import load_manifest
from xlli_ray.study import open_study

HEAVY = ("torch", "ray", "scipy", "matplotlib", "pandas", "zarr", "spandrel", "sympy", "pyarrow.compute", "duckdb")
PROGRAM = f"""
import atexit, json, sys
atexit.register(lambda: print("LOADED " + json.dumps([name for name in {HEAVY!r} if name in sys.modules])))
sys.argv = ["xlli", *sys.argv[1:]]
from xlli_ray.__main__ import main
main()
"""


def written(folder: Path) -> Path:
    """A recipe with a network of the package, its layers, an analysis and a baseline, over four photographs."""
    (folder / "images").mkdir(parents=True)
    for i in range(4):
        coarse = np.random.default_rng(i).normal(0.45, 0.1, (12, 12, 3))
        Image.fromarray((np.kron(coarse, np.ones((4, 4, 1))).clip(0, 1) * 255).astype(np.uint8)).save(folder / "images" / f"{i}.png")
    stages = [{"restore": {}}, {"features": {"layers": ["head"]}}, {"lam": {"nodes": 2, "windows": {"size": 12}, "max_rows": 2}},
              {"srga": {"layer": "head", "reference": "clean", "components": 2}}]
    data = {
        "name": "finished",
        "corpus": {"images": ["images/*.png"], "scale": 4, "degradations": ["clean", {"noise": 20}]},
        "models": [{"id": "net", "weights": "builtin:srresnet-gr-clean"}],
        "stages": stages,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data))
    return folder / "recipe.yaml"


def ran(recipe: Recipe, place: Path) -> str:
    """Run in this process, with its page as the program would write it."""
    run_study(recipe, str(place), Options(workers=0, quiet=True, command=f"xlli run recipe.yaml --out {place}"))
    return kept_page(str(place)) or write_report(str(place), last=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of `recipe.yaml` and its study `out`, for tests that leave it finished."""
    folder = tmp_path_factory.mktemp("finished")
    ran(load_recipe(written(folder)), folder / "out")
    return folder


def test_a_finished_study_is_told_without_torch_ray_or_a_figure(finished: Path) -> None:
    page = finished / "out" / "report" / "index.html"
    before = page.stat().st_mtime_ns, page.read_bytes()
    asked = [sys.executable, "-c", PROGRAM, "run", "recipe.yaml", "--out", str(finished / "out")]
    done = subprocess.run(asked, capture_output=True, text=True, cwd=finished, check=False)
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stdout
    assert "psnr_y" in done.stdout, "the table of results"
    assert f"report: {page}" in done.stdout
    assert json.loads(done.stdout.partition("LOADED ")[2]) == []
    assert (page.stat().st_mtime_ns, page.read_bytes()) == before


def test_what_a_run_says_at_its_end_is_remembered_until_the_tables_change(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = str(finished / "out")
    said, found = result_table(place), means(open_study(place).archive)
    with monkeypatch.context() as patch:
        patch.setattr(remembered_means, "connect", lambda *_, **__: pytest.fail("the rows were read again"))
        assert result_table(place) == said
        assert "psnr_y" in said
        assert means(open_study(place).archive).below == found.below
    monkeypatch.setattr(remembered_means, "LINES", 2)
    asked: list[str] = []
    usual = remembered_means.connect
    monkeypatch.setattr(remembered_means, "connect", lambda *given, **more: asked.append("") or usual(*given, **more))
    assert result_table(place) == said, "as remembered or computed"
    assert asked


def damage(page: Path) -> None:
    page.write_bytes(page.read_bytes()[:-2])


@pytest.mark.parametrize("harm", [damage, Path.unlink], ids=["cut", "gone"])
def test_a_page_that_is_not_whole_is_made_again(harm: Callable[[Path], None], finished: Path) -> None:
    place = finished / "out"
    page = place / "report" / "index.html"
    before = page.read_bytes()
    assert kept_page(str(place))
    harm(page)
    assert not kept_page(str(place))
    write_report(str(place), last=True)
    assert page.read_bytes() == before
    assert kept_page(str(place))


def test_a_page_of_another_comparison_or_made_during_a_run_is_made_again(finished: Path) -> None:
    place = str(finished / "out")
    write_report(place)
    assert not kept_page(place)
    write_report(place, "net", last=True)
    assert not kept_page(place)
    write_report(place, last=True)
    assert kept_page(place)
    assert not kept_page(f"{place}/"), "the page shows commands with the place as it was given"


def test_a_page_of_another_program_is_made_again(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = str(finished / "out")
    assert kept_page(place)
    (tmp_path / "page.py").write_text("")
    monkeypatch.setattr("xlli_ray.__file__", str(tmp_path / "__init__.py"))
    assert not kept_page(place)


def test_a_page_follows_what_was_measured(tmp_path: Path) -> None:
    recipe, place = load_recipe(written(tmp_path)), tmp_path / "out"
    ran(recipe, place)
    assert "srga" in (place / "report/index.html").read_text()
    document = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    document["stages"].append({"inputs": {}})
    ran(parse_recipe(document, base=tmp_path), place)
    assert 'id="stage-inputs"' in (place / "report/index.html").read_text()


def test_a_page_without_its_images_does_not_stand(tmp_path: Path) -> None:
    """It is made again when they can be read again; one that has them stands without them."""
    recipe, place = load_recipe(written(tmp_path)), tmp_path / "out"
    ran(recipe, place)
    whole = (place / "report/index.html").read_bytes()
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    assert kept_page(str(place))
    write_report(str(place), last=True)
    assert (place / "report/index.html").read_bytes() != whole
    assert not kept_page(str(place))
    (tmp_path / "elsewhere").rename(tmp_path / "images")
    ran(recipe, place)
    assert (place / "report/index.html").read_bytes() == whole


def test_a_model_is_known_until_its_file_the_studys_copy_or_a_version_changes(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = open_objects(str(finished / "out"))
    manifest = load_manifest(objects)
    assert manifest is not None
    recipe = load_recipe(finished / "recipe.yaml")
    found = known_models.known_models(objects, recipe, manifest.models)
    assert found == [manifest.model("net")]
    copy = f"weights/{manifest.model('net').weights_sha256}.safetensors"
    kept = objects.get(copy)
    objects.put(copy, kept[:-1] + bytes([kept[-1] ^ 1]))
    assert known_models.known_models(objects, recipe, manifest.models) is None
    objects.put(copy, kept)
    assert known_models.known_models(objects, recipe, manifest.models) == found
    with monkeypatch.context() as patch:
        patch.setattr("xlli_ray.models.networks.srresnet.VERSION", 99)
        assert known_models.known_models(objects, recipe, manifest.models) is None
    with monkeypatch.context() as patch:
        patch.setattr(known_models, "_bytes", lambda entry: b"other bytes")
        assert known_models.known_models(objects, recipe, manifest.models) is None


@pytest.mark.parametrize("table", [NETWORKS, PROBES, ALIGNMENTS, FLOW_ESTIMATORS], ids=lambda table: table.noun)
def test_a_version_read_from_the_source_is_the_one_that_is_imported(table: registry.Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {name: place for name, place in table.items() if place.startswith("xlli_ray.")}
    assert places
    loaded = {name: int(table.load(name).VERSION) for name in places}
    for place in places.values():
        monkeypatch.delitem(sys.modules, place.partition(":")[0], raising=False)
    assert {name: declared_version(place) for name, place in places.items()} == loaded


def test_the_baselines_version_is_that_of_the_operator_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    place = "xlli_ray.models.networks.bicubic"
    version = import_module(place).VERSION
    monkeypatch.delitem(sys.modules, place)
    assert declared_version(place) == version
    monkeypatch.setattr("xlli_ray.corpus.resize.VERSION", 98)
    assert declared_version(place) == 98


def test_an_imported_module_tells_its_version_itself() -> None:
    """The source on the disk may be newer than the code that runs."""
    import_module("xlli_ray.models.networks.srresnet")
    assert declared_version("xlli_ray.models.networks.srresnet") is None
    assert declared_version("someones.network") is None
    assert declared_version("xlli_ray.no.such_module") is None


def test_a_version_is_read_again_when_its_source_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xlli_ray.registry.__file__", str(tmp_path / "registry.py"))
    for text, version in (("VERSION = 3", 3), ("class A:\n    VERSION = 41", 41), ("class B:\n    VERSION = 5", None)):
        (tmp_path / "probe.py").write_text(text)
        assert declared_version("xlli_ray.probe" if text.startswith("VERSION") else "xlli_ray.probe:A") == version
    (tmp_path / "probe.py").unlink()
    assert declared_version("xlli_ray.probe") is None


def test_a_page_on_which_an_installed_package_draws_is_made_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code may change without its VERSION."""
    place = str(finished / "out")
    assert kept_page(place)
    monkeypatch.setitem(registry.SECTIONS, "features", "someones_gallery:gallery")
    assert not kept_page(place)
