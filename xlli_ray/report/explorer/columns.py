"""The columns of the samples table: what is known of each sample, and the scalars that stages measured of it, a value a model.

A stage with several rows a sample (windows of LAM) gives their mean.
Of several cells of one network (a map and its controls), the first by name counts, as on the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xlli_ray.report.explorer.encoding import float32_text, uint32_text
from xlli_ray.report.page_context import Context
from xlli_ray.report.page_model import Scalar
from xlli_ray.report.page_parts.arrays import OWNER
from xlli_ray.report.page_parts.stage import scalars_of
from xlli_ray.store.records.manifest import NO_MODEL
from xlli_ray.store.tables.sql import quoted

NUMBERS = ("float64", "int64", "bool")
WORDS_OF_SAMPLES = ("label", "type", "content", "bucket", "clip")
NUMBERS_OF_SAMPLES = ("height", "width", "target_height", "target_width", "scale", "top", "left", "frames", "speed")
ADDRESSES = ("row", "sample_id", "seed", "source", "source_sha", "target", "target_sha", "mask", "mask_sha", "kind", "size", "aliases")
"""Columns of the sample table that are shown beside a sample, or not at all."""


@dataclass(frozen=True)
class ExplorerColumn:
    """One column: what it is, and its values."""

    group: str
    """`sample`, or the stage."""
    name: str
    kind: Literal["number", "word"]
    about: str = ""
    unit: str = ""
    better: str | None = None
    models: tuple[str, ...] = ()
    """Empty: one value a sample."""
    most: int = 1
    """Rows of the stage's table that one value is the mean of, at most."""
    values: NDArray[Any] = field(default_factory=lambda: np.empty(0), repr=False)
    """(max(1, models), samples): float32, NaN for none; of words uint32, 0 for none, else 1 + index in `words`."""
    words: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Unique among the columns of a study."""
        return f"{self.group}/{self.name}"

    @property
    def about_json(self) -> dict[str, Any]:
        """`ColumnData` of `web/src/data.ts`."""
        return {
            "id": self.id, "group": self.group, "name": self.name, "kind": self.kind, "about": self.about, "unit": self.unit,
            "better": self.better, "models": list(self.models), "most": self.most,
        }  # fmt: skip

    @property
    def part(self) -> dict[str, Any]:
        """`ColumnPart`."""
        if self.kind == "word":
            return {"words": list(self.words), "u4": uint32_text(self.values)}
        return {"f4": float32_text(self.values)}


def explorer_columns(context: Context) -> list[ExplorerColumn]:
    """Of samples, then of stages in the order of the page. A column without any value is left out."""
    return [*_of_samples(context), *_of_stages(context)]


def _of_samples(context: Context) -> Iterator[ExplorerColumn]:
    rows = context.table.rows
    table = context.study.sample_rows(0, rows)
    for name in table.column_names:
        if name in ADDRESSES:
            continue
        column, kind = table[name], table.schema.field(name).type
        if name in WORDS_OF_SAMPLES or (pa.types.is_string(kind) and name not in NUMBERS_OF_SAMPLES and not name.startswith("motion")):
            words, codes = _coded(column)
            if len(words) > 1 or name == "label":
                yield ExplorerColumn("sample", name, "word", _ABOUT.get(name, ""), values=codes[None], words=words)
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            values = _numbers(column)
            if np.isfinite(values).any() and (name not in NUMBERS_OF_SAMPLES or np.unique(values[np.isfinite(values)]).size > 1):
                yield ExplorerColumn("sample", name, "number", _ABOUT.get(name, ""), values=values[None])
    failed = context.tables.rows("select row, count(*) as n from failures where row is not null group by row")
    if failed:
        counts = np.zeros((1, rows), np.float32)
        counts[0, [one["row"] for one in failed]] = [one["n"] for one in failed]
        yield ExplorerColumn("sample", "failures", "number", "failed measurements", better="lower", values=counts)


_ABOUT = {
    "label": "degradation", "type": "family of the degradation", "content": "the same photograph or patch has the same content",
    "bucket": "size of the input", "clip": "clip", "height": "rows of the input", "width": "columns of the input",
    "top": "first row of the patch", "left": "first column of the patch",
}  # fmt: skip


def _coded(column: pa.ChunkedArray) -> tuple[tuple[str, ...], NDArray[np.uint32]]:
    """Words in order of first appearance; codes with 0 for null."""
    coded = column.combine_chunks().cast(pa.string()).dictionary_encode()
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
    return tuple(str(word) for word in coded.dictionary.to_pylist()), codes.astype(np.uint32)


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float32]:
    return np.asarray(column.cast(pa.float64()).fill_null(float("nan")).to_numpy(), np.float32)


def _of_stages(context: Context) -> Iterator[ExplorerColumn]:
    manifest = context.study.manifest
    order = [stage.get("id") for stage in manifest.recipe.get("stages", [])]
    stages = list(dict.fromkeys(cell.stage for cell in manifest.cells if cell.columns))
    ranks = {model.id: i for i, model in enumerate(manifest.models)}
    for stage in sorted(stages, key=lambda name: order.index(name) if name in order else len(order)):
        cells = [cell for cell in manifest.cells if cell.stage == stage]
        known = [column for column in scalars_of(cells, manifest.kinds) if column.dtype in NUMBERS and not column.place]
        owners = sorted({cell.owner for cell in cells}, key=lambda owner: ranks.get(owner, len(ranks)))
        if known:
            yield from _of_stage(context, stage, cells[0].kind, known, owners)


def _of_stage(context: Context, stage: str, kind: str, known: Sequence[Scalar], owners: Sequence[str]) -> Iterator[ExplorerColumn]:
    """All columns of a stage with one statement."""
    means = ", ".join(
        f"avg({quoted(c.name)}::double) filter (where isfinite({quoted(c.name)}::double)) as v{i}" for i, c in enumerate(known)
    )
    found = context.tables.arrow(
        f"select row, owner, count(*) as n, {means} from (select *, {OWNER} as owner from {quoted(kind)} where stage = ? "
        "qualify what = min(what) over (partition by owner)) where status = 'ok' group by row, owner",
        [stage],
    )
    if not found.num_rows:
        return
    places: Mapping[str, int] = {owner: i for i, owner in enumerate(owners)}
    at = np.array([places[name] for name in found["owner"].to_pylist()]), found["row"].to_numpy()
    most = int(np.max(found["n"].to_numpy()))
    models = () if list(owners) == [NO_MODEL] else tuple(owners)
    for i, column in enumerate(known):
        values = np.full((len(owners), context.table.rows), np.nan, np.float32)
        values[at] = _numbers(found[f"v{i}"])
        if np.isfinite(values).any():
            yield ExplorerColumn(stage, column.name, "number", column.about, column.unit, column.better, models, most, values)
