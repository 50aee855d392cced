"""The training recipe: a YAML file that specifies which networks are trained, on what, and how they differ.

    name: matched
    seed: 0
    corpus: {images: ["photos/train/*.png"], scale: 4, degradations: [clean]}
    validate: {images: ["photos/unseen/*.png"]}
    train: {network: srresnet, args: {width: 32, blocks: 8}, iterations: 10000, batch: 8, crop: 96}
    grid:
      - {id: gr-clean, train: {args: {global_residual: bilinear}}, tags: {residual: yes}}
      - {id: gr-noise20, corpus: {degradations: [{noise: 20}]}, tags: {residual: yes}}

A grid entry is merged into the recipe, key by key (mappings are merged, everything else is replaced). Without a grid
the recipe trains one network, whose id is its name. All entries share the seed unless one overrides it, so that crops
and initial weights are the same for all, and only what the entry changes differs. A `sweep` (`training.sweep`) is
applied to each of these networks: every combination of its values is one network. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from xlli_ray.corpus.files.sources import absolute
from xlli_ray.errors import RecipeError
from xlli_ray.recipe.absolute_paths import resolve_corpus
from xlli_ray.recipe.names import alike
from xlli_ray.recipe.overrides import read_override
from xlli_ray.recipe.problems import Path as Place
from xlli_ray.recipe.problems import Source, collected, explain
from xlli_ray.recipe.yaml_text import read_file
from xlli_ray.registry import CORPORA
from xlli_ray.training.corpus import MeasuredFiles, TrainCorpus, ValidationFiles, is_short_form
from xlli_ray.training.sweep import WHOLE, Point, Tag, nested, points
from xlli_ray.user_code import allow, places_in

_STRICT = ConfigDict(extra="forbid", frozen=True)


class Gan(BaseModel):
    """The adversarial stage: pixel loss plus `weight` times the generator loss of a plain GAN."""

    model_config = _STRICT
    weight: float = Field(default=0.005, gt=0)
    width: int = Field(default=16, ge=1, description="of the U-Net discriminator at full resolution")
    lr: float = Field(default=2e-4, gt=0, description="of the discriminator")
    alone: int = Field(default=0, ge=0, description="number of first iterations that train only the discriminator")


class Train(BaseModel):
    """How one network is trained."""

    model_config = _STRICT
    network: str = Field(description="a built-in network, FILE.py:factory, or package.module:factory")
    folder: str | None = Field(default=None, description="where a factory is searched first; null: the recipe's folder")
    args: dict[str, Any] = Field(default_factory=dict)
    iterations: int = Field(ge=1)
    batch: int = Field(default=8, ge=1)
    crop: int = Field(default=96, ge=4, description="target pixels; with inputs, input pixels")
    min_gradient: float = Field(default=4.0, ge=0, description="least mean gradient of a crop's input luma, of 255")
    loss: Literal["l1", "l2", "charbonnier", "cross_entropy"] = "l1"
    flow: Literal["known"] | None = Field(default=None, description="known: the network is given the true flow of `motion`")
    lr: float = Field(default=1e-3, gt=0)
    final_lr: float = Field(default=0.01, ge=0, description="fraction of lr at the end of the cosine")
    warmup: int = Field(default=100, ge=0)
    clip: float | None = Field(default=1.0, gt=0, description="largest gradient norm")
    ema: float = Field(default=0.999, ge=0, lt=1, description="decay of the averaged weights that are kept; 0 = none")
    gan: Gan | None = None
    init: str | None = Field(default=None, description="id of another grid entry, path, or builtin:NAME")
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    device: str = Field(default="auto", description="auto: the first GPU if there is one, else cpu")
    threads: int = Field(default=1, ge=1, description="torch threads on a CPU")
    checkpoint_every: int = Field(default=500, ge=1)


class GridEntry(BaseModel):
    """One network of the grid: its changes to the recipe."""

    model_config = _STRICT
    id: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    seed: int | None = None
    train: dict[str, Any] = Field(default_factory=dict)
    corpus: dict[str, Any] = Field(default_factory=dict)
    tags: dict[str, Tag] = Field(default_factory=dict)


class Job(BaseModel):
    """One network, everything resolved."""

    model_config = _STRICT
    id: str
    seed: int
    corpus: TrainCorpus
    validate_on: ValidationFiles | None = None
    measure: dict[str, MeasuredFiles] = Field(default_factory=dict)
    train: Train
    tags: dict[str, Tag] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.train.flow is not None and self.corpus.kind != "motion":
            raise ValueError(f"train.flow known: only corpus.motion has a known flow, not {self.corpus.kind}")
        if self.train.gan is not None and self.corpus.clips:
            raise ValueError(f"train.gan: the adversarial stage is for single images, not for {self.corpus.kind}")
        return self

    def content(self) -> dict[str, Any]:
        """What the weights depend on, and how training is run: `seed`, `corpus`, `train`, JSON-serializable, without locations of files."""
        newer = {"flow"} if self.train.flow is None else set()  # recipes of before the field keep their hashes
        train = self.train.model_dump(mode="json", exclude={"folder", *newer})
        return {"seed": self.seed, "corpus": self.corpus.content(), "train": train}

    def recipe_hash(self) -> str:
        """sha256 of what determines the weights, without file names (the sha256 of the images are in the card)."""
        content = self.content()
        del content["train"]["checkpoint_every"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class TrainRecipe(BaseModel):
    """A whole file."""

    model_config = _STRICT
    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    seed: int = 0
    corpus: dict[str, Any]
    validate_on: ValidationFiles | None = Field(default=None, alias="validate")
    measure: dict[str, MeasuredFiles] | None = Field(default=None, description="scored at the end: name → files")
    train: dict[str, Any]
    grid: list[GridEntry] = Field(default_factory=list)
    sweep: dict[str, list[Any] | dict[str, Any]] = Field(default_factory=dict, description="field -> values; their product is trained")
    tags: dict[str, Tag] = Field(default_factory=dict)

    def jobs(self, source: Source | None = None) -> list[Job]:
        """The networks to train: the entries of the grid in its order, each with all points of the sweep.

        Raises RecipeError with the entry's id; `source` maps to lines of the file."""
        source = source or Source("recipe")
        try:
            swept = points(self.sweep)
        except RecipeError as error:
            raise source.error(("sweep",), str(error)) from error
        entries = self.grid or [GridEntry(id=self.name)]
        ids = [entry.id + point.suffix for entry in entries for point in swept]
        if len(set(ids)) < len(ids):
            raise RecipeError(f"grid: two entries have the same id {next(i for i in ids if ids.count(i) > 1)!r}")
        if pair := alike(ids):
            raise RecipeError(
                f"grid: the ids {pair[0]!r} and {pair[1]!r} differ only in case; they name folders, which some file systems do not"
                " distinguish. Rename one of them"
            )
        for number, entry in enumerate(entries):
            self._check_overlap(entry, swept[0], source, ("grid", number) if self.grid else ())
        return [self._job(number, entry, point, source) for number, entry in enumerate(entries) for point in swept]

    def _check_overlap(self, entry: GridEntry, point: Point, source: Source, above: Place) -> None:
        """RecipeError where a grid entry sets a field, or a tag, that the sweep sets for all entries."""
        given = {"corpus": entry.corpus, "train": entry.train, **({} if entry.seed is None else {"seed": entry.seed})}
        for field in point.fields:
            path = tuple(field.split("."))
            if _has(given, path):
                raise source.error((*above, *path), f"the sweep sets {field} for every entry; remove one of the two")
        for name in point.tags:
            for tags, place in ((self.tags, ("tags", name)), (entry.tags, (*above, "tags", name))):
                if name in tags:
                    raise source.error(place, f"the sweep writes the tag {name!r}; give yours another name")

    def _job(self, number: int, entry: GridEntry, point: Point, source: Source) -> Job:
        train, corpus = merged(self.train, entry.train), merged(self.corpus, entry.corpus)
        if point.suffix and train.get("init") in {other.id for other in self.grid}:
            train = {**train, "init": f"{train['init']}{point.suffix}"}  # for a twin, the entry at the same point
        change = point.change
        content = {
            "id": entry.id + point.suffix,
            "seed": change.get("seed", self.seed if entry.seed is None else entry.seed),
            "corpus": merged(corpus, change.get("corpus", {})),
            "validate_on": self.validate_on,
            "measure": self.measure or {},
            "train": merged(train, change.get("train", {})),
            "tags": {**self.tags, **entry.tags, **point.tags},
        }
        name = f"grid entry {entry.id!r}" if point is WHOLE else repr(content["id"])
        where = replace(source, name=f"{source.name}: {name}") if self.grid or point is not WHOLE else source
        own = {"train": entry.train, "corpus": entry.corpus, "tags": entry.tags}
        job: Job = _parsed(Job, content, where, ("grid", number), own, point.fields)
        return job


def is_training(path: str | os.PathLike[str]) -> bool:
    """Whether the file is a recipe of trainings, not of a study. Raises RecipeError for one that cannot be read."""
    content, _ = read_file(Path(path))
    return isinstance(content, dict) and "train" in content and "stages" not in content


def load_recipe(path: str | os.PathLike[str], *, overrides: Sequence[str] = ()) -> TrainRecipe:
    """Read, override (`corpus.images=photos/*.png`; values are YAML) and check a recipe; paths become absolute.

    Paths in the file are relative to its folder, those in overrides to the current one.
    Raises RecipeError, naming the nearest key for one that does not exist.
    """
    path = Path(path)
    content, lines = read_file(path)
    if not isinstance(content, dict):
        raise RecipeError(f"recipe {path}: expected keys such as name, corpus, train; got {type(content).__name__}")
    allow(places_in(content), str(path.absolute().parent))
    if "stages" in content and "train" not in content:
        raise RecipeError(f"recipe {path}: this recipe is a study (it has `stages`): xlli run {path}")
    content = _located(content, path.absolute().parent)
    changed: list[Place] = []
    for override in overrides:
        keys, value = read_override(override)
        if keys[0] == "sweep" and len(keys) > 1:  # keys of a sweep are themselves paths with dots
            field = ".".join(keys[1:])
            located = _located({"sweep": {field: value}}, Path.cwd())["sweep"]
            content = {**content, "sweep": {**(content.get("sweep") or {}), **located}}
            changed.append(("sweep", field))
            continue
        change: Any = value
        for name in reversed(keys):
            change = {name: change}
        content = merged(content, _located(change, Path.cwd()))
        changed.append(tuple(keys))
    source = Source(f"recipe {path}", lines, tuple(changed))
    recipe: TrainRecipe = _parsed(TrainRecipe, content, source)
    recipe.jobs(source)  # every entry is checked before the first is trained
    return recipe


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` merged into `below`: mappings are merged, all else is replaced. A kind of corpus replaces another."""
    kinds = {key for key in above if CORPORA.knows(key)}
    result = {key: value for key, value in below.items() if not kinds or key in kinds or not CORPORA.knows(key)}
    for key, value in above.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(value, Mapping) and isinstance(old, Mapping) else value
    return result


def _located(content: Any, base: Path) -> Any:
    """The same content with local paths made absolute in the fields that hold paths."""

    def files(section: Any) -> Any:
        return resolve_corpus(section, base) if isinstance(section, dict) else section

    def measured(section: Any) -> Any:
        return files({"pairs": section})["pairs"] if is_short_form(section) else files(section)

    def network(train: Any) -> Any:
        """With the folder where a factory is searched first, as in a study's models."""
        if not isinstance(train, dict):
            return train
        if isinstance(given := train.get("folder"), str):
            return {**train, "folder": absolute(given, base)}
        return {**train, "folder": str(base.absolute())} if isinstance(name := train.get("network"), str) and ":" in name else train

    if not isinstance(content, dict):
        return content
    result = dict(content)
    if "train" in result:
        result["train"] = network(result["train"])
    for key in ("corpus", "validate"):
        if key in result:
            result[key] = files(result[key])
    if isinstance(result.get("measure"), dict):
        result["measure"] = {name: measured(section) for name, section in result["measure"].items()}
    if isinstance(result.get("grid"), list):
        result["grid"] = [
            {**entry, **{key: place(entry[key]) for key, place in (("corpus", files), ("train", network)) if key in entry}}
            if isinstance(entry, dict)
            else entry
            for entry in result["grid"]
        ]
    if isinstance(result.get("sweep"), dict):
        result["sweep"] = {field: _located_values(field, values, base) for field, values in result["sweep"].items()}
        swept = result["sweep"].get("train.network")
        names = list(swept.values() if isinstance(swept, dict) else swept) if isinstance(swept, dict | list) else []
        if any(isinstance(name, str) and ":" in name for name in names) and isinstance(result.get("train"), dict):
            result["train"] = {"folder": str(base.absolute()), **result["train"]}
    return result


def _located_values(field: Any, values: Any, base: Path) -> Any:
    """The values of one field of a sweep, with paths made absolute if the field holds paths."""

    def located(value: Any) -> Any:
        located_value = _located(nested(field, value), base)
        for key in field.split("."):
            located_value = located_value[key]
        return located_value

    if not isinstance(field, str) or field.split(".")[0] not in ("corpus", "train"):
        return values
    if isinstance(values, dict):
        return {name: located(value) for name, value in values.items()}
    return [located(value) for value in values] if isinstance(values, list) else values


def _parsed(
    model: type[BaseModel], content: Any, source: Source, above: Place = (), own: Any = None, swept: Sequence[str] = ()
) -> Any:
    """`model` of `content`. Raises RecipeError: all problems, each with its path in the file: fields of `own` are below `above`, the fields
    `swept` in the sweep."""

    def place(path: Place) -> str:
        for field in swept:
            if path[: field.count(".") + 1] == tuple(field.split(".")):
                return source.place(("sweep", field))
        return source.place((*above, *path) if _has(own, path) else path)

    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise collected(source, explain(error, model, content, place)) from error


def _has(content: Any, path: Place) -> bool:
    for part in path:
        if not isinstance(content, Mapping) or part not in content:
            return False
        content = content[part]
    return bool(path)
