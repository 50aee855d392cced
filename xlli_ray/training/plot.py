"""The log of one training as a figure: the loss over iterations, and the validation scores with each degradation in its colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xlli_ray.corpus.degradations import CLEAN, parse_label
from xlli_ray.errors import RecipeError
from xlli_ray.plots.curves import Axis, Curve, CurvePanel, Curves
from xlli_ray.plots.palette import MARKERS, MUTED, family_colour
from xlli_ray.plots.view import to_svg

SCORE = "psnr_y"
"""Of clean images; of others, `psnr_y LABEL`."""


def log_view(log: Sequence[Mapping[str, Any]], *, title: str) -> Curves:
    """The lines of a `log.jsonl` as a view: the loss, and the validation scores if there are any."""
    x = Axis("iteration")
    loss = Curve("training loss", MUTED, *_points(log, "loss"))
    panels = [CurvePanel(title, (loss,), x, Axis("loss"))]
    if names := list(dict.fromkeys(key for line in log for key in line if key.startswith(SCORE))):
        colours = _colours([name.removeprefix(SCORE).strip() or CLEAN for name in names])
        curves = [
            Curve(name, colour, *_points(log, name), marker=MARKERS[i % len(MARKERS)])
            for i, (name, colour) in enumerate(zip(names, colours))
        ]
        panels.append(CurvePanel("", tuple(curves), x, Axis("validation PSNR-Y, dB")))
    return Curves(f"training of {title}", tuple(panels))


def _colours(labels: Sequence[str]) -> list[str]:
    """Colours of degradations, as in the figures of studies. A custom label of the recipe is a family of its own."""
    families, own = [], dict[str, str]()
    for label in labels:
        try:
            mixture = parse_label(label)
        except RecipeError:
            families.append(label)
            continue
        families.append(mixture.type)
        own |= {part.NAME: part.COLOUR for part in mixture.parts if part.COLOUR is not None}
    return [family_colour(family, list(dict.fromkeys(families)), own) for family in families]


def _points(log: Sequence[Mapping[str, Any]], name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    points = [(float(line["iteration"]), float(line[name])) for line in log if name in line]
    return tuple(x for x, _ in points), tuple(y for _, y in points)


def log_svg(log: Sequence[Mapping[str, Any]], *, title: str) -> bytes:
    """The lines of a `log.jsonl` as a figure. The same log gives the same bytes."""
    return to_svg(log_view(log, title=title)).encode()
