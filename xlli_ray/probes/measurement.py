"""What a probe tells and is given: its columns and arrays, batches and forward passes, measurements; and what it may offer besides.

The base class is `probe.Probe`. A probe that not every sample has room for is `Selective`, one that can say what it costs is `Timed`, one
that looks at all samples of a set together is a `SetProbe`, one that brings a section of the page is `Showing` (`report.section`):
having the methods is enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import torch

    from xlli_ray.corpus.sample import Sample
    from xlli_ray.models.layers import Tap
    from xlli_ray.probes.probe import Probe

DType = Literal["float64", "int64", "string", "bool"]
Subject = Literal["model", "sample"]


@dataclass(frozen=True)
class Column:
    """One scalar that a probe writes for a sample: a column of the SQL table named like the probe."""

    name: str
    dtype: DType
    about: str
    """Meaning and range, as prose: shown in the report and in `docs`."""
    place: bool = False
    """Says which row this is (a number, a position, a size), not what was measured: a mean of it means nothing."""
    limits: tuple[float | None, float | None] = (None, None)
    """Lowest and highest value there can be: the interval of a mean ends there."""
    clips: bool = False
    """Only where the samples are clips."""
    unit: str = ""
    """As a table's head has it: dB, pixels; "" for plain numbers."""
    better: Literal["higher", "lower"] | None = None
    """Which way is better; None where neither is."""
    detail: bool = False
    """For SQL and analyses: neither the page nor the terminal shows a mean of it, as of one that misleads where it stands alone."""


def columns_of(columns: Sequence[Column], *, clips: bool) -> tuple[tuple[str, str], ...]:
    """(name, dtype) of those of a probe's columns that it has for images, or for clips."""
    return tuple((column.name, column.dtype) for column in columns if clips or not column.clips)


@dataclass(frozen=True)
class ArrayPlan:
    """One array that a probe stores, described for a single sample."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    dims: tuple[str, ...]
    codec: Literal["blosc", "none"] = "blosc"
    stride: tuple[float, float] | None = None
    """Input pixels per array element along (y, x); None where the array is not spatial."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    gaps: bool = False
    """NaN in a valid row is not damage: a position that this sample does not fill, or an undefined result."""

    @property
    def described(self) -> dict[str, Any]:
        """Attributes of the stored array."""
        stride = {"stride": list(self.stride)} if self.stride else {}
        return {**self.attributes, **stride, **({"gaps": True} if self.gaps else {})}


@dataclass(frozen=True)
class Shapes:
    """What the plan found by running the model once on zeros of one input size; without a model, what the corpus says of that size."""

    height: int
    width: int
    output: tuple[int, ...] | None
    """(channels, height, width) of the output image, of clips (frames, channels, height, width); None for a network without one,
    and without a model."""
    taps: Mapping[Tap, tuple[tuple[int, ...], tuple[float, float] | None]]
    """Shape without batch, and stride (y, x), of each tapped layer."""
    together: int = 0
    """Samples of one set, for a `SetProbe`."""
    target: tuple[int, int] | None = None
    """(height, width) of the targets; None where there are none."""
    extras: Mapping[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    """By-products of the corpus' degradations: name → shape and dtype of one sample's."""
    frames: int = 0
    """Frames of an input; 0: an image."""


@dataclass(frozen=True)
class Batch:
    """Samples of one size, ready for a network. A failed sample keeps its place (zeros): batches are fixed by the plan."""

    samples: Sequence[Sample]
    input: torch.Tensor
    """float32 (B, 3, H, W), of clips (B, T, 3, H, W); RGB in 0..1."""
    targets: Sequence[np.ndarray | None]
    """float32 (3, sH, sW), of clips (T, 3, sH, sW), in 0..1; or None."""
    ok: np.ndarray
    """bool (B,): False where loading failed."""
    companions: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Outputs (B, C, sH, sW) of the other models that the probe asked for, by id."""
    extras: Sequence[Mapping[str, np.ndarray]] = ()
    """Of each sample, the by-products of its degradation by name (`Degradation.EXTRAS`); none for one that failed."""
    measured: Mapping[str, Measurement] = field(default_factory=dict)
    """Of the stages that the probe `needs`, by stage id, or `stage/what` where the stage has several outputs: what they measured of this
    batch. A sample that one of them could not measure is not `ok`."""
    alone: bool = False
    """One sample of a batch that failed as a whole, run again by itself: take as little memory as can be."""

    def only(self, position: int) -> Batch:
        """One sample of this batch, to be run alone."""
        here = slice(position, position + 1)
        return Batch(
            self.samples[here], self.input[here], self.targets[here], np.ones(1, bool), extras=list(self.extras[here]), alone=True
        )  # fmt: skip


@dataclass(frozen=True)
class Forward:
    """One forward pass, shared by all cells that asked for it."""

    output: torch.Tensor | None
    """(B, C, sH, sW), of clips (B, T, C, sH, sW), or (B, C, sH, sW) of a network that gives their centre frame; in 0..1, not clamped."""
    taps: Mapping[str, torch.Tensor]
    """`Tap.name` → (B, …) float32."""


@dataclass(frozen=True)
class Measurement:
    """What one cell got from one batch."""

    arrays: Mapping[str, np.ndarray]
    """Each (B, *shape) of the planned dtype; rows of failed samples are ignored."""
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """One entry per table row; `positions` says to which sample of the batch each belongs."""
    positions: Sequence[int] | None = None
    """None: exactly one table row a sample, in order."""
    failed: Mapping[int, str] = field(default_factory=dict)
    """Position in the batch → reason; the engine turns these into failed rows."""


def takes_clips(probe: Probe | type[Probe]) -> bool:
    """Whether a probe measures clips, too, in batches (B, T, 3, H, W): it says so with `CLIPS: ClassVar[bool] = True`."""
    return probe.CLIPS


@runtime_checkable
class Selective(Protocol):
    """A probe that not every sample has room for. The plan refuses settings that fit none, and counts those that some do not fit."""

    by_source: bool
    """Whether a sample's file decides, not only its size: then the plan looks at each."""

    def unfit(self, scale: int, height: int, width: int, source: str, *, target: bool) -> str:
        """Why an input of (height, width) pixels, from the file `source`, cannot be measured with a network of `scale`; '' when it can.
        Without a model, `scale` is that of the samples (0: unknown). `target`: whether it has one. `measure` gives the same reason as
        that of a failed row."""


class Timing(Protocol):
    """What a probe costs here, found by trying: seconds of one worker."""

    @property
    def once(self) -> float:
        """Of each unit, before its first sample."""

    def sample(self, height: int, width: int) -> float:
        """Of one input of this size."""


@runtime_checkable
class Timed(Protocol):
    """A probe that costs more than forward passes and can say how much, for what `xlli plan` tells people. Nothing stored depends on it."""

    def timing(self, model: Any) -> Timing:
        """Try a little, in about a second, with a `Model` (None without one)."""


class Gathering(Protocol):
    """What a `SetProbe` keeps of one set while its batches pass by. For one thread at a time."""

    def add(self, position: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Take one sample's part of a `Measurement`; `position` is its place in the set."""

    def conclude(self, ok: np.ndarray) -> Mapping[str, np.ndarray]:
        """The declared arrays of the whole set, (samples, *shape) each. `ok`: bool (samples,), False for what was never added."""

    def close(self) -> None:
        """Give back memory and files. Harmless at any time."""


@runtime_checkable
class SetProbe(Protocol):
    """A probe that looks at all samples of one *set* together: those of one degradation and one size, in content order.

    A set is one unit, on one worker. `measure` still sees batches; what it returns as arrays goes into a `Gathering`, and the arrays
    that are stored come from its `conclude`. All sets of one size must have the same number of samples.
    """

    def gather(self, samples: int, device: str) -> Gathering:
        """An empty gathering for a set of so many samples; `device` may do its arithmetic."""

    def held_bytes(self, shapes: Shapes) -> int:
        """Bytes that a worker holds of one set, in memory or in scratch files: for the plan."""
