"""From stored arrays to image panels. What an array's dims and dtype say decides how it is shown, not which probe wrote it:

    uint8 (channel 1|3, y, x)     an image: beside its input and target, with the error map       `image_panels`
    the same with a frame first   a clip: its centre frame, as an image                           `image_panels`
    (…, y, x)                     maps: the most varying ones, beside the input                   `map_panels`
    anything else                 a matrix: samples down, values across; one for each leading index `matrix_panels`

So a new probe's arrays are drawn without a line here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from xlli_ray.corpus.degradations import is_real
from xlli_ray.corpus.sample import Loaded
from xlli_ray.errors import counted
from xlli_ray.plots.colour_scale import ColourScale
from xlli_ray.plots.image_panels import Area, Frame, ImagePanel, ImagePanels, Layer, PanelRow, Source, Term
from xlli_ray.plots.panel_values import cut, layer_of, layer_values
from xlli_ray.plots.pixels import busiest, shrunk, still, to_image
from xlli_ray.report.shown_samples import Samples, pick, spread, table_row
from xlli_ray.store.records.manifest import Cell, SampleTable
from xlli_ray.store.zarr.layout import ArrayMeta
from xlli_ray.store.zarr.size_reader import Reader

CROP = 128
"""Side of a crop, pixels of the output."""
MAP_SIDE = 112
"""Longest side of a feature map on the page; larger ones are averaged down."""
THUMB_SIDE = 160
MAPS = 8
"""Maps of one sample shown."""
MATRIX_ROWS = 24
MATRIX_SIDE = 512
LEADING = 8
"""A matrix with at most so many rows per sample is shown as one image for each of them."""


Noted = tuple[ImagePanels, str]
"""A view, and what stands above it."""


# -- what kind of array -----------------------------------------------------------------------------------------


def is_map(meta: ArrayMeta) -> bool:
    """True when the last two axes lie in the image."""
    return tuple(meta.dims[-2:]) == ("y", "x")


def is_clip(meta: ArrayMeta) -> bool:
    """True where a sample has an axis of frames."""
    return "frame" in meta.dims


def is_single_map(meta: ArrayMeta) -> bool:
    """True for one map a sample."""
    return is_map(meta) and math.prod(meta.shape[:-2]) == 1


def about(meta: ArrayMeta) -> str:
    """`64 × 128 × 128 float32, 0.25 input pixels a step`."""
    text = f"{' × '.join(map(str, meta.shape)) or 'one number'} {meta.dtype}"
    stride = meta.attributes.get("stride")
    if not stride:
        return text
    steps = f"{stride[0]:g}" if math.isclose(stride[0], stride[1]) else f"{stride[0]:.3g} × {stride[1]:.3g}"
    return f"{text}, {steps} input pixel{'' if steps == '1' else 's'} a step"


def cell_title(cell: Cell, reader: Reader) -> str:
    """`imdn · model.2.in`, with the array's name where a cell has several."""
    several = len(reader.bucket.arrays) > 1
    return cell_words(cell) + (f" · {reader.meta.name}" if several else "")


def cell_words(cell: Cell) -> str:
    """`imdn · model.2.in`; without a model, `complexity`."""
    return f"{cell.model} · {cell.what}" if cell.model else cell.what


# -- images -----------------------------------------------------------------------------------------------------


def corpus_panels(samples: Samples, table: SampleTable, *, count: int = 8) -> tuple[ImagePanels | None, str]:
    """What the networks are given: one content in all its degradations, or several contents. No view where none can be shown."""
    if not table.rows:
        return None, ""
    if len(table.labels) > 1:
        blocks = max(table.buckets, key=lambda b: b.rows).blocks
        real = spread(2, [block for block in blocks if is_real(block[0])])
        alike = [block for block in blocks if not is_real(block[0])]
        shown = spread(count - len(real), alike)
        numbers = [first for _, first, _ in (*shown, *real)]
        note = f"One content of {counted(len(alike), 'degradation')}" + (f", {len(shown)} shown." if len(shown) < len(alike) else ".")
        if real:
            note += " A real set shows contents of its own."
    else:
        numbers = spread(count, range(table.rows))
        note = f"{len(numbers)} of {table.rows} inputs." if len(numbers) < table.rows else f"All {table.rows} inputs."
    panels: list[ImagePanel | None] = []
    missing = ""
    for number in numbers:
        loaded = samples.load(number)
        if isinstance(loaded, str):
            missing = missing or loaded
            continue
        size = f"{loaded.input.shape[-1]}×{loaded.input.shape[-2]}" + (f", {len(loaded.input)} frames" if loaded.input.ndim == 4 else "")
        caption = samples.label(number) if samples.several else samples.name(number)
        panels.append(ImagePanel(caption, (Layer(Source(number, "input")),), size, side=THUMB_SIDE, overview=True))
    if missing:
        note += f" Not all can be shown: {missing}"
    return (ImagePanels("Inputs", (PanelRow("", tuple(panels)),)) if panels else None), note


@dataclass(frozen=True)
class Shown:
    """One sample of a block of images, and the score of each model on it."""

    row: int
    rank: str
    scores: Mapping[str, str]


def image_panels(samples: Samples, stored: Mapping[str, tuple[Cell, str]], shown: Sequence[Shown]) -> Noted | None:
    """Input, outputs of the models, target, and below the outputs their error maps. `stored`: model → its cell, and the array's name."""
    rows: list[tuple[PanelRow, list[Layer | None], Area]] = []
    missing = ""
    clips = False
    for item in shown:
        loaded = samples.load(item.row)
        if isinstance(loaded, str):
            missing = missing or loaded
        made = _image_row(samples, stored, item, None if isinstance(loaded, str) else loaded)
        if made is not None:
            rows.append(made)
            clips |= samples.row(item.row).get("frames") not in (None, 0)
    if not rows:
        return None
    maps = {id(layer): cut(layer_values(layer, samples.read), area) for _, layers, area in rows for layer in layers if layer is not None}
    scale = ColourScale(0.0, ColourScale.of(list(maps.values())).high, "magma") if maps else None
    out: list[PanelRow] = []
    for row, layers, area in rows:
        out.append(row)
        if scale is not None and any(layer is not None for layer in layers):
            below = [None if layer is None else _error_panel(layer, scale, maps[id(layer)], area) for layer in layers]
            out.append(PanelRow("", tuple(below)))
    note = f"Crops of up to {CROP}×{CROP} output pixels with the most detail, pixel for pixel; the input is enlarged without smoothing."
    note += " Of clips, the centre frames." if clips else ""
    note += f" Inputs and targets cannot be shown: {missing}" if missing else ""
    label = "|output − target|, grey levels of 255, mean over channels" if scale else ""
    return ImagePanels("Outputs", tuple(out), scale, label), note


def _image_row(
    samples: Samples, stored: Mapping[str, tuple[Cell, str]], item: Shown, loaded: Loaded | None
) -> tuple[PanelRow, list[Layer | None], Area] | None:
    """The first row of panels of one sample, the layer of the error map (or None) below each of them, and the part that they show."""
    sources = {model: Source(item.row, name, cell.id) for model, (cell, name) in stored.items()}
    outputs = {model: still(values) for model, source in sources.items() if (values := samples.read.stored(source)) is not None}
    if not outputs:
        return None
    first = to_image(next(iter(outputs.values())))
    target = still(loaded.target) if loaded is not None and loaded.target is not None else None
    if target is not None and target.shape[1:] != first.shape[:2]:
        target = None
    reference = to_image(target) if target is not None else first
    table = samples.row(item.row)
    scale = max(1, first.shape[0] // table["height"])
    box = busiest(reference, CROP // scale * scale, step=math.lcm(8, scale))
    step = table["height"] / reference.shape[0], table["width"] / reference.shape[1]
    area = Area(box[0] * step[0], box[1] * step[1], box[2] * step[0], box[3] * step[1])
    panels: list[ImagePanel | None] = [None]
    if box[2:] != reference.shape[:2]:
        whole = Source(item.row, "target") if target is not None else sources[next(iter(outputs))]
        frame = Frame(area.top, area.left, area.height, area.width)
        everything = Area(0, 0, table["height"], table["width"])
        panels = [ImagePanel("whole image", (Layer(whole),), "", everything, (frame,), THUMB_SIDE, overview=True)]
    given = ImagePanel("input", (Layer(Source(item.row, "input")),), f"enlarged ×{scale}" if scale > 1 else "", area, side=CROP)
    panels.append(given if loaded is not None else None)
    errors: list[Layer | None] = [None, None]
    for model, source in sources.items():
        if model not in outputs:
            panels.append(None)
            errors.append(None)
            continue
        panels.append(ImagePanel(model, (Layer(source),), item.scores.get(model, ""), area, side=CROP))
        alike = target is not None and outputs[model].shape[1:] == target.shape[1:]
        error = Layer(source, (Term(Source(item.row, "target")),), absolute=True, channels="mean", scale=ColourScale(0, 255, "magma"))
        errors.append(error if alike else None)
    panels.append(ImagePanel("target", (Layer(Source(item.row, "target")),), "", area, side=CROP) if target is not None else None)
    errors.append(None)
    head = " · ".join(part for part in (item.rank, samples.head(item.row)) if part)
    return PanelRow(head, tuple(panels), samples.colour(item.row)), errors, area


def _error_panel(layer: Layer, scale: ColourScale, error: np.ndarray, area: Area) -> ImagePanel:
    return ImagePanel(f"mean {error.mean():.2f}", (replace(layer, scale=scale),), area=area, side=CROP)


# -- maps -------------------------------------------------------------------------------------------------------


def map_panels(samples: Samples, table: SampleTable, readers: Sequence[Reader], *, title: str, count: int = 2) -> Noted | None:
    """The most varying maps of `count` samples, each row led by its input."""
    meta = readers[0].meta
    lead = meta.shape[:-2]
    places = pick(table, [reader for reader in readers if reader.meta.shape[:-2] == lead], count)
    if not places:
        return None
    stored = [samples.read.stored(Source(table_row(reader.bucket, place), meta.name, reader.cell.id)) for reader, place in places]
    values = [row.reshape(-1, *row.shape[-2:]).astype(np.float32) for row in stored if row is not None]
    chosen = most_varying(values[0], MAPS)
    scale = ColourScale.of([shrunk(some[i], MAP_SIDE) for some in values for i in chosen])
    rows = []
    for reader, place in places:
        number = table_row(reader.bucket, place)
        panels: list[ImagePanel | None] = [_input(samples, number)]
        for i in chosen:
            index = tuple(int(k) for k in np.unravel_index(i, tuple(lead))) if lead else ()
            layer = Layer(Source(number, meta.name, reader.cell.id, index), scale=scale)
            panels.append(ImagePanel(_index(index, meta.dims), (layer,), side=MAP_SIDE))
        rows.append(PanelRow(samples.head(number), tuple(panels), samples.colour(number)))
    total = len(values[0])
    order = f"{len(chosen)} of {total} maps, those that vary most over the first sample. " if total > 1 else ""
    shrink = "Averaged down to fit. " if max(max(row.shape[-2:]) for row in values) > MAP_SIDE else ""
    shapes = f"{about(meta)}{' (of the first sample)' if len({row.shape for row in values}) > 1 else ''}"
    note = f"{shapes}. {order}{shrink}{_beyond(readers[0])}".strip()
    return ImagePanels(title, tuple(rows), scale, "value"), note


def _input(samples: Samples, number: int) -> ImagePanel | None:
    """The input beside its maps, None where it is not at hand."""
    if isinstance(samples.load(number), str):
        return None
    return ImagePanel("input", (Layer(Source(number, "input")),), side=MAP_SIDE, overview=True)


def _beyond(reader: Reader) -> str:
    """Says when a map is larger than its input: networks that pad see their own padding."""
    stride = reader.meta.attributes.get("stride")
    if not stride:
        return ""
    over = [size * step - own for size, step, own in
            zip(reader.meta.shape[-2:], stride, (reader.bucket.height, reader.bucket.width))]  # fmt: skip
    return f"Reaches {max(over):g} input pixels beyond the input, which is padded for this network." if max(over) >= 1 else ""


def side_by_side(
    samples: Samples, table: SampleTable, readers: Mapping[str, Sequence[Reader]], *, title: str, count: int = 3
) -> Noted | None:
    """Arrays of one map a sample, such as attributions: the networks beside each other, samples below each other.

    Networks differ by orders of magnitude in such maps, so each map has its own scale, which is written below it.
    """
    first = next(iter(readers.values()))
    rows: list[PanelRow] = []
    for reader, place in pick(table, first, count):
        number = table_row(reader.bucket, place)
        panels: list[ImagePanel | None] = [_input(samples, number)]
        for model, some in readers.items():
            meta = some[0].meta
            source = Source(number, meta.name, some[0].cell.id, (0,) * len(meta.shape[:-2]))
            value = samples.read.stored(source)
            if value is None:
                panels.append(None)
                continue
            scale = ColourScale.of([shrunk(value.reshape(value.shape[-2:]).astype(np.float32), MAP_SIDE)])
            ends = f"±{scale.high:.3g}" if scale.low < 0 else f"0 … {scale.high:.3g}"
            panels.append(ImagePanel(model, (Layer(source, scale=scale),), ends, side=MAP_SIDE))
        rows.append(PanelRow(samples.head(number), tuple(panels), samples.colour(number)))
    if not rows:
        return None
    note = f"{about(first[0].meta)}. Each map has its own scale: symmetric about 0 (white) where it is signed."
    return ImagePanels(title, tuple(rows)), note


def most_varying(maps: np.ndarray, count: int) -> list[int]:
    """Numbers of the `count` maps of (N, H, W) with the largest spatial variance, largest first."""
    variance = np.asarray(maps, np.float64).reshape(len(maps), -1).var(axis=1)
    chosen: list[int] = np.argsort(-np.nan_to_num(variance, nan=-1.0), kind="stable")[:count].tolist()
    return chosen


def _index(index: Sequence[int], dims: Sequence[str]) -> str:
    if not index:
        return "map" if tuple(dims) == ("y", "x") else " × ".join(dims)
    return ", ".join(f"{dim} {i}" for dim, i in zip(dims, index))


# -- matrices ---------------------------------------------------------------------------------------------------


def matrix_panels(samples: Samples, readers: Sequence[Reader], *, title: str, colour: Callable[[str], str]) -> Noted | None:
    """Values without a place in the image, samples down and values across. `colour`: degradation label → its colour."""
    meta = readers[0].meta
    if not meta.shape:
        return None
    alike = [reader for reader in readers if reader.meta.shape == meta.shape]
    good = [(table_row(reader.bucket, int(place)), reader, int(place)) for reader in alike for place in _few(reader.valid)]
    chosen = spread(MATRIX_ROWS, sorted(good, key=lambda item: item[0]))
    values = np.stack([reader.rows([place])[0] for _, reader, place in chosen]).astype(np.float64)
    lead = meta.shape[0] if len(meta.shape) > 1 else 1
    total = sum(int(reader.valid.sum()) for reader in alike)
    if lead > LEADING:
        return _matrices(samples, title, meta, [(chosen[i][0], values[i].reshape(lead, -1)) for i in spread(2, range(len(chosen)))])
    marks = tuple(colour(samples.label(number)) for number, _, _ in chosen) if samples.several else ()
    names = meta.attributes.get(f"{meta.dims[0]}_names") or [f"{meta.dims[0]} {i}" for i in range(lead)]
    stacks = values.reshape(len(chosen), lead, -1)
    rows = []
    for i in range(lead):
        scale = ColourScale.of([stacks[:, i]])
        ends = f"{scale.low:.3g} … {scale.high:.3g}".replace("-", "−")
        layer = layer_of(_narrow(stacks[:, i]), scale, side=MATRIX_SIDE)
        caption = f"{names[i]}: {ends}" if lead > 1 else ends
        rows.append(PanelRow("", (ImagePanel(caption, (layer,), side=MATRIX_SIDE, height=20 + 5 * len(chosen), edge=marks),)))
    across = " × ".join(meta.dims[1:] if lead > 1 else meta.dims)
    left = ", degradation at the left edge" if marks else ""
    note = f"{about(meta)}. {len(chosen)} of {counted(total, 'sample')} from top to bottom, in table order{left}; "
    note += f"{across} from left to right."
    return ImagePanels(title, tuple(rows)), f"{note} Each image has its own scale."


def _narrow(matrix: np.ndarray) -> np.ndarray:
    """Averaged over neighbouring columns until it is at most MATRIX_SIDE wide."""
    each = -(-matrix.shape[1] // MATRIX_SIDE)
    starts = np.arange(0, matrix.shape[1], each)
    return np.add.reduceat(matrix, starts, axis=1) / np.diff([*starts, matrix.shape[1]]) if each > 1 else matrix


def _few(valid: np.ndarray) -> list[int]:
    """At most 64 valid rows, evenly spaced."""
    good = np.flatnonzero(valid)
    return [int(good[i]) for i in spread(64, range(len(good)))]


def _matrices(samples: Samples, title: str, meta: ArrayMeta, shown: Sequence[tuple[int, np.ndarray]]) -> Noted:
    """One image a sample: too many leading rows to show each apart."""
    rows = []
    scale = ColourScale.of([matrix for _, matrix in shown])
    for number, matrix in shown:
        panel = ImagePanel("", (layer_of(matrix, scale, side=MATRIX_SIDE),), side=MATRIX_SIDE, height=132)
        rows.append(PanelRow(samples.head(number), (panel,), samples.colour(number)))
    note = f"{about(meta)}. {meta.dims[0]} from top to bottom, {' × '.join(meta.dims[1:])} from left to right."
    return ImagePanels(title, tuple(rows), scale, "value"), note
