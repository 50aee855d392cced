"""Which analyses a study has, what each depends on, and whether its result is up to date.

A result's fingerprint covers the analysis' kind and VERSION, its parameters, the study's seed, the inputs (each cell's identity and the
digest of its records) and the models' tags. The same fingerprint: `current`. A different one: `stale`, and the next run computes it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel

from xlli_ray.analyses import analysis_class
from xlli_ray.analyses.analysis import Analysis
from xlli_ray.analyses.shared.replicates import Grouped, check_tags
from xlli_ray.errors import PlanError, RecipeError, XlliError, without_lead
from xlli_ray.registry import ANALYSES
from xlli_ray.store.archive import Archive
from xlli_ray.store.records.digests import cell_digests
from xlli_ray.store.records.manifest import Cell, Manifest, chosen, identity_hash
from xlli_ray.store.tables.results import Input, Made, Stored, read_failure, read_results
from xlli_ray.store.tables.study_tables import RESERVED, table_kinds

StateName = Literal["current", "stale", "missing", "failed"]


@dataclass(frozen=True)
class Asked:
    """An analysis as named by a recipe or an earlier result."""

    id: str
    kind: str
    params: Mapping[str, Any]
    models: Any = "all"
    code: str = ""
    """Location of its class as given in the recipe; "" for one in a registry."""


@dataclass(frozen=True)
class Task:
    """An analysis with its inputs resolved: what `run` needs."""

    made: Made
    cls: type[Analysis]
    params: BaseModel
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class State:
    """The state of an analysis."""

    id: str
    kind: str
    state: StateName
    why: str = ""
    """What changed, or why it failed; '' when current."""
    wanted: bool = True
    """False: the result of an earlier recipe, not named by the last one; it is kept, and not run again."""
    code: str = ""


def asked_in(manifest: Manifest) -> list[Asked]:
    """The analyses in the recipe of the last run, in its order."""
    stages = manifest.recipe.get("stages", [])
    return [Asked(stage["id"], stage["kind"], stage.get("params", {}), stage.get("models", "all"), str(stage.get("code") or ""))
            for stage in stages if stage.get("concludes") or stage["kind"] in ANALYSES]  # fmt: skip


def inputs_of(asked: Asked, manifest: Manifest) -> tuple[type[Analysis], BaseModel, tuple[Cell, ...]]:
    """Class, parameters and input cells of an analysis. Raises PlanError, RecipeError."""
    cls = analysis_class(asked.kind, asked.code)
    params = cls.Params(**asked.params)
    tags = {model.id: model.tags for model in manifest.models}
    beside = {model.id for model in manifest.models if model.entry.get("baseline")}
    cells = [
        cell for cell in manifest.cells
        if not cell.model or chosen(asked.models, cell.model, tags.get(cell.model, {}), kind=asked.kind, baseline=cell.model in beside)
    ]  # fmt: skip
    try:
        names = set(cls.inputs(params, cells))
    except PlanError as error:
        raise PlanError(f"stage {asked.id}: {without_lead(str(error), asked.id)}") from error
    if not names:
        raise PlanError(f"stage {asked.id}: {asked.kind} has nothing to read in this study for the models chosen by the stage")
    return cls, params, tuple(sorted((cell for cell in cells if cell.id in names), key=lambda cell: cell.id))


def check_asked(asked: Sequence[Asked], manifest: Manifest) -> list[str]:
    """Refuse, before anything is computed, analyses without inputs, analyses that need a larger corpus, and duplicate names.

    `manifest`: with the planned cells; without a sample table, sizes are not checked. Returns notes for the plan. Raises PlanError.
    """
    notes: list[str] = []
    probes = set(table_kinds(manifest))
    owners: dict[str, str] = {}
    stages = {cell.stage for cell in manifest.cells}
    for one in asked:
        if one.id in stages:
            raise PlanError(f"stage {one.id}: this study has measurements of a stage with that id; give the analysis another `id`")
        cls, params, cells = inputs_of(one, manifest)
        if isinstance(params, Grouped):
            used = {cell.model for cell in cells}
            check_tags(params, [model for model in manifest.models if model.id in used], asked_by=f"stage {one.id}")
        if manifest.samples is not None and (check := getattr(cls, "check", None)) is not None:
            try:
                notes += [f"stage {one.id}: {without_lead(note, one.id)}" for note in check(params, cells, manifest.samples)]
            except PlanError as error:
                raise PlanError(f"stage {one.id}: {without_lead(str(error), one.id)}") from error
        for table in cls.TABLES:
            owner = owners.setdefault(table.name, one.kind)
            if table.name in RESERVED or table.name in probes or owner != one.kind:
                other = f"the analysis {owner}" if owner != one.kind else "the study itself or a probe"
                raise PlanError(f"stage {one.id}: the SQL table {table.name} of {one.kind} is taken by {other}")
    return notes


def resolve(asked: Asked, archive: Archive) -> Task:
    """The analysis with the fingerprint of its inputs as they are now. Raises PlanError, RecipeError."""
    manifest = archive.manifest
    cls, params, cells = inputs_of(asked, manifest)
    digests = cell_digests(archive.records, cells)
    inputs = tuple(Input(cell.id, cell.hash, digests[cell.id]) for cell in cells)
    plain = params.model_dump(mode="json")
    mark = _fingerprint(asked, cls.VERSION, plain, inputs, cells, manifest)
    made = Made(asked.id, asked.kind, cls.VERSION, cls.REFERENCE, plain, asked.models, manifest.seed, mark, inputs)
    return Task(made, cls, params, cells)


def _fingerprint(
    asked: Asked, version: int, params: Mapping[str, Any], inputs: Sequence[Input], cells: Sequence[Cell], manifest: Manifest
) -> str:
    used = {cell.model for cell in cells}
    tags = sorted([model.id, sorted(dict(model.tags).items())] for model in manifest.models if model.id in used)
    seen = {"kind": asked.kind, "version": version, "params": dict(params), "seed": manifest.seed, "id": asked.id, "tags": tags,
            "inputs": [[item.cell, item.identity, item.digest] for item in inputs]}  # fmt: skip
    return identity_hash(seen)


def _as_made(asked: Asked, archive: Archive, then: Made) -> Made:
    """`then` as it would be made now, as far as known without the analysis's code: assuming the same version and inputs."""
    manifest = archive.manifest
    names = {item.cell for item in then.inputs}
    cells = tuple(sorted((cell for cell in manifest.cells if cell.id in names), key=lambda cell: cell.id))
    digests = cell_digests(archive.records, cells)
    inputs = tuple(Input(cell.id, cell.hash, digests[cell.id]) for cell in cells)
    params = {**then.params, **asked.params}
    mark = _fingerprint(asked, then.version, params, inputs, cells, manifest)
    return replace(then, params=params, seed=manifest.seed, fingerprint=mark, inputs=inputs)


def states(archive: Archive) -> list[State]:
    """The state of each analysis: those of the last recipe in its order, then other results stored in the study."""
    results = read_results(archive.objects)
    asked = asked_in(archive.manifest)
    named = {one.id for one in asked}
    left = [Asked(name, stored.made.kind, stored.made.params, stored.made.models) for name, stored in results.items() if name not in named]
    out = [_state(one, archive, results.get(one.id), wanted=True) for one in asked]
    return out + [_state(one, archive, results[one.id], wanted=False) for one in left]


def _state(asked: Asked, archive: Archive, stored: Stored | None, *, wanted: bool) -> State:
    failure = read_failure(archive.objects, asked.id)
    why = ""
    try:
        if stored is None:
            inputs_of(asked, archive.manifest)  # for its errors: nothing to compare with, so no digest of a million records
        else:
            try:
                made = resolve(asked, archive).made
            except RecipeError:  # its code is not installed here, or must not run
                made = _as_made(asked, archive, stored.made)
            if stored.made.fingerprint == made.fingerprint:
                return State(asked.id, asked.kind, "current", wanted=wanted, code=asked.code)
            why = changes(stored.made, made)
    except (XlliError, ValueError) as error:
        why = without_lead(str(error), asked.id)
    if failure:
        return State(asked.id, asked.kind, "failed", failure, wanted, asked.code)
    return State(asked.id, asked.kind, "stale" if stored is not None else "missing", why or "it was not run yet", wanted, asked.code)


def changes(then: Made, now: Made) -> str:
    """A readable list of what changed: the first difference of each kind."""
    out = []
    if then.version != now.version:
        out.append(f"version {then.version} → {now.version}")
    out += [f"{name} was {then.params.get(name)!r}, is now {now.params.get(name)!r}" for name in dict.fromkeys([*then.params, *now.params])
            if then.params.get(name) != now.params.get(name)][:3]  # fmt: skip
    before, after = ({item.cell: item for item in made.inputs} for made in (then, now))
    for text, names in (
        ("was added", [name for name in after if name not in before]),
        ("is gone", [name for name in before if name not in after]),
        ("was computed anew", [name for name in after if name in before and after[name] != before[name]]),
    ):
        if names:
            out.append(f"{names[0]} {text}" + (f" (and {len(names) - 1} more)" if len(names) > 1 else ""))
    return "; ".join(out) or "kind, seed or tags changed"
