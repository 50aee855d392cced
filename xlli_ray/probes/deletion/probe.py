"""Deletion: is a map true? Pixels go and come in its order, and in orders that know nothing of the network (`curves`).

The orders of a window, by the column `ranking`:

    map          of a stage of `of`: |map| of a LAM, |effect| of a causal effect map
    control      of its control with randomised weights, if that stage has it: what the architecture alone would give
    nearest      nearest to the window first: what a map must beat to say more than "near pixels matter"
    random       several random orders

`of` may name several stages with the same windows. The column `of` says whose order a row is; *nearest* and the random orders are those of
the window, made once, and equal scores are put in the same random order for every map: differences of two maps are the maps'.
`deletion_auc` is better when high, `insertion_auc` when low; `deletion_gain` and `insertion_gain` are how much better than *nearest* the
order does on this window, positive: better. The analysis `faithfulness` draws the conclusion over images, with intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from xlli_ray.corpus.degradations.keyed_random import generator
from xlli_ray.errors import NetworkError
from xlli_ray.probes.lam.measured_maps import StageMaps, is_tried, ranked_by, shared_windows, stage_maps
from xlli_ray.probes.lam.params import Stages, several
from xlli_ray.probes.lam.path_choices import way_of
from xlli_ray.probes.measurement import Batch, Column, Forward, Measurement, columns_of
from xlli_ray.probes.probe import Probe

if TYPE_CHECKING:
    from xlli_ray.models.model import Model

PERCENT = (1, 2, 5, 10, 20, 35, 50, 75)
"""Inner points of a curve: shares of the pixels (`curves.FRACTIONS`, whose file needs torch)."""
ROWS = 4
"""Inputs of a forward pass on a CPU."""


class Params(BaseModel):
    """Fields of a `deletion` stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    of: Stages = Field(description="id of the lam or cem stage whose maps are tried, or a list of stages with the same windows")
    baseline: Literal["blur", "linear_black", "linear_mean"] = Field(
        default="blur", description="what pixels are replaced by: the baseline of that path of lam"
    )
    random_orders: int = Field(default=5, ge=1, le=100, description="number of random orders")
    frame: Literal["centre"] | int = Field(default="centre", description="of clips: the explained frame, as in the stage `of`")
    max_rows: int | None = Field(default=None, ge=1, description="maximum number of samples, evenly spread over degradations")


class Deletion(Probe):
    """Deletion and insertion curves. Writes table `deletion`, one row per window and order."""

    KIND: ClassVar[str] = "deletion"
    VERSION: ClassVar[int] = 2
    """2: maps of several stages; a map that is not finite is left out alone, not with its window."""
    SHARES_FORWARD: ClassVar[bool] = False
    NEEDS_OUTPUT: ClassVar[bool] = True
    CLIPS: ClassVar[bool] = True
    ROW: ClassVar[str] = "curve"
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("window", "int64", "index of the window within its sample, as in the stage `of`", place=True),
        Column("top", "int64", "first row of the window", place=True, unit="output pixels"),
        Column("left", "int64", "first column of the window", place=True, unit="output pixels"),
        Column("size", "int64", "side of the window", place=True, unit="output pixels"),
        Column("of", "string", "stage of the map; empty for nearest and random, which are those of the window"),
        Column("ranking", "string", "map, control (its randomised weights), nearest, random"),
        Column("draw", "int64", "which random order", place=True),
        Column("deletion_auc", "float64", "area under the deletion curve, 1: the window is as far as at the baseline from the start",
               better="higher", limits=(0.0, None), detail=True),
        Column("insertion_auc", "float64", "area under the insertion curve, 0: the first pixels restore the window", better="lower",
               limits=(0.0, None), detail=True),  # details: a mean over all orders of a window says nothing
        Column("deletion_gain", "float64", "deletion_auc minus that of nearest first, on the same window", better="higher", detail=True),
        Column("insertion_gain", "float64", "insertion_auc of nearest first minus this one, on the same window", better="higher",
               detail=True),
        Column("distance", "float64", "RMS change of the window from image to baseline; 0: nothing can be told", unit="grey levels",
               limits=(0.0, None)),
        *(
            Column(f"{way}_{percent}", "float64", f"distance with {percent} % of the pixels {done}", unit="grey levels",
                   limits=(0.0, None), detail=True)
            for way, done in (("deletion", "gone"), ("insertion", "restored")) for percent in PERCENT
        ),
    )  # fmt: skip
    REFERENCE: ClassVar[str] = "after Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC 2018"
    Params: ClassVar[type[BaseModel]] = Params
    by_source = False

    def __init__(self, params: BaseModel, spec: Mapping[str, Any]) -> None:
        assert isinstance(params, Params)
        super().__init__(params, spec)
        self.needs = several(params.of)
        self.max_rows = params.max_rows
        self.cost = 16.0 * (1 + 2 * len(self.needs) + params.random_orders)

    def needs_cell(self, what: str) -> bool:
        return is_tried(what)

    def identity(self) -> dict[str, Any]:
        return {**self.params.model_dump(mode="json"), "of": list(self.needs)}  # one stage is a list of one

    def unfit(self, scale: int, height: int, width: int, source: str, *, target: bool) -> str:
        """See `probes.measurement.Selective`."""
        return way_of(self.params.baseline).unfit(height, width)

    def measure(self, model: Model, batch: Batch, forward: Forward | None) -> Measurement:
        frames = batch.input.shape[1] if batch.input.ndim == 5 else 0
        columns: dict[str, list[Any]] = {name: [] for name, _ in columns_of(self.COLUMNS, clips=bool(frames))}
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
        from xlli_ray.probes.deletion.curves import area, curves, nearness, ranking
        from xlli_ray.probes.lam.attribution import output_frame
        from xlli_ray.probes.lam.clip_path import path_of
        from xlli_ray.probes.lam.pass_width import forward_rows

        image = model.prepare(batch.input[i : i + 1])[0]
        frames = len(image) if image.ndim == 4 else 0
        frame = None
        if frames:
            frame = output_frame(model, frames, frames // 2 if self.params.frame == "centre" else int(self.params.frame))
        path, _ = path_of(way_of(self.params.baseline), image)
        baseline = path.points(image, [0.0])[0]
        shape = (*image.shape[:-3], *image.shape[-2:])
        sample, rows = batch.samples[i], forward_rows(model, batch, cpu=ROWS)
        stages = [self._stage(batch, stage) for stage in self.needs]
        for j, window in shared_windows(stages, i, len(batch.samples), "deletion.of").items():
            draws = generator(f"{sample.seed}|{sample.sample_id}|deletion|{j}")
            ties = draws.random(shape)
            named = [(stage, name, 0, ranking(values, ties)) for stage, name, values in _scores(stages, i, j, shape, len(batch.samples))]
            if not named:
                continue
            named.append(("", "nearest", 0, ranking(nearness(window, model.scale, shape, frame), ties)))
            named += [("", "random", k, ranking(np.zeros(shape), draws.random(shape))) for k in range(self.params.random_orders)]
            found = curves(model, image, baseline, window, [order for *_, order in named], frame=frame, rows=rows)
            gone, come = area(found.deletion, found.scale), area(found.insertion, found.scale)
            near = [name for _, name, *_ in named].index("nearest")
            for k, (stage, name, draw, _) in enumerate(named):
                yield {
                    "window": j, "top": window.top, "left": window.left, "size": window.size, "of": stage, "ranking": name, "draw": draw,
                    "deletion_auc": float(gone[k]), "insertion_auc": float(come[k]), "deletion_gain": float(gone[k] - gone[near]),
                    "insertion_gain": float(come[near] - come[k]), "distance": found.scale,
                    **{f"deletion_{percent}": float(one) for percent, one in zip(PERCENT, found.deletion[k, 1:])},
                    **{f"insertion_{percent}": float(one) for percent, one in zip(PERCENT, found.insertion[k, 1:])},
                }  # fmt: skip

    @staticmethod
    def _stage(batch: Batch, stage: str) -> StageMaps:
        return stage_maps(
            batch, stage, ("map", "effect"), f"deletion.of: the stage {stage} has no maps; name a stage of kind lam or cem"
        )  # fmt: skip


def _scores(
    stages: list[StageMaps], i: int, j: int, shape: tuple[int, ...], samples: int
) -> Iterator[tuple[str, str, NDArray[np.floating]]]:
    """(stage, ranking, scores of the pixels) of all maps of window `j` of sample `i` that are finite."""
    for stage in stages:
        for name, measured in (("map", stage.own), ("control", stage.control)):
            if measured is not None and np.isfinite(values := ranked_by(measured, i, j, shape, samples)).all():
                yield stage.stage, name, values
