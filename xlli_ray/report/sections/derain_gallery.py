"""Pictures of a `derain` stage: what each network took out of the rain, and what it destroyed.

For some backgrounds, under each of their degradations, a crop where the rain is strongest: input, target, the rain O − B, and then for each
network its output F, what it removed, O − F, and what it destroyed: the part of F − O that ρ, that of the table, does not explain,
(F − O) − ρ (B − O). Rain that was removed unevenly is in it, too: brighter where more was left than ρ says. Differences are grey for
nothing, brighter where the first is brighter, pixel for pixel and without stretching: a uniform grey in the last is a network that left
the image alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.sample import Loaded
from xlli_ray.plots.pixels import to_image
from xlli_ray.report.section import Image, Images, Part, SectionContext, Text
from xlli_ray.report.shown_samples import ROW_BYTES, spread
from xlli_ray.store.zarr.size_reader import Reader, open_readers
from xlli_ray.views.stored import is_image, row_of

BACKGROUNDS = 2
LABELS = 3
MODELS = 4
SIDE = 160
"""Of a crop, pixels."""
STEP = 16
GREY = 128


def derain_section(context: SectionContext) -> Iterator[Part]:
    """The pictures of a `derain` stage. Raises StudyError for an array that cannot be read."""
    stored = {model: outputs for model in context.models if (outputs := _outputs(context, model))}
    if not stored:
        yield Text("No pictures: no output is kept. `derain: {save: true}`, or `restore: {save: true}`, keeps them.")
        return
    models = spread(MODELS, list(stored))
    if len(models) < len(context.models):
        yield Text(f"{len(models)} of {len(context.models)} networks are drawn.")
    missing = ""
    for row in _rows(context, models):
        loaded = context.load(row)
        if isinstance(loaded, str) or loaded.target is None:
            missing = missing or (loaded if isinstance(loaded, str) else "a sample has no target")
            continue
        rho = {line["model"]: line["rho"] for line in context.rows(
            "select model, rho from derain where stage = ? and row = ? and status = 'ok'", [context.stage, row])}  # fmt: skip
        lines = [("", _given(loaded))]
        for model in models:
            output = row_of(stored[model], row)
            if output is not None and model in rho:
                lines.append((model, _made(output, loaded, rho[model])))
        yield Images(context.page.samples.head(row), lines, "Differences: grey is nothing, brighter where the first is brighter.")
    if missing:
        yield Text(f"Some samples cannot be shown: {missing}")


def _outputs(context: SectionContext, model: str) -> list[Reader]:
    """Stored outputs of a network: of this stage, or of one that restores."""
    own = [cell for cell in context.cells if cell.model == model]
    others = [cell for cell in context.study.manifest.cells if cell.kind == "restore" and cell.model == model]
    readers = (reader for cell in (*own, *others) for reader in open_readers(context.study.archive.records, cell))
    return [r for r in readers if is_image(r.meta) and r.meta.nbytes / max(1, r.meta.rows) <= ROW_BYTES and r.valid.any()]


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


def _crop(loaded: Loaded) -> tuple[slice, slice]:
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
    return slice(int(tops[top]), int(tops[top]) + height), slice(int(lefts[left]), int(lefts[left]) + width)


def _given(loaded: Loaded) -> list[Image | None]:
    assert loaded.target is not None
    there = _crop(loaded)
    rainy, clean = (to_image(planes)[there] for planes in (loaded.input, loaded.target))
    return [Image(rainy, "input O"), Image(clean, "target B"), Image(_apart(rainy, clean), "rain, O − B")]


def _made(output: NDArray[Any], loaded: Loaded, rho: float) -> list[Image | None]:
    assert loaded.target is not None
    there = _crop(loaded)
    image, rainy, clean = (to_image(planes)[there] for planes in (output, loaded.input, loaded.target))
    change, rain = image.astype(np.float64) - rainy, clean.astype(np.float64) - rainy
    destroyed = change - (rho if np.isfinite(rho) else 0.0) * rain
    note = f"ρ {rho:.2f}" if np.isfinite(rho) else "ρ undefined"
    return [Image(image, "output F"), Image(_apart(rainy, image), "removed, O − F", note), Image(_signed(destroyed), "destroyed or uneven")]


def _apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return _signed(one.astype(np.float64) - other)


def _signed(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.floor((values + GREY).clip(0, 255) + 0.5).astype(np.uint8)
