"""The plan: the cells that a recipe requires, their batches and units, and their cost.

Nothing here depends on a clock or on the number of workers, since batches and ranges enter the identity of cells. Each model runs once per
bucket on zeros (without data if the network allows it) for shapes and multiply-adds. A plan over 10⁷ samples costs no more than one over
10³ with the same buckets: it reads the sample table's summary only.

It is made from what a network returns for each input size (`input_sizes`), the wanted cells (`wanted_cells`) with their identity
(`cell_identity`), and their division into units (`cell_groups`, `ranges`, `many_sizes`). These need torch and are imported when a plan is
made: a study that has its plan does without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from xlli_ray.engine.run.own_passes import with_own_passes
from xlli_ray.engine.run.ranges import MACS_A_SECOND
from xlli_ray.errors import PlanError, counted
from xlli_ray.probes.measurement import SetProbe
from xlli_ray.recipe import Recipe
from xlli_ray.store.records.manifest import NO_MODEL, BucketPlan, Cell, ModelRecord, SampleTable
from xlli_ray.terminal import human_bytes

if TYPE_CHECKING:
    from xlli_ray.engine.run.input_sizes import SizeFacts
    from xlli_ray.engine.run.wanted_cells import WantedCell
    from xlli_ray.models.model import Model


@dataclass(frozen=True)
class Plan:
    """All cells of the recipe, and those that are new."""

    cells: tuple[Cell, ...]
    added: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)
    timed: float | None = None
    """Seconds of one worker here for the remaining units (`projection`); None without a trial."""

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays before compression."""
        return sum(cell.nbytes for cell in self.cells)

    @property
    def seconds(self) -> float:
        """Projected seconds of one worker at 50 GMAC/s; cells that share a forward pass are counted once."""
        forwards: dict[tuple[str, str], float] = {}
        own = with_own_passes(self.cells)
        for cell in self.cells:
            for bucket in cell.buckets:
                key = (cell.id if cell.id in own else cell.group, bucket.name)
                forwards[key] = max(forwards.get(key, 0.0), bucket.macs * bucket.rows / MACS_A_SECOND)
        return sum(forwards.values())


def make_plan(
    recipe: Recipe,
    table: SampleTable,
    models: Sequence[ModelRecord],
    load: Callable[[str], Model],
    *,
    existing: Sequence[Cell] = (),
    device: str = "cpu",
    replace_ids: Sequence[str] = (),
    unsure: Mapping[str, str] | None = None,
) -> Plan:
    """Resolve the recipe into cells. `load` returns a model by id; `existing`: the study's cells, which keep their ranges. `unsure`: models
    that must not be tried, id → reason.

    Raises PlanError: no samples, wrong scale, or different content under an existing id (naming the changed field).
    """
    from xlli_ray.engine.run.cell_groups import cut_groups
    from xlli_ray.engine.run.needed_stages import in_order
    from xlli_ray.engine.run.plan_draft import PlanDraft
    from xlli_ray.engine.run.wanted_cells import sample_cells, wanted_cells

    if not table.rows:
        raise PlanError(f"no sample can be read, {counted(table.rejected, 'file')} rejected; reasons: `xlli query STUDY \"from failures\"`")
    draft = PlanDraft({cell.id: cell for cell in existing}, frozenset(replace_ids))
    groups = {cell.group for cell in existing}
    weights = {record.id: record for record in models}
    notes: list[str] = []
    held: dict[str, int] = {}

    def cut(new: Sequence[WantedCell], model: str, facts: Mapping[str, SizeFacts]) -> list[Cell]:
        made = cut_groups(new, model, table, facts, groups, recipe.threads, recipe.unit_seconds)
        groups.update(cell.group for cell in made)
        draft.cells += made
        for stage_id, size in _held(made, new, facts).items():
            held[stage_id] = max(size, held.get(stage_id, 0))
        return made

    alone: dict[str, Sequence[str]] = {}
    if without := [stage for stage in recipe.stages if stage.without_model]:
        wanted, facts = sample_cells(recipe, without, table, device)
        wanted, alone = draft.of_before(wanted, existing)
        wanted = in_order(wanted, NO_MODEL, alone)
        alone |= {want.stage.id: [other.id(NO_MODEL) for other in wanted if other.stage.id == want.stage.id] for want in wanted}
        cut(draft.new(wanted, NO_MODEL), "", facts)
    for record in models:
        entry = next(m for m in recipe.models if m.id == record.id)
        stages = [stage for stage in recipe.stages if stage.chooses(entry) and not stage.without_model]
        if not stages:
            continue
        model = load(record.id)
        wanted, facts, said = wanted_cells(recipe, stages, model, record, table, device, weights, load, unsure or {})
        notes += [f"{record.id}: {text}" for text in said]
        made = cut(draft.new(in_order(wanted, record.id, alone), record.id), record.id, facts)
        notes += [f"{record.id}: inputs {b.name}: {b.refused}" for b in _refused(made)]
    notes += [
        f"stage {name}: a worker holds up to {human_bytes(size)} of a set, above 1 GiB in a temporary file under TMPDIR"
        for name, size in held.items() if size > 5e8
    ]  # fmt: skip
    # Cells that this recipe does not name stay in the study: omitting something deletes nothing.
    named = {cell.id for cell in draft.cells} | set(draft.gone)
    left = [cell for cell in existing if cell.id not in named]
    ordered = sorted([*draft.cells, *left], key=lambda cell: cell.id)
    kept = (*draft.kept, *(cell.id for cell in left))
    return Plan(tuple(ordered), tuple(draft.added), kept, (*draft.replaced, *draft.gone), tuple(notes))


def _held(cells: Iterable[Cell], wanted: Sequence[WantedCell], facts: Mapping[str, SizeFacts]) -> dict[str, int]:
    """Stage → bytes of one set that a worker holds at a time."""
    by_output = {(cell.stage, cell.what): cell for cell in cells}
    out: dict[str, int] = {}
    for want in wanted:
        if isinstance(want.probe, SetProbe):
            for bucket in by_output[want.stage.id, want.probe.what].buckets:
                shapes = facts[bucket.name].shapes
                held = want.probe.held_bytes(replace(shapes, together=bucket.rows_per_unit)) if shapes else 0
                out[want.stage.id] = max(held, out.get(want.stage.id, 0))
    return out


def _refused(cells: Iterable[Cell]) -> list[BucketPlan]:
    return list({b.name: b for cell in cells for b in cell.sizes if b.refused}.values())


def with_models(models: Iterable[ModelRecord], old: Iterable[ModelRecord]) -> tuple[ModelRecord, ...]:
    """The recipe's models, then others of the study."""
    listed = list(models)
    known = {model.id for model in listed}
    return (*listed, *(m for m in old if m.id not in known))


def check_limits(plan: Plan, recipe: Recipe, *, workers: int) -> None:
    """Refuse a plan above the recipe's limits, with numbers and ways out. Raises PlanError."""
    hours = plan.seconds / 3600 / max(1, workers)
    if plan.nbytes > recipe.limits.bytes:
        parts: dict[str, int] = {}
        for cell in plan.cells:
            parts[cell.stage] = parts.get(cell.stage, 0) + cell.nbytes
        listed = ", ".join(f"{stage} {human_bytes(size)}" for stage, size in sorted(parts.items(), key=lambda p: -p[1]))
        raise PlanError(
            f"this study needs {human_bytes(plan.nbytes)} ({listed}); the limit is {human_bytes(recipe.limits.bytes)}. "
            "Smaller: fewer layers, pool: mean or stride, dtype: float16, max_rows; or raise limits.bytes (--set limits.bytes=…)."
        )
    if hours > recipe.limits.hours:
        raise PlanError(
            f"this study needs about {hours:.2g} hours on {counted(workers, 'worker')}; the limit is {recipe.limits.hours:g}. "
            "Faster: more --workers, fewer patches or models; or raise limits.hours (--set limits.hours=…)."
        )
