"""From stored arrays to blocks of pictures. What an array's dims and dtype say decides how it is shown, not which probe wrote it:

    uint8 (channel 1|3, y, x)     an image: beside its input and target, with the error map      `image_block`
    the same with a frame first   a clip: its centre frame, as an image                       `image_block`
    (…, y, x)                     maps: the most varying ones, beside the input                   `map_block`
    anything else                 a matrix: samples down, values across; one for each leading index `matrix_block`

So a new probe's arrays are drawn without a line here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xlli_ray.corpus.degradations import is_real
from xlli_ray.corpus.sample import Loaded
from xlli_ray.errors import counted
from xlli_ray.report.gallery import (
    CROP,
    MAP_SIDE,
    Block,
    Colours,
    Row,
    Tile,
    busiest,
    most_varying,
    overview,
    png,
)
from xlli_ray.report.shown_samples import Samples, pick, spread, table_row
from xlli_ray.store.records.manifest import Cell, SampleTable
from xlli_ray.store.zarr.layout import ArrayMeta
from xlli_ray.store.zarr.size_reader import Reader
from xlli_ray.views.pixels import shrunk, still, to_image
from xlli_ray.views.stored import row_of

MAPS = 8
"""Maps of one sample shown."""
MATRIX_ROWS = 24
LEADING = 8
"""A matrix with at most so many rows per sample is shown as one picture for each of them."""


# -- what kind of array -----------------------------------------------------------------------------------------


def is_map(meta: ArrayMeta) -> bool:
    """True when the last two axes lie in the image."""
    return tuple(meta.dims[-2:]) == ("y", "x")


def is_clip(meta: ArrayMeta) -> bool:
    """True where a sample has an axis of frames."""
    return "frame" in meta.dims


def about(meta: ArrayMeta) -> str:
    """`64 × 128 × 128 float32, 0.25 input pixels a step`."""
    text = f"{' × '.join(map(str, meta.shape)) or 'one number'} {meta.dtype}"
    stride = meta.attributes.get("stride")
    if not stride:
        return text
    steps = f"{stride[0]:g}" if math.isclose(stride[0], stride[1]) else f"{stride[0]:.3g} × {stride[1]:.3g}"
    return f"{text}, {steps} input pixel{'' if steps == '1' else 's'} a step"


# -- blocks -----------------------------------------------------------------------------------------------------


def corpus_block(samples: Samples, table: SampleTable, *, count: int = 8) -> Block | None:
    """What the networks are given: one content in all its degradations, or several contents."""
    if not table.rows:
        return None
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
    tiles: list[Tile | None] = []
    missing = ""
    for number in numbers:
        loaded = samples.load(number)
        if isinstance(loaded, str):
            missing = missing or loaded
            continue
        size = f"{loaded.input.shape[-1]}×{loaded.input.shape[-2]}" + (f", {len(loaded.input)} frames" if loaded.input.ndim == 4 else "")
        caption = samples.label(number) if samples.several else samples.name(number)
        tiles.append(Tile(overview(to_image(loaded.input)), caption, size))
    if missing:
        note += f" Not all can be shown: {missing}"
    return Block("", note, max(4, len(tiles)), [Row("", "", tiles)] if tiles else [])


@dataclass(frozen=True)
class Shown:
    """One sample of an image block, and the score of each model on it."""

    row: int
    rank: str
    scores: Mapping[str, str]


def image_block(samples: Samples, readers: Mapping[str, Sequence[Reader]], shown: Sequence[Shown]) -> Block | None:
    """Input, outputs of the models, target, and below the outputs their error maps. `readers`: model → one per bucket."""
    rows: list[tuple[Row, list[np.ndarray | None]]] = []
    missing = ""
    for item in shown:
        loaded = samples.load(item.row)
        if isinstance(loaded, str):
            missing = missing or loaded
        made = _image_row(samples, readers, item, None if isinstance(loaded, str) else loaded)
        if made is not None:
            rows.append(made)
    if not rows:
        return None
    errors = [error for _, some in rows for error in some if error is not None]
    scale = None
    out: list[Row] = []
    if errors:
        wide = Colours.of(errors)
        colours = Colours(0.0, wide.high, "magma")
        scale = colours.bar("|output − target|, grey levels of 255, mean over channels")
    for row, some in rows:
        out.append(row)
        if any(error is not None for error in some):
            tiles = [Tile(colours.draw(error), f"mean {error.mean():.2f}") if error is not None else None for error in some]
            out.append(Row("", "", tiles))
    sizes = f"Crops of up to {CROP}×{CROP} output pixels with the most detail, pixel for pixel; the input is enlarged without smoothing."
    if any(is_clip(some[0].meta) for some in readers.values() if some):
        sizes += " Of clips, the centre frames."
    note = sizes + (f" Inputs and targets cannot be shown: {missing}" if missing else "")
    return Block("", note, len(rows[0][0].tiles), out, scale)


def _image_row(
    samples: Samples, readers: Mapping[str, Sequence[Reader]], item: Shown, loaded: Loaded | None
) -> tuple[Row, list[np.ndarray | None]] | None:
    """The first line of tiles of one sample, and the error map (or None) below each of them."""
    found = {model: row_of(buckets, item.row) for model, buckets in readers.items()}
    outputs = {model: still(output) for model, output in found.items() if output is not None}
    if not outputs:
        return None
    first = to_image(next(iter(outputs.values())))
    target = still(loaded.target) if loaded is not None and loaded.target is not None else None
    if target is not None and target.shape[1:] != first.shape[:2]:
        target = None
    reference = to_image(target) if target is not None else first
    scale = first.shape[0] // loaded.input.shape[-2] if loaded is not None else 1
    scale = max(1, scale)
    box = busiest(reference, CROP // scale * scale, step=math.lcm(8, scale))
    whole = box[2:] == reference.shape[:2]
    tiles: list[Tile | None] = [None if whole else Tile(overview(reference, box=box), "whole image")]
    if loaded is not None:
        small = tuple(-(-value // scale) for value in box)
        tiles.append(Tile(png(_cut(to_image(loaded.input), small)), "input", f"enlarged ×{scale}" if scale > 1 else ""))
    else:
        tiles.append(None)
    errors: list[np.ndarray | None] = [None, None]
    for model in readers:
        if model not in outputs:
            tiles.append(None)
            errors.append(None)
            continue
        image = to_image(outputs[model])
        tiles.append(Tile(png(_cut(image, _resized(box, reference, image))), model, item.scores.get(model, "")))
        alike = target is not None and image.shape == reference.shape
        errors.append(_error(outputs[model], target, box) if target is not None and alike else None)
    tiles.append(Tile(png(_cut(to_image(target), box)), "target") if target is not None else None)
    errors.append(None)
    head = " · ".join(part for part in (item.rank, samples.head(item.row)) if part)
    return Row(head, samples.family(item.row), tiles), errors


def _cut(image: np.ndarray, box: tuple[int, ...]) -> np.ndarray:
    top, left, height, width = box
    return image[top : top + height, left : left + width]


def _resized(box: tuple[int, ...], reference: np.ndarray, image: np.ndarray) -> tuple[int, ...]:
    """The same part of an image of another size: networks of two scales that were given the same input."""
    factors = (image.shape[0] / reference.shape[0], image.shape[1] / reference.shape[1])
    return tuple(max(1, round(value * factors[i % 2])) if i > 1 else round(value * factors[i % 2]) for i, value in enumerate(box))


def _error(output: np.ndarray, target: np.ndarray, box: tuple[int, ...]) -> np.ndarray:
    """Mean absolute error in grey levels, cut at `box`. A one-channel output is compared with the luma that its network was given."""
    wanted = np.moveaxis(target, 0, 2).astype(np.float64) * 255
    if len(output) == 1:
        wanted = (wanted @ np.array([0.299, 0.587, 0.114]))[:, :, None]
    difference = np.abs(np.moveaxis(output, 0, 2).astype(np.float64) - wanted)
    return _cut(difference.mean(axis=2), box)


def map_block(samples: Samples, table: SampleTable, readers: Sequence[Reader], *, title: str, count: int = 2) -> Block | None:
    """The most varying maps of `count` samples, each line led by its input."""
    meta = readers[0].meta
    lead = meta.shape[:-2]
    places = pick(table, [reader for reader in readers if reader.meta.shape[:-2] == lead], count)
    if not places:
        return None
    values = [reader.rows([place])[0] for reader, place in places]
    values = [row.reshape(-1, *row.shape[-2:]).astype(np.float32) for row in values]
    chosen = most_varying(values[0], MAPS)
    maps = [[shrunk(some[i], MAP_SIDE) for i in chosen] for some in values]
    colours = Colours.of([item for some in maps for item in some])
    rows = []
    for (reader, place), some in zip(places, maps):
        number = table_row(reader.bucket, place)
        loaded = samples.load(number)
        first = None if isinstance(loaded, str) else Tile(overview(to_image(loaded.input), side=MAP_SIDE), "input")
        tiles = [first, *(Tile(colours.draw(item), _index(i, lead, meta.dims)) for i, item in zip(chosen, some))]
        rows.append(Row(samples.head(number), samples.family(number), tiles))
    total = len(values[0])
    order = f"{len(chosen)} of {total} maps, those that vary most over the first sample. " if total > 1 else ""
    shrink = "Averaged down to fit. " if max(max(row.shape[-2:]) for row in values) > MAP_SIDE else ""
    shapes = f"{about(meta)}{' (of the first sample)' if len({row.shape for row in values}) > 1 else ''}"
    note = f"{shapes}. {order}{shrink}{_beyond(readers[0])}".strip()
    return Block(title, note, len(chosen) + 1, rows, colours.bar("value"))


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
) -> Block | None:
    """Arrays of one map a sample, such as attributions: the networks beside each other, samples below each other.

    Networks differ by orders of magnitude in such maps, so each map has its own scale, which is written below it.
    """
    first = next(iter(readers.values()))
    rows: list[Row] = []
    for reader, place in pick(table, first, count):
        number = table_row(reader.bucket, place)
        loaded = samples.load(number)
        tiles: list[Tile | None] = [None if isinstance(loaded, str) else Tile(overview(to_image(loaded.input), side=MAP_SIDE), "input")]
        for model, some in readers.items():
            value = row_of(some, number)
            if value is None:
                tiles.append(None)
                continue
            small = shrunk(value.reshape(value.shape[-2:]).astype(np.float32), MAP_SIDE)
            colours = Colours.of([small])
            ends = f"±{colours.high:.3g}" if colours.low < 0 else f"0 … {colours.high:.3g}"
            tiles.append(Tile(colours.draw(small), model, ends))
        rows.append(Row(samples.head(number), samples.family(number), tiles))
    if not rows:
        return None
    note = f"{about(first[0].meta)}. Each map has its own scale: symmetric about 0 (white) where it is signed."
    return Block(title, note, len(readers) + 1, rows)


def is_single_map(meta: ArrayMeta) -> bool:
    """True for one map a sample."""
    return is_map(meta) and math.prod(meta.shape[:-2]) == 1


def _index(flat: int, lead: Sequence[int], dims: Sequence[str]) -> str:
    if not lead:
        return reader_name(dims)
    return ", ".join(f"{dim} {int(i)}" for dim, i in zip(dims, np.unravel_index(flat, tuple(lead))))


def reader_name(dims: Sequence[str]) -> str:
    """What a single map without further axes is called."""
    return "map" if tuple(dims) == ("y", "x") else " × ".join(dims)


def matrix_block(samples: Samples, readers: Sequence[Reader], *, title: str, colour: Callable[[str], str]) -> Block | None:
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
    marks = [colour(samples.label(number)) for number, _, _ in chosen] if samples.several else []
    names = meta.attributes.get(f"{meta.dims[0]}_names") or [f"{meta.dims[0]} {i}" for i in range(lead)]
    stacks = values.reshape(len(chosen), lead, -1)
    rows = []
    for i in range(lead):
        colours = Colours.of([stacks[:, i]])
        ends = f"{colours.low:.3g} … {colours.high:.3g}".replace("-", "−")
        uri = colours.draw(stacks[:, i], marks=marks)
        rows.append(Row("", "", [Tile(uri, f"{names[i]}: {ends}" if lead > 1 else ends, height=20 + 5 * len(chosen))]))
    across = " × ".join(meta.dims[1:] if lead > 1 else meta.dims)
    left = ", degradation at the left edge" if marks else ""
    note = f"{about(meta)}. {len(chosen)} of {counted(total, 'sample')} from top to bottom, in table order{left}; "
    note += f"{across} from left to right."
    return Block(title, f"{note} Each picture has its own scale.", 1, rows)


def _few(valid: np.ndarray) -> list[int]:
    """At most 64 valid rows, evenly spaced."""
    good = np.flatnonzero(valid)
    return [int(good[i]) for i in spread(64, range(len(good)))]


def _matrices(samples: Samples, title: str, meta: ArrayMeta, shown: Sequence[tuple[int, np.ndarray]]) -> Block:
    """One picture a sample: too many leading rows to show each apart."""
    rows = []
    colours = Colours.of([matrix for _, matrix in shown])
    for number, matrix in shown:
        rows.append(Row(samples.head(number), samples.family(number), [Tile(colours.draw(shrunk(matrix, 512)), "", height=132)]))
    note = f"{about(meta)}. {meta.dims[0]} from top to bottom, {' × '.join(meta.dims[1:])} from left to right."
    return Block(title, note, 1, rows, colours.bar("value"))


def cell_title(cell: Cell, reader: Reader) -> str:
    """`imdn · model.2.in`, with the array's name where a cell has several."""
    several = len(reader.bucket.arrays) > 1
    return cell_words(cell) + (f" · {reader.meta.name}" if several else "")


def cell_words(cell: Cell) -> str:
    """`imdn · model.2.in`; without a model, `complexity`."""
    return f"{cell.model} · {cell.what}" if cell.model else cell.what
