"""The baseline of a map: what its attribution is the difference from, and whether it was multiplied by that difference.

    maps of a path                   that of the path; multiplied
    gradient_input                   black; multiplied
    occlusion                        what covers a square; multiplied, in effect: a drop is the difference
    smoothgrad                       none. It is a slope, per unit of input, and is tried on the way to LAM's blurred image; with
                                     `times_input` black; multiplied

Methods other than `path` leave the column `path` empty and name themselves in `mode`; their arguments are those of the stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xlli_ray.errors import NetworkError
from xlli_ray.probes.lam.measured_maps import StageMaps
from xlli_ray.probes.lam.path_choices import Straight, Way, way_of
from xlli_ray.registry import LAM_PATHS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Baseline:
    """`name`: of a path that begins at it, or `grey`. `per_input`: the attribution is a slope, not multiplied by x − x₀."""

    name: str
    per_input: bool = False


class Grey(Straight):
    """From the middle of the range."""

    NAME = "grey"

    def baseline(self, image: Tensor) -> Tensor:
        return image.new_full(image.shape, 0.5)


def own_baseline(stage: StageMaps, row: int) -> Baseline:
    """That of the map behind `row` of a stage's columns. Raises NetworkError for a method or a path that is not known here."""
    path, method = (str(stage.own.columns[name][row]) for name in ("path", "mode"))
    if path:
        if not LAM_PATHS.knows(path):
            listed = ", ".join(sorted(LAM_PATHS))
            raise NetworkError(f"infidelity.of: the path {path!r} of stage {stage.stage} is code of a recipe; expected one of {listed}")
        return Baseline(path)
    asked = getattr(stage.asked, "method", None)
    found = method_baseline(method, asked.get(method) or {} if isinstance(asked, Mapping) else {})
    if found is None:
        raise NetworkError(
            f"infidelity.of: what the maps of method {method!r} (stage {stage.stage}) are differences from is not known here"
        )
    return found


def method_baseline(method: str, given: Mapping[str, Any]) -> Baseline | None:
    """That of a method other than `path` with the arguments `given`; None for one that is not known here."""
    if method == "gradient_input":
        return Baseline("linear_black")
    if method == "smoothgrad":
        return Baseline("linear_black") if given.get("times_input") else Baseline("blur", per_input=True)
    if method == "occlusion":
        return Baseline("grey" if given.get("fill") == "grey" else "linear_mean")
    return None


def way_named(name: str) -> Way:
    """The path that begins at a baseline."""
    return Grey() if name == Grey.NAME else way_of(name)
