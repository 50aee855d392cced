"""The recipe: a YAML file that says what is looked at, with which models, what is measured, and what is concluded.

Parsed strictly: an unknown key is refused with the nearest valid one. Paths are relative to the recipe's folder and are resolved here,
once, so that the copy in `study.json` means the same on any machine that sees the same folders. Nothing in this file imports torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from xlli_ray.analyses import ANALYSES, analysis_class
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.errors import RecipeError, StudyError, closest
from xlli_ray.probes import PROBES, probe_class
from xlli_ray.store.layout import check_name
from xlli_ray.store.manifest import chosen
from xlli_ray.store.objects import is_url, refuse_secrets

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
    network: str | None = Field(default=None, description="a network of ours, package.module:factory, or null: spandrel")
    args: dict[str, Any] = Field(default_factory=dict)
    scale: int | None = Field(default=None, ge=1)
    range: tuple[float, float] | None = Field(default=None, description="[0, 1] | [0, 255] | [-1, 1]")
    output: Literal["image", "none"] = "image"
    tags: dict[str, str | int | float | bool] = Field(default_factory=dict)

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
        return chosen(self.models, model.id, model.tags)


class Limits(BaseModel):
    """A plan above these is refused before any work."""

    model_config = _STRICT
    bytes: int = Field(default=200 * 10**9, ge=0)
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
    threads: int = Field(default=1, ge=1)
    limits: Limits = Limits()

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


def load_recipe(path: str | Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override, validate and resolve the recipe at `path`. Raises RecipeError, all problems listed."""
    path = Path(path)
    try:
        text = path.read_text()
    except OSError as error:
        raise RecipeError(f"recipe {path}: {error.strerror or error}. Give the path of a YAML file.") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"recipe {path}: not text ({error}). Give the path of a YAML file.") from error
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"recipe {path}: not YAML: {error}") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"recipe {path}: expected a mapping with name, corpus, models, stages")
    for override in overrides:
        apply_override(raw, override)
    return parse_recipe(raw, base=path.absolute().parent, where=str(path))


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Apply one `key.path=value` (value in YAML; list items by number) to `raw` in place. Raises RecipeError."""
    path, sign, text = override.partition("=")
    if not sign:
        raise RecipeError(f"--set {override!r}: write key.path=value")
    keys = path.split(".")
    place: Any = raw
    for key in keys[:-1]:
        try:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        except (ValueError, IndexError, AttributeError) as error:
            raise RecipeError(f"--set {override!r}: there is no {key!r} to go into") from error
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override!r}: {text!r} is not YAML: {error}") from error
    if isinstance(place, list):
        try:
            place[int(keys[-1])] = value
        except (ValueError, IndexError) as error:
            raise RecipeError(f"--set {override!r}: {keys[-1]!r} is no item of the list") from error
    elif isinstance(place, dict):
        place[keys[-1]] = value
    else:
        raise RecipeError(f"--set {override!r}: {'.'.join(keys[:-1])} holds a plain value, no fields")


def parse_recipe(raw: Mapping[str, Any], *, base: Path, where: str = "recipe") -> Recipe:
    """Validate a recipe given as plain data; relative paths are relative to `base`. Raises RecipeError."""
    data = dict(raw)
    data["stages"] = [_stage(stage, i, where, base) for i, stage in enumerate(_list(data, "stages", where))]
    data["models"] = [m for entry in _list(data, "models", where) for m in _models(entry, base, where)]
    data["stages"] = _with_brought(data["stages"], data["models"], where, base)
    if isinstance(data.get("corpus"), Mapping):
        data["corpus"] = resolve_corpus(data["corpus"], base)
    try:
        recipe = Recipe(**data)
        for stage in recipe.stages:
            _validate(stage_params(stage.kind), stage.params, f"{where}: stages.{stage.id}")
    except ValidationError as error:
        raise RecipeError(explain(error, Recipe, where)) from error
    except StudyError as error:
        raise RecipeError(f"{where}: {error}") from error
    return recipe


def _list(data: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = data.get(key)
    if not isinstance(value, list) or not value:
        raise RecipeError(f"{where}: {key}: expected a list with at least one entry")
    return value


def _stage(entry: Any, index: int, where: str, base: Path) -> dict[str, Any]:
    if isinstance(entry, Mapping) and {"kind", "id", "params"} <= set(entry):
        return dict(entry)  # as study.json keeps it
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise RecipeError(f"{where}: stages[{index}]: write one stage a list item, as `- restore: {{}}`")
    ((kind, params),) = entry.items()
    fields = stage_params(kind)
    params = dict(params or {})
    if inlined := getattr(fields, "inlined", None):  # parameters that name a file take its content along
        params = inlined(params, lambda text: resolve_path(text, base))
    stage = {"kind": kind, "id": params.pop("id", kind), "params": params}
    if "models" in params:
        stage["models"] = params.pop("models")
    return stage


def _with_brought(
    stages: Sequence[dict[str, Any]], models: Sequence[dict[str, Any]], where: str, base: Path
) -> list[dict[str, Any]]:
    """The stages with those that analyses bring along, each before the analysis that needs it."""
    out: list[dict[str, Any]] = []
    for stage in stages:
        brings = getattr(analysis_class(stage["kind"]), "brings", None) if stage["kind"] in ANALYSES else None
        if brings is not None:
            which = stage.get("models", "all")
            looked = [m for m in models if "id" in m and chosen(which, m["id"], m.get("tags") or {})]
            params, entries = brings(stage["params"], stage["id"], looked)
            stage = {**stage, "params": params}
            for entry in entries:
                ((kind, fields),) = entry.items()
                known = {other["id" if "id" in fields else "kind"] for other in (*stages, *out)}
                if fields.get("id", kind) not in known:
                    out.append(_stage({kind: {"models": which, **fields}}, len(out), where, base))
        out.append(stage)
    return out


def _models(entry: Any, base: Path, where: str) -> list[dict[str, Any]]:
    if isinstance(entry, Mapping) and set(entry) == {"from"}:
        path = Path(resolve_path(entry["from"], base))
        try:
            listed = yaml.safe_load(path.read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise RecipeError(f"{where}: models from {path}: {error}. `xlli train` writes such a file.") from error
        entries = listed["models"] if isinstance(listed, Mapping) and "models" in listed else listed
        if not isinstance(entries, list) or not all(isinstance(e, Mapping) for e in entries):
            raise RecipeError(f"{where}: models from {path}: expected a list of models, as `xlli train` writes it")
        # models.yaml carries each file's sha256 for people; identity is taken from the tensors themselves
        drop = {"sha256"}
        return [
            m for e in entries for m in _models({k: v for k, v in e.items() if k not in drop}, path.absolute().parent, where)
        ]
    if not isinstance(entry, Mapping):
        raise RecipeError(f"{where}: models: expected a mapping such as {{id: a, weights: a.pth}}, found {entry!r}")
    entry = dict(entry)
    weights = entry.get("weights")
    if isinstance(weights, str) and not weights.startswith("builtin:"):
        entry["weights"] = resolve_path(weights, base)
    return [entry]


def resolve_path(text: str, base: Path) -> str:
    """An absolute path, or the URL as it is. Raises RecipeError for URLs with credentials."""
    if is_url(text):
        try:
            refuse_secrets(text)
        except StudyError as error:
            raise RecipeError(str(error)) from error
        return text
    return os.path.normpath(base / Path(text).expanduser())


def resolve_corpus(corpus: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """The corpus section with paths and globs made absolute."""

    def each(value: Any) -> Any:
        if isinstance(value, list):
            return [each(item) for item in value]
        return resolve_path(value, base) if isinstance(value, str) else value

    out = dict(corpus)
    for key in ("images", "inputs", "list"):
        if key in out:
            out[key] = each(out[key])
    if isinstance(out.get("pairs"), Mapping):
        out["pairs"] = {key: each(value) for key, value in out["pairs"].items()}
    if isinstance(pies := out.get("pies"), Mapping) and "real" in pies:
        real = pies["real"]
        named = {name: each(globs) for name, globs in real.items()} if isinstance(real, Mapping) else each(real)
        out["pies"] = {**pies, "real": named}
    return out


def _validate(model: type[BaseModel], data: Mapping[str, Any], where: str) -> None:
    try:
        model(**data)
    except ValidationError as error:
        raise RecipeError(explain(error, model, where)) from error


def explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """All problems of a validation, one line each; an unknown key gets the nearest valid ones."""
    lines = []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            key = str(problem["loc"][-1])
            valid = _fields_at(model, problem["loc"][:-1])
            near = closest(key, valid, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            lines.append(f"{path}: there is no key {key!r}: {hint}Valid here: {', '.join(valid) or 'nothing'}")
        elif problem["type"] == "missing":
            lines.append(f"{path}: missing")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{path}: {message}" if path else message)
    return f"{where}: " + "\n  ".join(dict.fromkeys(lines))


def _fields_at(model: type[BaseModel], path: Sequence[Any]) -> list[str]:
    """Valid keys of the nested model that `path` leads to."""
    from typing import get_args

    here: Any = model
    for part in path:
        if isinstance(part, int):
            continue
        field = getattr(here, "model_fields", {}).get(part)
        if field is None:
            continue  # a union member's name in pydantic's path
        stack, found = [field.annotation], None
        while stack and found is None:
            candidate = stack.pop()
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                found = candidate
            stack.extend(get_args(candidate))
        here = found
    return [field.alias or name for name, field in getattr(here, "model_fields", {}).items()]
