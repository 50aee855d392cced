"""Changes of recipes, keyed by random numbers: of their structure, of fields that exist, of their text."""

from __future__ import annotations

import contextlib
import copy
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, TypeAdapter

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 10**17, -(10**17), 10**6000, 0.5, -0.0, 1e300, float("nan"), float("inf"), "", " ", "all", "auto",
    "é", "\0",
    "\x1b[31m", "../..", "~nobody/x", "/dev/null", "/", "s3://", "://", "file://", "http://[", "ftp://x/y", "[", "**", "*", "{a,b}", "{",
    "a:b", ":",
    "os:nothing", "builtin:", "builtin:../x", "clean", "blur2", "1e3", "12GB", "x" * 5000, [], [[]], {}, {"a": {}}, [None], ["a", "a"],
    [1, 2],
    [0, 255], [255, 0], {"": 1}, {1: 2}, {None: 1}, {"id": None}, {"from": "x"}, {"file": "w.csv"}, {"hardest": {"by": "m0"}}, {"blur": 2},
    {"blur": [0, 1]}, {"stride": 0}, {"kind": None, "id": "x", "params": {}}, {"kind": "restore", "id": "x", "params": None},
)  # fmt: skip
NAMES = (
    "id",
    "kind",
    "models",
    "params",
    "scale",
    "patches",
    "size",
    "pies",
    "batch",
    "threads",
    "seed",
    "of",
    "from",
    "layers",
    "stages",
    "name",
    "tags",
)
TEXTS = (
    "\t", "&a [*a]", "!!python/object/apply:os.system ['touch {canary}']", "!!python/name:os.system", "!!binary aGk=", "!!set {a}",
    "2001-01-01",
    "? [a, b]\n: 3", "<<: *x", "{", "[" * 200, "- " * 200, "a: &a 1\nb: *a", "---", "...", "%YAML 9.9", "\ufeff", "\x00", "010", "1:30",
    "'", "|", "> ",
    "!!float x", "!<tag:yaml.org,2002:int> a", "seed: 1\nseed: 2", "&x", "*x", "name: ÿ", "\ud7ff", "0x10", "1_000", "=", "~", "no", "on",
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All paths of a structure, the root's first."""
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from places(item, (*path, number))


def mutated(raw: dict[str, Any], rng: random.Random) -> Any:
    """One to three changes of structure."""
    raw = copy.deepcopy(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if not isinstance(raw, dict):
            break
        path = rng.choice(list(places(raw))[1:] or [()])
        if not path:
            break
        above: Any = raw
        for part in path[:-1]:
            above = above[part]
        last, value = path[-1], above[path[-1]]
        what = rng.randrange(9)
        if what <= 3:
            above[last] = copy.deepcopy(rng.choice(HOSTILE))
        elif what == 4:
            del above[last]
        elif what == 5 and isinstance(above, dict):
            above[rng.choice((*NAMES, "", 5, None, True, 1.5))] = above.pop(last)
        elif what == 6 and isinstance(above, list):
            above.insert(last, copy.deepcopy(value))
        elif what == 7:
            deep: Any = value
            for _ in range(rng.choice((1, 3, 30, 90))):
                deep = [deep] if rng.random() < 0.5 else {"a": deep}
            above[last] = deep
        elif isinstance(value, int) and not isinstance(value, bool):
            above[last] = rng.choice((-value, value * 1000, value + 0.5, str(value), 10**9 * value, 2**31, 2**63))
        elif isinstance(value, str):
            above[last] = rng.choice(
                (value * 2, value[:-1], value.upper(), value + ":", "é" + value, value.replace("/", "//"), [value], {value: value})
            )
        else:
            above[last] = [value, copy.deepcopy(rng.choice(HOSTILE))]
    return raw


FITTING: tuple[Any, ...] = (
    True, False, None, 1, 2, 3, 5, 8, 16, 17, 64, 128, 1000, 10**6, 10**9, 10**12, 0.5, 0.001, 4.5, 1e-300, 1e30, "all", "auto", "none",
    "clean",
    "blur2", "blur", "m0", "restore", "lam", "features", "float32", "mean", "moments", "accurate", "paper", "averaged", "sum", "error",
    "never",
    "linear_black", "pair", "grid", "authors", "samples", "last", "trunk.*", "**", "*:last_conv_input", "head", "nothing.here", "noise50",
    ["clean"], ["m0"], ["trunk.0"], ["randomised_weights"], ["shifted_window"], ["type"], ["pca"], [], {"stride": 2}, {"stride": 10**9},
    {"channel": 7},
    {"size": 4, "per_sample": 2, "choose": "grid"}, {"size": 10**12}, [{"top": 0, "left": 0, "size": 8}], [{"top": 10**12, "left": 0,
    "size": 8}],
    {"size": 16, "choose": {"hardest": {"by": "m0"}}}, {"size": 16, "choose": {"hardest": {"by": "m9"}}}, {"file": "w.csv"},
    {"trained_on": "clean"},
    {"restore": 10**9}, {"lam": 7}, {"bytes": "1kB"}, {"hours": 0}, [0, 1], [0, 255], [-1e300, 1e300], {"sigma": 25}, ["blur1", "clean"],
    3.0, [{"blur": 1.5}, "clean"],
)  # fmt: skip
"""Values that some field might take: what gets past the schema reaches the plan."""


def taken(model: type[BaseModel], name: str, rng: random.Random) -> Any:
    """A value that the field `name` takes by itself, where one of FITTING does."""
    info = model.model_fields[name]
    adapter = TypeAdapter(Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation)
    for value in rng.sample(FITTING, len(FITTING)):
        with contextlib.suppress(ValueError):
            adapter.validate_python(value)
            return copy.deepcopy(value)
    return copy.deepcopy(rng.choice(FITTING))


def fitted(raw: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """One to three fields that exist, given values that some field takes."""
    from xlli_ray.corpus.pies_like_set import PiesSpec
    from xlli_ray.corpus.spec import CorpusSpec, PatchSpec
    from xlli_ray.recipe import ModelEntry, Recipe, stage_kind
    from xlli_ray.registry import ANALYSES, PROBES

    raw = copy.deepcopy(raw)
    if "train" in raw:
        return fitted_training(raw, rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        what = rng.randrange(8)
        if what <= 3 and raw.get("stages"):
            number = rng.randrange(len(raw["stages"]))
            ((kind, fields),) = raw["stages"][number].items()
            with contextlib.suppress(ValueError):
                params = stage_kind(kind).cls.Params
                name = rng.choice([*params.model_fields, "models"])
                value = rng.choice(("all", ["m0"], {"trained_on": "clean"}, ["m9"])) if name == "models" else taken(params, name, rng)
                raw["stages"][number] = {kind: {**(fields or {}), name: value}}
        elif what == 4:
            kind = rng.choice([*PROBES, *ANALYSES])
            raw.setdefault("stages", []).append({kind: {"layers": ["trunk.0"]} if kind in ("features", "gram") else {}})
        elif what == 5:
            name = rng.choice(("scale", "patches", "degradations", "max_pixels"))
            raw["corpus"][name] = taken(CorpusSpec, name, rng)
        elif what == 6:
            spec = rng.choice((PatchSpec, PiesSpec))
            inner = raw["corpus"].get("patches" if spec is PatchSpec else "pies")
            name = rng.choice([*spec.model_fields])
            fields = {"size": 64, **(inner if isinstance(inner, dict) else {}), name: taken(spec, name, rng)}
            raw["corpus"]["patches" if spec is PatchSpec else "pies"] = fields
            if rng.random() < 0.8:
                raw["corpus"].pop("pies" if spec is PatchSpec else "patches", None)
        elif rng.random() < 0.5 and raw.get("models"):
            name = rng.choice(("args", "scale", "range", "output", "tags", "network"))
            rng.choice(raw["models"])[name] = taken(ModelEntry, name, rng)
        else:
            name = rng.choice(("seed", "batch", "threads", "limits", "name"))
            raw[name] = taken(Recipe, name, rng)
        if (
            not isinstance(raw.get("corpus"), dict)
            or not isinstance(raw.get("models", []), list)
            or not isinstance(raw.get("stages", []), list)
        ):
            break
        if not all(isinstance(stage, dict) and len(stage) == 1 for stage in raw.get("stages", [])):
            break
        if not all(isinstance(model, dict) for model in raw.get("models", [])):
            break
    return raw


def fitted_training(raw: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """One to three fields of a training recipe, given values that some field takes."""
    from xlli_ray.training.corpus import TrainCorpus
    from xlli_ray.training.recipe import Gan, GridEntry, Train, TrainRecipe

    for _ in range(rng.choice((1, 1, 2, 3))):
        what = rng.randrange(7)
        if what <= 2:
            name = rng.choice([*Train.model_fields])
            raw["train"][name] = taken(Train, name, rng)
        elif what == 3:
            name = rng.choice([*TrainCorpus.model_fields])
            raw["corpus"][name] = taken(TrainCorpus, name, rng)
        elif what == 4:
            name = rng.choice([*GridEntry.model_fields])
            entry = {"id": "g", name: taken(GridEntry, name, rng)}
            raw["grid"] = [*(raw.get("grid") or []), entry]
        elif what == 5:
            raw["train"]["gan"] = {name: taken(Gan, name, rng) for name in rng.sample([*Gan.model_fields], 2)}
        else:
            name = rng.choice(("seed", "name", "measure", "sweep", "tags", "validate_on"))
            odd = [{"train.lr": [1e-3, rng.choice(FITTING)]}, {"corpus.scale": [1, 2]}, {"seed": [1, 1]}]
            odd.append({rng.choice(NAMES): [rng.choice(FITTING)]})
            raw["validate" if name == "validate_on" else name] = rng.choice(odd) if name == "sweep" else taken(TrainRecipe, name, rng)
        if not isinstance(raw["train"], dict) or not isinstance(raw["corpus"], dict) or not isinstance(raw.get("grid") or [], list):
            break
    return raw


def text_of(raw: Any, rng: random.Random, canary: Path) -> bytes:
    """YAML of a structure, in half of all trials with its text changed, too."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        text = yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, default_flow_style=rng.random() < 0.2)
    finally:
        sys.set_int_max_str_digits(limit)
    if rng.random() < 0.4:
        lines = text.splitlines()
        number = rng.randrange(len(lines) + 1)
        what = rng.randrange(5)
        if what == 0:
            lines.insert(number, rng.choice(TEXTS).replace("{canary}", str(canary)))
        elif what == 1 and lines:
            lines.insert(number, rng.choice(lines))
        elif what == 2 and number < len(lines):
            lines[number] = f"{lines[number].partition(':')[0]}: {rng.choice(TEXTS).replace('{canary}', str(canary))}"
        elif what == 3:
            lines = lines[:number]
        elif number < len(lines):
            lines[number] = rng.choice((" ", "\t", "  - ")) + lines[number]
        text = "\n".join(lines)
    data = text.encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1")), errors="replace")
    if rng.random() < 0.15 and data:
        spot = rng.randrange(len(data))
        data = rng.choice((data[:spot], data[:spot] + bytes([rng.randrange(256)]) + data[spot + 1 :], data + bytes(rng.randbytes(20))))
    return data


class Still(random.Random):
    """Changes nothing: the seeds themselves must plan."""

    def random(self) -> float:
        return 0.99

    def choice(self, seq: Any) -> Any:
        return seq[0]
