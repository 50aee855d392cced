"""Every VERSION integer of the package reaches the identity of all that it can change, and of nothing else.

`CHANGES` says for each kind of place what its VERSION must change; a VERSION in a place that no rule names fails, so a new one is covered
or noticed.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import xlli_ray
from xlli_ray.analyses.shared import freshness as states
from xlli_ray.engine.run import cell_identity, known_models, wanted_cells
from xlli_ray.engine.run import study_weights as weights
from xlli_ray.engine.run.plan import make_plan
from xlli_ray.engine.run.plan_mark import plan_mark
from xlli_ray.engine.run.scan_runner import scan_versions
from xlli_ray.models.networks import Built, current_parts
from xlli_ray.probes import probe_class
from xlli_ray.recipe import Recipe, parse_recipe
from xlli_ray.registry import ALIGNMENTS, ANALYSES, FLOW_ESTIMATORS, NETWORKS, PROBES
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import LocalObjects, open_objects
from xlli_ray.store.records.manifest import Bucket, Manifest, ModelRecord, SampleTable, identity_hash
from xlli_ray.training.corpus import TrainCorpus
from xlli_ray.training.identity import identity_of, network_parts
from xlli_ray.training.images import Image
from xlli_ray.training.recipe import Job, Train

SOURCE = Path(xlli_ray.__file__).parent
CORPORA = {
    "made": {"images": ["a.png"], "scale": 2, "degradations": ["clean", {"blur": 2}, {"rain": "hu25-small"}, {"noise": 20}, {"jpeg": 50}]},
    "clean": {"images": ["a.png"], "scale": 2},
    "given": {"inputs": ["a.png"]},
    "equal": {"images": ["a.png"], "scale": 1},
    "clips": {"clips": {"target": ["a_1.png", "a_2.png"], "frames": 3}, "scale": 2},
}
EQUAL = {"derain"}
"""Probes of networks whose output has the input's size: they measure the corpus `equal`, and no other probe does."""
TARGETS = {"cem": {"models": ["srresnet"], "windows": {"size": 8}}}
"""Stages of the corpora `made` and `clean`: they need targets."""
CLIPS_ONLY = {kind for kind in PROBES if not probe_class(kind).IMAGES}
REDUCED = "features-bf16"
"""A stage in another precision than float32."""
STAGES = [
    {"restore": {"models": ["srresnet"]}}, {"features": {"layers": ["*"], "models": ["srresnet"]}},
    {"gram": {"layers": ["*"], "models": ["srresnet"]}}, {"inputs": {}}, {"complexity": {}},
    {"lam": {"models": ["srresnet"], "windows": {"size": 8, "choose": "texture"}}}, {"deletion": {"models": ["srresnet"], "of": "lam"}},
    {"infidelity": {"models": ["srresnet"], "of": "lam"}},
    {"features": {"id": REDUCED, "layers": ["*"], "models": ["srresnet"], "precision": "bf16"}},
]  # fmt: skip


OF_CLIPS = [{"flow": {"id": "flow"}}, *({"flow": {"id": f"flow-{name}", "estimator": name}} for name in ("farneback", "phase", "known")),
            {"flow": {"id": "flow-spynet", "estimator": "spynet", "weights": "w.pth", "sha256": "0" * 64}},
            {"motion_error": {"id": "motion_error"}}, {"alignment_error": {"id": "alignment_error"}}]  # fmt: skip
"""Stages of the corpus `clips`, which no other probe measures here."""
NEED_FLOW = {"motion_error clips", "alignment_error clips"}
KIND_OF_CLIPS = {fields["id"]: kind for stage in OF_CLIPS for kind, fields in stage.items()}
ESTIMATORS = {place.split(":")[0]: name for name, place in FLOW_ESTIMATORS.items()}
"""Module → estimator of flow."""


def kinds(corpus: str) -> set[str]:
    """Cells of a corpus here, each named by its probe; those of clips by their stage."""
    if corpus == "clips":
        return {fields["id"] for stage in OF_CLIPS for fields in stage.values()}
    return EQUAL if corpus == "equal" else {REDUCED, *PROBES} - EQUAL - CLIPS_ONLY - (set(TARGETS) if corpus == "given" else set())


class Half(nn.Module):
    """Enough of a network for a plan."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 12, 3, padding=1)
        self.up = nn.PixelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(self.body(x))


# -- what there is ----------------------------------------------------------------------------------------------


def written() -> Iterator[tuple[str, str]]:
    """(module, `VERSION` | `X_VERSION` | `Class.VERSION`) of every integer in the source that is called a VERSION."""
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text()
        for node in ast.parse(text).body if "VERSION" in text else ():
            yield from ((module, name) for name in integers(node))
            if isinstance(node, ast.ClassDef):
                yield from ((module, f"{node.name}.{name}") for item in node.body for name in integers(item))


def integers(node: ast.stmt) -> list[str]:
    """Names of versions that this statement gives a number."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(node.value, ast.Constant) or type(node.value.value) is not int:
        return []
    names = [target.id for target in (node.targets if isinstance(node, ast.Assign) else [node.target]) if isinstance(target, ast.Name)]
    return [name for name in names if name == "VERSION" or name.endswith("_VERSION")]


WRITTEN = list(written())


def probe_of(module: str) -> str | None:
    return next((kind for kind, place in PROBES.items() if place.split(":")[0] == module), None)


def must_change(module: str) -> set[str] | None:
    """Names (see `identities`) of what this VERSION can change; None where no rule says."""
    scans = {f"scan {corpus}" for corpus in CORPORA}
    cells = {f"{kind} {corpus}" for corpus in CORPORA for kind in kinds(corpus)}
    marks = {f"plan {corpus}" for corpus in CORPORA}
    trainings = {"training images", "training pairs", "training clips", "training motion"}
    made = {"scan made", "plan made", "training images", *(f"{kind} made" for kind in kinds("made"))}
    if module == "xlli_ray.corpus.decode":
        return scans | marks | cells | trainings
    if module == "xlli_ray.corpus.resize":
        clean = {f"{what} {corpus}" for corpus in ("clean", "equal", "clips") for what in ("scan", "plan", *kinds(corpus))}
        return made | clean | {"training images", "training clips", "training motion", "lam given", "deletion given", "infidelity given"}
    if module == "xlli_ray.corpus.kinds.kind":
        return scans | marks | cells | trainings
    if module.startswith("xlli_ray.corpus.degradations."):
        return made
    if module == "xlli_ray.models.networks.srresnet":
        alone = ("inputs ", "complexity ", "flow ", "flow-", "alignment_error ")  # they look at no network
        return marks | {name for name in cells if not name.startswith(alone)} | trainings
    if module.startswith("xlli_ray.models.alignment."):
        names = [name for name, place in ALIGNMENTS.items() if place.split(":")[0] == module]
        operators = {"alignment_error clips", "plan clips"} if {"none", "bilinear", "patch"} & set(names) else set()
        return operators | {f"{what} {name}" for name in names for what in ("aligned by", "training aligned by")}
    if module == "xlli_ray.models.model_spec":
        return {"network spandrel"}
    if module.startswith("xlli_ray.models.networks."):
        return {f"network {name}" for name, place in NETWORKS.items() if place.split(":")[0] == module}
    if module in ("xlli_ray.probes.probe", "xlli_ray.probes.flow.estimator"):
        return set()  # what a probe has that says none; each of ours says its own
    if module in ("xlli_ray.probes.lam.path_choices", "xlli_ray.probes.lam.method_choices"):
        return {f"{what} {corpus}" for corpus in CORPORA if corpus not in ("equal", "clips")
                for what in ("plan", "lam", "deletion", "infidelity")}  # fmt: skip
    if module == "xlli_ray.probes.cem.patch_pool":
        return {f"{what} {corpus}" for corpus in ("made", "clean") for what in ("plan", "cem")}
    if module == "xlli_ray.probes.metrics.metric":
        return {f"{what} {corpus}" for corpus in CORPORA if corpus not in ("equal", "clips") for what in ("plan", "restore")}
    if module in ESTIMATORS:
        name = ESTIMATORS[module]
        return {"plan clips", *({"flow clips", *NEED_FLOW} if name == "dis" else {f"flow-{name} clips"})}
    if (kind := probe_of(module)) is not None and not probe_class(kind).IMAGES:
        need = NEED_FLOW if kind == "flow" else set()
        return marks | need | {f"{stage} clips" for stage, one in KIND_OF_CLIPS.items() if one == kind}
    if module == "xlli_ray.models.precision":
        return {f"{what} {corpus}" for corpus in CORPORA if corpus not in ("equal", "clips") for what in ("plan", REDUCED)}
    if kind is not None:
        also = {"features": ["gram", REDUCED], "lam": ["deletion", "infidelity"]}.get(kind, [])
        return marks | {f"{one} {corpus}" for one in [kind, *also] for corpus in CORPORA} & cells
    if any(place.split(":")[0] == module for place in ANALYSES.values()):
        return {f"analysis {kind}" for kind, place in ANALYSES.items() if place.split(":")[0] == module}
    if module in ("xlli_ray.training.data", "xlli_ray.training.steps"):
        return trainings
    if module == "xlli_ray.training.clip_crops":
        return {"training clips"}
    if module == "xlli_ray.training.motion_crops":
        return {"training motion"}
    if module == "xlli_ray.training.gan":
        return {"training images"}  # the one with an adversary
    return None


# -- the identities of everything -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalObjects, dict[str, Recipe], Mapping[str, ModelRecord]]:
    """A study folder with one model, recipes over three corpora, and its record as an earlier run left it."""
    folder = tmp_path_factory.mktemp("study")
    objects = open_objects(str(folder))
    entry = {"id": "srresnet", "weights": "builtin:srresnet-gr-clean", "network": "srresnet"}
    equal = [{kind: {"models": ["srresnet"]}} for kind in sorted(EQUAL)]
    targeted = [*STAGES, *({kind: fields} for kind, fields in TARGETS.items())]
    stages = {name: {"equal": equal, "clips": OF_CLIPS, "given": STAGES}.get(name, targeted) for name in CORPORA}
    entries = {name: {**entry, "frames": "each"} if name == "clips" else entry for name in CORPORA}
    recipes = {name: parse_recipe({"name": "v", "models": [entries[name]], "corpus": corpus, "stages": stages[name]}, base=folder)
               for name, corpus in CORPORA.items()}  # fmt: skip
    return objects, recipes, {name: weights.keep_models(objects, recipe, [])[0] for name, recipe in recipes.items()}


def table(corpus: str, recipe: Recipe) -> SampleTable:
    labels = ["given"] if corpus == "given" else [mixture.label for mixture in recipe.corpus.mixtures]
    blocks = tuple((label, i * 4, 4) for i, label in enumerate(labels))
    scales = {"given": (0,), "equal": (1,)}.get(corpus, (2,))
    if corpus == "clips":
        bucket = Bucket("t0003h0032w0032", 32, 32, 0, 4 * len(labels), blocks, 4 * len(labels), (2,), 3)
        return SampleTable("0" * 16, "1" * 16, bucket.rows, 0, (bucket,), 16_384, 1 << 20)
    bucket = Bucket("h0032w0032", 32, 32, 0, 4 * len(labels), blocks, 0 if corpus == "given" else 4 * len(labels), scales)
    return SampleTable("0" * 16, "1" * 16, bucket.rows, 0, (bucket,), 16_384, 1 << 20)


def identities(records: Any) -> dict[str, Any]:
    """Everything that is compared to decide whether something may be used again."""
    objects, recipes, known = records
    out: dict[str, Any] = {}
    for corpus, recipe in recipes.items():
        out[f"scan {corpus}"] = scan_versions(recipe.corpus)
        samples = table(corpus, recipe)
        (record,) = weights.keep_models(objects, recipe, [known[corpus]])
        plan = make_plan(recipe, samples, [record], {"equal": _same_size, "clips": _each_frame}.get(corpus, _model))
        for cell in plan.cells:
            out[f"{cell.stage} {corpus}"] = identity_hash(cell.identity)
        manifest = Manifest("v", 0, {}, samples)
        out[f"plan {corpus}"] = plan_mark(recipe, manifest, [record], "cpu")
    for name in [*NETWORKS, "spandrel"]:
        if name != "srresnet":  # whose record stands above
            out[f"network {name}"] = known_models.current_version("spandrel:X" if name == "spandrel" else name, None)
    damages = [{"blur": [0, 4], "rain": "hu25-small", "noise": 20, "jpeg": [30, 90]}]
    train = {"network": "srresnet", "iterations": 1}
    job = {"id": "x", "seed": 0}
    images = TrainCorpus(images=["a.png"], degradations=damages)
    pairs = TrainCorpus(pairs={"input": "a", "target": "b"})
    clips, motion = TrainCorpus(clips={"frames": "a"}), TrainCorpus(motion={"images": "a"})
    for name, corpus, more in (("images", images, {"gan": {}}), ("pairs", pairs, {}), ("clips", clips, {}), ("motion", motion, {})):
        out[f"training {name}"] = identity_of(Job(**job, corpus=corpus, train=Train(**train, **more)), [Image("a", "0")], None).sha256
    for name in ALIGNMENTS:
        aligned = replace(record, network_version=1, parts=current_parts({f"alignment {name}": 1}))
        out[f"aligned by {name}"] = [cell_identity._of_model(aligned), cell_identity.companion_settings(aligned)]
        out[f"training aligned by {name}"] = network_parts("psrt", {"alignment": name, "flow": "none"})
    for kind in ANALYSES:
        out[f"analysis {kind}"] = _fingerprint(kind, objects)
    return out


def _model(name: str) -> Any:
    from xlli_ray.models.build_model import ModelSpec, load_model

    model = load_model(ModelSpec("srresnet", network=f"{__name__}:half"), {})
    assert model.id == name
    return model


def _each_frame(name: str) -> Any:
    from xlli_ray.models.model import frame_by_frame

    return frame_by_frame(_model(name))


def half() -> Built:
    return Built(Half(), scale=2)


def _same_size(name: str) -> Any:
    from xlli_ray.models.build_model import ModelSpec, load_model

    return load_model(ModelSpec(name, network=f"{__name__}:same"), {})


def same() -> Built:
    return Built(nn.Conv2d(3, 3, 3, padding=1), scale=1)


def _fingerprint(kind: str, objects: LocalObjects) -> str:
    cls = states.analysis_class(kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(states, "inputs_of", lambda *_: (cls, cls.Params.model_construct(), ()))
        return states.resolve(states.Asked("a", kind, {}), Archive(objects, Manifest("v", 0, {}, None))).made.fingerprint


@pytest.fixture(scope="module", autouse=True)
def _networks_are_tried_once() -> Iterator[None]:
    """How the toy networks must be run is the same for every plan here, and most of what a plan takes."""

    def once(trial: Callable[..., Any]) -> Callable[..., Any]:
        known: dict[Any, Any] = {}

        def cached(model: Any, unsure: Any, *taps: Any) -> Any:
            key = (model.id, type(model), type(model.module), *taps)
            if key not in known:
                known[key] = trial(model, unsure, *taps)
            return known[key]

        return cached

    with pytest.MonkeyPatch.context() as patch:
        for name in ("manners_of", "remark_of"):
            patch.setattr(wanted_cells, name, once(getattr(wanted_cells, name)))
        yield


@pytest.fixture(scope="module")
def before(records: Any) -> dict[str, Any]:
    return identities(records)


# -- the tests --------------------------------------------------------------------------------------------------


def test_every_version_of_the_package_has_a_rule() -> None:
    assert len(WRITTEN) >= 19
    assert [(module, name) for module, name in WRITTEN if must_change(module) is None] == [], (
        "a VERSION that no identity is known to hold: let it enter the identity of what it changes, and say so in `must_change`"
    )


def test_what_the_registries_name_has_a_version_of_its_own() -> None:
    """A probe, analysis, network or degradation without one would have no way to say that its numbers changed."""
    from xlli_ray.registry import DEGRADATIONS

    with_version = {module for module, _ in WRITTEN}
    named = {place.split(":")[0] for place in [*PROBES.values(), *ANALYSES.values(), *NETWORKS.values(), *DEGRADATIONS.values()]}
    assert named <= with_version


@pytest.mark.parametrize(("module", "name"), WRITTEN, ids=[f"{module.removeprefix('xlli_ray.')}.{name}" for module, name in WRITTEN])
def test_a_raised_version_changes_the_identity_of_all_that_it_can_change_and_of_nothing_else(
    module: str, name: str, records: Any, before: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    *owners, attribute = name.split(".")
    place: Any = importlib.import_module(module)
    for owner in owners:
        place = getattr(place, owner)
    monkeypatch.setattr(place, attribute, getattr(place, attribute) + 1)
    after = identities(records)
    assert {key for key in before if before[key] != after[key]} == must_change(module)


def test_versions_are_read_where_they_stand_and_never_copied() -> None:
    """`from module import VERSION` keeps the number of the time of import; and a copy is easily forgotten when one is raised."""
    copies = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        if "VERSION" in (text := path.read_text())
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and any(alias.name.endswith("VERSION") for alias in node.names)
    ]
    assert copies == []


def test_version_one_of_resizing_is_left_out_so_that_studies_of_before_go_on(records: Any) -> None:
    _, recipes, known = records
    plan = make_plan(recipes["made"], table("made", recipes["made"]), [known["made"]], _model)
    assert all(cell.identity["degradation versions"] == {"blur": 1, "jpeg": 1, "noise": 1, "rain": 1} for cell in plan.cells)
