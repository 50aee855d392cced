"""Images of a `derain` stage: the rain removed by each network, and what it destroyed.

For some backgrounds, under each of their degradations, a crop where the rain is strongest: input, target, the rain O − B, and then for each
network its output F, what it removed, O − F, and what it destroyed: the part of F − O that ρ, that of the table, does not explain,
(F − O) − ρ (B − O). Rain that was removed unevenly is in it, too: brighter where more was left than ρ says. Differences are grey for
nothing, brighter where the first is brighter, pixel for pixel and without stretching: a uniform grey in the last is a network that left
the image alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from xlli_ray.corpus.sample import Loaded
from xlli_ray.plots.image_panels import Area, ImagePanel, ImagePanels, Layer, PanelRow, Source, Term
from xlli_ray.report.section import Drawing, Part, SectionContext, Text
from xlli_ray.report.shown_samples import spread

BACKGROUNDS = 2
LABELS = 3
MODELS = 4
SIDE = 160
"""Of a crop, pixels."""
STEP = 16
GREY = 128


def derain_section(context: SectionContext) -> Iterator[Part]:
    """The images of a `derain` stage. Raises StudyError for an array that cannot be read."""
    stored = [model for model in context.models if context.stores_outputs(model)]
    if not stored:
        yield Text("No images: no output is stored. `derain: {save: true}`, or `restore: {save: true}`, stores them.")
        return
    models = spread(MODELS, stored)
    if len(models) < len(context.models):
        yield Text(f"{len(models)} of {len(context.models)} networks are drawn.")
    missing = ""
    for row in _rows(context, models):
        loaded = context.load(row)
        if isinstance(loaded, str) or loaded.target is None:
            missing = missing or (loaded if isinstance(loaded, str) else "a sample has no target")
            continue
        rho: Mapping[str, float] = {line["model"]: line["rho"] for line in context.rows(
            "select model, rho from derain where stage = ? and row = ? and status = 'ok'", [context.stage, row])}  # fmt: skip
        area = _area(loaded)
        lines = [PanelRow("", _given(row, area))]
        for model in models:
            output = context.output(row, model)
            if output is not None and model in rho:
                lines.append(PanelRow(model, _made(output, area, rho[model])))
        note = "Differences: grey is nothing, brighter where the first is brighter."
        yield Drawing(ImagePanels(context.page.samples.head(row), tuple(lines)), note)
    if missing:
        yield Text(f"Some samples cannot be shown: {missing}")


def _rows(context: SectionContext, models: Sequence[str]) -> list[int]:
    """Rows of the sample table: some backgrounds, each under the same degradations."""
    listed = ", ".join("?" for _ in models)
    found = context.rows(
        "select s.label, coalesce(s.target_sha, s.source_sha) as background, min(d.row) as row "
        "from derain d join samples s on d.row = s.row "
        f"where d.stage = ? and d.status = 'ok' and d.model in ({listed}) and d.coverage > 0 group by all order by row",
        [context.stage, *models],
    )
    labels = spread(LABELS, [label for label in context.labels if any(line["label"] == label for line in found)])
    rows: dict[str, dict[str, int]] = {}
    for line in found:
        if line["label"] in labels:
            rows.setdefault(line["background"], {})[line["label"]] = line["row"]
    most = max(map(len, rows.values()), default=0)
    chosen = spread(BACKGROUNDS, [under for under in rows.values() if len(under) == most])
    return [under[label] for under in chosen for label in labels if label in under]


def _area(loaded: Loaded) -> Area:
    """Where the rain is strongest: the window of SIDE pixels with the largest sum of |O − B|."""
    assert loaded.target is not None
    rain = np.abs(loaded.input - loaded.target).mean(axis=0, dtype=np.float64)
    sums = np.zeros((rain.shape[0] + 1, rain.shape[1] + 1))
    sums[1:, 1:] = rain.cumsum(axis=0).cumsum(axis=1)
    height, width = (min(SIDE, size) for size in rain.shape)
    tops, lefts = np.arange(0, rain.shape[0] - height + 1, STEP), np.arange(0, rain.shape[1] - width + 1, STEP)
    boxes = (sums[np.ix_(tops + height, lefts + width)] - sums[np.ix_(tops, lefts + width)] - sums[np.ix_(tops + height, lefts)]
             + sums[np.ix_(tops, lefts)])  # fmt: skip
    top, left = np.unravel_index(int(boxes.argmax()), boxes.shape)
    return Area(int(tops[top]), int(lefts[left]), height, width)


def _given(row: int, area: Area) -> tuple[ImagePanel, ...]:
    rainy, clean = Source(row, "input"), Source(row, "target")
    rain = Layer(rainy, (Term(clean),), offset=GREY)
    layers = (("input O", Layer(rainy)), ("target B", Layer(clean)), ("rain, O − B", rain))
    return tuple(ImagePanel(caption, (layer,), area=area) for caption, layer in layers)


def _made(output: Source, area: Area, rho: float) -> tuple[ImagePanel, ...]:
    """The output F, O − F, and (F − O) − ρ (B − O) = F + (ρ − 1) O − ρ B."""
    rainy, clean = Source(output.row, "input"), Source(output.row, "target")
    share = rho if np.isfinite(rho) else 0.0
    removed = Layer(rainy, (Term(output),), offset=GREY)
    destroyed = Layer(output, (Term(rainy, share - 1), Term(clean, -share)), offset=GREY)
    note = f"ρ {rho:.2f}" if np.isfinite(rho) else "ρ undefined"
    return (
        ImagePanel("output F", (Layer(output),), area=area),
        ImagePanel("removed, O − F", (removed,), note, area),
        ImagePanel("destroyed or uneven", (destroyed,), area=area),
    )
