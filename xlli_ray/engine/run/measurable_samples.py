"""Which samples of a corpus a stage can measure: settings that fit no sample are refused, partial misfits are counted.

Checked at planning, before anything is computed. A study that already has such cells continues unchanged, with a note.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from xlli_ray.errors import PlanError, RecipeError, counted
from xlli_ray.probes import make_probe
from xlli_ray.probes.measurement import Selective
from xlli_ray.probes.probe import Probe
from xlli_ray.store.archive import Archive
from xlli_ray.store.records.manifest import BucketPlan, Cell, ModelRecord
from xlli_ray.store.tables.sample_table import SampleReader


def check_fit(archive: Archive, new: Collection[str] = ()) -> list[str]:
    """Notes on the samples that a stage cannot measure. `new`: ids of new cells.

    Raises PlanError for a new cell that can measure none of its samples, or that uses an output of a different size.
    """
    manifest = archive.manifest
    records = {record.id: record for record in manifest.models}
    widest: dict[tuple[str, str], Cell] = {}  # of several cells per stage and model (controls, layers), the one that covers most
    for cell in manifest.cells:
        key = cell.stage, cell.model
        if key not in widest or cell.rows > widest[key].rows:
            widest[key] = cell
    notes: dict[tuple[str, str], list[str]] = {}
    for cell in widest.values():
        try:
            probe = make_probe(cell.kind, cell.params, cell.spec, cell.code)
        except RecipeError:
            continue  # a missing probe, or one not named by this recipe: its cells wait
        if cell.id in new:
            _check_companions(cell, probe, records)
        if not isinstance(probe, Selective):
            continue
        reasons = _reasons(archive, cell, probe)
        unfit = sum(count for _, count in reasons)
        if not unfit:
            continue
        (first, count), *others = sorted(reasons, key=lambda reason: -reason[1])
        if unfit == cell.rows and cell.id in new:
            more = f" (and {counted(len(others), 'other reason')})" if others else ""
            who = f"model {cell.model} can measure" if cell.model else "it can measure"
            raise PlanError(
                f"stage {cell.stage}: {who} none of {counted(cell.rows, 'sample')}: {first}{more}. "
                f"Change the parameters of the stage, or the images of the corpus."
            )
        text = f"{unfit} of {counted(cell.rows, 'sample')} cannot be measured and will be failed rows: {first}"
        notes.setdefault((cell.stage, text + (f" ({count} of them)" if others else "")), []).append(cell.model)
    return [f"stage {', '.join([stage, *filter(None, models)])}: {text}" for (stage, text), models in notes.items()]


def _reasons(archive: Archive, cell: Cell, probe: Selective) -> list[tuple[str, int]]:
    """(reason, number of samples) for the samples that cannot be measured; files are looked up only where they matter, and reasons that
    differ only in the file's name are merged."""
    manifest = archive.manifest
    assert manifest.samples is not None
    scales = {bucket.name: next(iter(bucket.scales), 0) for bucket in manifest.samples.buckets}  # instead of a network's
    targets = {bucket.name for bucket in manifest.samples.buckets if bucket.targets == bucket.rows}
    reader = SampleReader(archive.objects, manifest.samples)

    def sources(bucket: BucketPlan) -> Iterator[str]:
        for first, last in bucket.table_rows(0, bucket.rows):
            yield from reader.rows(first, last)["source"].to_pylist()

    by_kind: dict[str, tuple[str, int]] = {}
    for bucket in sorted(cell.sizes, key=lambda b: -min(b.height, b.width)):  # the reason of the largest size comes first
        if bucket.refused:
            by_kind[bucket.refused] = bucket.refused, bucket.rows
            continue
        files = Counter(sources(bucket)) if probe.by_source else Counter({"": bucket.rows})
        scale = manifest.model(cell.model).scale if cell.model else scales[bucket.name]
        for source, rows in files.items():
            if reason := probe.unfit(scale, bucket.height, bucket.width, source, target=bucket.name in targets):
                kind = reason.replace(source, "…") if source else reason
                first, count = by_kind.get(kind, (reason, 0))
                by_kind[kind] = first, count + rows
    return list(by_kind.values())


def _check_companions(cell: Cell, probe: Probe, records: Mapping[str, ModelRecord]) -> None:
    """Refuse a companion without an image output, or with a size different from the model's. Raises PlanError."""
    for name in probe.companions:
        own, companion = records[cell.model], records[name]
        if companion.output != "image":
            raise PlanError(f"stage {cell.stage}: it uses the output of model {name}, which has `output: none`; name another model")
        if companion.scale != own.scale:
            raise PlanError(
                f"stage {cell.stage}: it uses the output of model {name}, which upscales ×{companion.scale}, for model {own.id}, which "
                f"upscales ×{own.scale}: name one of the same scale, or choose the stage's models with `models: […]`"
            )
