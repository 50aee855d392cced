"""Images of a `cem` stage: for some windows, which blocks help, which harm, and which are undecided, network under network.

Colours and panels are those of `views.cem`; the networks of a window share one scale. What was decided of a block is not stored: it follows
from its effect, error and draws by the stage's rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.sample import Loaded
from xlli_ray.plots.image_panels import ImagePanel, ImagePanels, Layer, PanelRow, Source
from xlli_ray.plots.pixels import LUMA, still
from xlli_ray.probes.cem.verdicts import decided_again
from xlli_ray.report.section import Drawing, Part, SectionContext, Text
from xlli_ray.report.sections.shown_windows import COLUMNS, Seen, shown_windows
from xlli_ray.report.shown_samples import spread
from xlli_ray.store.records.manifest import Cell
from xlli_ray.views.cem import LEGEND, bound_of, effect_panels, effect_scale
from xlli_ray.views.lam import Place

MODELS = 6
"""Maximum number of networks shown."""
ARRAYS = ("effect", "error", "draws")


def cem_section(context: SectionContext) -> Iterator[Part]:
    """The images of a `cem` stage. Raises StudyError for an array that cannot be read."""
    own = {cell.model: cell for cell in context.cells}
    models = spread(MODELS, [model for model in context.models if model in own])
    if not models:
        return
    if len(models) < len(own):
        yield Text(f"{len(models)} of {len(own)} networks are drawn, evenly spaced.")
    missing = ""
    drawn = False
    for item in _windows(context, models):
        found = context.load(item.row)
        missing = missing or (found if isinstance(found, str) else "")
        rows = _rows(context, models, own, item, None if isinstance(found, str) else found)
        if rows:
            drawn = True
            title = f"{context.page.samples.head(item.row)} · window at row {item.top}, column {item.left}, size {item.size}"
            about = f"Red helps the window, blue harms it, in dB; one scale for all networks. Verdicts: {LEGEND}."
            yield Drawing(ImagePanels(title, tuple(rows)), about)
    if missing:
        yield Text(f"Maps are shown without their images: {missing}")
    if not drawn:
        yield Text("No map can be drawn: all windows that are measured are restored perfectly, or nothing is stored yet.")


def _windows(context: SectionContext, models: Sequence[str]) -> list[Seen]:
    listed = ", ".join("?" for _ in models)
    lines = context.rows(
        f"select {COLUMNS} from cem where stage = ? and status = 'ok' and not undefined and model in ({listed}) order by win, row",
        [context.stage, *models],
    )
    return shown_windows(lines)


def _rows(
    context: SectionContext, models: Sequence[str], own: Mapping[str, Cell], item: Seen, loaded: Loaded | None
) -> list[PanelRow]:
    """One row of panels for each network with a map of the window."""
    from xlli_ray.probes.cem.columns import distances
    from xlli_ray.probes.lam.window import Window

    sample = context.page.samples.row(item.row)
    arrays: dict[str, dict[str, NDArray[Any]]] = {}
    for model in models:
        stacks = {name: context.stored(Source(item.row, name, own[model].id)) for name in ARRAYS} if model in item.maps else {}
        if stacks and all(stack is not None for stack in stacks.values()):
            frame = item.maps[model].get("frame")
            arrays[model] = {
                name: stack[item.window] if stack.ndim == 3 else stack[item.window, int(frame or 0)]
                for name, stack in stacks.items() if stack is not None
            }  # fmt: skip
    if not arrays:
        return []
    scale = context.study.manifest.model(next(iter(arrays))).scale
    place = Place(item.top, item.left, item.size, scale, sample["height"], sample["width"])
    side = int(next(iter(item.maps.values()))["block"])
    shape = next(iter(arrays.values()))["effect"].shape
    beside = distances(Window(item.top, item.left, item.size), side, scale, shape) > 0
    colours = effect_scale([one["effect"] for one in arrays.values()], beside, bound_of(scale, str(sample["label"])))
    grey = None if loaded is None else np.tensordot(LUMA, still(loaded.input), axes=1) * 255
    target = None if loaded is None or loaded.target is None else Layer(Source(item.row, "target"))
    rows = []
    for model, found in arrays.items():
        decided = decided_again(found, own[model].params)
        panels: list[ImagePanel | None] = [] if target is None else [place.whole_panel("target and window", target)]
        panels += effect_panels(place, {**found, "decided": decided}, side, grey, colours, item.maps[model])
        if target is not None:
            panels.append(place.window_panel("target, the window", target))
        output = context.output(item.row, model) if context.stores_outputs(model) else None
        if output is not None:
            panels.append(place.window_panel("output, the window", Layer(output)))
        rows.append(PanelRow(model, tuple(panels), context.page.samples.colour(item.row)))
    return rows
