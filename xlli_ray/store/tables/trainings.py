"""Content of the folder of a training study: `training.json`, and the progress of each network.

    training.json                                   the networks of the last recipe: ids, iterations, tags, what each starts from
    <id>/checkpoint.pt log.jsonl                    while it trains, and afterwards
    <id>/weights.safetensors curve.svg card.json    when it is finished; the card comes last
    <id>/failed.json                                why the last attempt ended
    models.yaml                                     the finished networks, for studies
    lease/ events/ records/ report/ digests.json    as in other studies; records are those of the scan

Each file is replaced as a whole, so training can always be resumed. May be read at any time, also during a run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import Missing, Objects, exists
from xlli_ray.store.records.lease import running
from xlli_ray.store.records.seal import read_json, sealed_json
from xlli_ray.store.zarr.layout import check_name

DOCUMENT = "training.json"
MODELS = "models.yaml"
FILES = ("card.json", "checkpoint.pt", "curve.svg", "failed.json", "log.jsonl", "weights.safetensors")
"""Of one network, in its folder."""
FORMAT = 1
RESERVED = ("lease", "events", "records", "report", DOCUMENT, MODELS, "digests.json")
"""Names that no network may have: they are next to the networks' folders."""
State = Literal["finished", "failed", "begun", "waiting"]
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Network:
    """One network of the recipe. `init`: id of the one that it starts from, '' if it is not of this study."""

    id: str
    iterations: int
    init: str = ""
    tags: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Standing:
    """Progress of one network. `log`: complete lines of its log."""

    network: Network
    state: State
    log: tuple[Line, ...] = ()
    why: str = ""

    @property
    def iteration(self) -> int:
        """Iterations done according to the log."""
        return self.network.iterations if self.state == "finished" else int(self.log[-1]["iteration"]) if self.log else 0

    @property
    def loss(self) -> float | None:
        """The last logged loss."""
        return float(self.log[-1]["loss"]) if self.log else None


@dataclass(frozen=True)
class Trainings:
    """The content of `training.json`."""

    name: str
    networks: tuple[Network, ...]
    command: str = ""
    rejected: tuple[tuple[str, str], ...] = ()
    """(file, reason) of each file of the corpus that is left out."""


def write_trainings(objects: Objects, trainings: Trainings) -> None:
    """Write the current networks of the study."""
    networks = [{"id": n.id, "iterations": n.iterations, "init": n.init, "tags": dict(n.tags)} for n in trainings.networks]
    content = {"format": FORMAT, "name": trainings.name, "command": trainings.command, "networks": networks,
               "rejected": [list(pair) for pair in trainings.rejected]}  # fmt: skip
    objects.put(DOCUMENT, sealed_json(content, indent=1, ensure_ascii=False))


def read_trainings(objects: Objects) -> Trainings | None:
    """The networks of a training study; None if this is not one. Raises StudyError for a damaged document."""
    where = f"{objects.url}/{DOCUMENT}"
    try:
        data = objects.get(DOCUMENT)
    except Missing:
        return None
    content = read_json(data, where, "run `xlli train` again: it writes this file again")
    try:
        if content["format"] != FORMAT:
            raise StudyError(f"{where}: format {content['format']!r}, this version reads {FORMAT}")
        listed = content["networks"]
        networks = tuple(Network(str(entry["id"]), int(entry["iterations"]), str(entry["init"]), dict(entry["tags"])) for entry in listed)
        for entry in networks:
            check_name(entry.id, "network")
        rejected = tuple((str(file), str(reason)) for file, reason in content.get("rejected", ()))  # written by no early version
        return Trainings(str(content["name"]), networks, str(content["command"]), rejected)
    except (KeyError, TypeError, ValueError) as error:
        raise StudyError(f"{where}: not as the store format says ({error!r}); run `xlli train` again: it writes this file again") from error


def standings(objects: Objects, networks: Sequence[Network]) -> list[Standing]:
    """Progress of each network, in the recipe's order."""
    return [_standing(objects, network) for network in networks]


def by_log(objects: Objects, network: Network) -> Standing:
    """Progress of a network that has not finished, by its log alone: one request."""
    log = _log(_get(objects, f"{network.id}/log.jsonl"))
    return Standing(network, "begun" if log else "waiting", log)


def state(objects: Objects, trainings: Trainings) -> dict[str, Any]:
    """For `xlli status`: JSON-able."""
    progress = standings(objects, trainings.networks)
    return {
        "name": trainings.name,
        "running": running(objects),
        "rejected": [{"file": file, "reason": reason} for file, reason in trainings.rejected],
        "done": sum(standing.state == "finished" for standing in progress),
        "trainings": [
            {"id": standing.network.id, "state": standing.state, "iteration": standing.iteration,
             "iterations": standing.network.iterations, "loss": standing.loss,
             **({"why": standing.why} if standing.why else {})}
            for standing in progress
        ],
    }  # fmt: skip


def _standing(objects: Objects, network: Network) -> Standing:
    log = _log(_get(objects, f"{network.id}/log.jsonl"))
    if exists(objects, f"{network.id}/card.json"):
        return Standing(network, "finished", log)
    if (data := _get(objects, f"{network.id}/failed.json")) is not None:
        try:
            why = str(read_json(data, network.id, "").get("error", ""))
        except StudyError:
            why = "its failed.json is damaged"
        return Standing(network, "failed", log, why)
    return Standing(network, "begun" if log or exists(objects, f"{network.id}/checkpoint.pt") else "waiting", log)


def _get(objects: Objects, key: str) -> bytes | None:
    try:
        return objects.get(key)
    except Missing:
        return None


def _log(data: bytes | None) -> tuple[Line, ...]:
    """Complete lines with numeric iteration and loss."""
    lines: list[Line] = []
    for text in (data or b"").decode("utf-8", "replace").splitlines():
        try:
            line = json.loads(text)
            lines.append({**line, "iteration": int(line["iteration"]), "loss": float(line["loss"])})
        except (ValueError, TypeError, KeyError, OverflowError):
            break
    return tuple(line for line in lines if math.isfinite(line["loss"]))


def write_failure(objects: Objects, network: str, why: str) -> None:
    """Record why a training ended without weights."""
    objects.put(f"{network}/failed.json", sealed_json({"error": why}, ensure_ascii=False))


def forget_failure(objects: Objects, network: str) -> None:
    """Remove the failure of a network that is tried again."""
    objects.delete([f"{network}/failed.json"])
