"""A whole training recipe: every network of its grid and sweep, and `models.yaml` for the studies that analyse them.

Trainings are independent except for `init: <id of another entry>` (the adversarial twins start from their pixel-loss twins). This module
trains one network (`train_one`), checks which are finished (`finished`), and lists them; `train` runs all, one after another, into a local
folder. The engine does the same on a pool of workers, into any store. A finished training is not run again, an interrupted one resumes
from its checkpoint; both only if it is the same training (`identity`).

    OUT/models.yaml             ids, weights, sha256, tags: `models: [{from: OUT/models.yaml}]` in a study
    OUT/<id>/weights.safetensors, card.json, curve.svg, log.jsonl, checkpoint.pt
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from xlli_ray.corpus.files.sources import read_bytes
from xlli_ray.corpus.scan import list_sources
from xlli_ray.errors import RecipeError, WeightsError, counted
from xlli_ray.training.folder import CARD, CURVE, LOG, WEIGHTS, Folder, LocalFolder
from xlli_ray.training.identity import flat_recipe, identity_from, identity_of
from xlli_ray.training.images import Row, check_count, image_of, rejected, remembered, scan_here, training_samples
from xlli_ray.training.recipe import Job, load_recipe

MODELS = "models.yaml"
SHOWN = 3
"""Rejected files that a remark names."""
Places = Callable[[str], Folder]
"""Id of a training → its folder."""


@dataclass(frozen=True)
class Trained:
    """A finished training. `note`: a remark about it, usually ''."""

    id: str
    sha256: str
    note: str = ""


@dataclass(frozen=True)
class Start:
    """Initial weights of a training: the file's bytes and its name in messages."""

    name: str
    data: bytes


def train(
    recipe_path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    progress: Callable[[Any], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Train the networks of a recipe in this process, one after another; returns the path of `models.yaml`.

    `overrides`: "key.path=value". `only`: ids of the grid to train now (the entries they start from must be done).
    `progress` receives a `loop.Progress` at intervals; `say` a line for each remark about a finished training.
    Raises RecipeError before anything is trained if the recipe is wrong, or OUT holds another recipe's training.
    """
    jobs = load_recipe(recipe_path, overrides=overrides).jobs()
    known, scan = {job.id: job for job in jobs}, remembered(scan_here)
    if unknown := sorted(set(only) - set(known)):
        raise RecipeError(f"only: {', '.join(unknown)} is not in the grid; it has {', '.join(sorted(known))}")
    chosen = [job for job in jobs if not only or job.id in only]
    check_files(chosen)
    order = [job for wave in waves(chosen) for job in wave]
    root = Path(out).absolute()
    root.mkdir(parents=True, exist_ok=True)

    def place(name: str) -> Folder:
        return LocalFolder(root / name)

    if say is not None:
        for note in dict.fromkeys(rejection_note(scan(job.corpus.scanned())) for job in order):
            if note:
                say(f"corpus: {note}")
    for job in order:
        done = train_one(job, place(job.id), scan(job.corpus.scanned()), start_of(job, known, place), progress)
        if say is not None and done.note:
            say(f"{done.id}: {done.note}")
    text, left_out = models_text(jobs, place, str(root))
    LocalFolder(root).put(MODELS, text)
    if say is not None and left_out:
        say(f"{MODELS} does not list {', '.join(left_out)}: trained by another recipe")
    return root / MODELS


def check_files(jobs: Sequence[Job]) -> None:
    """RecipeError now, not after hours, if a pattern of the recipe matches no file."""
    for job in jobs:
        check_count(job.corpus, list_sources(job.corpus.scanned(), "."))
        if job.validate_on is not None:
            list_sources(job.validate_on.scanned(), ".")
        for name, files in job.measure.items():
            try:
                list_sources(files.scanned(), ".")
            except RecipeError as error:
                raise RecipeError(f"measure.{name}: {error} To skip it: --set measure=null") from error


def rejection_note(rows: Sequence[Row]) -> str:
    """A remark about the files of a corpus that are left out; '' without any."""
    bad = list(rejected(rows))
    more = "; …" if len(bad) > SHOWN else ""
    shown = "; ".join(f"{file}: {reason}" for file, reason in bad[:SHOWN])
    return f"{counted(len(bad), 'file')} of {len(rows)} rejected: {shown}{more}" if bad else ""


def waves(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs in groups: `init` names one of an earlier group, or none. RecipeError for a cycle."""
    left, done, result = list(jobs), set[str](), []
    ids = {job.id for job in jobs}
    while left:
        ready = [job for job in left if job.train.init not in ids - done]
        if not ready:
            raise RecipeError(f"train.init: {', '.join(job.id for job in left)} wait for each other")
        result.append(ready)
        done |= {job.id for job in ready}
        left = [job for job in left if job.id not in done]
    return result


def start_of(job: Job, known: Mapping[str, Job], place: Places) -> Start | None:
    """The weights that `init` names: of another entry, which must be of this recipe, built-in ones, or a file."""
    from xlli_ray.models.builtin_weights import builtin_path

    name = job.train.init
    if name is None:
        return None
    if name not in known:
        path = builtin_path(name) if name.startswith("builtin:") else Path(name).absolute()
        try:
            return Start(name if name.startswith("builtin:") else str(path), path.read_bytes())
        except OSError as error:
            raise WeightsError(f"{path}: cannot be read ({error.strerror}). Check the path of `train.init`.") from error
    first, folder = known[name], place(name)
    if (card := read_card(folder)) and not _same_recipe(first, card):
        then = identity_from(card)
        changed = replace(then, recipe=flat_recipe(first.content())).differences(then)
        raise RecipeError(
            f"{job.id} starts from {first.id}, and {folder.where} holds {first.id} of another recipe: {'; '.join(changed)}. Train"
            f" {first.id} again (delete its folder), or use another --out."
        )
    data = folder.get(WEIGHTS)
    if data is None:
        raise WeightsError(f"{folder.where}/{WEIGHTS}: missing, and {job.id} starts from it. Train {name} first.")
    return Start(f"{folder.where}/{WEIGHTS}", data)


def train_one(
    job: Job, folder: Folder, rows: Sequence[Row], start: Start | None = None, progress: Callable[[Any], None] | None = None,
    *, read: Callable[[str], bytes] = read_bytes, device: str | None = None,
) -> Trained:  # fmt: skip
    """Train one network into its folder; resumes what the folder holds of this training. `rows`: of the scan of its corpus. `read`: from
    URI to bytes. `device`: see `Trainer`."""
    from xlli_ray.models.checkpoint import read_state_dict, to_safetensors
    from xlli_ray.training.job_crops import crops_of
    from xlli_ray.training.loop import Trainer, read_log
    from xlli_ray.training.plot import log_svg
    from xlli_ray.training.validation_scores import ScoredSet

    state = None if start is None else read_state_dict(start.data, name=start.name)
    init_sha = None if state is None else state.weights_sha256
    if (done := finished(job, folder, init_sha, rows)) is not None:
        return done
    crops, scale = crops_of(job, rows, read=read)
    sets = {name: ScoredSet.of(files, scale) for name, files in job.measure.items()}
    first = None if state is None else state.tensors
    trainer = Trainer(job, crops, folder, init=first, validate=_validation(job, scale), device=device)
    trainer.run(progress)

    data = to_safetensors(trainer.averaged.state_dict())
    folder.put(WEIGHTS, data)
    scores = {
        name + suffix: _rounded(score(trainer.averaged))
        for name, scored in sets.items()
        for suffix, score in scored.scores(known_flow=job.train.flow is not None).items()
    }
    log = read_log(folder.get(LOG))
    folder.put(CURVE, log_svg(log, title=job.id))
    card = _card_text(job, trainer, data, log, scale, init_sha, scores, crops.contents)
    folder.put(CARD, card)  # last: it marks the training as finished
    return Trained(job.id, hashlib.sha256(data).hexdigest())


def _card_text(
    job: Job, trainer: Any, data: bytes, log: Sequence[Mapping[str, Any]], scale: int, init_sha: str | None, scores: Any, images: int
) -> bytes:
    from xlli_ray.models.builtin_weights import sealed
    from xlli_ray.training import card as cards

    recipe = job.content()
    kinds = {name: given for name, given in recipe["corpus"].items() if isinstance(given, bool)}
    recipe["corpus"] |= {name: f"{images} files, listed under images" if given else None for name, given in kinds.items()}
    card = {
        "format": cards.FORMAT,
        "id": job.id,
        "network": job.train.network,
        "args": job.train.args,
        "scale": scale,
        "weights": {
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "parameters": sum(p.numel() for p in trainer.averaged.parameters()),
        },
        "recipe": recipe,
        "recipe_sha256": job.recipe_hash(),
        "init_sha256": init_sha,
        "versions": dict(trainer.identity.versions),
        "identity_sha256": trainer.identity.sha256,
        "iterations": trainer.iteration,
        "tags": job.tags,
        "scores": scores,
        "curve": cards.curve(log),
        "machine": cards.machine(),
        "images": trainer.identity.content()["images"],
    }
    return cards.json_text(sealed(card))


def _validation(job: Job, scale: int) -> Callable[[Any], dict[str, float]] | None:
    """A function from a network to named PSNRs, its images read once; None if the recipe has no validation."""
    from xlli_ray.training.validation_scores import ScoredSet

    validation = job.validate_on
    if validation is None or job.train.loss == "cross_entropy":
        return None
    scores = ScoredSet.of(validation, scale).scores(validation.crop, known_flow=job.train.flow is not None)
    return lambda network: {f"psnr_y{suffix}": score(network).psnr_y for suffix, score in scores.items()}


def _rounded(scored: Any) -> dict[str, float]:
    return {
        "images": scored.images,
        **{name: round(getattr(scored, name), 3) for name in ("psnr_y", "high_frequency", "target_high_frequency") if scored.images},
    }


def finished(job: Job, folder: Folder, init_sha: str | None, rows: Sequence[Row]) -> Trained | None:
    """The finished training of this identity in a folder; None if there is none. `rows`: of the scan of its corpus.

    RecipeError, naming the change, for a different recipe, images, initial weights (`init_sha`) or versions of the code; WeightsError if
    the card or the weights are damaged.
    """
    card = read_card(folder)
    if card is None:
        return None
    images = [image_of(sample) for sample in training_samples(job.corpus, rows, job.seed)]
    now, then = identity_of(job, images, init_sha), identity_from(card)
    if changed := now.differences(then):
        raise RecipeError(
            f"{folder.where} holds another, finished training: {'; '.join(changed)}. Use another --out or id, or delete the folder"
            " to train it again."
        )
    return Trained(job.id, card["weights"]["sha256"], now.unknown(then))


def read_card(folder: Folder) -> dict[str, Any] | None:
    """The card of a finished training, with its weights verified; None if there is none. WeightsError for damage."""
    from xlli_ray.models.builtin_weights import check_card

    data, path = folder.get(CARD), f"{folder.where}/{CARD}"
    if data is None:
        return None
    try:
        card = check_card(json.loads(data.decode("utf-8")), name=path)
    except ValueError as error:
        raise WeightsError(f"{path}: damaged ({error}). Delete the folder to train the network again.") from error
    weights = folder.get(WEIGHTS)
    digest = None if weights is None else hashlib.sha256(weights).hexdigest()
    if digest != card["weights"]["sha256"]:
        raise WeightsError(
            f"{folder.where}/{WEIGHTS}: {'missing' if digest is None else f'has the sha256 {digest[:12]}…'}, its card says"
            f" {card['weights']['sha256'][:12]}…. Delete the folder to train the network again."
        )
    return card


def models_text(jobs: Sequence[Job], place: Places, root: str) -> tuple[bytes, list[str]]:
    """`models.yaml` of every finished training of this recipe, in the order of the grid; and the ids of those from another recipe.
    `root`: its folder, for paths of factories."""
    models, left_out = [], []
    for job in jobs:
        card = read_card(place(job.id))
        if card is None:
            continue
        if not _same_recipe(job, card):
            left_out.append(job.id)
            continue
        models.append({
            "id": job.id,
            "weights": f"{job.id}/{WEIGHTS}",
            "sha256": card["weights"]["sha256"],
            "network": job.train.network,
            "output": "none" if job.train.loss == "cross_entropy" else "image",
            "tags": job.tags,
        })  # fmt: skip
        if ":" in job.train.network:
            models[-1]["args"] = job.train.args
            if job.train.folder is not None:
                models[-1]["folder"] = job.train.folder if "://" in root else os.path.relpath(job.train.folder, root)
    return yaml.safe_dump({"models": models}, sort_keys=False, allow_unicode=True).encode(), left_out


def _same_recipe(job: Job, card: Mapping[str, Any]) -> bool:
    """Whether a card is of this recipe, as far as can be decided without reading images."""
    then = identity_from(card)
    return not replace(then, recipe=flat_recipe(job.content())).differences(then)
