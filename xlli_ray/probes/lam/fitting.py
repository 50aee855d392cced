"""Which inputs a LAM stage can measure: those large enough for its windows and its path.

Checked when planning and again for each sample, so that both give the same reason.
"""

from __future__ import annotations

from collections.abc import Sequence

from xlli_ray.probes.lam.method_choices import INTEGRAL
from xlli_ray.probes.lam.params import Chosen, Listed, Params, Place
from xlli_ray.probes.lam.path_choices import way_of
from xlli_ray.probes.lam.window import Window


def no_room(params: Params, scale: int, height: int, width: int, source: str) -> str:
    """Why an input of (height, width) pixels, from the file `source`, has no map; '' if it has one. Windows are in the output, which is
    `scale` times as large."""
    path = way_of(params.path).unfit(height, width) if params.method == INTEGRAL else ""
    return path or no_room_for(params.windows, scale, height, width, source)


def no_room_for(asked: Chosen | Listed | Sequence[Place], scale: int, height: int, width: int, source: str) -> str:
    """Why these windows cannot be in the output for such an input; '' if they can."""
    rows, columns = scale * height, scale * width
    if isinstance(asked, Chosen):
        if asked.size < min(rows, columns):
            return ""
        return (
            f"no window: an output of {rows} rows × {columns} columns holds none of size {asked.size}; windows of up to "
            f"{min(rows, columns) - 1} fit"
        )
    places = asked.of(source) if isinstance(asked, Listed) else asked
    if not places:
        some = ", ".join(list(asked.places)[:3]) if isinstance(asked, Listed) else ""
        return f"no window: the windows file has no line for {source}; its paths are ends of those of images ({some}, …)"
    problems = (Window(place.top, place.left, place.size).problem(rows, columns) for place in places)
    return next((problem for problem in problems if problem), "")
