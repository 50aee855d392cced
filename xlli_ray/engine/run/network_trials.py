"""How a network must be run, according to a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xlli_ray.models.batch_independence import Manners, manners
from xlli_ray.models.model import Model
from xlli_ray.models.step_reports import trial
from xlli_ray.models.tap import Tap
from xlli_ray.models.value_range_check import range_remark


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
