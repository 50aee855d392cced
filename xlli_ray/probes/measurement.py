"""The data that probes exchange with the engine: columns and arrays, batches and forward passes, measurements; and optional protocols.

The base class is `probe.Probe`. Optional protocols, by having their methods: `Selective`, if not every sample can be measured; `Timed`,
if the cost can be estimated; `SetProbe`, if all samples of a set are measured together; `Staged`, if a GPU need not wait for its results;
`Showing` (`report.section`), for a section of the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import torch

    from xlli_ray.corpus.sample import Sample
    from xlli_ray.models.tap import Tap

DType = Literal["float64", "int64", "string", "bool"]
Subject = Literal["model", "sample"]


@dataclass(frozen=True)
class Column:
    """One scalar that a probe writes for each sample: a column of the SQL table named after the probe."""

    name: str
    dtype: DType
    about: str
    """Meaning and range, as prose: shown in the report and in `docs`."""
    place: bool = False
    """It identifies the row (an index, a position, a size) and is not a measurement: its mean is meaningless."""
    limits: tuple[float | None, float | None] = (None, None)
    """Lowest and highest possible value, which also limit the interval of a mean."""
    clips: bool = False
    """Only for clips."""
    unit: str = ""
    """As in the head of a table: dB, pixels; "" for plain numbers."""
    better: Literal["higher", "lower"] | None = None
    """Which direction is better; None if neither is."""
    detail: bool = False
    """Only for SQL and analyses: neither the page nor the terminal shows its mean, e.g. because it is misleading on its own."""


def columns_of(columns: Sequence[Column], *, clips: bool) -> tuple[tuple[str, str], ...]:
    """(name, dtype) of a probe's columns for images, or for clips."""
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
    """Input pixels per array element along (y, x); None if the array is not spatial."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    gaps: bool = False
    """NaN in a valid row is no error: an unused position of this sample, or an undefined result."""

    @property
    def described(self) -> dict[str, Any]:
        """Attributes of the stored array."""
        stride = {"stride": list(self.stride)} if self.stride else {}
        return {**self.attributes, **stride, **({"gaps": True} if self.gaps else {})}


@dataclass(frozen=True)
class Shapes:
    """Shapes for one input size, found by running the model once on zeros; without a model, from the corpus."""

    height: int
    width: int
    output: tuple[int, ...] | None
    """(channels, height, width) of the output image, for clips (frames, channels, height, width); None without a model, and for a
    network that does not return an image."""
    taps: Mapping[Tap, tuple[tuple[int, ...], tuple[float, float] | None]]
    """Shape without batch, and stride (y, x), of each tapped layer."""
    together: int = 0
    """Number of samples of one set, for a `SetProbe`."""
    target: tuple[int, int] | None = None
    """(height, width) of the targets; None if there are none."""
    extras: Mapping[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    """By-products of the corpus' degradations: name → shape and dtype for one sample."""
    frames: int = 0
    """Frames of an input; 0: an image."""


@dataclass(frozen=True)
class Batch:
    """Samples of one size, ready for a network. A failed sample keeps its position (zeros), since batches are fixed by the plan."""

    samples: Sequence[Sample]
    input: torch.Tensor
    """float32 (B, 3, H, W), for clips (B, T, 3, H, W); RGB in 0..1."""
    targets: Sequence[np.ndarray | None]
    """float32 (3, sH, sW), for clips (T, 3, sH, sW), in 0..1; or None."""
    ok: np.ndarray
    """bool (B,): False where loading failed."""
    companions: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Outputs (B, C, sH, sW) of the other models that the probe requested, by id."""
    extras: Sequence[Mapping[str, np.ndarray]] = ()
    """For each sample, the by-products of its degradation by name (`Degradation.EXTRAS`); empty for a failed sample."""
    measured: Mapping[str, Measurement] = field(default_factory=dict)
    """Measurements of this batch by the stages that the probe `needs`, by stage id, or `stage/what` if the stage has several outputs. A
    sample that one of them could not measure is not `ok`."""
    asked: Mapping[str, Any] = field(default_factory=dict)
    """The parameters of these stages (their `Params`), by the same names."""
    alone: bool = False
    """One sample of a failed batch, run again alone: use as little memory as possible."""

    def only(self, position: int) -> Batch:
        """One sample of this batch, to run alone."""
        here = slice(position, position + 1)
        return Batch(
            self.samples[here], self.input[here], self.targets[here], np.ones(1, bool), extras=list(self.extras[here]), alone=True
        )  # fmt: skip


@dataclass(frozen=True)
class Forward:
    """One forward pass, shared by all cells that requested it."""

    output: torch.Tensor | None
    """(B, C, sH, sW), for clips (B, T, C, sH, sW), or (B, C, sH, sW) if only the centre frame is returned; around 0..1, not clamped."""
    taps: Mapping[str, torch.Tensor]
    """`Tap.name` → (B, …) float32."""


@dataclass(frozen=True)
class Launched:
    """The results of one cell for one batch, on the device and perhaps not computed yet."""

    read: Mapping[str, torch.Tensor]
    """To be copied to the host."""
    kept: Mapping[str, Any] = field(default_factory=dict)
    """To be given to `conclude` as it is: tensors that stay on the device, or what waits for more."""


@dataclass(frozen=True)
class Measurement:
    """The results of one cell for one batch."""

    arrays: Mapping[str, np.ndarray]
    """Each (B, *shape) of the planned dtype; rows of failed samples are ignored. What a `Gathering` takes may be tensors on the device."""
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """One entry per table row; `positions` gives the sample of the batch that it belongs to."""
    positions: Sequence[int] | None = None
    """None: exactly one table row per sample, in order."""
    failed: Mapping[int, str] = field(default_factory=dict)
    """Position in the batch → reason; the engine turns these into failed rows."""
    narrowed: bool = False
    """Memory ran out, and smaller passes than planned were made: last digits may differ from those of another run."""


@runtime_checkable
class Staged(Protocol):
    """A probe in two steps: one that only launches kernels, and one that reads their results on the host. A GPU then computes the next
    batch while those of the last one are copied and read. `measure` is both, one after the other (`at_once`)."""

    def launch(self, model: Any, batch: Batch, forward: Forward | None) -> Launched:
        """Start the arithmetic on the device. Must not wait for it: no `.cpu()`, `.item()`, `float(tensor)` or `bool(tensor)`."""

    def conclude(self, model: Any, batch: Batch, results: Mapping[str, Any]) -> Measurement:
        """The measurement from what was launched: `Launched.read` as NumPy arrays, `Launched.kept` as it is."""


def at_once(probe: Staged, model: Any, batch: Batch, forward: Forward | None) -> Measurement:
    """Both steps of a `Staged` probe."""
    launched = probe.launch(model, batch, forward)
    return probe.conclude(model, batch, {**launched.kept, **{name: values.cpu().numpy() for name, values in launched.read.items()}})


@runtime_checkable
class Selective(Protocol):
    """A probe that cannot measure every sample. The plan refuses stages that can measure none, and reports how many are excluded."""

    by_source: bool
    """Whether this depends on a sample's file, not only on its size: then the plan checks each sample."""

    def unfit(self, scale: int, height: int, width: int, source: str, *, target: bool) -> str:
        """Why an input of (height, width) pixels, from the file `source`, cannot be measured with a network of `scale`; '' if it can.
        Without a model, `scale` is that of the samples (0: unknown). `target`: whether it has one. `measure` gives the same reason for a
        failed row."""


class Timing(Protocol):
    """Measured cost of a probe on this machine, in seconds of one worker."""

    @property
    def once(self) -> float:
        """For each worker, before its first sample."""

    def sample(self, height: int, width: int, frames: int = 0) -> float:
        """For one input of this size; `frames`: of a clip."""


@runtime_checkable
class Timed(Protocol):
    """A probe that costs more than forward passes and can estimate it, for `xlli plan`. Nothing stored depends on it."""

    def timing(self, model: Any) -> Timing:
        """A short measurement, of about a second, with a `Model` (None without one)."""


class Gathering(Protocol):
    """What a `SetProbe` collects from the batches of one set. For one thread at a time."""

    def add(self, position: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Take one sample's part of a `Measurement`; `position` is its place in the set."""

    def conclude(self, ok: np.ndarray) -> Mapping[str, np.ndarray]:
        """The declared arrays of the whole set, (samples, *shape) each. `ok`: bool (samples,), False for samples that were never added."""

    def close(self) -> None:
        """Release memory and files. May be called at any time, repeatedly."""


@runtime_checkable
class SetProbe(Protocol):
    """A probe that measures all samples of one *set* together: those of one degradation and one size, in content order.

    A set is one unit, on one worker. `measure` still sees batches; what it returns as arrays goes into a `Gathering`, and the arrays
    to be stored come from its `conclude`. All sets of one size must have the same number of samples.
    """

    def gather(self, samples: int, device: str) -> Gathering:
        """An empty gathering for a set of so many samples; `device` may be used for its arithmetic."""

    def held_bytes(self, shapes: Shapes) -> int:
        """Bytes that a worker holds of one set, in memory or in scratch files: for the plan."""
