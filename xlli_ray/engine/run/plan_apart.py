"""The plan, made where networks are built (`network_process`), and without trials of networks that ended their process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xlli_ray.engine.run.network_process import Apart, Ended
from xlli_ray.engine.run.plan import Plan, make_plan
from xlli_ray.engine.worker.environment import device_name
from xlli_ray.recipe import Recipe
from xlli_ray.store.objects.client import Objects
from xlli_ray.store.records.manifest import Cell, ModelRecord, SampleTable


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
    from xlli_ray.engine.worker.study_model import load_study_model

    by_id = {record.id: record for record in records}
    return make_plan(
        recipe, table, records, lambda name: load_study_model(objects, by_id[name]),
        existing=existing, device=device, replace_ids=replace_ids, unsure=unsure,
    )  # fmt: skip


def device_of(objects: Objects, device: str) -> str:
    """`device_name` of that process."""
    return device_name(device)
