"""Verify that a training study is intact: every object is named by `training.json`, cards or `digests.json`, with the bytes written.

A card is sealed and contains the sha256 of the weights, so a finished network is checked even if no run has finished. Checkpoints, logs and
curves are covered by `digests.json`, which a run writes last. For a network that was unfinished then, objects written since by an
unfinished run are not checked, which is noted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import LocalObjects, Missing, Objects
from xlli_ray.store.records.checksum_root import KEY as ROOT_KEY
from xlli_ray.store.records.checksum_root import Digest, Root, digest_of, pieces, read_root
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.tables.trainings import DOCUMENT, FILES, MODELS, Network, read_trainings
from xlli_ray.store.verify.common import UNCHECKED, leases, odd_entries, page, rooted_records, scans, sealed
from xlli_ray.store.verify.findings import Finding

FOLDERS = ("events", "lease", "records", "report")


def training_findings(objects: Objects, *, notes: list[str] | None = None) -> Iterator[Finding]:
    """Every object that is not as it was written, once. `notes` receives what could not be checked."""
    notes = [] if notes is None else notes
    told: set[str] = set()
    for finding in _findings(objects, notes):
        if finding.key not in told:
            told.add(finding.key)
            yield finding


def _findings(objects: Objects, notes: list[str]) -> Iterator[Finding]:
    accounted, digests = {DOCUMENT, MODELS, ROOT_KEY}, dict[str, Digest]()

    def saw(key: str, size: int, crc: str) -> None:
        digests[key] = (size, crc)

    networks: Sequence[Network] = ()
    try:
        trainings = read_trainings(objects)
        networks = trainings.networks if trainings is not None else ()
    except StudyError:
        pass
    yield from (Finding("listed", one.key, one.what) for one in sealed(objects, DOCUMENT, "listed", must=True))
    root, reason = _root(objects)
    names = {key.split("/")[0] for key in (root.objects if root else ()) if key.count("/") == 1} - set(FOLDERS)
    for name in sorted({network.id for network in networks} | names):
        accounted |= {f"{name}/{file}" for file in FILES}
        yield from _finished(objects, name, wanted=any(network.id == name for network in networks))
    yield from leases(objects, accounted)
    yield from page(objects)
    yield from scans(records := Listing(objects), accounted, saw)
    if root is None:
        if reason or networks:
            yield Finding("listed", ROOT_KEY, reason or "missing: no run has finished since digests were introduced")
    else:
        yield from _rooted(objects, root, notes)
        yield from rooted_records(records, root, digests)
    tops = (*FOLDERS, *sorted({network.id for network in networks} | names))
    if isinstance(objects, LocalObjects):
        yield from odd_entries(objects.root, tops, (DOCUMENT, MODELS, ROOT_KEY))
    for folder in tops:
        for key in objects.list(folder):
            if key not in accounted and not UNCHECKED.fullmatch(key):
                yield Finding("foreign", key, "no object of this study")


def _root(objects: Objects) -> tuple[Root | None, str]:
    """The content of `digests.json`, or why there is none."""
    try:
        return read_root(objects), ""
    except StudyError as error:
        return None, str(error).split(": ", 1)[-1].split(";")[0]


def _finished(objects: Objects, name: str, *, wanted: bool) -> Iterator[Finding]:
    """The card is intact, and the weights are those of the card. `wanted`: whether the recipe still has this network."""
    card, weights = f"{name}/card.json", f"{name}/weights.safetensors"
    try:
        content = json.loads(objects.get(card))
        rest = {key: value for key, value in content.items() if key != "card_sha256"}
        text = json.dumps(rest, sort_keys=True, ensure_ascii=False)
        if hashlib.sha256(text.encode()).hexdigest() != content["card_sha256"]:
            yield Finding("training", card, "damaged: it does not have the sha256 that it contains", name)
            return
        expected = str(content["weights"]["sha256"])
    except Missing:
        if wanted:
            yield Finding("missing", name, "its training is not finished")
        return
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield Finding("training", card, f"damaged ({type(error).__name__})", name)
        return
    digest = hashlib.sha256()
    try:
        for piece in pieces(objects, weights):
            digest.update(piece)
    except Missing:
        yield Finding("training", weights, "missing, although its card exists", name)
        return
    if digest.hexdigest() != expected:
        yield Finding("training", weights, "the bytes do not have the sha256 in its card", name)


def _rooted(objects: Objects, root: Root, notes: list[str]) -> Iterator[Finding]:
    """Every object in `digests.json` exists with those bytes."""
    epochs = [int(match[1]) for key in objects.list("lease") if (match := re.fullmatch(r"lease/(\d{6})\.json", key))]
    later = max(epochs, default=root.epoch) > root.epoch
    for key, wanted in sorted(root.objects.items()):
        name = key.split("/")[0] if "/" in key else ""
        try:
            now: Digest | None = digest_of(objects, key)
        except Missing:
            now = None
        except (StudyError, ValueError) as error:
            yield Finding("foreign", key, str(error))
            continue
        if now == wanted:
            continue
        since = f"not as the run of lease {root.epoch} left it (digests.json)" if now else "missing"
        going_on = later and (not name or (name not in FOLDERS and f"{name}/card.json" not in root.objects))
        if going_on:
            notes.append(f"{key}: written since the run of lease {root.epoch} ended; it is checked once the same `xlli train` has ended")
        elif name == "lease":
            yield Finding("lease", key, since)
        else:
            yield Finding("training" if name else "listed", key, since, name)
