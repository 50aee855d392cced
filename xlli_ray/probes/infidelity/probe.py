"""Infidelity: does an attribution account for what happens to its score when the input changes?

C.-K. Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019. The input is perturbed many times (`changes`), and
what the map claims of each change of the score is compared with the change (`stats.infidelity`):

    relative    mean square of claim − change, over the mean square of the changes: 0 for a linear network, 1 for a map of zeros,
                (c − 1)² for c times the exact map. More than 1: worse than a map of zeros
    share       the same after the map was multiplied by the best number, `factor`: 0..1, a matter of its shape alone

Divided by the mean square of the changes (not by their variance, with which a map of zeros would not be 1), the numbers of windows of much
and of little detail can be averaged. Both are measured with squares that go, and with little noise (`noise_…`): a gradient is exact for
small changes, a path integral accounts for large ones.

Every map is tried with its own baseline, since that is what it explains the difference from (`own_baselines`); what is perturbed, and by
which share of the way to the baseline, is the same for all maps of a window. Maximum sensitivity (`stats.infidelity.max_sensitivity`) is
not measured here: it takes every map again for each of many nearby inputs, twenty gradients each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from xlli_ray.corpus.degradations.keyed_random import generator
from xlli_ray.errors import NetworkError
from xlli_ray.probes.infidelity.own_baselines import own_baseline, way_named
from xlli_ray.probes.lam.measured_maps import is_tried, rows_of, shared_windows, stage_maps
from xlli_ray.probes.lam.params import Stages, several
from xlli_ray.probes.measurement import Batch, Column, Forward, Measurement, columns_of
from xlli_ray.probes.probe import Probe
from xlli_ray.stats.infidelity import best_factor, claimed, infidelity, relative_infidelity, sparseness, unexplained_share

if TYPE_CHECKING:
    from xlli_ray.models.model import Model
    from xlli_ray.probes.infidelity.changes import Scored
    from xlli_ray.probes.lam.window import Window

ROWS = 4
"""Inputs of a forward pass on a CPU."""
_Values = NDArray[np.float64]


class Params(BaseModel):
    """Fields of an `infidelity` stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    of: Stages = Field(description="id of the lam stage with `signed: true`, or a list of such stages with the same windows")
    squares: int = Field(default=64, ge=2, le=10_000, description="number of squares of the input that are moved to the baseline")
    noise: int = Field(default=32, ge=2, le=10_000, description="number of draws of noise")
    sigma: float = Field(default=0.1, gt=0, le=1, description="standard deviation of the noise, in shares of the way to the baseline")
    frame: Literal["centre"] | int = Field(default="centre", description="of clips: the explained frame, as in the stages `of`")
    max_rows: int | None = Field(default=None, ge=1, description="maximum number of samples, evenly spread over degradations")


def _kind(prefix: str, about: str) -> tuple[Column, ...]:
    """Columns of one kind of perturbation."""
    return (
        Column(f"{prefix}relative", "float64", f"mean square of claim − change over that of the changes, {about}; 1: a map of zeros",
               better="lower", limits=(0.0, None)),
        Column(f"{prefix}share", "float64", f"the same of the map times its best factor, 0..1, {about}", better="lower", limits=(0.0, 1.0)),
        Column(f"{prefix}factor", "float64", f"best factor, {about}; 1: the map has the right size; NaN: it claims nothing"),
        Column(f"{prefix}infidelity", "float64", f"mean square of claim − change, {about}", unit="score²", limits=(0.0, None), detail=True),
        Column(f"{prefix}change", "float64", f"RMS change of the score, {about}; 0: nothing can be told", unit="score", limits=(0.0, None),
               detail=True),
    )  # fmt: skip


class Infidelity(Probe):
    """Infidelity and sparseness of maps. Writes table `infidelity`, one row per window and map."""

    KIND: ClassVar[str] = "infidelity"
    VERSION: ClassVar[int] = 1
    FLOAT64: ClassVar[bool] = True
    SHARES_FORWARD: ClassVar[bool] = False
    NEEDS_OUTPUT: ClassVar[bool] = True
    CLIPS: ClassVar[bool] = True
    ROW: ClassVar[str] = "map"
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("window", "int64", "index of the window within its sample, as in the stage `of`", place=True),
        Column("top", "int64", "first row of the window", place=True, unit="output pixels"),
        Column("left", "int64", "first column of the window", place=True, unit="output pixels"),
        Column("size", "int64", "side of the window", place=True, unit="output pixels"),
        Column("of", "string", "stage of the map"),
        *_kind("", "squares moved to the baseline"),
        *_kind("noise_", "noise"),
        Column("sparseness", "float64", "Gini coefficient of the map, 0..1; 1 − DI / 100", limits=(0.0, 1.0)),
    )  # fmt: skip
    REFERENCE: ClassVar[str] = "Yeh et al., On the (In)fidelity and Sensitivity of Explanations, NeurIPS 2019"
    Params: ClassVar[type[BaseModel]] = Params

    def __init__(self, params: BaseModel, spec: Mapping[str, Any]) -> None:
        assert isinstance(params, Params)
        super().__init__(params, spec)
        self.needs = several(params.of)
        self.max_rows = params.max_rows
        self.cost = float((params.squares + params.noise) * len(self.needs))

    def needs_cell(self, what: str) -> bool:
        return is_tried(what)

    def identity(self) -> dict[str, Any]:
        return {**self.params.model_dump(mode="json"), "of": list(self.needs)}  # one stage is a list of one

    def measure(self, model: Model, batch: Batch, forward: Forward | None) -> Measurement:
        columns: dict[str, list[Any]] = {name: [] for name, _ in columns_of(self.COLUMNS, clips=batch.input.ndim == 5)}
        positions: list[int] = []
        failed: dict[int, str] = {}
        for i in np.flatnonzero(batch.ok).tolist():
            try:
                rows = list(self._rows(model, batch, i))
            except NetworkError as error:
                failed[i] = str(error)
                continue
            for row in rows:
                positions.append(i)
                for name, value in row.items():
                    columns[name].append(value)
        return Measurement({}, columns, positions, failed)

    def _rows(self, model: Model, batch: Batch, i: int) -> Iterator[dict[str, Any]]:
        """The rows of sample `i`. Raises NetworkError with the reason if it has none."""
        from xlli_ray.probes.infidelity.changes import changes
        from xlli_ray.probes.lam.pass_width import forward_rows

        stages = [
            stage_maps(batch, stage, ("attribution",), f"infidelity.of: the stage {stage} has no signed maps; name a stage of kind lam "
                                                       "with `signed: true`")
            for stage in self.needs
        ]  # fmt: skip
        samples, width = len(batch.samples), forward_rows(model, batch, cpu=ROWS)
        for j, window in shared_windows(stages, i, samples, "infidelity.of").items():
            found: dict[tuple[str, str], tuple[Scored, _Values]] = {}
            for stage in stages:
                row = rows_of(stage.own, i, samples)[j]
                attribution, shown = (np.asarray(stage.own.arrays[name][i, j]) for name in ("attribution", "map"))
                own = own_baseline(stage, row)
                key = (own.name, str(stage.own.columns["objective"][row]))
                if key not in found:  # maps of one baseline and score share the forward passes
                    scored = self._scored(model, batch, i, window, *key)
                    found[key] = scored, changes(scored, self._shares(batch, i, j, attribution.shape), rows=width)
                scored, changed = found[key]
                if own.per_input:  # a slope: its claim takes the way, too
                    attribution = attribution * scored.away.cpu().numpy()
                yield {"window": j, "top": window.top, "left": window.left, "size": window.size, "of": stage.stage,
                       **self._numbers(attribution, self._shares(batch, i, j, attribution.shape), changed),
                       "sparseness": sparseness(shown)}  # fmt: skip

    def _shares(self, batch: Batch, i: int, j: int, shape: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
        """δ of the perturbations of window `j`: the same whenever asked."""
        from xlli_ray.probes.infidelity.changes import shares

        sample, params = batch.samples[i], self.params
        draws = generator(f"{sample.seed}|{sample.sample_id}|infidelity|{j}")
        return shares(draws, shape, squares=params.squares, noise=params.noise, sigma=params.sigma)

    def _numbers(
        self, attribution: NDArray[np.floating], perturbations: Iterator[NDArray[np.float32]], changed: _Values
    ) -> dict[str, float]:
        """The measured columns of one map."""
        claims = np.concatenate([claimed(one[None], attribution) for one in perturbations])
        out: dict[str, float] = {}
        for prefix, some in (("", slice(None, self.params.squares)), ("noise_", slice(self.params.squares, None))):
            said, real = claims[some], changed[some]
            out |= {
                f"{prefix}relative": relative_infidelity(said, real), f"{prefix}share": unexplained_share(said, real),
                f"{prefix}factor": best_factor(said, real), f"{prefix}infidelity": infidelity(said, real),
                f"{prefix}change": float(np.sqrt(np.square(real).mean())),
            }  # fmt: skip
        return out

    def _scored(self, model: Model, batch: Batch, i: int, window: Window, baseline: str, objective: str) -> Scored:
        """What maps of this baseline (`own_baselines`) and score explain. Raises NetworkError for an input that has no such baseline."""
        import torch

        from xlli_ray.probes.infidelity.changes import Scored
        from xlli_ray.probes.lam.attribution import output_frame
        from xlli_ray.probes.lam.clip_path import path_of
        from xlli_ray.probes.lam.objectives import Objective

        image = model.prepare(batch.input[i : i + 1])[0]
        frames = len(image) if image.ndim == 4 else 0
        frame = None
        if frames:
            frame = output_frame(model, frames, frames // 2 if self.params.frame == "centre" else int(self.params.frame))
        clean = batch.targets[i]
        target = None if clean is None else model.prepare(torch.from_numpy(clean)[None].to(image.device))[0]
        way, end = path_of(way_named(baseline), image, target)
        scored = Objective("channel", int(objective[7:])) if objective.startswith("channel") else Objective(objective)  # type: ignore[arg-type]
        wanted = target if objective == "error" else None
        wanted = wanted if wanted is None or frame is None else wanted[frame]
        return Scored(model, end, way.points(end, [0.0])[0], window, scored, wanted, frame)
