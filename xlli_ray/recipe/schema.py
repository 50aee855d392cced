"""Schema of a recipe: its fields, checked one by one and against each other. Nothing in this folder imports torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from xlli_ray.analyses import analysis_class
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.errors import RecipeError, StudyError, closest
from xlli_ray.probes import probe_class
from xlli_ray.recipe.names import alike
from xlli_ray.registry import ANALYSES, PROBES
from xlli_ray.store.records.manifest import chosen
from xlli_ray.store.tables.study_tables import RESERVED
from xlli_ray.store.zarr.layout import check_name
from xlli_ray.user_code import PLACE

if TYPE_CHECKING:
    from xlli_ray.analyses.analysis import Analysis
    from xlli_ray.probes.probe import Probe

_STRICT = ConfigDict(extra="forbid", frozen=True)
UNIT_SECONDS = 300.0
"""What a unit takes at most, at the assumed speed of a plan, unless the recipe says otherwise."""


def _name(value: str, what: str) -> str:
    try:
        return check_name(value, what)
    except StudyError as error:
        raise ValueError(str(error)) from error


class Tiles(BaseModel):
    """What a network is run on instead of whole images."""

    model_config = _STRICT
    size: int = Field(ge=8, description="side of what is kept of a tile, input pixels")
    halo: int = Field(default=16, ge=0, description="input pixels that it sees beyond that on each side")


class Segments(BaseModel):
    """What a network for clips is run on instead of whole clips."""

    model_config = _STRICT
    frames: int = Field(ge=1, description="frames that are kept of a segment")
    overlap: int = Field(default=2, ge=0, description="frames that it sees before and after them")


class ModelEntry(BaseModel):
    """One network to analyse."""

    model_config = _STRICT
    id: str
    weights: str | None = Field(default=None, description="file, URL, or builtin:NAME")
    key: str | None = Field(default=None, min_length=1, description="where in the file the weights are: params, generator_ema, …")
    sha256: str | None = Field(default=None, pattern="^[0-9a-fA-F]{64}$", description="expected of the weight file")
    network: str | None = Field(default=None, description="a built-in network, FILE.py:factory, package.module:factory; null: recognised")
    folder: str | None = Field(default=None, description="where a factory is looked for first; null: the recipe's own folder")
    args: dict[str, Any] = Field(default_factory=dict)
    scale: int | None = Field(default=None, ge=1)
    range: tuple[float, float] | None = Field(default=None, description="[0, 1] | [0, 255] | [-1, 1]")
    output: Literal["image", "none"] = "image"
    frames: Literal["each", "all"] | None = Field(
        default=None, description="each: a network for images, run over clips frame by frame; all: it takes clips; null: as it declares"
    )
    tiles: Tiles | None = Field(default=None, description="run on overlapping tiles of each image, so that memory is bounded")
    segments: Segments | None = Field(default=None, description="run on overlapping segments of a clip, so that memory is bounded")
    tags: dict[str, str | int | float | bool] = Field(default_factory=dict)
    baseline: bool = Field(default=False, description="in every restore stage, and in others only if they name it")

    @field_validator("id")
    @classmethod
    def _id(cls, value: str) -> str:
        return _name(value, "model id")


@dataclass(frozen=True)
class StageKind:
    """Meaning of a stage's name in a recipe."""

    kind: str
    """The KIND of its class: name of its cells, its table and, unless it has an `id`, the stage."""
    code: str
    """Location of its class if it is not in a registry; else ""."""
    concludes: bool
    """Whether it is an analysis."""
    cls: type[Probe] | type[Analysis]


def stage_kind(name: str, code: str = "") -> StageKind:
    """Meaning of `name`: a kind in a registry, or `package.module:Class`. `code`: as in study.json.

    Raises RecipeError listing the known kinds, or for a class whose KIND is already in use.
    """
    if PLACE.fullmatch(name) or code:
        return _of_place(code or name)
    if name in ANALYSES:
        return StageKind(name, "", True, analysis_class(name))
    if name in PROBES:
        return StageKind(name, "", False, probe_class(name))
    PROBES.check_form(name)
    ANALYSES.check_form(name)
    near = closest(name, [*PROBES, *ANALYSES])
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise RecipeError(
        f"stages: there is no stage {name!r}. {hint}Stages: {', '.join(sorted(PROBES))}; analyses: {', '.join(sorted(ANALYSES))}; "
        "or package.module:Class."
    )


def _of_place(place: str) -> StageKind:
    cls = PROBES.load(place)
    kind = str(getattr(cls, "KIND", ""))
    concludes = hasattr(cls, "run") and not hasattr(cls, "measure")
    if kind in PROBES or kind in ANALYSES or kind in RESERVED:
        raise RecipeError(f"stage {place!r}: its KIND {kind!r} is the name of an existing stage or table; give it another KIND")
    return StageKind(kind, place, concludes, analysis_class(kind, place) if concludes else probe_class(kind, place))


class Stage(BaseModel):
    """One measurement over all samples, or one analysis of measurements: a probe or an analysis with its parameters."""

    model_config = _STRICT
    kind: str
    id: str
    models: Literal["all"] | list[str] | dict[str, Any] = "all"
    params: dict[str, Any] = Field(default_factory=dict)
    precision: Literal["float32", "tf32", "bf16", "fp16"] = Field(default="float32", description="of the networks' arithmetic")
    code: str = Field(default="", description="location of its class if it is not in a registry")
    concludes: bool = Field(default=False, description="whether it is an analysis; known for those in a registry")

    @model_validator(mode="before")
    @classmethod
    def _role(cls, data: Any) -> Any:
        return {**data, "concludes": True} if isinstance(data, dict) and data.get("kind") in ANALYSES else data

    @field_validator("id")
    @classmethod
    def _id(cls, value: str) -> str:
        return _name(value, "stage id")

    def parsed(self) -> BaseModel:
        """The parameters as an instance of the probe's or analysis' class."""
        return stage_kind(self.kind, self.code).cls.Params(**self.params)

    @property
    def without_model(self) -> bool:
        """Whether it measures samples without a model."""
        return not self.concludes and probe_class(self.kind, self.code).SUBJECT == "sample"

    def chooses(self, model: ModelEntry) -> bool:
        """Whether this stage includes `model`, if it measures models at all."""
        return chosen(self.models, model.id, model.tags, kind=self.kind, baseline=model.baseline)


class Limits(BaseModel):
    """A plan that exceeds these is refused before any work."""

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
    models: list[ModelEntry] = Field(default_factory=list)
    stages: list[Stage] = Field(min_length=1)
    batch: dict[str, int | Literal["auto"]] = Field(default_factory=dict, description="probe kind → samples per batch")
    threads: int = Field(default=1, ge=1, le=1024)
    unit_seconds: float = Field(default=UNIT_SECONDS, gt=0, le=86400, description="of a unit at most, at 50 GMAC/s; at least one batch")
    limits: Limits = Limits()
    baseline: bool = Field(default=True, description="bicubic, or the input at scale 1, in addition to the networks of every restore stage")

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return _name(value, "name")

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        for what, ids in (("models", [m.id for m in self.models]), ("stages", [s.id for s in self.stages])):
            twice = sorted({i for i in ids if ids.count(i) > 1})
            if twice:
                raise ValueError(f"{what}: duplicate id {twice[0]!r}; every id must be unique")
            if pair := alike(ids):
                raise ValueError(
                    f"{what}: the ids {pair[0]!r} and {pair[1]!r} differ only in case; they name folders, which some file systems do"
                    " not distinguish. Rename one of them"
                )
        known = {m.id for m in self.models}
        if not known and (of_models := [stage for stage in self.stages if not stage.concludes and not stage.without_model]):
            raise ValueError(f"models: expected a list with at least one entry: the stage {of_models[0].id} measures networks")
        for stage in self.stages:
            if isinstance(stage.models, list):
                unknown = [name for name in stage.models if name not in known]
                if unknown:
                    near = closest(unknown[0], known, n=1)
                    hint = f" Did you mean {near[0]!r}?" if near else ""
                    raise ValueError(f"stages.{stage.id}.models: no model has the id {unknown[0]!r}.{hint}")
        codes: dict[str, str] = {}
        for stage in self.stages:
            if codes.setdefault(stage.kind, stage.code) != stage.code:
                raise ValueError(
                    f"stages: {codes[stage.kind]} and {stage.code} have one KIND, {stage.kind!r}: they would share a table. Rename one"
                )
        for kind, size in self.batch.items():
            if kind in ANALYSES or any(stage.kind == kind and stage.concludes for stage in self.stages):
                raise ValueError(f"batch: {kind!r} is an analysis: it runs no network and has no batches")
            if kind not in PROBES and kind not in codes:
                raise ValueError(f"batch: {kind!r} is not a stage; stages: {', '.join(sorted({*PROBES, *codes}))}")
            if size != "auto" and size < 1:
                raise ValueError(f"batch.{kind}: batch size must be an integer ≥ 1 or auto, got {size}")
        return self

    @property
    def analyses(self) -> list[Stage]:
        """The analysis stages, in order."""
        return [stage for stage in self.stages if stage.concludes]

    def measured(self) -> Recipe:
        """The recipe with only the measuring stages, from which a plan is made. Analyses do not enter any cell's identity."""
        return self.model_copy(update={"stages": [stage for stage in self.stages if not stage.concludes]})

    def dump(self) -> dict[str, Any]:
        """JSON-able copy, paths resolved."""
        data = json.loads(self.model_dump_json())
        for stage in data["stages"]:  # defaults are omitted, as in older studies
            for name, usual in (("code", ""), ("concludes", False), ("precision", "float32")):
                if stage[name] == usual:
                    del stage[name]
        if data["unit_seconds"] == UNIT_SECONDS:
            del data["unit_seconds"]
        return cast("dict[str, Any]", data)


def parse_bytes(text: str) -> int:
    """`200GB`, `1.5 TiB`, `4096` → bytes. Raises ValueError."""
    units = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
    clean = text.strip().lower()
    number = clean.rstrip("kmgtib ")
    unit = clean[len(number) :].strip()
    try:
        return int(float(number) * units[unit])
    except (KeyError, ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a size; write 200GB, 1.5TB or a number of bytes") from error
