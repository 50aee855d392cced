"""What determines the weights of a training: its recipe without paths, the bytes of its images, its initial weights, and the versions of
the code that draws crops and steps.

Two trainings with the same identity would end with the same weights on one device. So a finished or interrupted folder is accepted for
this training only if its identity is the same; otherwise `differences` names what changed. The processor and the versions of packages are
not part of it: they change last bits, and are in the card under `machine`.

A VERSION of 1 is not recorded, so cards written before a version was introduced stay valid. What an old card lacks (the inputs of pairs)
is not compared, and `unknown` says so. Imports no torch until the version of a network is needed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xlli_ray.corpus import decode, resize
from xlli_ray.corpus.degradations import kinds_of
from xlli_ray.corpus.kinds.kind import kind_of
from xlli_ray.errors import NetworkError, RecipeError
from xlli_ray.training.corpus import FIRST_KINDS, GIVEN, TrainCorpus
from xlli_ray.training.images import Image
from xlli_ray.training.recipe import Job

_NO_EFFECT = ("corpus.max_pixels", "train.checkpoint_every", "train.init", "train.folder")  # init: its bytes count, not its location


@dataclass(frozen=True)
class Identity:
    """`recipe`: flat, e.g. `train.lr`; `images` sorted by hash; `versions`: those above 1."""

    recipe: Mapping[str, Any]
    images: tuple[Image, ...]
    init_sha256: str | None
    versions: Mapping[str, int]

    def content(self) -> dict[str, Any]:
        """JSON-able, for a checkpoint."""
        images = [{"file": image.file, **_hashes(image)} for image in self.images]
        return {"recipe": dict(self.recipe), "images": images, "init_sha256": self.init_sha256, "versions": dict(self.versions)}

    @property
    def sha256(self) -> str:
        """One hash of everything; names of files do not count."""
        content = self.content()
        content["images"] = sorted([image.sha256, image.input_sha256 or ""] for image in self.images)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def differences(self, then: Identity) -> list[str]:
        """What differs from `then`, for people; empty if the trainings are the same."""
        out = [
            f"{name} was {then.recipe[name]!r}, is now {value!r}"
            for name, value in self.recipe.items()
            if name in then.recipe and then.recipe[name] != value
        ]
        out += _image_differences(then.images, self.images)
        if self.init_sha256 != then.init_sha256:
            out.append(f"first weights (train.init) were {_short(then.init_sha256)}, are now {_short(self.init_sha256)}")
        for name in sorted({*self.versions, *then.versions}):
            before, now = then.versions.get(name, 1), self.versions.get(name, 1)
            if before != now:
                out.append(f"version of {name} was {before}, is now {now}")
        return out

    def unknown(self, then: Identity) -> str:
        """What was not compared because `then`, an old card, lacks it; '' if nothing."""
        paired = any(image.input_sha256 for image in self.images)
        if paired and then.images and not any(image.input_sha256 for image in then.images):
            return "its card does not hold the sha256 of the inputs of its pairs: only the targets were compared"
        return "" if then.images else "its card lists no images: they were not compared"


def identity_of(job: Job, images: Sequence[Image], init_sha256: str | None) -> Identity:
    """The identity of a training to be run."""
    return Identity(flat_recipe(job.content()), _sorted(images), init_sha256, versions(job))


def identity_from(content: Mapping[str, Any]) -> Identity:
    """The identity recorded in a card or a checkpoint: both have `recipe`, `images`, `init_sha256`; old ones no `versions`."""
    images = [Image(image.get("file", ""), image["sha256"], image.get("input_sha256")) for image in content.get("images") or ()]
    recipe = content.get("recipe") or {}
    flat = recipe if "seed" in recipe and "train" not in recipe else flat_recipe(recipe)
    return Identity(flat, _sorted(images), content.get("init_sha256"), content.get("versions") or {})


def flat_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """`{"seed": 0, "corpus.scale": 4, …}` of `Job.content`, or of a card: what determines the weights; of a kind of corpus only whether it
    is that one."""
    out = {"seed": recipe.get("seed")}
    for part in ("corpus", "train"):
        out |= {f"{part}.{name}": value for name, value in (recipe.get(part) or {}).items()}
    for name in [*FIRST_KINDS, *(recipe.get("corpus") or {})]:
        if name not in TrainCorpus.model_fields and name != GIVEN:
            out[f"corpus.{name}"] = bool(out.get(f"corpus.{name}"))
    return {name: value for name, value in out.items() if name not in _NO_EFFECT}


def versions(job: Job) -> dict[str, int]:
    """VERSION integers of all code that this training uses, if above 1."""
    from xlli_ray.training import clip_crops, data, gan, motion_crops, steps

    network = network_version(job.train.network, job.train.folder)
    by_name = {"decode": decode.VERSION, "network": network, "crops": data.VERSION, "loop": steps.VERSION}
    if job.train.gan is not None:
        by_name["gan"] = gan.VERSION
    by_name |= network_parts(job.train.network, job.train.args)
    by_name |= {"motion crops": motion_crops.VERSION} if job.corpus.kind == "motion" else {}
    by_name |= {"clip crops": clip_crops.VERSION} if job.corpus.kind == "clips" else {}
    by_name[f"kind {job.corpus.kind}"] = kind_of(job.corpus.kind).VERSION
    if job.corpus.made:
        by_name["resize"] = resize.VERSION
        for entry in job.corpus.draws:
            by_name |= {kind.NAME: kind.VERSION for kind in kinds_of(entry)}
    return {name: version for name, version in sorted(by_name.items()) if version != 1}


def network_version(network: str, folder: str | None = None) -> int:
    """VERSION of a network's file, built-in or a factory's; 1 if it has none. RecipeError if it cannot be imported."""
    if ":" in network:
        from xlli_ray.models.factory import find_factory

        try:
            return find_factory(network, folder).version
        except NetworkError as error:
            raise RecipeError(f"train.{error}") from error
    from xlli_ray.models.networks import network_file

    return int(network_file(network).VERSION)


def network_parts(network: str, args: Mapping[str, Any]) -> dict[str, int]:
    """VERSIONs of the registered classes that a built-in network with these arguments consists of (`models.networks`)."""
    if ":" in network:
        return {}
    from xlli_ray.models.networks import network_file

    parts = getattr(network_file(network), "parts", None)
    try:
        return dict(parts(args)) if parts is not None else {}
    except NetworkError as error:
        raise RecipeError(f"train.{error}") from error


def _image_differences(then: Sequence[Image], now: Sequence[Image]) -> list[str]:
    if not then:
        return []
    paired = any(image.input_sha256 for image in then)  # an old card has only the targets

    def key(image: Image) -> tuple[str, str | None]:
        return image.sha256, image.input_sha256 if paired else None

    before, after = Counter(map(key, then)), Counter(map(key, now))
    if before == after:
        return []
    gone = [image.file for image in then if (before - after)[key(image)]]
    new = [image.file for image in now if (after - before)[key(image)]]
    parts = [f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
             for names, what in ((new, "with bytes that it was not trained on"), (gone, "gone or changed")) if names]  # fmt: skip
    return [f"images: {len(now)} now, {len(then)} then; " + ", ".join(parts)]


def _hashes(image: Image) -> dict[str, str]:
    return {"sha256": image.sha256, **({"input_sha256": image.input_sha256} if image.input_sha256 else {})}


def _sorted(images: Sequence[Image]) -> tuple[Image, ...]:
    return tuple(sorted(images, key=lambda image: (image.sha256, image.input_sha256 or "")))


def _short(sha: str | None) -> str:
    return "drawn from the seed" if sha is None else f"{sha[:12]}…"
