"""From the text of a recipe to a `Recipe`: with the stages that analyses require, models from other files, and resolved paths.

Each stage and each model is checked at its place, so that a problem is reported with its location in the file (`stages[2].restore.save`),
and all problems are reported at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from xlli_ray.corpus.files.sources import read_bytes
from xlli_ray.errors import RecipeError, SampleError
from xlli_ray.recipe import problems
from xlli_ray.recipe.absolute_paths import resolve_corpus, resolve_path
from xlli_ray.recipe.overrides import apply_override
from xlli_ray.recipe.problems import Source, collected, explain
from xlli_ray.recipe.schema import ModelEntry, Recipe, Stage, stage_kind
from xlli_ray.recipe.yaml_text import Lines, check_plain, read_file, read_text
from xlli_ray.store.objects.client import is_url
from xlli_ray.user_code import PLACE, allow, places_in

FILES_DEEP = 4
"""Depth of model files that refer to model files."""


@dataclass(frozen=True)
class _Part:
    """A stage or a model as plain data, and its location."""

    data: dict[str, Any]
    source: Source
    path: problems.Path
    fields: problems.Path = ()
    """Path of a stage's fields, such as `save`."""


def load_recipe(path: str | Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override, validate and resolve the recipe at `path`. Raises RecipeError, all problems listed."""
    path = Path(path)
    raw, lines = read_file(path)
    if not isinstance(raw, dict):
        raise RecipeError(f"recipe {path}: expected a mapping with name, corpus, models, stages")
    changed = tuple(apply_override(raw, override) for override in overrides)
    return parse_recipe(raw, base=path.absolute().parent, where=str(path), source=Source(str(path), lines, changed))


def parse_recipe(raw: Mapping[str, Any], *, base: Path, where: str = "recipe", source: Source | None = None) -> Recipe:
    """Validate a recipe given as plain data; relative paths are relative to `base`. `where`: its name in messages; `source`: its lines.

    Raises RecipeError, all problems listed, each with its path in the recipe.
    """
    source = source or Source(where)
    if not isinstance(raw, Mapping):
        raise source.error((), "expected a mapping with name, corpus, models, stages")
    check_plain(raw, source.name, source.lines)
    allow(places_in(raw), str(base))
    if "train" in raw and "stages" not in raw:
        raise source.error((), f"this recipe trains networks (it has `train`): xlli train {where} --out FOLDER")
    errors: list[str] = []
    stages = [part for i, entry in enumerate(_list(raw, "stages", source)) for part in _tried(errors, _stage, entry, i, source, base)]
    listed = _list(raw, "models", source) if raw.get("models", []) != [] else []  # none if samples are measured without a model
    models = [
        part for i, entry in enumerate(listed) for part in _tried(errors, _models, entry, base, source, ("models", i))
    ]
    data = {**raw, "stages": [part.data for part in stages], "models": [part.data for part in models]}
    if not errors:
        stages = _with_brought(stages, models, base)
        data["stages"] = [part.data for part in stages]
    if isinstance(data.get("corpus"), Mapping):
        data["corpus"] = next(iter(_tried(errors, _resolved, data["corpus"], base, source)), data["corpus"])

    def place(path: problems.Path) -> str:
        for name, parts in (("stages", stages), ("models", models)):
            if len(path) > 1 and path[0] == name and isinstance(path[1], int) and path[1] < len(parts):
                part = parts[path[1]]
                return part.source.place((*part.path, *path[2:]))
        return source.place(path)

    try:
        recipe = Recipe(**data)
    except ValidationError as error:
        bad = bool(errors)  # the rest of the lists is then meaningless
        errors += explain(error, Recipe, data, place, keep=lambda path: not bad or path[:1] not in (("stages",), ("models",), ()))
    if errors:
        raise collected(source, errors)
    return recipe


def _tried(errors: list[str], make: Callable[..., list[Any]], *arguments: Any) -> list[Any]:
    """The result of `make(*arguments)`; if it refuses, an empty list, and its errors are added to `errors`."""
    try:
        return make(*arguments)
    except _Refused as error:
        errors += error.lines
    return []


class _Refused(Exception):
    """Problems of one stage, model or section, each with its location."""

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines


def _list(data: Mapping[str, Any], key: str, source: Source) -> list[Any]:
    value = data.get(key)
    if not isinstance(value, list) or not value:
        raise source.error((key,), "expected a list with at least one entry")
    return value


def _resolved(corpus: Mapping[str, Any], base: Path, source: Source) -> list[dict[str, Any]]:
    try:
        return [resolve_corpus(corpus, base)]
    except RecipeError as error:
        raise _Refused(f"{source.place(('corpus',))}{error}") from error


def _checked(model: type[BaseModel], data: Mapping[str, Any], source: Source, path: problems.Path) -> Any:
    """`model(**data)`. Raises _Refused with the problems' locations below `path`."""
    try:
        return model(**data)
    except ValidationError as error:
        raise _Refused(*explain(error, model, data, lambda inner: source.place((*path, *inner)))) from error


def _stage(entry: Any, index: int, source: Source, base: Path) -> list[_Part]:
    """One stage, checked on its own."""
    path: problems.Path = ("stages", index)
    if isinstance(entry, Mapping) and {"kind", "id", "params"} <= set(entry):  # as in study.json
        stage, fields = dict(entry), (*path, "params")
    elif not isinstance(entry, Mapping) or len(entry) != 1:
        raise _Refused(f"{source.place(path)}write one stage per list item, as `- restore: {{}}`")
    else:
        ((kind, params),) = entry.items()
        fields = (*path, kind)
        if params is not None and not isinstance(params, Mapping):
            raise _Refused(f"{source.place(fields)}expected the stage's fields, as `- restore: {{}}`, got {params!r:.60}")
        params = dict(params or {})
        name = kind
        if isinstance(kind, str) and PLACE.fullmatch(kind):
            try:
                resolved = stage_kind(kind)
            except RecipeError as error:
                raise _Refused(f"{source.place(path)}{error}") from error
            name = resolved.kind
        stage = {"kind": name, "id": params.pop("id", name), "params": params}
        if name != kind:
            stage |= {"code": resolved.code, "concludes": resolved.concludes}
        stage |= {name: params.pop(name) for name in ("models", "precision") if name in params}
    try:
        Stage(**stage)
    except ValidationError as error:
        below = {"id": fields, "models": fields, "precision": fields} if fields[-1] != "params" else {}

        def at(inner: problems.Path) -> str:
            return source.place((*below.get(str(inner[0]), path), *inner) if inner else path)

        raise _Refused(*explain(error, Stage, stage, at)) from error
    try:
        cls = stage_kind(stage["kind"], stage.get("code", "")).cls
    except RecipeError as error:
        raise _Refused(f"{source.place(path)}{error}") from error
    if stage.get("models", "all") != "all" and _alone(cls):
        where = source.place((*(fields if fields[-1] != "params" else path), "models"))
        raise _Refused(
            f"{where}`{stage['kind']}` measures samples without a model, so it has no `models` to choose. Omit `models`"
            " (cells that an earlier version measured with a model are kept)"
        )
    if reason := _no_precision(cls, str(stage.get("precision", "float32"))):
        raise _Refused(f"{source.place((*(fields if fields[-1] != 'params' else path), 'precision'))}`{stage['kind']}` {reason}")
    _checked(cls.Params, stage["params"], source, fields)
    if inlined := getattr(cls.Params, "inlined", None):  # parameters that name a file include its content
        try:
            stage["params"] = inlined(stage["params"], lambda text: resolve_path(text, base))
        except RecipeError as error:
            raise _Refused(f"{source.place(fields)}{error}") from error
    return [_Part(stage, source, path, fields)]


def _no_precision(cls: Any, precision: str) -> str:
    """Why a stage of this class cannot be computed in `precision`; '' if it can."""
    if precision == "float32":
        return ""
    if _alone(cls) or not hasattr(cls, "measure"):
        return "runs no network, so it has no `precision` to choose. Omit it" + (
            "" if _alone(cls) else ", or name the stage that it reads with a precision of its own"
        )
    if precision == "fp16" and cls.GRADIENTS:
        return "differentiates networks, and gradients below 6e-8 are 0 in float16. Use bf16 or tf32"
    return ""


def _alone(cls: Any) -> bool:
    """Whether a stage's class measures samples without a model."""
    return getattr(cls, "SUBJECT", "model") == "sample"


def _with_brought(stages: Sequence[_Part], models: Sequence[_Part], base: Path) -> list[_Part]:
    """The stages with those that analyses require, each before the analysis that needs it."""
    out: list[_Part] = []
    for part in stages:
        stage = part.data
        brings = getattr(stage_kind(stage["kind"], stage.get("code", "")).cls, "brings", None)
        if brings is not None:
            chooses = Stage(**stage).chooses
            looked = [m.data for m in models if chooses(ModelEntry(**m.data))]
            params, entries = brings(stage["params"], stage["id"], looked)
            part = replace(part, data={**stage, "params": params})
            for entry in entries:
                ((kind, fields),) = entry.items()
                known = {other.data["id" if "id" in fields else "kind"] for other in (*stages, *out)}
                if fields.get("id", kind) not in known:
                    chosen = {} if _alone(stage_kind(kind).cls) else {"models": stage.get("models", "all")}
                    brought = {kind: {**chosen, **fields}}
                    try:
                        (made,) = _stage(brought, 0, Source(part.source.name), base)
                    except _Refused as error:
                        raise part.source.error(part.path, f"{stage['kind']} adds a stage {kind}: {'; '.join(error.lines)}") from error
                    out.append(replace(made, source=part.source, path=part.path))
        out.append(part)
    return out


def _models(entry: Any, base: Path, source: Source, path: problems.Path, files: tuple[Path, ...] = ()) -> list[_Part]:
    """The models of one list item: itself, or those of the file that it names."""
    if isinstance(entry, Mapping) and "from" in entry and set(entry) <= {"from", "args"}:
        args = entry.get("args", {})
        if not isinstance(args, Mapping):
            raise _Refused(f"{source.place((*path, 'args'))}expected a mapping such as {{alignment: none}}, got {args!r:.60}")
        parts = _models_of_file(entry["from"], base, source, (*path, "from"), files)
        for part in parts:
            if args:
                part.data["args"] = {**(part.data.get("args") or {}), **args}
        return parts
    if not isinstance(entry, Mapping):
        raise _Refused(f"{source.place(path)}models: expected a mapping such as {{id: a, weights: a.pth}}, got {entry!r:.60}")
    entry = dict(entry)
    weights = entry.get("weights")
    if isinstance(weights, str) and not weights.startswith("builtin:"):
        try:
            entry["weights"] = resolve_path(weights, base)
        except RecipeError as error:
            raise _Refused(f"{source.place((*path, 'weights'))}{error}") from error
    _checked(ModelEntry, entry, source, path)
    if isinstance(entry.get("network"), str) and ":" in entry["network"]:
        entry["folder"] = str(base / entry["folder"]) if entry.get("folder") else str(base)
    return [_Part(entry, source, path)]


def _file_at(address: str) -> tuple[Any, Lines]:
    """The models of a file in a bucket; relative paths of its weights become addresses. Raises RecipeError."""
    try:
        listed, lines = read_text(read_bytes(address).decode("utf-8"), f"models from {address}")
    except (SampleError, UnicodeDecodeError) as error:  # connection errors propagate unchanged
        raise RecipeError(f"models from {address}: cannot be read ({error})") from error
    nested = isinstance(listed, Mapping) and "models" in listed
    entries = listed["models"] if nested else listed
    for entry in entries if isinstance(entries, list) else []:
        weights = entry.get("weights") if isinstance(entry, dict) else None
        if isinstance(weights, str) and not weights.startswith("builtin:") and not is_url(weights) and not os.path.isabs(weights):
            entry["weights"] = f"{address.rsplit('/', 1)[0]}/{weights}"
    return listed, lines


def _models_of_file(name: Any, base: Path, source: Source, path: problems.Path, files: tuple[Path, ...]) -> list[_Part]:
    if not isinstance(name, str):
        raise _Refused(f"{source.place(path)}expected the path of a file of models, got {name!r:.60}")
    try:
        address = resolve_path(name, base)
        place = Path(address)
        if place in files or len(files) >= FILES_DEEP:
            raise RecipeError(f"models from {place}: files of models refer to each other; name the models themselves")
        if is_url(address):
            listed, lines = _file_at(address)
        else:
            if place.exists() and not place.is_file():
                raise RecipeError(f"models from {place}: not a file")
            listed, lines = read_file(place, "models from")
    except (RecipeError, OSError) as error:
        raise _Refused(f"{source.place(path)}{error} `xlli train` writes such a file.") from error
    nested = isinstance(listed, Mapping) and "models" in listed
    entries = listed["models"] if nested else listed
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise _Refused(f"{source.place(path)}models from {place}: expected a list of models, as written by `xlli train`")
    inner = Source(str(place), lines)
    above: problems.Path = ("models",) if nested else ()
    parts: list[_Part] = []
    for number, entry in enumerate(entries):
        try:
            parts += _models(entry, place.absolute().parent, inner, (*above, number), (*files, place))
        except _Refused as error:
            raise _Refused(*(f"{source.place(path)}in {place}: {line}" for line in error.lines)) from error
    return parts
