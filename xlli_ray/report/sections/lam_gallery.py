"""Pictures of a `lam` stage: for some windows, which pixels each network used to draw them.

First the networks side by side, as papers show them; then a block for each network with the same windows: the target with the window, the
map over the grey input, the contribution area (a kernel density of the map, `probes.lam.area`), the signed map where it is stored, and the
window with its surroundings, as it ought to be and as the network drew it where a restore stage keeps outputs.

Red is a share of the map's own largest pixel, the more opaque the larger it is (share to the power 0.4: most of a map is a few per cent of
its peak, and how far that reaches is what one wants to see); so reds of two maps are not comparable, their shapes and their DI are. Signed
maps have a scale of their own, symmetric about 0 (white).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.sample import Loaded
from xlli_ray.plots.palette import BLUE
from xlli_ray.probes.lam.area import contribution_area
from xlli_ray.report.gallery import Block, Colours, Row, Tile, jpeg, lut, png
from xlli_ray.report.section import Part, SectionContext, Text
from xlli_ray.report.shown_samples import ROW_BYTES, spread
from xlli_ray.store.records.manifest import Cell
from xlli_ray.store.zarr.size_reader import Reader, open_readers
from xlli_ray.views.pixels import SIDE, Pixels, boxed, detail, enlarged, to_image
from xlli_ray.views.stored import is_image, row_of

WINDOWS = 4
"""Windows shown, in as many pictures as there are."""
MODELS = 6
"""Networks shown."""
LINE = 2
"""Pixels that a frame is wide on maps (on pictures: FRAME), in BLUE: what lies beside the window counts there."""
FAINT = 0.4
"""How opaque a share of the peak is drawn: to this power."""


@dataclass(frozen=True)
class Seen:
    """One window of one sample, with what the table says of each network's map: model → its row."""

    row: int
    window: int
    top: int
    left: int
    size: int
    maps: Mapping[str, Mapping[str, Any]]


def lam_section(context: SectionContext) -> Iterator[Part]:
    """The pictures of a `lam` stage. Raises StudyError for an array that cannot be read."""
    own = {cell.model: cell for cell in context.cells if "." not in cell.what}  # `accurate.shifted_window` is a control
    models = spread(MODELS, [model for model in context.models if model in own])
    if not models:
        return
    if len(models) < len(own):
        yield Text(f"{len(models)} of {len(own)} networks are drawn, evenly spaced.")
    stores = {model: _Stored(context, own[model]) for model in models}
    rows: dict[str, list[Row]] = {model: [] for model in models}
    beside: list[Row] = []
    missing = ""
    samples = context.page.samples
    for item in _windows(context, models):
        found = context.load(item.row)
        missing = missing or (found if isinstance(found, str) else "")
        loaded = None if isinstance(found, str) else found
        label = f"{samples.head(item.row)} · window at row {item.top}, column {item.left}, size {item.size}"
        family = samples.family(item.row)
        across: list[Tile | None] = []
        for model in models:
            tiles, overlay = _tiles(stores[model], item, loaded) if model in item.maps else ([], None)
            across.append(overlay)
            if tiles:
                rows[model].append(Row(label, family, tiles))
        if any(tile is not None for tile in across):
            beside.append(Row(label, family, [_whole(loaded, item, stores[models[0]].scale), *across]))
    if missing:
        yield Text(f"Maps are shown without their pictures: {missing}")
    if len(models) > 1 and beside:
        about = "The same windows for all. Red: share of the map's own peak, opaque as its power 0.4; frame: the window."
        yield Block("Networks side by side", about, len(models) + 1, beside)
    for model in models:
        if rows[model]:
            about = "Picture with the window; map over the input in grey; contribution area, a kernel density of the map; the window alone."
            columns = max(len(row.tiles) for row in rows[model])
            yield Block(model, about, columns, rows[model])
    if not any(rows.values()) and any(reader.valid.any() for stored in stores.values() for reader in stored.maps):
        yield Text("No map can be drawn: all that are stored are undefined.")


def _windows(context: SectionContext, models: Sequence[str]) -> list[Seen]:
    """The windows to show: those that most of the networks have a map of; the first of each of some samples, or more of one sample."""
    listed = ", ".join("?" for _ in models)
    rows = context.rows(
        'select model, row, "window" as win, top, "left" as lft, size, di, error_estimate from lam '
        f"where stage = ? and control = '' and status = 'ok' and not undefined and model in ({listed}) order by win, row",
        [context.stage, *models],
    )
    groups: dict[tuple[int, int, int, int, int], dict[str, Any]] = {}
    for line in rows:
        groups.setdefault((line["row"], line["win"], line["top"], line["lft"], line["size"]), {})[line["model"]] = line
    most = max((len(maps) for maps in groups.values()), default=0)
    seen = [Seen(row, win, top, left, size, maps) for (row, win, top, left, size), maps in groups.items() if len(maps) == most]
    first = {item.row: item for item in reversed(seen)}
    if len(first) >= WINDOWS:
        return spread(WINDOWS, [first[row] for row in sorted(first)])
    return sorted(seen[:WINDOWS], key=lambda item: (item.row, item.window))


class _Stored:
    """The arrays of one network: its maps, and its outputs where they are kept."""

    def __init__(self, context: SectionContext, cell: Cell) -> None:
        readers = [r for r in open_readers(context.study.archive.records, cell) if r.meta.nbytes / max(1, r.meta.rows) <= ROW_BYTES]
        self.model, self.scale = cell.model, context.study.manifest.model(cell.model).scale
        self.maps = [reader for reader in readers if reader.meta.name == "map"]
        self.signed = [reader for reader in readers if reader.meta.name == "attribution"]
        self.outputs: list[Reader] = []
        for other in context.study.manifest.cells:
            if other.kind == "restore" and other.model == cell.model:
                self.outputs += [reader for reader in open_readers(context.study.archive.records, other) if is_image(reader.meta)]


def _tiles(stored: _Stored, item: Seen, loaded: Loaded | None) -> tuple[list[Tile | None], Tile | None]:
    """All tiles of one window for one network, and the map alone, to stand beside those of other networks. None of them without a map."""
    stack = row_of(stored.maps, item.row)
    if stack is None:
        return [], None
    values, scale = np.nan_to_num(stack[item.window].astype(np.float64)), stored.scale
    grey = np.full(values.shape, 0.5) if loaded is None else luma(loaded.input)
    output, line = row_of(stored.outputs, item.row), item.maps[stored.model]
    error = f"estimated error {100 * line['error_estimate']:.2g} %" if np.isfinite(line["error_estimate"]) else ""
    drawn = jpeg(_boxed(over(grey, values, values**FAINT), item, scale, on_map=True))
    area = contribution_area(values)
    tiles: list[Tile | None] = [
        _whole(loaded, item, scale),
        Tile(drawn, f"map, DI {line['di']:.2f}", error),
        Tile(jpeg(_boxed(over(grey, area, 0.75 * area), item, scale, on_map=True)), "contribution area"),
    ]
    signed = row_of(stored.signed, item.row)
    if stored.signed:
        tiles.append(None if signed is None else _signed(signed[item.window].sum(axis=0)))
    if loaded is not None and loaded.target is not None:
        tiles.append(Tile(png(_detail(to_image(loaded.target), item)), "target, the window"))
    if stored.outputs:
        tiles.append(None if output is None else Tile(png(_detail(to_image(output), item)), "output, the window"))
    return tiles, Tile(drawn, stored.model, f"DI {line['di']:.2f}")


def _whole(loaded: Loaded | None, item: Seen, scale: int) -> Tile | None:
    """The target with its window, or the input where there is none; None where the picture is not at hand."""
    if loaded is None:
        return None
    if loaded.target is None:
        return Tile(jpeg(_boxed(to_image(loaded.input), item, scale)), "input and window")
    picture = to_image(loaded.target)
    return Tile(jpeg(_boxed(picture, item, 1)), "target and window", f"{picture.shape[1]}×{picture.shape[0]}")


def _signed(values: NDArray) -> Tile:
    colours = Colours.of([values])
    wide = Colours(-max(abs(colours.low), colours.high), max(abs(colours.low), colours.high), "RdBu_r")
    return Tile(wide.draw(enlarged(values, SIDE)), "signed map", f"±{wide.high:.3g}")


def _boxed(image: NDArray, item: Seen, scale: int, *, on_map: bool = False) -> Pixels:
    """`image` at about SIDE pixels with the window framed; `scale`: output pixels a pixel of `image`."""
    if not on_map:
        return boxed(image, item.top, item.left, item.size, scale=scale)
    large = enlarged(image, SIDE)
    factor = large.shape[0] / image.shape[0] / scale
    top, left = (round(value * factor) - LINE for value in (item.top, item.left))
    return outlined(large, top, left, round(item.size * factor) + 2 * LINE)


def _detail(picture: Pixels, item: Seen) -> Pixels:
    """The window with as much around it."""
    return detail(picture, item.top, item.left, item.size)


def outlined(image: Pixels, top: int, left: int, side: int) -> Pixels:
    """A copy with a line of LINE pixels in BLUE along the inner edge of a square; what lies beyond the image is not drawn."""
    out, rows, columns = image.copy(), *(np.arange(start, start + side) for start in (top, left))
    inside = np.zeros((side, side), bool)
    inside[LINE:-LINE, LINE:-LINE] = True
    y, x = (axis[~inside] for axis in np.meshgrid(rows, columns, indexing="ij"))
    seen = (y >= 0) & (y < image.shape[0]) & (x >= 0) & (x < image.shape[1])
    out[y[seen], x[seen]] = [int(BLUE[i : i + 2], 16) for i in (1, 3, 5)]
    return out


def luma(planes: NDArray) -> NDArray[np.float64]:
    """(3, H, W) → (H, W)."""
    return np.tensordot([0.299, 0.587, 0.114], planes.astype(np.float64), axes=1)


def over(grey: NDArray, values: NDArray, alpha: NDArray) -> Pixels:
    """`values` in 0..1 as reds, bright to dark, over a paler `grey`, both (H, W); `alpha` in 0..1: how opaque. uint8 (H, W, 3)."""
    below = ((grey.clip(0, 1) + 1.1) / 2.2 * 255)[..., None]
    above = lut("Reds")[(128 + values.clip(0, 1) * 127 + 0.5).astype(np.uint8)]
    share = alpha.clip(0, 1)[..., None]
    return (below * (1 - share) + above * share + 0.5).astype(np.uint8)
