"""The base class of probes: what all of them repeat. `KIND`, `COLUMNS` or `arrays`, and `measure` are enough for a simple one.

A probe declares its cells, arrays and columns, and measures one batch; it knows neither Ray nor Zarr. A class lies in a file of its own,
named by a line in `registry.PROBES`, an entry point or a recipe. Importing that file must not import torch: the recipe's schema and
`xlli --help` read `Params` from it. One *instance* measures one cell, that is one output: a single layer for `features`, the probe itself
for `restore`.

A cell belongs to a sample and a model, or to the sample alone: `SUBJECT = "sample"` is all that the latter needs. Its `measure` gets
neither a model nor a forward pass, and a recipe of such stages names no network. `docs/extending.md` walks through a new one; what it may
offer besides stands in `measurement`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from xlli_ray.errors import PlanError
from xlli_ray.probes.measurement import ArrayPlan, Batch, Column, Forward, Measurement, Shapes, Subject

if TYPE_CHECKING:
    import torch

    from xlli_ray.models.layers import Tap


class NoParams(BaseModel):
    """No fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Probe:
    """See the module. `spec` is the JSON-able part that tells the cells of one stage apart (a layer's tap)."""

    KIND: ClassVar[str]
    """The stage's name in a recipe, and that of its SQL table: of a-z, 0-9 and _."""
    VERSION: ClassVar[int] = 1
    """Raised by hand when numbers change; part of every cell's identity."""
    SUBJECT: ClassVar[Subject] = "model"
    """What is measured: `model`, samples as a network sees them; `sample`, samples without a model, once, whatever models there are."""
    SHARES_FORWARD: ClassVar[bool] = True
    """True: reads layers or the output of one plain forward that other cells share. False: `measure` gets no forward."""
    NEEDS_OUTPUT: ClassVar[bool] = False
    """True: networks that return no image are refused."""
    CLIPS: ClassVar[bool] = False
    """True: it measures clips, too, in batches (B, T, 3, H, W)."""
    COLUMNS: ClassVar[tuple[Column, ...]] = ()
    """One row a sample; what a row is where a sample has several (`map`) is said by `ROW`, for the rate of a run."""
    ROW: ClassVar[str] = ""
    REFERENCE: ClassVar[str] = ""
    """Where the definition comes from: paper and equation."""
    Params: ClassVar[type[BaseModel]] = NoParams

    params: Any
    what: str
    """Name of the cell within stage and model: `[A-Za-z0-9_.-]+`."""
    cost: float = 1.0
    """Forward passes that one sample costs, of a probe without a model multiply-adds for each value of the input: for the projection."""
    max_rows: int | None = None
    """Measure at most so many samples, spread evenly over degradations; None: all."""
    companions: tuple[str, ...] = ()
    """Ids of other models whose plain output `measure` needs (`Batch.companions`)."""
    needs: tuple[str, ...] = ()
    """Ids of the recipe's stages whose measurements, for the same model or without one, `measure` needs (`Batch.measured`)."""

    def __init__(self, params: BaseModel, spec: Mapping[str, Any]) -> None:
        self.params, self.spec, self.what = params, dict(spec), self.KIND

    @classmethod
    def cells(cls, params: BaseModel, model: Any, example: torch.Tensor) -> list[dict[str, Any]]:
        """The `spec` of each cell that this stage has for `model` (a `Model`; None without one). Raises LayerPatternError, PlanError."""
        if cls.NEEDS_OUTPUT and model.output != "image":
            raise PlanError(
                f"{cls.KIND}: model {model.id} has `output: none`, it returns no image. "
                f"Leave it out with `models: [...]` in the {cls.KIND} stage."
            )
        return [{}]

    @classmethod
    def parts(cls, params: BaseModel) -> dict[str, int]:
        """VERSIONs of further classes that make the numbers, by name: one that was raised has the plan made anew. `identity` holds them."""
        return {}

    def columns(self) -> tuple[Column, ...]:
        """The scalars of this cell, of `COLUMNS` or depending on the parameters."""
        return self.COLUMNS

    def identity(self) -> dict[str, Any]:
        """The parameters that can change this cell's numbers, JSON-able. Never those of other cells of the stage."""
        return dict(self.params.model_dump(mode="json"))

    def taps(self) -> tuple[Tap, ...]:
        """Layers this cell reads from the shared forward; they arrive in `forward.taps[tap.name]`."""
        return ()

    def arrays(self, shapes: Shapes) -> tuple[ArrayPlan, ...]:
        """What is stored for a sample of this size; empty for scalars only."""
        return ()

    def refuses(self, model: Any, scales: Sequence[int]) -> str | None:
        """Why samples of these scales cannot be measured with `model` (a `Model`; None without one), or None. Scale 0: unknown, there is
        no target."""
        return None

    def measure(self, model: Any, batch: Batch, forward: Forward | None) -> Measurement:
        """Measure one batch with `model` (a `Model`; None without one): look only at samples that are `batch.ok`. Raises only for what is
        wrong with the whole batch."""
        raise NotImplementedError
