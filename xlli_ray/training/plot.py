"""The curve of one training: loss and validation scores over iterations, as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any


def curve_svg(log: Sequence[Mapping[str, Any]], *, title: str) -> bytes:
    """The lines of a `log.jsonl` as a figure. The same log gives the same bytes."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "xlli_ray"}):
        figure = Figure(figsize=(7, 3.5), layout="constrained")
        FigureCanvasSVG(figure)
        left = figure.add_subplot()
        loss = [(line["iteration"], line["loss"]) for line in log]
        left.plot([x for x, _ in loss], [y for _, y in loss], color="0.6", linewidth=1, label="training loss")
        left.set(xlabel="iteration", ylabel="loss", title=title)
        names = sorted({key for line in log for key in line if key.startswith("psnr_y")})
        if names:
            right = left.twinx()
            for name in names:
                scored = [(line["iteration"], line[name]) for line in log if name in line]
                right.plot([x for x, _ in scored], [y for _, y in scored], marker=".", label=name)
            right.set_ylabel("validation PSNR-Y, dB")
            right.legend(loc="center right")
        sink = io.BytesIO()
        figure.savefig(sink, format="svg", metadata={"Date": None})
        return sink.getvalue()
