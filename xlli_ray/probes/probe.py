"""The base class of probes, with everything they share. A simple one defines `KIND`, `COLUMNS` or `arrays`, and `measure`.

A probe declares its cells, arrays and columns, and measures one batch; it knows neither Ray nor Zarr. A class is in its own file, named by
a line in `registry.PROBES`, an entry point or a recipe. Importing that file must not import torch, since the recipe's schema and
`xlli --help` read `Params` from it. One *instance* measures one cell, that is one output: a single layer for `features`, the probe itself
for `restore`.

A cell belongs to a sample and a model, or to the sample alone, which only requires `SUBJECT = "sample"`. Its `measure` then gets neither a
model nor a forward pass, and a recipe with only such stages needs no models. `docs/extending.md` walks through a new probe; optional
protocols are in `measurement`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from xlli_ray.errors import PlanError
from xlli_ray.probes.measurement import ArrayPlan, Batch, Column, Forward, Measurement, Shapes, Subject

if TYPE_CHECKING:
    import torch

    from xlli_ray.models.tap import Tap


class NoParams(BaseModel):
    """No fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Probe:
    """See the module docstring. `spec` is the JSON-serializable part that distinguishes the cells of one stage (a layer's tap)."""

    KIND: ClassVar[str]
    """The name of the stage in a recipe, and of its SQL table: a-z, 0-9 and _."""
    VERSION: ClassVar[int] = 1
    """Raised by hand when numbers change; part of every cell's identity."""
    SUBJECT: ClassVar[Subject] = "model"
    """What is measured: `model`, samples with each model; `sample`, samples without a model, once, whatever models there are."""
    SHARES_FORWARD: ClassVar[bool] = True
    """True: reads layers or the output of one plain forward pass shared with other cells. False: `measure` gets no forward pass."""
    NEEDS_OUTPUT: ClassVar[bool] = False
    """True: networks that do not return an image are refused."""
    GRADIENTS: ClassVar[bool] = False
    """True: it differentiates the network; refused in float16, where small gradients become 0."""
    FLOAT64: ClassVar[bool] = False
    """True: it computes in float64 on the network's device; refused on Apple's GPUs, which cannot."""
    CLIPS: ClassVar[bool] = False
    """True: it measures clips, too, in batches (B, T, 3, H, W)."""
    IMAGES: ClassVar[bool] = True
    """False: it measures clips only."""
    COLUMNS: ClassVar[tuple[Column, ...]] = ()
    """Columns of one row per sample; if a sample has several rows, `ROW` names what a row is (`map`), for the rate of a run."""
    ROW: ClassVar[str] = ""
    REFERENCE: ClassVar[str] = ""
    """Source of the definition: paper and equation."""
    Params: ClassVar[type[BaseModel]] = NoParams

    params: Any
    what: str
    """Name of the cell within stage and model: `[A-Za-z0-9_.-]+`."""
    cost: float = 1.0
    """Cost of one sample in forward passes (without a model: in multiply-adds per input value), for the projection."""
    max_rows: int | None = None
    """Maximum number of samples to measure, spread evenly over degradations; None: all."""
    companions: tuple[str, ...] = ()
    """Ids of other models whose output `measure` needs (`Batch.companions`)."""
    needs: tuple[str, ...] = ()
    """Ids of stages whose measurements, for the same model or without one, `measure` needs (`Batch.measured`)."""

    def __init__(self, params: BaseModel, spec: Mapping[str, Any]) -> None:
        self.params, self.spec, self.what = params, dict(spec), self.KIND

    @classmethod
    def cells(cls, params: BaseModel, model: Any, example: torch.Tensor) -> list[dict[str, Any]]:
        """The `spec` of each cell of this stage for `model` (a `Model`; None without one). Raises LayerPatternError, PlanError."""
        if cls.NEEDS_OUTPUT and model.output != "image":
            raise PlanError(
                f"{cls.KIND}: model {model.id} has `output: none`, it returns no image. "
                f"Leave it out with `models: [...]` in the {cls.KIND} stage."
            )
        return [{}]

    @classmethod
    def parts(cls, params: BaseModel) -> dict[str, int]:
        """VERSIONs of further classes that determine the numbers, by name: raising one invalidates the plan. `identity` contains them."""
        return {}

    def columns(self) -> tuple[Column, ...]:
        """The scalars of this cell, of `COLUMNS` or depending on the parameters."""
        return self.COLUMNS

    def needs_cell(self, what: str) -> bool:
        """Whether it needs the cell `what` of a stage that it `needs`."""
        return True

    def identity(self) -> dict[str, Any]:
        """The parameters that can change this cell's numbers, JSON-serializable. Never those of other cells of the stage."""
        return dict(self.params.model_dump(mode="json"))

    def taps(self) -> tuple[Tap, ...]:
        """Layers that this cell reads from the shared forward pass; they are in `forward.taps[tap.name]`."""
        return ()

    def arrays(self, shapes: Shapes) -> tuple[ArrayPlan, ...]:
        """What is stored for a sample of this size; empty for scalars only."""
        return ()

    def refuses(self, model: Any, scales: Sequence[int]) -> str | None:
        """Why samples of these scales cannot be measured with `model` (a `Model`; None without one), or None. Scale 0: unknown, since
        there is no target."""
        return None

    def measure(self, model: Any, batch: Batch, forward: Forward | None) -> Measurement:
        """Measure one batch with `model` (a `Model`; None without one), only samples that are `batch.ok`. Raises only for errors that
        concern the whole batch."""
        raise NotImplementedError
