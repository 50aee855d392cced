"""The curve of one training: loss and validation scores over iterations, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xlli_ray.plots.curves import Axis, Curve, CurvePanel, Curves
from xlli_ray.plots.palette import MUTED, SPARE
from xlli_ray.plots.view import to_svg


def curve_view(log: Sequence[Mapping[str, Any]], *, title: str) -> Curves:
    """The lines of a `log.jsonl` as a view: the loss, and beside it the validation scores where there are any."""
    x = Axis("iteration")
    loss = Curve("training loss", MUTED, *_points(log, "loss"))
    panels = [CurvePanel(title, (loss,), x, Axis("loss"))]
    if names := sorted({key for line in log for key in line if key.startswith("psnr_y")}):
        curves = [Curve(name, SPARE[i % len(SPARE)], *_points(log, name), marker="o") for i, name in enumerate(names)]
        panels.append(CurvePanel("", tuple(curves), x, Axis("validation PSNR-Y, dB")))
    return Curves(f"training of {title}", tuple(panels))


def _points(log: Sequence[Mapping[str, Any]], name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    found = [(float(line["iteration"]), float(line[name])) for line in log if name in line]
    return tuple(x for x, _ in found), tuple(y for _, y in found)


def curve_svg(log: Sequence[Mapping[str, Any]], *, title: str) -> bytes:
    """The lines of a `log.jsonl` as a figure. The same log gives the same bytes."""
    return to_svg(curve_view(log, title=title)).encode()
