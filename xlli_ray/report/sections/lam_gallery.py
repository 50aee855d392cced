"""Images of a `lam` stage: for some windows, the pixels that each network used to restore them.

First the networks side by side, as in papers; then a block for each network with the same windows: the target with the window, the
map over the grey input, the contribution area (a kernel density of the map, `probes.lam.area`), the signed map if it is stored, and the
window with its neighbourhood, in the target and in the network's output if a restore stage stores outputs. The colours of maps are defined
in `views.lam`, as for notebooks. Maps of clips are in `lam_clips`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from xlli_ray.corpus.sample import Loaded
from xlli_ray.plots.image_panels import ImagePanel, ImagePanels, Layer, PanelRow, Source
from xlli_ray.probes.lam.area import contribution_area
from xlli_ray.report.section import Drawing, Part, SectionContext, Text
from xlli_ray.report.sections.lam_clips import clip_parts
from xlli_ray.report.sections.shown_windows import COLUMNS, Seen, shown_windows
from xlli_ray.report.shown_samples import ROW_BYTES, spread
from xlli_ray.store.records.manifest import Cell
from xlli_ray.views.lam import FAINT, SHARE, Place, area_layer, signed_scale

MODELS = 6
"""Maximum number of networks shown."""


def lam_section(context: SectionContext) -> Iterator[Part]:
    """The images of a `lam` stage. Raises StudyError for an array that cannot be read."""
    own = {cell.model: cell for cell in context.cells if "." not in cell.what}  # `accurate.shifted_window` is a control
    models = spread(MODELS, [model for model in context.models if model in own])
    if not models:
        return
    if len(models) < len(own):
        yield Text(f"{len(models)} of {len(own)} networks are drawn, evenly spaced.")
    windows = _windows(context, models)
    if any(meta.name == "frame_share" for cell in own.values() for bucket in cell.sizes for meta in bucket.arrays):
        yield from clip_parts(context, models, own, windows)
        return
    rows: dict[str, list[PanelRow]] = {model: [] for model in models}
    beside: list[PanelRow] = []
    missing = ""
    samples = context.page.samples
    for item in windows:
        found = context.load(item.row)
        missing = missing or (found if isinstance(found, str) else "")
        loaded = None if isinstance(found, str) else found
        label = f"{samples.head(item.row)} · window at row {item.top}, column {item.left}, size {item.size}"
        colour = samples.colour(item.row)
        across: list[ImagePanel | None] = []
        for model in models:
            panels, overlay = _panels(context, own[model], item, loaded) if model in item.maps else ([], None)
            across.append(overlay)
            if panels:
                rows[model].append(PanelRow(label, tuple(panels), colour))
        if any(panel is not None for panel in across):
            beside.append(PanelRow(label, (_whole(_place(context, models[0], item), item, loaded), *across), colour))
    if missing:
        yield Text(f"Maps are shown without their images: {missing}")
    if len(models) > 1 and beside:
        about = "The same windows for all. Red: share of the map's own peak, opaque as its power 0.4; frame: the window."
        yield Drawing(ImagePanels("Networks side by side", tuple(beside)), about)
    for model in models:
        if rows[model]:
            about = "Image with the window; map over the input in grey; contribution area, a kernel density of the map; the window alone."
            yield Drawing(ImagePanels(model, tuple(rows[model])), about)
    if not any(rows.values()) and any(_any_map(context, own[model]) for model in models):
        yield Text("No map can be drawn: all that are stored are undefined.")


def _windows(context: SectionContext, models: Sequence[str]) -> list[Seen]:
    listed = ", ".join("?" for _ in models)
    lines = context.rows(
        f"select {COLUMNS} from lam where stage = ? and control = '' and status = 'ok' and not undefined and model in ({listed}) "
        "order by win, row",
        [context.stage, *models],
    )
    return shown_windows(lines)


def _any_map(context: SectionContext, cell: Cell) -> bool:
    return any(reader.valid.any() for reader in context.page.samples.read.readers(cell.id) if reader.meta.name == "map")


def _place(context: SectionContext, model: str, item: Seen) -> Place:
    row = context.page.samples.row(item.row)
    return Place(item.top, item.left, item.size, context.study.manifest.model(model).scale, row["height"], row["width"])


def _panels(
    context: SectionContext, cell: Cell, item: Seen, loaded: Loaded | None
) -> tuple[list[ImagePanel | None], ImagePanel | None]:
    """All panels of one window for one network, and the map alone, for comparison with other networks. Empty without a map."""
    source = Source(item.row, "map", cell.id, (item.window,))
    if not _drawable(context, cell, "map") or (stack := context.stored(source)) is None:
        return [], None
    place, line = _place(context, cell.model, item), item.maps[cell.model]
    grey = () if loaded is None else (Layer(Source(item.row, "input"), channels="luma", scale=FAINT),)
    error = f"estimated error {100 * line['error_estimate']:.2g} %" if np.isfinite(line["error_estimate"]) else ""
    drawn = (*grey, Layer(source, scale=SHARE, shared=True))
    area = contribution_area(np.nan_to_num(stack[item.window].astype(np.float64)))
    panels: list[ImagePanel | None] = [
        _whole(place, item, loaded),
        place.map_panel(f"map, DI {line['di']:.2f}", drawn, error),
        place.map_panel("contribution area", (*grey, area_layer(area))),
    ]
    if _drawable(context, cell, "attribution"):
        panels.append(_signed(context, place, Source(item.row, "attribution", cell.id, (item.window,))))
    if loaded is not None and loaded.target is not None:
        panels.append(place.window_panel("target, the window", Layer(Source(item.row, "target"))))
    if context.stores_outputs(cell.model):
        output = context.output(item.row, cell.model)
        panels.append(None if output is None else place.window_panel("output, the window", Layer(output)))
    return panels, place.map_panel(cell.model, drawn, f"DI {line['di']:.2f}")


def _drawable(context: SectionContext, cell: Cell, name: str) -> bool:
    """Whether the cell has this array, and a single sample of it is not too large."""
    metas = [meta for bucket in cell.sizes for meta in bucket.arrays if meta.name == name]
    return any(meta.nbytes / max(1, meta.rows) <= ROW_BYTES for meta in metas)


def _whole(place: Place, item: Seen, loaded: Loaded | None) -> ImagePanel | None:
    """The target with its window, or the input without a target; None if the image is not available."""
    if loaded is None:
        return None
    if loaded.target is None:
        return place.whole_panel("input and window", Layer(Source(item.row, "input")))
    size = f"{loaded.target.shape[-1]}×{loaded.target.shape[-2]}"
    return place.whole_panel("target and window", Layer(Source(item.row, "target")), size)


def _signed(context: SectionContext, place: Place, source: Source) -> ImagePanel | None:
    stack = context.stored(source)
    if stack is None:
        return None
    scale = signed_scale(stack[source.index].sum(axis=0))
    return place.map_panel("signed map", (Layer(source, channels="sum", scale=scale),), f"±{scale.high:.3g}")
