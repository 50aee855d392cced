"""A whole training recipe: every network of its grid, and `models.yaml` for the studies that look into them.

Trainings are independent but for `init: <id of another entry>` (the adversarial twins start from their pixel-loss
twins), so they go in waves: a wave is a list of tasks for `map_tasks`, one core each. The default runs them one after
the other in this process; the engine hands in a map over Ray. A training that is finished is not run again, one that
was interrupted goes on from its checkpoint; either only when it is the same training (`identity`).

    OUT/models.yaml             ids, weights, sha256, tags: `models: [{from: OUT/models.yaml}]` in a study
    OUT/<id>/weights.safetensors, card.json, curve.svg, log.jsonl, checkpoint.pt
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from xlli_ray.corpus.files.sources import list_files, pair_files
from xlli_ray.errors import RecipeError, WeightsError
from xlli_ray.training.identity import flat_recipe, identity_from, identity_of
from xlli_ray.training.images import find_files, list_images
from xlli_ray.training.recipe import Job, load_recipe

MapTasks = Callable[[Callable[[Any], Any], list[Any]], list[Any]]
WEIGHTS, CARD, MODELS = "weights.safetensors", "card.json", "models.yaml"


def train(
    recipe_path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    workers: int = 0,
    address: str | None = None,
    progress: Callable[[Any], None] | None = None,
    say: Callable[[str], None] | None = None,
    map_tasks: MapTasks | None = None,
) -> Path:
    """Train what the recipe says and return the path of `models.yaml`.

    `overrides`: "key.path=value". `only`: ids of the grid to train now (with the entries they start from already done).
    `workers` > 0 or an `address` needs `map_tasks` from the engine: (function, payloads) -> results in order; payloads
    and results are plain dicts. `progress` receives a `loop.Progress` now and then, in this process only; `say` a line where something
    about a finished training is worth knowing.
    Raises RecipeError before anything is trained when the recipe is wrong, or OUT holds another recipe's training.
    """
    if (workers or address) and map_tasks is None:
        raise RecipeError("training on workers goes through the engine: `xlli train --workers N`, or pass `map_tasks`")
    jobs = load_recipe(recipe_path, overrides=overrides).jobs()
    known = {job.id: job for job in jobs}
    if unknown := sorted(set(only) - set(known)):
        raise RecipeError(f"only: {', '.join(unknown)} is not in the grid; it has {', '.join(sorted(known))}")
    chosen = [job for job in jobs if not only or job.id in only]
    _check_files(chosen)
    root = Path(out).absolute()
    root.mkdir(parents=True, exist_ok=True)
    run: MapTasks = map_tasks or (lambda function, payloads: [function(payload) for payload in payloads])
    task = functools.partial(train_task, progress=progress) if map_tasks is None else train_task
    for wave in waves(chosen):
        payloads = [
            {"job": job.model_dump(mode="json"), "folder": str(root / job.id), "init": _init(job, known, root)}
            for job in wave
        ]
        for done in run(task, payloads):
            if say is not None and done.get("note"):
                say(f"{done['id']}: {done['note']}")
    listed, left_out = _write_models(jobs, root)
    if say is not None and left_out:
        say(f"{MODELS} lists no {', '.join(left_out)}: trained by another recipe than this one")
    return listed


def _check_files(jobs: Sequence[Job]) -> None:
    """RecipeError now, not after hours, when a pattern of the recipe matches no file."""
    for job in jobs:
        find_files(job.corpus)
        if job.validate_on is not None and job.validate_on.images is not None:
            list_files(job.validate_on.images, ".")
        if job.validate_on is not None and job.validate_on.pairs is not None:
            pair_files(job.validate_on.pairs.input, job.validate_on.pairs.target, ".")
        for name, pairs in job.measure.items():
            try:
                pair_files(pairs.input, pairs.target, ".")
            except RecipeError as error:
                raise RecipeError(f"measure.{name}: {error} To measure nothing: --set measure=null") from error


def waves(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs in groups: `init` names one of an earlier group, or none of them. RecipeError for a circle."""
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


def train_task(payload: dict[str, Any], progress: Callable[[Any], None] | None = None) -> dict[str, Any]:
    """Train one network into its folder and return {"id", "sha256"}: a plain function, so that a cluster can run it."""
    from xlli_ray.models.builtin import builtin_path, sealed
    from xlli_ray.models.checkpoint import read_state_dict, to_safetensors
    from xlli_ray.training import card as cards
    from xlli_ray.training import measure
    from xlli_ray.training.data import Crops, read_pictures
    from xlli_ray.training.loop import Trainer, read_log
    from xlli_ray.training.plot import plot_curve

    job, folder = Job.model_validate(payload["job"]), Path(payload["folder"])
    init, init_sha = None, None
    if payload["init"] is not None:
        path = payload["init"]
        state = read_state_dict(builtin_path(path) if path.startswith("builtin:") else Path(path), name=path)
        init, init_sha = state.tensors, state.weights_sha256
    finished = _finished(job, folder, init_sha)
    if finished is not None:
        card, note = finished
        return {"id": job.id, "sha256": card["weights"]["sha256"], "note": note}
    pictures, scale = read_pictures(job.corpus, seed=job.seed)
    crops = Crops(
        pictures, scale, crop=job.train.crop, batch=job.train.batch, degradations=job.corpus.degradations,
        seed=job.seed, min_gradient=job.train.min_gradient,
    )  # fmt: skip
    validate = _validation(job, scale)
    trainer = Trainer(job, crops, folder, init=init, validate=validate)
    trainer.run(progress)

    network = trainer.averaged
    data = to_safetensors(network.state_dict())
    partial = folder / f"{WEIGHTS}.partial"
    partial.write_bytes(data)
    os.replace(partial, folder / WEIGHTS)
    log = read_log(folder / "log.jsonl")
    digest = hashlib.sha256(data).hexdigest()
    scores = {
        name: _rounded(measure.score(network, measure.cases_of_pairs(pairs), scale=scale))
        for name, pairs in job.measure.items()
    }
    recipe = job.model_dump(mode="json", exclude={"id", "tags", "measure", "validate_on"})
    recipe["train"].pop("folder")  # where files lay on this machine tells nobody anything
    for source in ("images", "inputs", "pairs"):
        if recipe["corpus"][source] is not None:
            recipe["corpus"][source] = f"{len(pictures)} files, listed under images"
    card = {
        "format": cards.FORMAT,
        "id": job.id,
        "network": job.train.network,
        "args": job.train.args,
        "scale": scale,
        "weights": {"sha256": digest, "bytes": len(data), "parameters": sum(p.numel() for p in network.parameters())},
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
    plot_curve(log, folder / "curve.svg", title=job.id)
    cards.write_json(folder / CARD, sealed(card))
    return {"id": job.id, "sha256": digest}


def _validation(job: Job, scale: int) -> Callable[[Any], dict[str, float]] | None:
    """A function from a network to named PSNRs, its images read once; None where the recipe validates nothing."""
    from xlli_ray.corpus.degradations import parse
    from xlli_ray.training import measure

    asked = job.validate_on
    if asked is None or job.train.loss == "cross_entropy":
        return None
    cases = {}
    if asked.pairs is not None:
        cases["psnr_y"] = measure.cases_of_pairs(asked.pairs)
    else:
        for degradation in asked.degradations:
            label = parse(degradation).label
            cases["psnr_y" if label == "clean" else f"psnr_y {label}"] = measure.cases_of_images(
                asked.images or [], scale, degradation=degradation, crop=asked.crop
            )
    return lambda network: {name: measure.score(network, found, scale=scale).psnr_y for name, found in cases.items()}


def _rounded(scored: Any) -> dict[str, float]:
    return {
        "images": scored.images,
        **{name: round(getattr(scored, name), 3) for name in ("psnr_y", "high_frequency", "target_high_frequency") if scored.images},
    }


def _finished(job: Job, folder: Path, init_sha: str | None) -> tuple[dict[str, Any], str] | None:
    """The card of a finished training with this identity, and what is worth knowing about it; None when there is none.

    RecipeError, the change named, for one of another recipe, of other images, from other first weights (`init_sha`) or by other versions of
    the code; WeightsError where the card or the weights beside it are not what was written.
    """
    card = _card(folder)
    if card is None:
        return None
    now, then = identity_of(job, list_images(job.corpus, job.seed), init_sha), identity_from(card)
    if changed := now.differences(then):
        raise RecipeError(
            f"{folder} holds another training, finished: {'; '.join(changed)}. Use another --out or id, or delete the folder"
            " to train it again."
        )
    return card, now.unknown(then)


def _card(folder: Path) -> dict[str, Any] | None:
    """The card of a finished training, its weights being those that it names; None when there is none. WeightsError for damage."""
    from xlli_ray.models.builtin import check_card

    path, weights = folder / CARD, folder / WEIGHTS
    if not path.exists():
        return None
    try:
        card = check_card(json.loads(path.read_text(encoding="utf-8")), name=str(path))
    except ValueError as error:
        raise WeightsError(f"{path}: damaged ({error}). Delete the folder to train the network again.") from error
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else None
    if digest != card["weights"]["sha256"]:
        raise WeightsError(
            f"{weights}: {'gone' if digest is None else f'has the sha256 {digest[:12]}…'}, its card says"
            f" {card['weights']['sha256'][:12]}…. Delete the folder to train the network again."
        )
    return card


def _init(job: Job, known: Mapping[str, Job], root: Path) -> str | None:
    """What `init` names: the weights of a grid entry, built-in weights as they are, else a path."""
    if job.train.init is None or job.train.init.startswith("builtin:"):
        return job.train.init
    if job.train.init in known:
        folder = root / job.train.init
        if (first := known[job.train.init]) and (card := _card(folder)) and not _same_recipe(first, card):
            changed = replace(identity_from(card), recipe=flat_recipe(first.model_dump(mode="json"))).differences(identity_from(card))
            raise RecipeError(
                f"{job.id} starts from {first.id}, and {folder} holds {first.id} of another recipe: {'; '.join(changed)}. Train {first.id}"
                " again (delete its folder), or use another --out."
            )
        return str(folder / WEIGHTS)
    return str(Path(job.train.init).absolute())


def _write_models(jobs: Sequence[Job], root: Path) -> tuple[Path, list[str]]:
    """`models.yaml` of every finished training of this recipe in `root`, in the order of the grid; and the ids of those that another
    recipe left there."""
    models, left_out = [], []
    for job in jobs:
        card = _card(root / job.id)
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
                models[-1]["folder"] = os.path.relpath(job.train.folder, root)
    partial = root / f"{MODELS}.partial"
    partial.write_text(yaml.safe_dump({"models": models}, sort_keys=False, allow_unicode=True), encoding="utf-8")
    os.replace(partial, root / MODELS)
    return root / MODELS, left_out


def _same_recipe(job: Job, card: Mapping[str, Any]) -> bool:
    """Whether a card is of this recipe, as far as can be told without reading images."""
    then = identity_from(card)
    return not replace(then, recipe=flat_recipe(job.model_dump(mode="json"))).differences(then)
