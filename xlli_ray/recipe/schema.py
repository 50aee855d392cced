"""What a recipe may say: its fields, checked one by one and against each other. Nothing in this folder imports torch."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from xlli_ray.analyses import ANALYSES, analysis_class
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.errors import RecipeError, StudyError, closest
from xlli_ray.probes import PROBES, probe_class
from xlli_ray.recipe.names import alike
from xlli_ray.store.records.manifest import chosen
from xlli_ray.store.zarr.layout import check_name

_STRICT = ConfigDict(extra="forbid", frozen=True)


def _name(value: str, what: str) -> str:
    try:
        return check_name(value, what)
    except StudyError as error:
        raise ValueError(str(error)) from error


class ModelEntry(BaseModel):
    """One network that is looked into."""

    model_config = _STRICT
    id: str
    weights: str | None = Field(default=None, description="file, URL, or builtin:NAME")
    key: str | None = Field(default=None, min_length=1, description="where in the file the weights are: params, generator_ema, …")
    sha256: str | None = Field(default=None, pattern="^[0-9a-fA-F]{64}$", description="what the file of weights must have")
    network: str | None = Field(default=None, description="a network of ours, FILE.py:factory, package.module:factory, or null: recognised")
    folder: str | None = Field(default=None, description="where a factory is looked for first; null: the recipe's own folder")
    args: dict[str, Any] = Field(default_factory=dict)
    scale: int | None = Field(default=None, ge=1)
    range: tuple[float, float] | None = Field(default=None, description="[0, 1] | [0, 255] | [-1, 1]")
    output: Literal["image", "none"] = "image"
    frames: Literal["each", "all"] | None = Field(
        default=None, description="each: a network of images, run over clips frame by frame; all: it takes clips; null: as it says itself"
    )
    tags: dict[str, str | int | float | bool] = Field(default_factory=dict)
    baseline: bool = Field(default=False, description="in every restore stage, and in others only where they name it")

    @field_validator("id")
    @classmethod
    def _id(cls, value: str) -> str:
        return _name(value, "model id")


def stage_params(kind: str) -> type[BaseModel]:
    """The parameter class of a stage kind, probe or analysis. Raises RecipeError naming the known kinds."""
    if kind in ANALYSES:
        return analysis_class(kind).Params
    if kind in PROBES:
        return probe_class(kind).Params
    near = closest(kind, [*PROBES, *ANALYSES])
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise RecipeError(
        f"stages: there is no stage {kind!r}. {hint}Stages: {', '.join(sorted(PROBES))}; analyses: {', '.join(sorted(ANALYSES))}."
    )


class Stage(BaseModel):
    """One measurement over all samples, or one conclusion from what was measured: a probe or an analysis with its parameters."""

    model_config = _STRICT
    kind: str
    id: str
    models: Literal["all"] | list[str] | dict[str, Any] = "all"
    params: dict[str, Any] = Field(default_factory=dict)

    @field_validator("id")
    @classmethod
    def _id(cls, value: str) -> str:
        return _name(value, "stage id")

    def parsed(self) -> BaseModel:
        """The parameters as the probe's or analysis' own class."""
        return stage_params(self.kind)(**self.params)

    def chooses(self, model: ModelEntry) -> bool:
        """Whether this stage looks at `model`."""
        return chosen(self.models, model.id, model.tags, kind=self.kind, baseline=model.baseline)


class Limits(BaseModel):
    """A plan above these is refused before any work."""

    model_config = _STRICT
    bytes: int = Field(default=200 * 10**9, ge=0, le=10**18)
    hours: float = Field(default=24.0, ge=0)

    @field_validator("bytes", mode="before")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
        return parse_bytes(value) if isinstance(value, str) else value


class Recipe(BaseModel):
    """A whole study. See `docs/recipes.md` for every field."""

    model_config = _STRICT
    name: str
    seed: int = 0
    corpus: CorpusSpec
    models: list[ModelEntry] = Field(min_length=1)
    stages: list[Stage] = Field(min_length=1)
    batch: dict[str, int | Literal["auto"]] = Field(default_factory=dict, description="probe kind → samples a batch")
    threads: int = Field(default=1, ge=1, le=1024)
    limits: Limits = Limits()
    baseline: bool = Field(default=True, description="bicubic, or the input at scale 1, beside the networks of every restore stage")

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return _name(value, "name")

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        for what, ids in (("models", [m.id for m in self.models]), ("stages", [s.id for s in self.stages])):
            twice = sorted({i for i in ids if ids.count(i) > 1})
            if twice:
                raise ValueError(f"{what}: id {twice[0]!r} is given twice; every id must be unique")
            if pair := alike(ids):
                raise ValueError(
                    f"{what}: the ids {pair[0]!r} and {pair[1]!r} differ in case only; they name folders, which some file systems take for"
                    " one. Rename one of them"
                )
        known = {m.id for m in self.models}
        for stage in self.stages:
            if isinstance(stage.models, list):
                unknown = [name for name in stage.models if name not in known]
                if unknown:
                    near = closest(unknown[0], known, n=1)
                    hint = f" Did you mean {near[0]!r}?" if near else ""
                    raise ValueError(f"stages.{stage.id}.models: no model has the id {unknown[0]!r}.{hint}")
        for kind, size in self.batch.items():
            if kind in ANALYSES:
                raise ValueError(f"batch: {kind!r} is an analysis: it runs no network and has no batches")
            if kind not in PROBES:
                raise ValueError(f"batch: {kind!r} is no stage; stages: {', '.join(sorted(PROBES))}")
            if size != "auto" and size < 1:
                raise ValueError(f"batch.{kind}: {size} is no number of samples; use 1 or more, or auto")
        return self

    @property
    def analyses(self) -> list[Stage]:
        """The stages that conclude, in order."""
        return [stage for stage in self.stages if stage.kind in ANALYSES]

    def measured(self) -> Recipe:
        """The recipe with the stages that measure only: what a plan is made of. Analyses enter no cell's identity."""
        return self.model_copy(update={"stages": [stage for stage in self.stages if stage.kind not in ANALYSES]})

    def dump(self) -> dict[str, Any]:
        """JSON-able copy, paths resolved."""
        return json.loads(self.model_dump_json())


def parse_bytes(text: str) -> int:
    """`200GB`, `1.5 TiB`, `4096` → bytes. Raises ValueError."""
    units = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
    clean = text.strip().lower()
    number = clean.rstrip("kmgtib ")
    unit = clean[len(number) :].strip()
    try:
        return int(float(number) * units[unit])
    except (KeyError, ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no size; write 200GB, 1.5TB or a number of bytes") from error
