"""The identity of a cell: everything that can change its numbers, and nothing else; flat, so that messages can name what changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xlli_ray.corpus import decode, degradations
from xlli_ray.models import precision
from xlli_ray.models.networks import raised
from xlli_ray.probes.probe import Probe
from xlli_ray.recipe import Recipe
from xlli_ray.store.records.manifest import ModelRecord, SampleTable

OF_MODEL = (
    "weights sha256", "network", "network version", "network parts", "network args", "frames", "tiles", "segments", "scale", "range",
    "output", "draws", "batch",
)  # fmt: skip
"""Fields of an identity that are irrelevant to a measurement without a model."""
LATER = ("companion settings",)
"""Fields that are missing from the identities of cells of earlier versions, and are not compared with those."""


def cell_identity(
    recipe: Recipe, table: SampleTable, record: ModelRecord | None, probe: Probe, batches: Mapping[str, int], device: str
) -> dict[str, Any]:
    """The identity of the cell that `probe` measures with the model of `record`, or without one. `batches`: batch size by bucket."""
    sizes = sorted(set(batches.values()))
    return {
        "kind": probe.KIND,
        "probe version": _version(probe, record.scale, table) if record else probe.VERSION,
        "sample table": table.hash,
        "decode version": decode.VERSION,
        "degradation versions": degradations.counted(recipe.corpus.versions(table.labels)),
        **(_of_model(record) if record else {}),
        "batch": sizes[0] if len(sizes) == 1 else dict(sorted(batches.items())),
        "threads": recipe.threads,
        "device": device,
        **probe.identity(),
    }


def _of_model(record: ModelRecord) -> dict[str, Any]:
    return {
        "weights sha256": record.weights_sha256,
        "network": record.network,
        "network version": record.network_version,
        **({"network parts": parts} if (parts := raised(record.parts)) else {}),
        "network args": dict(record.entry.get("args") or {}),
        **{name: record.entry[name] for name in ("frames", "tiles", "segments") if record.entry.get(name)},
        "scale": record.scale,
        "range": list(record.range),
        "output": record.output,
    }


def precision_fields(name: str) -> dict[str, Any]:
    """The fields of an identity for a network computed in another precision than float32; none for that."""
    if name == "float32":
        return {}
    return {"precision": name, **({"precision version": precision.VERSION} if precision.VERSION != 1 else {})}


def companion_settings(record: ModelRecord) -> dict[str, Any]:
    """What determines a companion's output besides its weights, if not the defaults: its network's version and its entry."""
    said = {name: record.entry[name] for name in ("args", "scale", "range") if record.entry.get(name)}
    parts = {"parts": raised(record.parts)} if raised(record.parts) else {}
    return {**({"version": record.network_version} if record.network_version != 1 else {}), **parts, **said}


def _version(probe: Probe, scale: int, table: SampleTable) -> int:
    """VERSION of a probe; if its last change affected only a few sizes, the version that applies to these."""
    version_for = getattr(probe, "version_for", None)
    return version_for(scale, [(bucket.height, bucket.width) for bucket in table.buckets]) if version_for else probe.VERSION


def without_model(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an identity that are relevant to a measurement without a model, which earlier versions made with one."""
    return {name: value for name, value in identity.items() if name not in OF_MODEL}


def as_known(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """`wanted` without the fields that did not exist when `there` was made, which cannot be compared."""
    return {name: value for name, value in wanted.items() if name in there or name not in LATER}


def other_content(cell_id: str, stage: str, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The message about a cell that the study has with different content: the fields that changed, and the ways out."""
    names = [name for name in dict.fromkeys([*there, *wanted]) if there.get(name) != wanted.get(name)]
    listed = "; ".join(f"{name} was {there.get(name)!r}, is now {wanted.get(name)!r}" for name in names)
    if names == ["weights sha256"]:
        listed += " (a network that draws its own weights must draw them from a fixed seed)"
    if names[:1] == ["batch"] and wanted.get("batch") == 1:
        listed += " (a network whose results depend on the other images of a batch gets one image at a time: see `xlli plan`)"
    return (
        f"{cell_id}: this study has different content under the same id: {listed}. "
        f"Use a new id for the stage or model, `--replace {stage}` to recompute it, or a new --out."
    )
