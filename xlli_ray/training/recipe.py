"""The training recipe: a YAML file that says which networks are trained, on what, and in what they differ.

    name: matched
    seed: 0
    corpus: {images: ["photos/train/*.png"], scale: 4, degradations: [clean]}
    validate: {images: ["photos/unseen/*.png"]}
    train: {network: srresnet, args: {width: 32, blocks: 8}, iterations: 10000, batch: 8, crop: 96}
    grid:
      - {id: gr-clean, train: {args: {global_residual: bilinear}}, tags: {residual: yes}}
      - {id: gr-noise20, corpus: {degradations: [{noise: 20}]}, tags: {residual: yes}}

A grid entry is laid over the recipe, key by key (mappings are merged, everything else is replaced). Without a grid the
recipe trains one network, whose id is its name. All entries share the seed unless one says otherwise: then the crops
and the first weights are the same for all, and only what the entry changes differs. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from xlli_ray.corpus.decode import MAX_PIXELS
from xlli_ray.corpus.degradations import check_draw
from xlli_ray.corpus.files.sources import absolute
from xlli_ray.errors import RecipeError
from xlli_ray.recipe.names import alike
from xlli_ray.recipe.overrides import read_override
from xlli_ray.recipe.problems import Path as Place
from xlli_ray.recipe.problems import Source, collected, explain
from xlli_ray.recipe.yaml_text import read_file
from xlli_ray.registry import allow, places_in

_STRICT = ConfigDict(extra="forbid", frozen=True)
Tag = str | int | float | bool


class Pairs(BaseModel):
    """Files that belong together by the text that the wildcards stand for."""

    model_config = _STRICT
    input: str | list[str]
    target: str | list[str]


class TrainCorpus(BaseModel):
    """What is trained on: clean `images` whose input is made, `pairs`, or `inputs` alone (networks without image)."""

    model_config = _STRICT
    images: list[str] | None = None
    pairs: Pairs | None = None
    inputs: list[str] | None = None
    scale: int = Field(default=4, ge=1, description="only with images; pairs bring their own, inputs have none")
    degradations: list[Any] = Field(default=["clean"], description="one is drawn per crop; a range is a uniform draw")
    max_pixels: int = Field(default=MAX_PIXELS, ge=1)

    @field_validator("images", "inputs", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> TrainCorpus:
        given = [name for name in ("images", "pairs", "inputs") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of images, pairs, inputs is needed; given: {', '.join(given) or 'none'}")
        check_draw(self.degradations)
        if self.images is None and self.degradations != ["clean"]:
            raise ValueError(f"degradations are made from clean images; {given[0]} go in as they are")
        return self


class Validate(BaseModel):
    """What is scored now and then while training; it steers nothing."""

    model_config = _STRICT
    images: list[str] | None = None
    pairs: Pairs | None = None
    degradations: list[Any] = Field(default=["clean"], description="each is scored; levels, no ranges")
    crop: int | None = Field(default=192, ge=8, description="target pixels, centre of each image; null = whole images")
    every: int = Field(default=1000, ge=1)

    @field_validator("images", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> Validate:
        if (self.images is None) == (self.pairs is None):
            raise ValueError("validate: exactly one of images, pairs is needed")
        return self


class Gan(BaseModel):
    """The adversarial stage: pixel loss plus `weight` times the generator's share of a plain GAN."""

    model_config = _STRICT
    weight: float = Field(default=0.005, gt=0)
    width: int = Field(default=16, ge=1, description="of the U-Net discriminator at full resolution")
    lr: float = Field(default=2e-4, gt=0, description="of the discriminator")
    alone: int = Field(default=0, ge=0, description="first iterations in which only the discriminator learns")


class Train(BaseModel):
    """How one network is trained."""

    model_config = _STRICT
    network: str = Field(description="a network of ours, FILE.py:factory, or package.module:factory")
    folder: str | None = Field(default=None, description="where a factory is looked for first; null: the recipe's own folder")
    args: dict[str, Any] = Field(default_factory=dict)
    iterations: int = Field(ge=1)
    batch: int = Field(default=8, ge=1)
    crop: int = Field(default=96, ge=4, description="target pixels; with inputs, input pixels")
    min_gradient: float = Field(default=4.0, ge=0, description="least mean gradient of a crop's input luma, of 255")
    loss: Literal["l1", "l2", "cross_entropy"] = "l1"
    lr: float = Field(default=1e-3, gt=0)
    final_lr: float = Field(default=0.01, ge=0, description="share of lr at the end of the cosine")
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
    """One network of the grid: what it changes."""

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
    validate_on: Validate | None = None
    measure: dict[str, Pairs] = Field(default_factory=dict)
    train: Train
    tags: dict[str, Tag] = Field(default_factory=dict)

    def recipe_hash(self) -> str:
        """sha256 of what decides the weights, file names left out (the images' own sha256 stand in the card)."""
        content = self.model_dump(mode="json", exclude={"id", "tags", "measure", "validate_on"})
        for source in ("images", "inputs", "pairs"):
            content["corpus"][source] = content["corpus"][source] is not None
        for display in ("checkpoint_every", "folder"):
            content["train"].pop(display)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class TrainRecipe(BaseModel):
    """A whole file."""

    model_config = _STRICT
    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    seed: int = 0
    corpus: dict[str, Any]
    validate_on: Validate | None = Field(default=None, alias="validate")
    measure: dict[str, Pairs] | None = Field(default=None, description="scored at the end: name -> pairs")
    train: dict[str, Any]
    grid: list[GridEntry] = Field(default_factory=list)
    tags: dict[str, Tag] = Field(default_factory=dict)

    def jobs(self, source: Source | None = None) -> list[Job]:
        """The networks to train, in the order of the grid. Raises RecipeError with the entry's id; `source` knows the file's lines."""
        source = source or Source("recipe")
        entries = self.grid or [GridEntry(id=self.name)]
        ids = [entry.id for entry in entries]
        if len(set(ids)) < len(ids):
            raise RecipeError(f"grid: two entries have the same id {next(i for i in ids if ids.count(i) > 1)!r}")
        if pair := alike(ids):
            raise RecipeError(
                f"grid: the ids {pair[0]!r} and {pair[1]!r} differ in case only; they name folders, which some file systems take for one."
                " Rename one of them"
            )
        jobs = []
        for number, entry in enumerate(entries):
            content = {
                "id": entry.id,
                "seed": self.seed if entry.seed is None else entry.seed,
                "corpus": merged(self.corpus, entry.corpus),
                "validate_on": self.validate_on,
                "measure": self.measure or {},
                "train": merged(self.train, entry.train),
                "tags": {**self.tags, **entry.tags},
            }
            where = replace(source, name=f"{source.name}: grid entry {entry.id!r}") if self.grid else source
            mine = {"train": entry.train, "corpus": entry.corpus, "tags": entry.tags}
            jobs.append(_parsed(Job, content, where, ("grid", number), mine))
        return jobs


def load_recipe(path: str | os.PathLike[str], *, overrides: Sequence[str] = ()) -> TrainRecipe:
    """Read, override (`corpus.images=photos/*.png`; values are YAML) and check a recipe; paths become absolute.

    Paths in the file are relative to its folder, those in overrides to the current one.
    Raises RecipeError, naming the nearest key for one that does not exist.
    """
    path = Path(path)
    content, lines = read_file(path)
    if not isinstance(content, dict):
        raise RecipeError(f"recipe {path}: expected keys such as name, corpus, train; found {type(content).__name__}")
    allow(places_in(content))
    if "stages" in content and "train" not in content:
        raise RecipeError(f"recipe {path}: this recipe is a study (it has `stages`): xlli run {path}")
    content = _located(content, path.parent)
    changed: list[Place] = []
    for override in overrides:
        keys, value = read_override(override)
        change: Any = value
        for name in reversed(keys):
            change = {name: change}
        content = merged(content, _located(change, Path.cwd()))
        changed.append(tuple(keys))
    source = Source(f"recipe {path}", lines, tuple(changed))
    recipe: TrainRecipe = _parsed(TrainRecipe, content, source)
    recipe.jobs(source)  # every entry is checked before the first one trains
    return recipe


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`: mappings are merged, all else is replaced. A source of images replaces another."""
    result = dict(below)
    sources = {"images", "pairs", "inputs"}
    if sources & set(above):
        result = {key: value for key, value in result.items() if key not in sources}
    for key, value in above.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(value, Mapping) and isinstance(old, Mapping) else value
    return result


def _located(content: Any, base: Path) -> Any:
    """The same content with local paths made absolute, where the schema has paths."""

    def resolve(value: Any) -> Any:
        if isinstance(value, str):
            return absolute(value, base)
        return [resolve(item) for item in value] if isinstance(value, list) else value

    def source(corpus: Any) -> Any:
        if not isinstance(corpus, dict):
            return corpus
        result = {key: resolve(value) if key in ("images", "inputs") else value for key, value in corpus.items()}
        if isinstance(corpus.get("pairs"), dict):
            result["pairs"] = {key: resolve(value) for key, value in corpus["pairs"].items()}
        return result

    def network(train: Any) -> Any:
        """With the folder where a factory is looked for first, as in a study's models."""
        if not isinstance(train, dict):
            return train
        if isinstance(given := train.get("folder"), str):
            return {**train, "folder": resolve(given)}
        return {**train, "folder": str(base.absolute())} if isinstance(name := train.get("network"), str) and ":" in name else train

    if not isinstance(content, dict):
        return content
    result = dict(content)
    if "train" in result:
        result["train"] = network(result["train"])
    for key in ("corpus", "validate"):
        if key in result:
            result[key] = source(result[key])
    if isinstance(result.get("measure"), dict):
        result["measure"] = {
            name: {key: resolve(value) for key, value in pairs.items()} if isinstance(pairs, dict) else pairs
            for name, pairs in result["measure"].items()
        }
    if isinstance(result.get("grid"), list):
        result["grid"] = [
            {**entry, **{key: place(entry[key]) for key, place in (("corpus", source), ("train", network)) if key in entry}}
            if isinstance(entry, dict)
            else entry
            for entry in result["grid"]
        ]
    return result


def _parsed(model: type[BaseModel], content: Any, source: Source, above: Place = (), own: Any = None) -> Any:
    """`model` of `content`. Raises RecipeError: all problems, each with its path in the file: what `own` holds stands below `above`."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = explain(error, model, content, lambda path: source.place((*above, *path) if _has(own, path) else path))
        raise collected(source, problems) from error


def _has(content: Any, path: Place) -> bool:
    for part in path:
        if not isinstance(content, Mapping) or part not in content:
            return False
        content = content[part]
    return bool(path)
