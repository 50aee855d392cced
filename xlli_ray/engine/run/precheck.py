"""Checks before an image is read: unknown ids, weights, networks, layers, and requirements of analyses.

Reading a corpus may take hours. Everything that does not depend on it is checked first: with the networks themselves, on a black image,
since only a network knows its layers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from xlli_ray.analyses.shared.freshness import check_asked
from xlli_ray.corpus.size import Size
from xlli_ray.engine.run.analysis_runner import asked
from xlli_ray.engine.run.needed_stages import check_needs
from xlli_ray.errors import LayerPatternError, PlanError, closest
from xlli_ray.probes import probe_class
from xlli_ray.probes.measurement import columns_of
from xlli_ray.recipe import Recipe, Stage
from xlli_ray.recipe.names import alike
from xlli_ray.store.objects.client import LocalObjects, Objects
from xlli_ray.store.records.manifest import NO_MODEL, Cell, Manifest, ModelRecord

if TYPE_CHECKING:
    from xlli_ray.models.model import Model
    from xlli_ray.probes.probe import Probe

SIDE = 64
"""Side in pixels of the black image, unless the recipe's patches have another size."""


def check_replace(ids: Sequence[str], recipe: Recipe, cells: Sequence[Cell], beside: Collection[str] = ()) -> None:
    """Refuse `--replace` of anything that is not a stage, model, analysis or cell, with the nearest name. Raises PlanError.

    `beside`: the study's baselines, which the recipe need not name.
    """
    known = [*(stage.id for stage in recipe.stages), *(model.id for model in recipe.models), *beside, *(cell.id for cell in cells)]
    for name in ids:
        if name not in known:
            near = closest(name, known, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            listed = [*(stage.id for stage in recipe.stages), *(model.id for model in recipe.models)]
            raise PlanError(f"--replace {name}: there is no such stage, model or cell. {hint}Stages and models: {', '.join(listed)}")


def new_stages(
    recipe: Recipe, records: Sequence[ModelRecord], existing: Sequence[Cell]
) -> tuple[list[Stage], list[tuple[ModelRecord, list[Stage]]]]:
    """What the study has no cells of: stages that measure samples without a model (all of them if one is new), and for each model with a
    new stage its stages."""
    known = {(cell.stage, cell.model, _plain(cell.params)) for cell in existing}
    without = [stage for stage in recipe.stages if stage.without_model]
    before = {(cell.stage, _plain(cell.params)) for cell in existing if cell.stage in {stage.id for stage in without}}
    if all((stage.id, _plain(stage.params)) in before for stage in without):
        without = []
    new = []
    for record in records:
        entry = next(model for model in recipe.models if model.id == record.id)
        stages = [stage for stage in recipe.measured().stages if stage.chooses(entry) and not stage.without_model]
        if not all((stage.id, record.id, _plain(stage.params)) in known for stage in stages):
            new.append((record, stages))
    return without, new


def check_recipe(
    recipe: Recipe, records: Sequence[ModelRecord], load: Callable[[str], Model], *, existing: Sequence[Cell] = (), seed: int = 0
) -> None:
    """Resolve stages and analyses against the networks, as the plan will. `load` returns a model by id; `existing`: the study's cells.

    A study with the cells loads nothing. Raises LayerPatternError, PlanError; RecipeError for inputs that an analysis cannot find.
    """
    cells: dict[str, Cell] = {cell.id: cell for cell in existing}
    without, new = new_stages(recipe, records, existing)
    if without:
        cells |= {cell.id: cell for cell in _sample_cells(recipe, without)}
    for record, stages in new:
        cells |= {cell.id: cell for cell in _cells(recipe, stages, load(record.id), [other.id for other in records])}
    if recipe.analyses:
        manifest = Manifest(recipe.name, seed, {}, None, models=tuple(records), cells=tuple(cells.values()))
        check_asked(asked(recipe.analyses), manifest)


def checked(objects: Objects, recipe: Recipe, records: Sequence[ModelRecord], *, existing: Sequence[Cell], seed: int) -> None:
    """`check_recipe` with the models of a study."""
    by_id = {record.id: record for record in records}

    def load(name: str) -> Model:
        from xlli_ray.engine.worker.study_model import load_study_model

        return load_study_model(objects, by_id[name])

    check_recipe(recipe, records, load, existing=existing, seed=seed)


def check_names(objects: Objects, cells: Sequence[Cell]) -> None:
    """Refuse cells that the study's folder does not distinguish: ids of an older recipe or layers that differ in case. Raises PlanError."""
    pair = alike(cell.id for cell in cells)
    if pair is not None and folds_case(objects):
        raise PlanError(
            f"{objects.url}: this file system does not distinguish {pair[0]} from {pair[1]}: the second would overwrite the first. Rename"
            " a stage or a model, choose one of the layers, or use an --out on a case-sensitive file system."
        )


def folds_case(objects: Objects) -> bool:
    """Whether the study is on a case-insensitive file system."""
    return isinstance(objects, LocalObjects) and (objects.root / "LEASE").exists()


def _plain(params: object) -> str:
    return json.dumps(params, sort_keys=True, default=str)


def _cells(recipe: Recipe, stages: Sequence[Stage], model: Model, known: Sequence[str]) -> list[Cell]:
    """The cells of one model without sizes. Raises LayerPatternError, PlanError."""
    import torch

    corpus = recipe.corpus
    patches = corpus.pies or corpus.patches
    # layers do not depend on the size, which may be mistyped and huge: no image is needed here
    side = max(model.minimum, min(patches.size // (corpus.scale or model.scale), SIDE) if patches else SIDE)
    example = torch.zeros(model.shape(model.trial_size(side, side)))
    scales = [corpus.scale] if corpus.scale is not None else []
    out = []
    for stage in stages:
        cls, params = probe_class(stage.kind, stage.code), stage.parsed()
        try:
            specs = cls.cells(params, model, example)
        except (LayerPatternError, PlanError):
            raise
        except Exception:  # the network does not accept this size: the plan knows the corpus' sizes, and reports the error
            continue
        for spec in specs:
            probe = cls(params, spec)
            if unknown := [name for name in probe.companions if name not in known]:
                near = closest(unknown[0], known, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise PlanError(f"stage {stage.id}: no model has the id {unknown[0]!r}: {hint}Models: {', '.join(known)}")
            if reason := probe.refuses(model, scales):
                raise PlanError(f"stage {stage.id}: {reason}")
            out.append(_cell(recipe, stage, probe, model.id, clips=example.ndim > 4))
    return out


def _sample_cells(recipe: Recipe, stages: Sequence[Stage]) -> list[Cell]:
    """The cells of stages that measure samples without a model, before sizes are known. Raises PlanError."""
    import torch

    frames = int(getattr(recipe.corpus.given, "frames", 0) or 0)
    example = torch.zeros(1, *Size(SIDE, SIDE, frames).shape())
    out = []
    for stage in stages:
        cls, params = probe_class(stage.kind, stage.code), stage.parsed()
        for spec in cls.cells(params, None, example):
            probe = cls(params, spec)
            if reason := probe.refuses(None, [recipe.corpus.scale] if recipe.corpus.scale is not None else []):
                raise PlanError(f"stage {stage.id}: {reason}")
            out.append(_cell(recipe, stage, probe, "", clips=bool(frames)))
    return out


def _cell(recipe: Recipe, stage: Stage, probe: Probe, model: str, *, clips: bool) -> Cell:
    check_needs(stage.id, probe.needs, recipe, model or NO_MODEL)
    columns = columns_of(probe.columns(), clips=clips)
    return Cell(
        stage.id, stage.kind, model, probe.what, probe.spec, stage.params, {}, columns, "", recipe.threads, (), stage.code
    )
