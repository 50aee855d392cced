"""Occlusion: how far the score of a window drops when a square of the input is covered (Zeiler & Fergus, ECCV 2014).

    drop of a square = D(F(x)) − D(F(x with the square covered))        A = mean over the squares that cover a pixel of drop / pixels

Forward passes only, so that networks without a gradient have maps, too. A square of `size` × `size` input pixels is covered by the image's
mean colour (`fill: mean`) or by grey; squares are `stride` pixels apart, unless said otherwise as many as they are wide; those at the
border are cut, and with a smaller stride they begin outside the image, so that every pixel lies in as many.

A square's drop is shared equally by its pixels and by their channels: the shares of a pixel's channels sum to the pixel's value, and with
`stride` = `size` the whole map sums to the sum of all drops; for a linear network that is the score's change from the fill colour to the
image. The paper's map is the drop itself, which is the same up to a factor. Of clips a square is covered in one frame.

A square that the window provably cannot depend on has a drop of exactly 0, without a forward pass. `nodes` counts the squares tried.
There is no error estimate: the drops are exact, and how they depend on the choice of squares is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xlli_ray.errors import NetworkError
from xlli_ray.probes.lam.method_choices import Method
from xlli_ray.probes.lam.path_choices import Mean, Straight, Way

if TYPE_CHECKING:
    from torch import Tensor

    from xlli_ray.models.model import Model
    from xlli_ray.probes.lam.attribution import WindowResult
    from xlli_ray.probes.lam.objectives import Objective
    from xlli_ray.probes.lam.passes import Explained, Passes
    from xlli_ray.probes.lam.path_points import Path
    from xlli_ray.probes.lam.receptive_field import Radius

ROWS = 4
"""Inputs of a forward pass on a CPU."""


class Args(BaseModel):
    """Arguments of `occlusion`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    size: int = Field(default=4, ge=1, description="side of a square, input pixels")
    stride: int | None = Field(default=None, ge=1, description="distance of squares [size]; smaller: they overlap, and are averaged")
    fill: Literal["mean", "grey"] = Field(default="mean", description="what covers a square: the image's mean colour, or grey")

    @model_validator(mode="after")
    def _covered(self) -> Args:
        if self.stride is not None and self.stride > self.size:
            raise ValueError(f"stride {self.stride} is larger than size {self.size}: pixels between the squares would never be covered")
        return self


class _Grey(Straight):
    """From grey."""

    NAME = "linear_grey"

    def baseline(self, image: Tensor) -> Tensor:
        return image.new_full(image.shape, 0.5)


class Occlusion(Method):
    """Squares of the input are covered, one after the other."""

    NAME = "occlusion"
    REFERENCE = "Zeiler & Fergus, Visualizing and understanding convolutional networks, ECCV 2014, arXiv 1311.2901"
    Args: ClassVar[type[BaseModel]] = Args

    @property
    def stride(self) -> int:
        """Input pixels from a square to the next."""
        return int(self.args.stride or self.args.size)

    def forwards(self, height: int, width: int, frames: int = 0) -> int:
        from xlli_ray.probes.lam.square_grid import SquareGrid

        return 1 + SquareGrid(self.args.size, self.stride, height, width, frames).count

    def path(self, image: Tensor, key: str) -> Path:
        from xlli_ray.probes.lam.clip_path import path_of

        way: Way = Mean() if self.args.fill == "mean" else _Grey()
        return path_of(way, image)[0]

    def one_by_one(
        self, model: Model, task: Explained, *, objective: Objective, radius: Radius | None, frame: int | None, alone: bool = False
    ) -> list[WindowResult]:
        from xlli_ray.probes.lam.attribution import output_frame
        from xlli_ray.probes.lam.square_passes import SquarePasses

        height, width = (model.scale * n for n in task.image.shape[-2:])
        for window in task.windows:
            if problem := window.problem(height, width):
                raise NetworkError(problem)
        if task.image.ndim == 4:
            frame = output_frame(model, len(task.image), frame)
        passes = SquarePasses(
            model, self.args.size, self.stride, objective=objective, radius=radius, frame=frame, rows=lambda shape: 1 if alone else ROWS
        )
        (found,) = passes.launch([task])()
        if isinstance(found, NetworkError):
            raise found
        return found

    def passes(self, model: Model, *, objective: Objective, radius: Radius | None, frame: int | None) -> Passes:
        from xlli_ray.probes.lam.pass_width import planned_rows
        from xlli_ray.probes.lam.square_passes import SquarePasses

        return SquarePasses(
            model, self.args.size, self.stride, objective=objective, radius=radius, frame=frame,
            rows=lambda shape: planned_rows(model, shape, frame),
        )  # fmt: skip
