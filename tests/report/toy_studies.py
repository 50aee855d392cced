"""Small studies made by hand through the store: no network, no engine, every state that a page can meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from xlli_ray.corpus.scan import SCHEMA, CorpusSpec, expand, list_sources, scan_source
from xlli_ray.store.objects.client import Objects
from xlli_ray.store.records.documents import save_manifest
from xlli_ray.store.records.manifest import BucketPlan, Cell, Manifest, ModelRecord, SampleTable
from xlli_ray.store.records.unit_records import Failure, Receipt, Shard, write_record
from xlli_ray.store.tables.sample_table import SampleReader, write_sample_table
from xlli_ray.store.zarr.layout import (
    ROOT,
    ArrayMeta,
    array_document,
    companion_document,
    create_document,
    group_document,
    group_key,
    shard_key,
    write_companion,
)
from xlli_ray.store.zarr.shard import ShardWriter, crc32c

SCALE = 2
PSNR = (("psnr_y", "float64"), ("ssim_y", "float64"), ("psnr_rgb", "float64"))


def scores(model: int, row: int, label: str) -> dict[str, Any]:
    """PSNR and SSIM of one sample: pictures differ much, networks by a tenth. No psnr_rgb, as of a one-channel network."""
    return {"psnr_y": 30.0 + row % 7 + 0.1 * model - 2 * (label != "clean"), "ssim_y": 0.9 + 0.001 * (row % 5)}


def noise(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
    """A signed array that says nothing."""
    return np.random.default_rng((model, row)).normal(size=shape)


@dataclass
class Further:
    """An array of a stage beside its own, with the same meaning of the fields."""

    name: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    dtype: str
    array: Callable[[int, int, tuple[int, ...]], np.ndarray]


@dataclass
class Stage:
    """What a stage of the study holds.

    `value(model, row, label)` gives one row's columns, or a list of them for a probe with several rows a sample;
    `array(model, row, shape)` its array. Two of one id are the same stage with other outputs (`whats`).
    """

    id: str
    kind: str = "restore"
    columns: Sequence[tuple[str, str]] = PSNR
    whats: Sequence[str] = ("restore",)
    name: str = "features"
    shape: tuple[int, ...] | None = None
    """Shape of a sample, None: no array. A -1 or -2 stands for the input's height or width times the scale."""
    dims: tuple[str, ...] = ("channel", "y", "x")
    dtype: str = "float32"
    params: dict[str, Any] = field(default_factory=dict)
    first: int | None = None
    """Only the first rows of each input size."""
    value: Callable[[int, int, str], dict[str, Any] | list[dict[str, Any]]] = scores
    array: Callable[[int, int, tuple[int, ...]], np.ndarray] = noise
    further: Sequence[Further] = ()
    without_model: bool = False
    """Samples alone are measured; `value` and `array` get −1 for the model."""

    @property
    def arrays(self) -> list[Further]:
        """All its arrays."""
        own = [] if self.shape is None else [Further(self.name, self.shape, self.dims, self.dtype, self.array)]
        return [*own, *self.further]


@dataclass
class Recipe:
    """How large the study is, and how far it came."""

    stages: Sequence[Stage]
    models: int = 2
    pictures: int = 3
    size: int = 64
    degradations: Sequence[Any] = ("clean", {"blur": 2})
    inputs: bool = False
    """Inputs that go in as they are: no targets, no degradations."""
    broken: int = 0
    done: float = 1.0
    failed: Sequence[int] = ()
    """Sample-table rows that no cell could measure."""
    reason: str = "not finite: NaN or infinity in the output"
    name: str = "toy"
    tags: bool = True
    analyses: Sequence[dict[str, Any]] = ()
    """Stages of the recipe that conclude, as study.json keeps them: kind, id, params, models."""


def write_study(objects: Objects, recipe: Recipe, folder: Path) -> Manifest:
    table, corpus = _scan(objects, recipe, folder)
    models = tuple(_model(i, recipe.tags) for i in range(recipe.models))
    cells = [
        _cell(stage, model, what, table, number)
        for number, stage in enumerate(recipe.stages)
        for model in ([""] if stage.without_model else [model.id for model in models])
        for what in stage.whats
    ]
    listed = [*({"id": name, "kind": kind} for name, kind in {s.id: s.kind for s in recipe.stages}.items()), *recipe.analyses]
    manifest = Manifest(
        name=recipe.name, seed=0, samples=table, models=models, cells=tuple(cells), versions={"python": "3.11", "torch": "2.6"},
        recipe={"name": recipe.name, "corpus": corpus, "stages": listed},
        command=f"xlli run {recipe.name}.yaml --workers 2",
    )  # fmt: skip
    save_manifest(objects, manifest)
    samples = rows_of(objects, table)
    documents: set[str] = set()
    for cell in cells:
        stage = next(stage for stage in recipe.stages if stage.id == cell.stage and cell.what in stage.whats)
        _documents(objects, cell, documents)
        for unit in range(round(recipe.done * cell.units)):
            _unit(objects, cell, stage, unit, recipe, samples)
    return manifest


def _scan(objects: Objects, recipe: Recipe, folder: Path) -> tuple[SampleTable, dict[str, Any]]:
    folder.mkdir()
    ramp = np.linspace(0, 255, recipe.size)
    for i in range(recipe.pictures):
        rng = np.random.default_rng(i)
        picture = rng.integers(0, 255, (recipe.size // 8, recipe.size // 8, 3)).repeat(8, 0).repeat(8, 1) / 2 + ramp[:, None] / 2
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"p{i:02d}.png")
    for i in range(recipe.broken):
        (folder / f"broken<b>{i}.png").write_bytes(b"no picture")
    corpus: dict[str, Any] = {"images": [str(folder / "*.png")], "scale": SCALE, "degradations": list(recipe.degradations)}
    if recipe.inputs:
        corpus = {"inputs": [str(folder / "*.png")]}
    spec = CorpusSpec(**corpus)
    rows = [scan_source(source, spec, 0) for source in list_sources(spec, folder)]
    bad = [{"source": row["uri"], "target": None, "reason": row["reason"]} for row in rows if row["status"] != "ok"]
    rejected = pa.Table.from_pylist(bad, pa.schema([(name, pa.string()) for name in ("source", "target", "reason")]))
    return write_sample_table(objects, expand(rows, spec, 0), SCHEMA, rejected, corpus_hash="0"), corpus


def _model(number: int, tags: bool) -> ModelRecord:
    return ModelRecord(
        id=f"net{number}", weights_sha256=f"{number:064x}", source=f"/weights/net{number}.pth", source_sha256="0" * 64,
        network="toy", network_version=1, scale=SCALE, channels=3, range=(0.0, 1.0), output="image", entry={},
        tags={"depth": number, "family": "toy"} if tags else {},
    )  # fmt: skip


def _cell(stage: Stage, model: str, what: str, table: SampleTable, number: int) -> Cell:
    buckets, first = [], 0
    for bucket in table.buckets:
        arrays: tuple[ArrayMeta, ...] = ()
        count = min(bucket.rows, stage.first or bucket.rows)
        per_unit = max(1, -(-count // 4))
        for one in stage.arrays:
            real = {-1: bucket.height * SCALE, -2: bucket.width * SCALE}
            shape = tuple(real.get(size, size) for size in one.shape)
            stride = {"stride": [bucket.height / shape[-2], bucket.width / shape[-1]]} if one.dims[-2:] == ("y", "x") else {}
            arrays += (ArrayMeta(one.name, count, per_unit, shape, one.dtype, one.dims, "blosc", stride),)
        buckets.append(
            BucketPlan(bucket.name, bucket.height, bucket.width, count, 1, per_unit, first, ((bucket.start, count),), arrays)
        )
        first += buckets[-1].units
    return Cell(
        stage.id, stage.kind, model, what, {}, stage.params, {"stage": stage.id, "model": model}, tuple(stage.columns),
        f"{model}-{number}", 1, tuple(buckets),
    )  # fmt: skip


def rows_of(objects: Objects, table: SampleTable) -> list[dict[str, Any]]:
    """The sample table."""
    return list(SampleReader(objects, table).rows(0, table.rows).to_pylist())


def _documents(objects: Objects, cell: Cell, done: set[str]) -> None:
    """Zarr's documents of a cell. `done`: groups that have theirs, which cells share."""
    for bucket in cell.buckets:
        for meta in bucket.arrays:
            key = group_key(cell.id, bucket.name)
            for part in (ROOT, f"{ROOT}/{cell.stage}", f"{ROOT}/{cell.stage}/{cell.owner}", f"{ROOT}/{cell.id}", key):
                if part not in done:
                    create_document(objects, part, group_document({}))
                    done.add(part)
            create_document(objects, f"{key}/{meta.name}", array_document(meta))
            write_companion(objects, f"{key}/row", np.arange(bucket.rows, dtype=np.int64))
            create_document(objects, f"{key}/row", companion_document(bucket.rows, "int64", {}))


def _unit(objects: Objects, cell: Cell, stage: Stage, unit: int, recipe: Recipe, table: Sequence[dict[str, Any]]) -> None:
    bucket, start, stop = cell.unit(unit)
    model = int(cell.model.removeprefix("net")) if cell.model else -1
    makers = {one.name: one.array for one in stage.arrays}
    (span,) = bucket.table_rows(start, stop)
    samples = table[slice(*span)]
    failed = [(i, sample) for i, sample in enumerate(samples) if sample["row"] in recipe.failed]
    shards = {}
    for meta in bucket.arrays:
        writer = ShardWriter(meta.shard_rows, meta.grid, np.dtype(meta.dtype), meta.codec)
        for i, sample in enumerate(samples):
            if sample["row"] not in recipe.failed:
                writer.write(i, makers[meta.name](model, sample["row"], meta.shape).astype(meta.dtype))
        key = shard_key(cell.id, bucket.name, meta, start // meta.shard_rows)
        parts = writer.finish()
        objects.put(key, parts)
        shards[meta.name] = Shard(key, crc32c(parts), sum(map(len, parts)))
    receipt = Receipt(
        cell.id, unit, 1, bucket.name, start, stop, shards,
        tuple(Failure(sample["row"], start + i, sample["sample_id"], "sample", recipe.reason) for i, sample in failed),
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    for sample in samples:
        bad = sample["row"] in recipe.failed
        nothing = {name: float("nan") if dtype == "float64" else None for name, dtype in cell.columns}
        given = {} if bad else stage.value(model, sample["row"], sample["label"])
        head = {"row": sample["row"], "sample_id": sample["sample_id"], "status": "failed" if bad else "ok"}
        for some in given if isinstance(given, list) else [given]:
            values = {**nothing, **some}
            rows.append({**head, **{name: values[name] for name, _ in cell.columns}})
    types = {"float64": pa.float64(), "int64": pa.int64(), "string": pa.string(), "bool": pa.bool_()}
    fields = [("row", pa.int64()), ("sample_id", pa.string()), ("status", pa.string()), *((n, types[d]) for n, d in cell.columns)]
    schema = pa.schema(fields) if cell.columns else pa.schema([("row", pa.int64())])
    assert write_record(objects, receipt, pa.Table.from_pylist(rows if cell.columns else [], schema))
