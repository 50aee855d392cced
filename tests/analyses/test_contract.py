"""What every analysis in the registry must keep, whatever it concludes (docs/extending.md walks through it).

A new analysis is one file, one registry line, and one line in EXAMPLES.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from alignment_studies import alignment_recipe
from colours_used import strangers
from complexity_studies import complexity_recipe
from ddr_studies import ddr_recipe
from derain_studies import derain_recipe
from faithfulness_studies import faithfulness_recipe
from lam_studies import Lam, lam_recipe
from pydantic import BaseModel
from srga_studies import srga_recipe
from toy_studies import Recipe, Stage, scores, write_study

from xlli_ray.analyses import analysis_class
from xlli_ray.analyses.analysis import Result
from xlli_ray.analyses.shared.freshness import Asked, resolve
from xlli_ray.analyses.shared.labels import Labels
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.errors import AnalysisError, PlanError
from xlli_ray.plots.embedding import Embedding
from xlli_ray.plots.kinds import from_json
from xlli_ray.plots.palette import network_looks
from xlli_ray.plots.view import to_svg
from xlli_ray.registry import ANALYSES, PROBES
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records.documents import load_manifest
from xlli_ray.store.tables.results import plain, write_result
from xlli_ray.store.tables.study_tables import RESERVED, write_tables


@dataclass(frozen=True)
class Example:
    """A study on which an analysis works, and parameters to try. Small: numbers are checked in the tests of each analysis."""

    study: Recipe
    params: list[dict[str, Any]] = field(default_factory=lambda: [{}])


EXAMPLES: dict[str, Example] = {
    "alignment_summary": Example(
        alignment_recipe(models=3, pictures=4),
        [{}, {"by": ["family"], "replicate": "depth", "level": 0.9}, {"single": "net1", "windows": [4.0], "lam": None}],
    ),
    "complexity_summary": Example(
        complexity_recipe(pictures=8), [{}, {"counts": [4, 8], "seeds": [3], "features": ["features.*"], "level": 0.9}]
    ),
    "ddr": Example(
        ddr_recipe(layers=("head.out", "trunk.0.out"), pictures=6),
        [{"embed": ["pca", "tsne"], "seeds": 2, "resamples": 200, "permutations": 20},
         {"from": "features", "layers": ["trunk.*"], "labels": ["type", "image"], "components": 5, "embed": [], "resamples": 200,
          "permutations": 0, "level": 0.9}],
    ),
    "derain_summary": Example(
        derain_recipe(models=3),
        [{"seen": ["noise10"]},
         {"by": ["family"], "replicate": "depth", "seen": {"family": {"toy": ["noise10"]}}, "unseen": ["noise20"], "level": 0.9},
         {"by": ["depth"], "seen": ["noise10"], "kappa": [{"depth": i, "kappa": 0.5 - i, "kappa_low": 0.1 - i} for i in range(3)]}],
    ),
    "faithfulness": Example(
        faithfulness_recipe(models=2, pictures=4),
        [{}, {"cem": None, "infidelity": None, "level": 0.9, "examples": 0}, {"cem": "cem", "examples": 1}],
    ),
    "group_means": Example(
        Recipe([Stage("restore", value=scores)], models=4),
        [{"by": ["family"], "replicate": "depth"}, {"by": ["depth"], "columns": ["psnr_y"]}],
    ),
    "lam_summary": Example(
        lam_recipe(Lam(windows=2), pictures=4),
        [{"resamples": 200}, {"resamples": 200, "restore": None, "level": 0.9, "survives": 0.1},
         {"resamples": 200, "by": ["family"], "replicate": "depth"}],
    ),
    "srga": Example(
        srga_recipe(models=2, degradations=("clean", {"blur": 1})),
        [{"components": 8, "resamples": 4, "of": "srga-gram"}, {"components": 5, "resamples": 0, "restore": None, "solver": "authors"},
         {"components": 5, "resamples": 2, "of": "srga-gram", "by": ["depth"]}],
    ),
}

KINDS = sorted(ANALYSES)
CASES = [pytest.param(kind, params, id=f"{kind}-{i}") for kind in EXAMPLES for i, params in enumerate(EXAMPLES[kind].params)]
SMALL: list[dict[str, Any]] = [{"models": 1}, {"pictures": 1}, {"models": 2, "pictures": 2}, {"failed": (0, 2)}, {"done": 0.5}]
NAME = re.compile(r"[A-Za-z0-9_.-]+")
Make = Callable[[Recipe], Path]


def made_in(folder: Path, recipe: Recipe) -> Path:
    place = folder / recipe.name
    objects = open_objects(str(place))
    write_tables(Archive(objects, write_study(objects, recipe, folder / f"{recipe.name}-pictures")))
    return place


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda recipe: made_in(tmp_path, recipe)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """`example(kind, name)`: the study of an example, made once for each name. Only its results are written to."""
    known: dict[tuple[str, str], Path] = {}

    def get(kind: str, name: str) -> Path:
        if (kind, name) not in known:
            known[kind, name] = made_in(tmp_path_factory.mktemp(kind), replace(EXAMPLES[kind].study, name=name))
        return known[kind, name]

    return get


def ran(place: Path, kind: str, params: dict[str, Any]) -> tuple[Any, Result]:
    """The task and what its analysis returns."""
    objects = open_objects(str(place))
    manifest = load_manifest(objects)
    assert manifest is not None
    task = resolve(Asked(kind, kind, params), Archive(objects, manifest))
    with View(Archive(objects, manifest), task.cells) as view:
        return task, task.cls.run(task.params, view, 7)


def written(place: Path, task: Any, result: Result) -> dict[str, bytes]:
    write_result(open_objects(str(place)), task.made, task.cls.TABLES, result, {})
    return {path.name: path.read_bytes() for path in sorted((place / "results" / task.made.analysis).iterdir())}


@dataclass(frozen=True)
class Ran:
    """An example that was analysed: where its study is, and what came of it. Tests read it only."""

    place: Path
    task: Any
    result: Result
    files: dict[str, bytes]


Once = Callable[[str, dict[str, Any]], Ran]


@pytest.fixture(scope="module")
def once(example: Callable[[str, str], Path]) -> Once:
    """`once(kind, params)`: each case is run for the first test that asks."""
    known: dict[str, Ran] = {}

    def get(kind: str, params: dict[str, Any]) -> Ran:
        name = json.dumps([kind, params])
        if name not in known:
            place = example(kind, EXAMPLES[kind].study.name)
            task, result = ran(place, kind, params)
            known[name] = Ran(place, task, result, written(place, task, result))
        return known[name]

    return get


def test_every_analysis_has_an_example_here() -> None:
    assert set(EXAMPLES) == set(ANALYSES), "give the new analysis a line in EXAMPLES"


@pytest.mark.parametrize("kind", KINDS)
def test_an_analysis_says_what_it_is_where_it_comes_from_and_which_version_it_has(kind: str) -> None:
    cls = analysis_class(kind)
    assert kind == cls.KIND
    assert NAME.fullmatch(kind)
    assert kind not in PROBES, "a stage kind is one or the other"
    assert isinstance(cls.VERSION, int)
    assert cls.VERSION >= 1
    assert cls.REFERENCE.strip()
    assert inspect.getdoc(cls)
    module = import_module(cls.__module__)
    assert module.__doc__
    assert len(module.__doc__.strip().splitlines()) >= 3, "the module's docstring is the bridge to the paper"


@pytest.mark.parametrize("kind", KINDS)
def test_its_parameters_are_strict_frozen_documented_and_survive_json(kind: str) -> None:
    params = analysis_class(kind).Params
    assert issubclass(params, BaseModel)
    assert params.model_config.get("extra") == "forbid"
    assert params.model_config.get("frozen")
    assert params.__doc__
    assert not set(params.model_fields) & {"id", "models"}, "every stage has these already"
    assert all(field.description for field in params.model_fields.values())
    made = params()
    assert params(**json.loads(made.model_dump_json())) == made


def test_no_table_hides_another() -> None:
    names = [table.name for kind in KINDS for table in analysis_class(kind).TABLES]
    assert len(set(names)) == len(names)
    assert not set(names) & {*RESERVED, *PROBES}


@pytest.mark.parametrize("kind", KINDS)
def test_its_tables_have_names_types_and_meanings(kind: str) -> None:
    for table in analysis_class(kind).TABLES:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", table.name)
        assert table.about.strip()
        names = [column.name for column in table.columns]
        assert len(set(names)) == len(names)
        assert "stage" not in names, "every table has this already"
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)
        assert all(column.about.strip() for column in table.columns)
        for column in table.columns:
            in_prose = re.search(r", (dB|nats|px|(input |network-input )?pixels)\b", column.about)
            assert in_prose is None, f"{column.name}: the unit has a field of its own"
            assert column.dtype in ("float64", "int64") or not (column.unit or column.better)
        assert table.schema


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_stage_it_needs_it_says_so(kind: str) -> None:
    cls = analysis_class(kind)
    with pytest.raises(PlanError, match=kind):
        cls.inputs(cls.Params(), [])


@pytest.mark.parametrize(("kind", "params"), CASES)
def test_what_it_declares_is_what_it_returns(kind: str, params: dict[str, Any], once: Once) -> None:
    found = once(kind, params)
    task, result, files = found.task, found.result, found.files
    assert {item.cell for item in task.made.inputs} == {cell.id for cell in task.cells}
    assert set(result.tables) == {table.name for table in task.cls.TABLES}
    json.dumps(plain(dict(result.values)), allow_nan=False)
    assert all(isinstance(text, str) and text.strip() for text in (*result.flags, *result.notes))
    for figure in result.figures:
        assert NAME.fullmatch(figure.name)
        assert figure.caption.strip()
        root = ElementTree.fromstring(figure.svg)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert to_svg(from_json(figure.view, figure.name)) == figure.svg, "the view says all that is drawn"
    assert {f"{table.name}.parquet" for table in task.cls.TABLES} <= set(files)
    stored = json.loads(files["result.json"])
    assert stored["made"]["params"] == json.loads(task.params.model_dump_json())
    for name, data in files.items():
        if name.endswith((".svg", ".parquet")):
            assert all(cell.hash.encode() in data for cell in task.cells), f"{name} does not name its inputs"


@pytest.mark.parametrize(("kind", "params"), CASES)
def test_a_network_and_a_degradation_look_the_same_in_all_its_figures(kind: str, params: dict[str, Any], once: Once) -> None:
    found = once(kind, params)
    manifest = load_manifest(open_objects(str(found.place)))
    assert manifest is not None
    networks, meaning = network_looks([model.id for model in manifest.models]), Labels.of(manifest.samples)
    labels = list(meaning.records)
    for figure in found.result.figures:
        view = from_json(figure.view, figure.name)
        degradations = meaning.shades(labels) if isinstance(view, Embedding) else {label: meaning.colour(label) for label in labels}
        assert strangers(view, networks, degradations) == [], figure.name


@pytest.mark.parametrize(("kind", "params"), CASES)
def test_the_same_inputs_give_the_same_bytes(
    kind: str, params: dict[str, Any], once: Once, example: Callable[[str, str], Path]
) -> None:
    first, second = once(kind, params), example(kind, "second")
    assert first.files == written(second, *ran(second, kind, params))
    if params is EXAMPLES[kind].params[0]:
        assert first.files == written(second, *ran(second, kind, params)), "again, over its own result"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", SMALL, ids=str)
def test_small_and_broken_studies_give_a_result_or_a_reason(kind: str, change: dict[str, Any], make: Make) -> None:
    place = make(replace(EXAMPLES[kind].study, **change))
    try:
        task, result = ran(place, kind, EXAMPLES[kind].params[0])
    except AnalysisError:
        return
    written(place, task, result)


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_where_everything_failed_is_an_error_in_words(kind: str, make: Make) -> None:
    with pytest.raises(AnalysisError):
        ran(make(replace(EXAMPLES[kind].study, failed=range(100))), kind, EXAMPLES[kind].params[0])


@pytest.mark.parametrize("kind", KINDS)
def test_it_sees_its_inputs_and_nothing_else(kind: str, once: Once) -> None:
    """What it reads is all in its fingerprint: SQL over anything else does not exist for it."""
    found = once(kind, EXAMPLES[kind].params[0])
    place, task = found.place, found.task
    kinds = {cell.kind for cell in task.cells}
    one = next(cell for cell in task.cells if cell.model)
    objects = open_objects(str(place))
    manifest = load_manifest(objects)
    assert manifest is not None
    with View(Archive(objects, manifest), [one]) as view:
        if one.columns:
            ids = view.sql("select distinct concat(stage, '/', model, '/', what) as id from " + f'"{one.kind}"')["id"].to_pylist()
            assert ids == [one.id]
        assert len(view.models) == 1
        for other in ("features", *(kinds - {one.kind})):
            with pytest.raises(Exception, match=other):
                view.sql(f'from "{other}"')
        with pytest.raises(AnalysisError, match="not among the inputs"):
            view.array("nothing/of/this")
