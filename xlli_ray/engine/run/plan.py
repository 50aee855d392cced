"""The plan: which cells a recipe asks for, in which batches and units, and what that costs.

Nothing here comes from a clock or from the number of workers, because batch and ranges enter the identity of cells. Each model runs
once per bucket on zeros (without data where the network allows it) for shapes and multiply-adds. A plan over 10⁷ samples costs no more than
one over 10³ with the same buckets: it reads the sample table's summary only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xlli_ray.corpus import decode, degradations
from xlli_ray.engine.run.input_sizes import images_only, pixels, size_of, too_small
from xlli_ray.engine.run.many_sizes import many_sizes
from xlli_ray.engine.run.network_trials import manners_of, remark_of
from xlli_ray.engine.run.ranges import MACS_A_SECOND, SHARD_BYTES, choose_rows, rows_a_unit, set_rows
from xlli_ray.errors import PlanError, counted
from xlli_ray.models.cost import survey
from xlli_ray.models.layers import Tap, resolve
from xlli_ray.models.model import ClipModel, Model
from xlli_ray.probes import probe_class
from xlli_ray.probes.probe import Probe
from xlli_ray.probes.protocol import SetProbe, Shapes, columns_of, takes_clips
from xlli_ray.recipe import Recipe, Stage
from xlli_ray.store.records.manifest import Bucket, BucketPlan, Cell, ModelRecord, SampleTable, identity_hash
from xlli_ray.store.zarr.layout import ArrayMeta

ACTIVATIONS_CPU = 1 << 30
ACTIVATIONS_GPU = 16 << 30
LATER = ("companion settings",)
"""Fields of identities that cells of earlier versions lack although they have a value: not compared for those."""
BATCHES = (32, 16, 8, 4, 2, 1)


@dataclass(frozen=True)
class Plan:
    """All cells of the recipe, and those that are new."""

    cells: tuple[Cell, ...]
    added: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)
    timed: float | None = None
    """Seconds of one worker here for what is left (`projection`); None where nothing was tried."""

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays before compression."""
        return sum(cell.nbytes for cell in self.cells)

    @property
    def seconds(self) -> float:
        """Projected seconds of one worker at 50 GMAC/s; cells that share a forward are counted once."""
        forwards: dict[tuple[str, str], float] = {}
        for cell in self.cells:
            for bucket in cell.buckets:
                key = (cell.group, bucket.name)
                forwards[key] = max(forwards.get(key, 0.0), bucket.macs * bucket.rows / MACS_A_SECOND)
        return sum(forwards.values())


@dataclass(frozen=True)
class _Wanted:
    """One cell before its ranges are cut."""

    stage: Stage
    probe: Probe
    spec: Mapping[str, Any]
    batches: Mapping[str, int]
    identity: Mapping[str, Any]
    segments: Mapping[str, tuple[tuple[int, int], ...]]

    def id(self, model: str) -> str:
        return f"{self.stage.id}/{model}/{self.probe.what}"


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
    """Resolve the recipe into cells. `load` gives a model by id; `existing` are the study's cells, which keep their ranges. `unsure`:
    models that are not to be tried, by id, and why.

    Raises PlanError: no samples, wrong scale, or the same id with other content (the changed field named).
    """
    if not table.rows:
        raise PlanError(f"no sample can be read, {counted(table.rejected, 'file')} rejected: `xlli query STUDY \"from failures\"` says why")
    old = {cell.id: cell for cell in existing}
    groups = {cell.group for cell in existing}
    weights = {record.id: record for record in models}
    cells: list[Cell] = []
    added, kept, replaced, notes = [], [], [], []
    held: dict[str, int] = {}
    for record in models:
        entry = next(m for m in recipe.models if m.id == record.id)
        stages = [stage for stage in recipe.stages if stage.chooses(entry)]
        if not stages:
            continue
        model = load(record.id)
        wanted, shapes, said = _wanted(recipe, stages, model, record, table, device, weights, load, unsure or {})
        notes += [f"{record.id}: {text}" for text in said]
        new: list[_Wanted] = []
        for want in wanted:
            cell_id = want.id(record.id)
            there = old.get(cell_id)
            if there is None:
                added.append(cell_id)
                new.append(want)
            elif any(name in replace_ids for name in (cell_id, want.stage.id, record.id)):
                # also when nothing changed: this is how a damaged shard is computed anew
                replaced.append(cell_id)
                new.append(want)
            elif there.hash == identity_hash(_as_known(want.identity, there.identity)):
                kept.append(cell_id)
                cells.append(replace(there, code=want.stage.code))  # the code may have moved
            else:
                raise PlanError(_changed(cell_id, want.stage.id, there.identity, want.identity))
        made = _cut(new, record.id, table, shapes, groups, recipe.threads)
        groups |= {cell.group for cell in made}
        cells += made
        notes += [f"{record.id}: inputs {b.name}: {b.refused}" for b in _refused(made)]
        for stage_id, size in _held(made, new, shapes).items():
            held[stage_id] = max(size, held.get(stage_id, 0))
    notes += [
        f"stage {name}: a worker holds up to {human_bytes(size)} of a set, above 1 GiB in a scratch file under TMPDIR that goes with it"
        for name, size in held.items() if size > 5e8
    ]  # fmt: skip
    # Cells that this recipe does not name stay in the study: leaving something out deletes nothing.
    named = {cell.id for cell in cells}
    left = [cell for cell in existing if cell.id not in named]
    ordered = sorted([*cells, *left], key=lambda cell: cell.id)
    return Plan(tuple(ordered), tuple(added), (*kept, *(c.id for c in left)), tuple(replaced), tuple(notes))


def _held(cells: Iterable[Cell], wanted: Sequence[_Wanted], shapes: Mapping[str, tuple[Shapes | None, float, str]]) -> dict[str, int]:
    """Stage → bytes that a worker holds of one set at once."""
    found = {(cell.stage, cell.what): cell for cell in cells}
    out: dict[str, int] = {}
    for want in wanted:
        if isinstance(want.probe, SetProbe):
            for bucket in found[want.stage.id, want.probe.what].buckets:
                shape = shapes[bucket.name][0]
                held = want.probe.held_bytes(replace(shape, together=bucket.rows_per_unit)) if shape else 0
                out[want.stage.id] = max(held, out.get(want.stage.id, 0))
    return out


def _refused(cells: Iterable[Cell]) -> list[BucketPlan]:
    return list({b.name: b for cell in cells for b in cell.sizes if b.refused}.values())


def _as_known(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """`wanted` without what was not written down when `there` was made, and so cannot be compared."""
    return {name: value for name, value in wanted.items() if name in there or name not in LATER}


def _changed(cell_id: str, stage: str, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    names = [name for name in dict.fromkeys([*there, *wanted]) if there.get(name) != wanted.get(name)]
    listed = "; ".join(f"{name} was {there.get(name)!r}, is now {wanted.get(name)!r}" for name in names)
    if names == ["weights sha256"]:
        listed += " (a network that draws its own weights must draw them from a fixed seed)"
    if names[:1] == ["batch"] and wanted.get("batch") == 1:
        listed += " (a network whose results change with the other images of a batch runs with one image at a time: `xlli plan` says why)"
    return (
        f"{cell_id}: this study holds other content under the same id: {listed}. "
        f"Use a new id for the stage or model, `--replace {stage}` to compute it anew, or a new --out."
    )


def _wanted(
    recipe: Recipe, stages: Sequence[Stage], model: Model, record: ModelRecord, table: SampleTable, device: str,
    weights: Mapping[str, ModelRecord], load: Callable[[str], Model], unsure: Mapping[str, str],
) -> tuple[list[_Wanted], dict[str, tuple[Shapes | None, float, str]], list[str]]:  # fmt: skip
    """The cells of one model; per bucket: shapes, multiply-adds a sample, reason why not; and what to know of the model."""
    import torch

    usable = [bucket for bucket in table.buckets if not too_small(model, bucket)]
    if not usable:
        largest = max(table.buckets, key=pixels)
        raise PlanError(f"{too_small(model, largest)} (the largest input of this corpus)")
    if unlike := next((why for bucket in table.buckets if (why := model.takes(size_of(bucket)))), ""):
        raise PlanError(unlike)
    smallest = size_of(min(usable, key=pixels))
    example = torch.zeros(model.shape(smallest))
    probes: list[tuple[Stage, Probe, dict[str, Any]]] = []
    for stage in stages:
        cls = probe_class(stage.kind, stage.code)
        params = stage.parsed()
        probes += [(stage, cls(params, spec), spec) for spec in cls.cells(params, model, example)]
    scales = sorted({scale for bucket in table.buckets for scale in bucket.scales})
    for stage, probe, _ in probes:
        if smallest.frames and not takes_clips(probe):
            raise PlanError(f"stage {stage.id}: {images_only(stage.kind)}")
        unknown = [name for name in probe.companions if name not in weights]
        if unknown:
            raise PlanError(f"stage {stage.id}: no model has the id {unknown[0]!r}; models: {', '.join(sorted(weights))}")
        reason = probe.refuses(model, scales)
        if reason:
            raise PlanError(f"stage {stage.id}: {reason}")
    taps = tuple(dict.fromkeys(tap for _, probe, _ in probes for tap in probe.taps()))
    # How many input pixels a feature spans is the layer's own: found once, on the smallest input.
    strides = {info.tap: info.stride for info in resolve(model, [_pattern(tap) for tap in taps], example)} if taps else {}
    found: dict[str, tuple[Shapes | None, float, str]] = {}
    batches: dict[str, int] = {}
    for bucket in table.buckets:
        if reason := too_small(model, bucket):
            found[bucket.name], batches[bucket.name] = (None, 0.0, reason), 1
            continue
        size = size_of(bucket)
        seen = survey(model, taps, size)
        output = model.given(model.shape(size), size.height, size.width)[1:] if model.output == "image" else None
        features = {tap: (seen.shapes[tap], strides[tap]) for tap in taps}
        target, extras = _made_beside(recipe, bucket)
        shapes = Shapes(size.height, size.width, output, features, target=target, extras=extras, frames=size.frames)
        found[bucket.name] = (shapes, float(seen.multiply_adds), "")
        batches[bucket.name] = auto_batch(seen.activation_bytes, device)
    own = manners_of(model, unsure, taps)
    if own.alone and not own.draws and isinstance(model, ClipModel) and model.frame_by_frame:
        raise PlanError(f"model {record.id}: `frames: each` runs the frames of a clip in one batch, and {own.alone}")
    notes = [f"batches of one: {own.alone}"] if own.alone else []
    if remark := remark_of(model, unsure):
        notes.append(remark)
    wanted = []
    for stage, probe, spec in probes:
        fixed = recipe.batch.get(stage.kind, "auto")
        found_manners = [own, *(manners_of(load(name), unsure) for name in probe.companions)]
        alone = any(one.alone for one in found_manners)
        sizes = {name: 1 if alone else size if fixed == "auto" else int(fixed) for name, size in batches.items()}
        segments = choose_rows(table, probe.max_rows)
        identity = _identity(recipe, table, record, probe, sizes, device)
        if probe.companions:
            identity["companions"] = {name: weights[name].weights_sha256 for name in probe.companions}
            settings = {name: _settings(weights[name]) for name in probe.companions}
            if any(settings.values()):
                identity["companion settings"] = settings
        if any(one.draws for one in found_manners):
            identity["draws"] = "keyed by sample"
        wanted.append(_Wanted(stage, probe, spec, sizes, identity, segments))
    return wanted, found, notes


def _made_beside(recipe: Recipe, bucket: Bucket) -> tuple[tuple[int, int] | None, dict[str, tuple[tuple[int, ...], str]]]:
    """(height, width) of the targets of a bucket, None without any; and shape and dtype of the by-products of its degradations."""
    if not bucket.targets or len(bucket.scales) != 1:
        return None, {}
    size = size_of(bucket)
    large = size.times(bucket.scales[0])
    return (large.height, large.width), recipe.corpus.extras(size, bucket.scales[0])


def _pattern(tap: Tap) -> str:
    """The layer pattern that means exactly this tap."""
    call = "" if tap.call is None else f"#{tap.call}"
    return f"{tap.module}{call}:{tap.side}"


def _version(probe: Probe, scale: int, table: SampleTable) -> int:
    """VERSION of a probe; of one whose last change touched few sizes, the one whose numbers these are."""
    version_for = getattr(probe, "version_for", None)
    return version_for(scale, [(bucket.height, bucket.width) for bucket in table.buckets]) if version_for else probe.VERSION


def auto_batch(activation_bytes: int, device: str) -> int:
    """The largest of 1, 2, 4 … 32 samples whose activations stay under 1 GiB (16 GiB on a GPU)."""
    room = ACTIVATIONS_CPU if device.startswith("cpu") else ACTIVATIONS_GPU
    return next((size for size in BATCHES if size * max(1, activation_bytes) <= room), 1)


def _identity(
    recipe: Recipe, table: SampleTable, record: ModelRecord, probe: Probe, batches: Mapping[str, int], device: str
) -> dict[str, Any]:
    """Everything that can change the cell's numbers, and nothing else; flat, so that a change can be named."""
    sizes = sorted(set(batches.values()))
    return {
        "kind": probe.KIND,
        "probe version": _version(probe, record.scale, table),
        "sample table": table.hash,
        "decode version": decode.VERSION,
        "degradation versions": degradations.counted(recipe.corpus.versions(table.labels)),
        "weights sha256": record.weights_sha256,
        "network": record.network,
        "network version": record.network_version,
        "network args": dict(record.entry.get("args") or {}),
        **({"frames": record.entry["frames"]} if record.entry.get("frames") else {}),
        "scale": record.scale,
        "range": list(record.range),
        "output": record.output,
        "batch": sizes[0] if len(sizes) == 1 else dict(sorted(batches.items())),
        "threads": recipe.threads,
        "device": device,
        **probe.identity(),
    }


def _settings(record: ModelRecord) -> dict[str, Any]:
    """What else than its weights changes a companion's output, where it is not the usual: its network's version and its entry."""
    said = {name: record.entry[name] for name in ("args", "scale", "range") if record.entry.get(name)}
    return {**({"version": record.network_version} if record.network_version != 1 else {}), **said}


def _cut(
    wanted: Sequence[_Wanted],
    model: str,
    table: SampleTable,
    shapes: Mapping[str, tuple[Shapes | None, float, str]],
    taken: set[str],
    threads: int,
) -> list[Cell]:
    """Cut ranges for new cells: those that can share a forward share ranges."""
    together: dict[Any, list[_Wanted]] = {}
    with_sets = any(isinstance(want.probe, SetProbe) for want in wanted)
    for want in wanted:
        shared = (tuple(sorted(want.batches.items())), tuple(sorted(want.segments.items())))
        alone = () if want.probe.SHARES_FORWARD else (want.stage.id, want.probe.what)
        sets = with_sets and (isinstance(want.probe, SetProbe) or _fits_sets(want, table, shapes))
        together.setdefault((*shared, alone, sets), []).append(want)
    out = []
    for members in together.values():
        number = 0
        while f"{model}-{number}" in taken:
            number += 1
        group = f"{model}-{number}"
        taken = {*taken, group}
        plans = _cut_group(members, table, shapes)
        for want, buckets in zip(members, plans):
            out.append(
                Cell(
                    stage=want.stage.id,
                    kind=want.stage.kind,
                    model=model,
                    what=want.probe.what,
                    spec=dict(want.spec),
                    params=want.stage.params,
                    identity=want.identity,
                    columns=columns_of(want.probe.columns(), clips=any(bucket.frames for bucket in table.buckets)),
                    group=group,
                    threads=threads,
                    buckets=tuple(buckets),
                    code=want.stage.code,
                )
            )
    return out


def _fits_sets(want: _Wanted, table: SampleTable, shapes: Mapping[str, tuple[Shapes | None, float, str]]) -> bool:
    """Whether a cell may share the units of a `SetProbe`, and so its forward: its shards of a whole set stay within the limit."""
    for bucket in table.buckets:
        found = shapes[bucket.name][0]
        rows = max((rows for _, _, rows in bucket.blocks), default=0)
        for array in want.probe.arrays(found) if found else ():
            if rows * int(np.prod(array.shape, dtype=np.int64)) * np.dtype(array.dtype).itemsize > SHARD_BYTES:
                return False
    return True


def _cut_group(
    members: Sequence[_Wanted], table: SampleTable, shapes: Mapping[str, tuple[Shapes | None, float, str]]
) -> list[list[BucketPlan]]:
    if (together := many_sizes(members, table, shapes)) is not None:
        return [[plan] for plan in together]
    plans: list[list[BucketPlan]] = [[] for _ in members]
    first_unit = 0
    for bucket in table.buckets:
        segments = members[0].segments[bucket.name]
        rows = sum(count for _, count in segments)
        if not rows:
            continue
        found, macs, refused = shapes[bucket.name]
        whole = next((want for want in members if isinstance(want.probe, SetProbe)), None)  # then ranges are whole sets
        sets = set_rows(bucket, segments, whole.stage.id) if whole else 0
        if found and sets:
            found = replace(found, together=sets)
        arrays = [want.probe.arrays(found) if found else () for want in members]
        batch = members[0].batches[bucket.name]
        sample_bytes = [int(np.prod(a.shape, dtype=np.int64)) * np.dtype(a.dtype).itemsize for some in arrays for a in some]
        seconds = macs * max(want.probe.cost for want in members) / MACS_A_SECOND
        size = sets or rows_a_unit(rows, batch, sample_bytes, seconds)
        for want, some, plan in zip(members, arrays, plans):
            metas = [ArrayMeta(a.name, rows, size, a.shape, a.dtype, a.dims, a.codec, a.described) for a in some]
            plan.append(
                BucketPlan(
                    bucket.name, bucket.height, bucket.width, rows, batch, size, first_unit, segments, tuple(metas),
                    macs * want.probe.cost, refused, bucket.frames,
                )
            )  # fmt: skip
        first_unit += -(-rows // size)
    return plans


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


def human_bytes(count: float) -> str:
    """`1.5 GB`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def with_models(models: Iterable[ModelRecord], old: Iterable[ModelRecord]) -> tuple[ModelRecord, ...]:
    """The recipe's models, then those that only the study knows."""
    listed = list(models)
    known = {model.id for model in listed}
    return (*listed, *(m for m in old if m.id not in known))
