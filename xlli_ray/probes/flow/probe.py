"""Flow: how far and where everything moves between neighbouring frames, and how far that can be trusted.

Section A7.1 of the protocol with which "Rethinking Alignment in Video Super-Resolution Transformers" (S. Shi et al., NeurIPS 2022, arXiv
2207.08494) is tested: the motion to the next frame and back, by an estimator of choice (`probes.flow.estimator`; the paper's is SPyNet),
their forward–backward error, and the points that have no counterpart (`stats.motion`). What matters for networks that attend within windows
is how much moves further than a window of 8 or 16 pixels.

All numbers are those of the stored flow, which is rounded to float16 (to 0.004 px from 4 px, to 0.008 px from 8 px on), so that they can
be computed from it again; |F| is rounded in the same way before it is counted. A flow without any point in the next frame is no motion that
a network could follow: such a clip is a failed row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from xlli_ray.errors import RecipeError, SampleError
from xlli_ray.probes.flow.estimator import FlowEstimator, Flows, estimator_class
from xlli_ray.probes.measurement import ArrayPlan, Batch, Column, Forward, Measurement, Shapes, Subject
from xlli_ray.probes.probe import Probe
from xlli_ray.registry import FLOW_ESTIMATORS
from xlli_ray.stats.motion import EDGES, followed, magnitude
from xlli_ray.stats.motion_sizes import SIZE_VALUES, SIZES, by_bin, size_counts, size_quantile

QUANTILES = {"motion_p50": 0.5, "motion_p90": 0.9, "motion_p99": 0.99}
BEYOND = (8.0, 16.0)
"""Sides of the windows of attention, in input pixels."""


class Params(BaseModel):
    """Fields of a `flow` stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    estimator: str = Field(default="dis", description="dis, farneback, phase, spynet, known, or package.module:Class")
    args: dict[str, Any] = Field(default_factory=dict, description="arguments of the estimator")
    weights: str | None = Field(default=None, description="of spynet: a checkpoint of SPyNet, or of a network that holds one")
    sha256: str | None = Field(default=None, pattern="^[0-9a-fA-F]{64}$", description="expected of the file of weights")

    @model_validator(mode="after")
    def _estimator(self) -> Params:
        if not FLOW_ESTIMATORS.knows(self.estimator):
            if ":" not in self.estimator:
                FLOW_ESTIMATORS.load(self.estimator)  # says what there is
            return self  # code of a study that no recipe names is not loaded
        cls = estimator_class(self.estimator)
        cls.Args(**self.args)
        if cls.WEIGHTS and self.weights is None:
            raise ValueError(f"estimator {self.estimator} needs `weights`, the path of a checkpoint")
        if self.weights is not None and not cls.WEIGHTS:
            raise ValueError(f"estimator {self.estimator} takes no weights: leave `weights` out")
        return self

    @classmethod
    def inlined(cls, params: Mapping[str, Any], resolve: Callable[[str], str]) -> dict[str, Any]:
        """`params` with an absolute path of the weights and the sha256 of that file. Raises RecipeError."""
        if params.get("weights") is None:
            return dict(params)
        path = resolve(str(params["weights"]))
        if params.get("sha256"):  # the worker that reads the file checks it
            return {**params, "weights": path}
        try:
            digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except OSError as error:
            raise RecipeError(f"weights: {path} cannot be read ({error.strerror})") from error
        return {**params, "weights": path, "sha256": digest}


class Flow(Probe):
    """Motion of clips. Writes table `flow`, and the arrays `next`, `previous`, `occluded_next`, `occluded_previous`, `histogram`."""

    KIND: ClassVar[str] = "flow"
    VERSION: ClassVar[int] = 1
    SUBJECT: ClassVar[Subject] = "sample"
    IMAGES: ClassVar[bool] = False
    CLIPS: ClassVar[bool] = True
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("motion_mean", "float64", "mean of |F| over pixels, pairs and both directions", unit="px", limits=(0.0, None), detail=True),
        *(Column(name, "float64", f"quantile {share:g} of |F|", unit="px", limits=(0.0, None)) for name, share in QUANTILES.items()),
        *(Column(f"beyond_{far:g}", "float64", f"share of pixels that move {far:g} px or more", limits=(0.0, 1.0)) for far in BEYOND),
        Column("return_error", "float64", "mean forward–backward error of points that stay in the frame", unit="px", limits=(0.0, None)),
        Column("occluded", "float64", "share of pixels without a counterpart: hidden, or out of the frame", limits=(0.0, 1.0)),
        Column("outside", "float64", "share of pixels that leave the frame", limits=(0.0, 1.0), detail=True),
        Column("estimator", "string", "of the flow", place=True),
    )
    REFERENCE: ClassVar[str] = "Shi et al., NeurIPS 2022; Sundaram, Brox, Keutzer, ECCV 2010, eqs. 5, 6 (occlusion)"
    Params: ClassVar[type[BaseModel]] = Params
    cost = 300.0

    def __init__(self, params: BaseModel, spec: Mapping[str, Any]) -> None:
        super().__init__(params, spec)
        self._made: FlowEstimator | None = None

    @classmethod
    def parts(cls, params: BaseModel) -> dict[str, int]:
        assert isinstance(params, Params)
        return {f"flow estimator {params.estimator}": estimator_class(params.estimator).VERSION}

    def identity(self) -> dict[str, Any]:
        params = self.params
        args = estimator_class(params.estimator).Args(**params.args).model_dump(mode="json")
        (version,) = self.parts(params).values()
        return {"estimator": params.estimator, "estimator version": version, "args": args, "sha256": params.sha256}

    def arrays(self, shapes: Shapes) -> tuple[ArrayPlan, ...]:
        pairs, size = shapes.frames - 1, (shapes.height, shapes.width)
        if pairs < 1:
            return ()
        about = {"components": ["x", "y"], "unit": "px", "estimator": self.params.estimator}
        flows = [ArrayPlan(name, (pairs, 2, *size), "float16", ("pair", "component", "y", "x"), stride=(1.0, 1.0),
                           attributes={**about, "from": start, "to": end})
                 for name, start, end in (("next", "frame t", "frame t + 1"), ("previous", "frame t + 1", "frame t"))]  # fmt: skip
        hidden = [ArrayPlan(f"occluded_{name}", (pairs, *size), "bool", ("pair", "y", "x"), stride=(1.0, 1.0))
                  for name in ("next", "previous")]  # fmt: skip
        counts = {"directions": ["next", "previous"], "edges": list(EDGES), "unit": "px"}
        return (*flows, *hidden, ArrayPlan("histogram", (2, pairs, len(EDGES)), "int64", ("direction", "pair", "bin"), attributes=counts))

    def measure(self, model: Any, batch: Batch, forward: Forward | None) -> Measurement:
        count, frames, (height, width) = len(batch.samples), batch.input.shape[1], batch.input.shape[-2:]
        columns: dict[str, list[Any]] = {column.name: [float("nan")] * count for column in self.COLUMNS}
        columns["estimator"] = [self.params.estimator] * count
        if frames < 2:
            return Measurement({}, columns, failed=dict.fromkeys(np.flatnonzero(batch.ok).tolist(), "one frame only: motion takes two"))
        plans = self.arrays(Shapes(height, width, None, {}, frames=frames))
        arrays = {plan.name: np.zeros((count, *plan.shape), plan.dtype) for plan in plans}
        failed: dict[int, str] = {}
        self._made = self._made or make_estimator(self.params)
        for position in np.flatnonzero(batch.ok).tolist():
            clip = batch.input[position].cpu().numpy()
            try:
                if not np.isfinite(clip.sum(dtype=np.float64)):
                    raise SampleError("not finite: NaN or infinity in a frame")
                found = rounded(self._made.clip(clip, batch.extras[position] if batch.extras else {}))
                stored = {name: array[position] for name, array in arrays.items()}
                for name, value in described(found, stored).items():
                    columns[name][position] = value
            except SampleError as error:
                failed[position] = str(error)
        return Measurement(arrays, columns, failed=failed)


def make_estimator(params: Params) -> FlowEstimator:
    """The estimator of a stage. Raises RecipeError."""
    cls = estimator_class(params.estimator)
    return cls(cls.Args(**params.args), params.weights or "", params.sha256 or "")


def rounded(flows: Flows) -> Flows:
    """The flows as they are stored, float16."""
    return replace(flows, next=halves(flows.next), previous=halves(flows.previous))


def described(flows: Flows, into: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Columns of one clip with its rounded flows; the arrays of `into`, (T − 1, …) each, are filled.

    Raises SampleError for motion larger than the frame, and for values that float16 does not have.
    """
    pairs, _, height, width = flows.next.shape
    stored = (flows.next, flows.previous)
    following, preceding = (wide(flow) for flow in stored)
    counts = np.zeros(SIZES, np.int64)
    left = without = 0
    returned = 0.0
    for side, (name, flow, back, known) in enumerate((
        ("next", following, preceding, flows.occluded_next), ("previous", preceding, following, flows.occluded_previous),
    )):  # fmt: skip
        into[name][...] = stored[side]
        for pair in range(pairs):
            motion = magnitude(flow[pair])
            if not motion.max() <= SIZE_VALUES[-1]:  # NaN, too
                raise SampleError("not finite: the estimator gave NaN, infinity or more than 65,504 px")
            error, hidden, stays = followed(flow[pair], back[pair])
            staying = int(np.count_nonzero(stays))
            if not staying:
                raise SampleError(
                    f"motion larger than the frame: no pixel of frame {pair + side} is in frame {pair + 1 - side} ({width}×{height} "
                    f"pixels, the smallest motion is {halves(motion).min():.1f})"
                )
            left += height * width - staying
            error *= stays
            returned += float(error.sum(dtype=np.float64))
            hidden = hidden if known is None else known[pair] | ~stays  # a corpus' truth leaves out what leaves the frame
            into[f"occluded_{name}"][pair] = hidden
            without += int(np.count_nonzero(hidden))
            here = size_counts(halves(motion))
            into["histogram"][side, pair] = by_bin(here)
            counts += here
    total, of_bins = 2 * pairs * height * width, by_bin(counts)
    return {
        "motion_mean": float(counts @ SIZE_VALUES / total),
        **{name: size_quantile(counts, share) for name, share in QUANTILES.items()},
        **{f"beyond_{far:g}": float(of_bins[EDGES.index(far) :].sum() / total) for far in BEYOND},
        "return_error": returned / (total - left),
        "occluded": without / total,
        "outside": left / total,
    }


def halves(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """float32 → float16."""
    import torch  # rounds twenty times as fast as NumPy

    out: NDArray[np.float16] = torch.from_numpy(np.ascontiguousarray(values, np.float32)).half().numpy()
    return out


def wide(flow: NDArray[Any]) -> NDArray[np.float32]:
    """float16 → float32."""
    import torch

    out: NDArray[np.float32] = torch.from_numpy(flow).float().numpy()
    return out
