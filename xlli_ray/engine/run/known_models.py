"""The recipe's models that the study already has as they are now: told by the sha256 of their files and by VERSIONs, without torch.

A resumed run reads every weight file, since only its bytes say that it is the one of before; it builds no network for that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xlli_ray.corpus.files.sources import read_bytes
from xlli_ray.errors import NetworkError, SampleError, WeightsError
from xlli_ray.models import model_spec
from xlli_ray.models.model_spec import check_sha256, has_checksums
from xlli_ray.models.networks import current_parts, network_file
from xlli_ray.recipe import ModelEntry, Recipe
from xlli_ray.registry import NETWORKS, declared_version
from xlli_ray.store.objects.client import Missing, Objects
from xlli_ray.store.records.manifest import ModelRecord

if TYPE_CHECKING:
    from xlli_ray.models.factory import Factory


UNCHECKED = "its file's format has no checksums"


def about_files(records: Sequence[ModelRecord]) -> list[str]:
    """Notes on the weight files: the sha256 of each, and, once, which formats cannot detect damage."""
    files = [record for record in records if record.source_sha256 and not record.source.startswith("builtin:")]
    notes = [f"weights: {', '.join(f'{record.id} sha256 {record.source_sha256[:12]}…' for record in files)}"] if files else []
    if unchecked := [record.id for record in files if UNCHECKED in record.notes]:
        notes.append(
            f"{', '.join(unchecked)}: the format (safetensors, PyTorch before 1.6) has no checksums; with `sha256` in the model's entry"
            " damage is detected, and `xlli layers FILE` prints that line"
        )
    return notes


def notes_on(records: Sequence[ModelRecord]) -> list[str]:
    """Decisions made while reading each model, and `about_files`."""
    return [f"model {record.id}: {note}" for record in records for note in record.notes if note != UNCHECKED] + about_files(records)


def plain_entry(entry: ModelEntry) -> Mapping[str, object]:
    """A recipe's entry as records have it: all that determines the model."""
    data = entry.model_dump(mode="json")
    if data["key"] is None:
        del data["key"]  # entries of older studies do not have it
    for later in ("frames", "tiles", "segments"):
        if data[later] is None:
            del data[later]
    if not data["baseline"]:
        del data["baseline"]
    return {key: value for key, value in data.items() if key not in ("id", "tags", "sha256", "folder")}


@dataclass(frozen=True)
class WeightFile:
    """The bytes of an entry's `weights`; None if its factory brings its own. `silent`: nothing would tell that they are damaged."""

    data: bytes | None
    sha256: str = ""
    silent: bool = False

    @property
    def mark(self) -> tuple[str, ...]:
        """The note of a record about it."""
        return (UNCHECKED,) if self.silent else ()


def known_model(objects: Objects, entry: ModelEntry, known: ModelRecord | None) -> ModelRecord | WeightFile:
    """The study's record of a model that is as it was, else the file to read it from. Writes nothing.

    A factory that brings its own weights has to be called to see them, unless it is one of this package. Raises WeightsError if the file
    cannot be read and the study has no copy, or if it is not the one of `sha256`.
    """
    try:
        data = _bytes(entry)
    except WeightsError:
        if known is not None and known.entry == plain_entry(entry):
            version = current_version(known.network, entry)
            # the location of a factory's file comes from the recipe, never from the study
            known = replace(known, network_version=version or known.network_version, parts=current_parts(known.parts))
            return replace(known, tags=dict(entry.tags), folder=_where(entry))
        raise
    file = _checked(data, entry)
    if known is None or known.entry != plain_entry(entry) or known.source_sha256 != file.sha256 or (data is None and not _ours(entry)):
        return file
    if current_version(known.network, entry) != known.network_version or current_parts(known.parts) != known.parts:
        return file
    if not kept(objects, known.weights_sha256):
        return file
    said = tuple(note for note in known.notes if note != UNCHECKED)
    return replace(known, tags=dict(entry.tags), folder=_where(entry), notes=(*said, *file.mark))


def _checked(data: bytes | None, entry: ModelEntry) -> WeightFile:
    if data is None:
        return WeightFile(None)
    digest = hashlib.sha256(data).hexdigest()
    if entry.sha256 is not None:
        check_sha256(digest, entry.sha256, name=f"model {entry.id}: {entry.weights}")
    return WeightFile(data, digest, entry.sha256 is None and not has_checksums(data) and not str(entry.weights).startswith("builtin:"))


def known_models(objects: Objects, recipe: Recipe, known: Sequence[ModelRecord]) -> list[ModelRecord] | None:
    """The study's records of all models of a recipe, None if one has to be read. Raises WeightsError."""
    records = []
    for entry in recipe.models:
        found = known_model(objects, entry, next((record for record in known if record.id == entry.id), None))
        if isinstance(found, WeightFile):
            return None
        records.append(found)
    return records


def kept(objects: Objects, digest: str) -> bool:
    """Whether the study has these weights, undamaged."""
    try:
        return hashlib.sha256(objects.get(f"weights/{digest}.safetensors")).hexdigest() == digest
    except Missing:
        return False


def _factory(entry: ModelEntry) -> Factory | None:
    """The factory that the recipe names; None if it names none, or one that cannot be imported: loading it reports why."""
    if entry.network is None or ":" not in entry.network:
        return None
    from xlli_ray.models.factory import find_factory  # imports torch, as will the factory's file

    try:
        return find_factory(entry.network, entry.folder)
    except NetworkError:
        return None


def _ours(entry: ModelEntry) -> bool:
    """Whether the recipe names a factory of this package: its VERSION says whether it is the one of before."""
    return ":" in (entry.network or "") and str(entry.network).startswith(f"{__package__.partition('.')[0]}.")


def _where(entry: ModelEntry) -> str:
    """The folder of the recipe's factory, "" for an installed one or none."""
    if _ours(entry):
        return ""
    factory = _factory(entry)
    return factory.folder if factory else ""


def current_version(network: str, entry: ModelEntry) -> int | None:
    """Current VERSION of a network: a model is read again if its network's was raised. None if unknown.

    `network`: from the study; `entry`: the recipe's. Only code named by the recipe is imported.
    """
    if network in NETWORKS:
        declared = declared_version(NETWORKS[network])
        return int(network_file(network).VERSION) if declared is None else declared
    if network.startswith("spandrel:"):
        return model_spec.SPANDREL_VERSION
    if _ours(entry) and (version := declared_version(str(entry.network).rpartition(":")[0])) is not None:
        return version
    factory = _factory(entry)
    return factory.version if factory else None


def _bytes(entry: ModelEntry) -> bytes | None:
    if entry.weights is None:
        return None
    if entry.weights.startswith("builtin:"):
        from xlli_ray.models.builtin_weights import builtin_path

        return builtin_path(entry.weights.removeprefix("builtin:")).read_bytes()
    try:
        return read_bytes(entry.weights)
    except SampleError as error:
        raise WeightsError(f"model {entry.id}: weights: {error}") from error
