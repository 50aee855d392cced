"""How a network must be run according to a trial, and a plan for a network whose trial ended its process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from xlli_ray.engine.run.network_process import Apart, Ended
from xlli_ray.models.batch_independence import Manners, manners
from xlli_ray.models.layers import Tap
from xlli_ray.models.model import Model
from xlli_ray.models.step_reports import trial
from xlli_ray.models.value_range_check import range_remark
from xlli_ray.recipe import Recipe
from xlli_ray.store.objects.client import Objects
from xlli_ray.store.records.manifest import Cell, ModelRecord, SampleTable

if TYPE_CHECKING:
    from xlli_ray.engine.run.plan import Plan


def manners_of(model: Model, unsure: Mapping[str, str], taps: Sequence[Tap] = ()) -> Manners:
    """`manners`; for a model in `unsure` (id → why its trial failed) one image at a time, which is always correct."""
    if model.id in unsure:
        return Manners(alone=unsure[model.id])
    with trial(model.id):
        return manners(model, taps)


def remark_of(model: Model, unsure: Mapping[str, str]) -> str:
    """`range_remark`, '' if the trial is known to fail."""
    if model.id in unsure:
        return ""
    with trial(model.id):
        return range_remark(model)


def plan_apart(
    apart: Apart, recipe: Recipe, table: SampleTable, records: Sequence[ModelRecord], *, existing: Sequence[Cell], device: str,
    replace_ids: Sequence[str],
) -> Plan:  # fmt: skip
    """`make_plan` with third-party code in a separate process. A network whose trial ended it is planned without one, with a note."""
    unsure: dict[str, str] = {}
    while True:
        try:
            return apart(_planned, recipe, table, records, existing, device, replace_ids, unsure)
        except Ended as error:
            name = error.step.trial if error.step is not None else ""
            if not name or name in unsure:
                raise
            why = f"it {error}".partition(". ")[0]
            unsure[name] = f"{why}, on trial. A sample that does so ends its worker, and is a failed row"


def _planned(
    objects: Objects, recipe: Recipe, table: SampleTable, records: Sequence[ModelRecord], existing: Sequence[Cell], device: str,
    replace_ids: Sequence[str], unsure: Mapping[str, str],
) -> Plan:  # fmt: skip
    from xlli_ray.engine.run.plan import make_plan
    from xlli_ray.engine.run.study_weights import load_study_model

    by_id = {record.id: record for record in records}
    return make_plan(
        recipe, table, records, lambda name: load_study_model(objects, by_id[name]),
        existing=existing, device=device, replace_ids=replace_ids, unsure=unsure,
    )  # fmt: skip
