"""The cells that a recipe requires for one model, or for samples alone, before they are cut into ranges: batches, rows and identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xlli_ray.engine.run.cell_identity import cell_identity, companion_settings, precision_fields
from xlli_ray.engine.run.input_sizes import SizeFacts, pixels, sample_facts, size_facts, size_of, too_small, unable
from xlli_ray.engine.run.network_trials import manners_of, remark_of
from xlli_ray.engine.run.ranges import choose_rows
from xlli_ray.errors import PlanError
from xlli_ray.models.layers import resolve
from xlli_ray.models.model import ClipModel, Model
from xlli_ray.models.precision import refusal
from xlli_ray.models.tap import Tap
from xlli_ray.probes import probe_class
from xlli_ray.probes.probe import Probe
from xlli_ray.recipe import Recipe, Stage
from xlli_ray.store.records.manifest import ModelRecord, SampleTable


@dataclass(frozen=True)
class WantedCell:
    """One cell before it is cut into ranges."""

    stage: Stage
    probe: Probe
    spec: Mapping[str, Any]
    batches: Mapping[str, int]
    identity: Mapping[str, Any]
    segments: Mapping[str, tuple[tuple[int, int], ...]]
    needs: tuple[str, ...] = ()
    """Ids of the cells whose measurements its probe is given."""

    def id(self, model: str) -> str:
        """`model`: its id, NO_MODEL without one."""
        return f"{self.stage.id}/{model}/{self.probe.what}"


def unit_cost(members: Sequence[WantedCell]) -> float:
    """Cost of a sample in their units, as `Probe.cost`: the maximum over cells sharing a forward pass, else the sum."""
    costs = [want.probe.cost for want in members]
    return max(costs) if members[0].probe.SUBJECT == "model" and members[0].probe.SHARES_FORWARD else sum(costs)


def sample_cells(recipe: Recipe, stages: Sequence[Stage], table: SampleTable, device: str) -> tuple[list[WantedCell], dict[str, SizeFacts]]:
    """The cells of the stages that measure samples without a model, and the facts about each bucket. Raises PlanError."""
    import torch

    facts = {bucket.name: sample_facts(recipe, bucket, masks=table.masks) for bucket in table.buckets}
    smallest = size_of(min(table.buckets, key=pixels))
    example = torch.zeros(1, *smallest.shape())
    scales = sorted({scale for bucket in table.buckets for scale in bucket.scales})
    wanted = []
    for stage in stages:
        cls, params = probe_class(stage.kind, stage.code), stage.parsed()
        if problem := unable(stage.id, cls, smallest.frames):
            raise PlanError(problem)
        for spec in cls.cells(params, None, example):
            probe = cls(params, spec)
            if probe.companions:
                raise PlanError(f"stage {stage.id}: {stage.kind} measures samples without a model, and cannot use the output of models")
            if reason := probe.refuses(None, scales):
                raise PlanError(f"stage {stage.id}: {reason}")
            fixed = recipe.batch.get(stage.kind, "auto")
            batches = {name: one.batch if fixed == "auto" else int(fixed) for name, one in facts.items()}
            identity = cell_identity(recipe, table, None, probe, batches, device)
            wanted.append(WantedCell(stage, probe, spec, batches, identity, choose_rows(table, probe.max_rows)))
    return wanted, facts


def wanted_cells(
    recipe: Recipe, stages: Sequence[Stage], model: Model, record: ModelRecord, table: SampleTable, device: str,
    weights: Mapping[str, ModelRecord], load: Callable[[str], Model], unsure: Mapping[str, str],
) -> tuple[list[WantedCell], dict[str, SizeFacts], list[str]]:  # fmt: skip
    """The cells of one model, the facts about each bucket, and notes. `weights`: records of all models. Raises PlanError."""
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
        if problem := unable(stage.id, type(probe), smallest.frames):
            raise PlanError(problem)
        if imprecise := refusal(stage.precision, device):
            raise PlanError(f"stage {stage.id}: {imprecise}")
        if stage.precision == "fp16" and not model.supports_half:
            raise PlanError(f"stage {stage.id}: {record.id} ({model.network}) is known to fail in float16: use bf16, or omit the model")
        if probe.FLOAT64 and device.startswith("mps"):
            raise PlanError(f"stage {stage.id}: {stage.kind} computes in float64, which Apple's GPU (mps) cannot: use --device cpu")
        unknown = [name for name in probe.companions if name not in weights]
        if unknown:
            raise PlanError(f"stage {stage.id}: no model has the id {unknown[0]!r}; models: {', '.join(sorted(weights))}")
        if reason := probe.refuses(model, scales):
            raise PlanError(f"stage {stage.id}: {reason}")
    taps = tuple(dict.fromkeys(tap for _, probe, _ in probes for tap in probe.taps()))
    # The stride of a layer in input pixels does not depend on the input size: determined once, on the smallest input.
    strides = {info.tap: info.stride for info in resolve(model, [_pattern(tap) for tap in taps], example)} if taps else {}
    facts = {bucket.name: size_facts(recipe, model, bucket, strides, device, masks=table.masks) for bucket in table.buckets}
    own = manners_of(model, unsure, taps)
    if own.alone and not own.draws and isinstance(model, ClipModel) and model.frame_by_frame:
        raise PlanError(f"model {record.id}: `frames: each` runs the frames of a clip in one batch, and {own.alone}")
    notes = [f"batches of one: {own.alone}"] if own.alone else []
    if remark := remark_of(model, unsure):
        notes.append(remark)
    wanted = []
    for stage, probe, spec in probes:
        fixed = recipe.batch.get(stage.kind, "auto")
        all_manners = [own, *(manners_of(load(name), unsure) for name in _companions(stage.id, probe, probes))]
        alone = any(one.alone for one in all_manners)
        sizes = {name: 1 if alone else one.batch if fixed == "auto" else int(fixed) for name, one in facts.items()}
        segments = choose_rows(table, probe.max_rows)
        identity = cell_identity(recipe, table, record, probe, sizes, device)
        if probe.companions:
            identity["companions"] = {name: weights[name].weights_sha256 for name in probe.companions}
            settings = {name: companion_settings(weights[name]) for name in probe.companions}
            if any(settings.values()):
                identity["companion settings"] = settings
        identity |= precision_fields(stage.precision)
        if any(one.draws for one in all_manners):
            identity["draws"] = "keyed by sample"
        wanted.append(WantedCell(stage, probe, spec, sizes, identity, segments))
    return wanted, facts, notes


def _companions(stage: str, probe: Probe, probes: Sequence[tuple[Stage, Probe, Any]]) -> list[str]:
    """The other models whose output a probe needs, itself or through the stages that it needs."""
    names, seen, left = [*probe.companions], {stage}, [*probe.needs]
    while left:
        need = left.pop(0)
        for other in [one for where, one, _ in probes if where.id == need and need not in seen]:
            names += other.companions
            left += other.needs
        seen.add(need)
    return list(dict.fromkeys(names))


def _pattern(tap: Tap) -> str:
    """The layer pattern that matches exactly this tap."""
    call = "" if tap.call is None else f"#{tap.call}"
    return f"{tap.module}{call}:{tap.side}"
