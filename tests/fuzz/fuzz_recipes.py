"""Mutated recipes through load and plan: an answer within seconds, an error of ours or a plan, and no code from data.

    python tests/fuzz/fuzz_recipes.py --trials 2000 --seed 0

Every recipe of the package and of the documentation is a seed, its corpus and weights replaced by tiny ones. A trial changes its structure
(keys, values, lists, nesting) or its text (bytes, tabs, aliases, tags), loads it, and plans what loads. A finding is an exception that is
no XlliError, a trial of more than five seconds of work, a file that a YAML tag made, or a recipe whose dump does not parse back to itself.
Prints one JSON object; the exit code is 1 when something was found.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import yaml
from PIL import Image
from pydantic import BaseModel, TypeAdapter

sys.path.insert(0, str(Path(__file__).resolve().parent))

from limits import Hang, less_memory, limited

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 5
MEMORY = 12 * 2**30


def seeds() -> dict[str, dict[str, Any]]:
    """All recipes of the repository by name: files, and fenced blocks of the documentation that are whole recipes."""
    files = [
        *sorted((ROOT / "pipelines").glob("*.yaml")),
        *sorted((ROOT / "tests/recipes").glob("*.yaml")),
        ROOT / "xlli_ray/quickstart.yaml",
    ]
    found = {path.name: yaml.safe_load(path.read_text()) for path in files}
    for page in (*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"):
        for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)):
            with contextlib.suppress(yaml.YAMLError):
                data = yaml.safe_load(block)
                if isinstance(data, dict) and "corpus" in data:
                    found[f"{page.name}:{number}"] = data
    return found


def tiny(folder: Path) -> None:
    """Two images, their half-size copies, a Parquet list and a file that is no image."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        pixels = rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}_HR.png")
        Image.fromarray(pixels[::4, ::4]).save(folder / f"{name}_LR.png")
    (folder / "no.png").write_bytes(b"no image")
    pq.write_table(pa.table({"image": [str(folder / "a_HR.png")]}), folder / "list.parquet")
    (folder / "w.csv").write_text(f"path,top,left,size\n{folder / 'a_LR.png'},0,0,16\n")


def shrunk(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The recipe over tiny images and the networks that come with the package."""
    raw = copy.deepcopy(raw)

    def located(corpus: dict[str, Any]) -> None:
        for key in ("images", "inputs"):
            if key in corpus:
                corpus[key] = [f"{folder}/*_HR.png"]
        if "pairs" in corpus:
            corpus["pairs"] = {"input": f"{folder}/*_LR.png", "target": f"{folder}/*_HR.png"}
        if isinstance(pies := corpus.get("pies"), dict):
            pies["patches"], pies["sets"] = min(pies.get("patches", 8), 8), ["clean", "blur2"]
            if "real" in pies:
                pies["real"] = {"set14": f"{folder}/*_LR.png"}

    located(raw["corpus"])
    if isinstance(raw.get("validate"), dict):
        located(raw["validate"])
    for number, model in enumerate(raw.get("models", [])):
        if "from" in model or not str(model.get("weights", "")).startswith("builtin:"):
            model.clear()
            model |= {"id": f"m{number}", "weights": "builtin:srresnet-gr-clean"}
    if "models" in raw:
        raw["models"] = raw["models"][:2]
    for stage in raw.get("stages", []):
        for fields in stage.values():
            if isinstance(fields, dict) and isinstance(fields.get("layers"), list):
                fields["layers"] = ["trunk.0", "*:last_conv_input"]
            if isinstance(fields, dict) and "components" in fields:
                fields["components"] = 4
    return raw


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

    raw = copy.deepcopy(raw)
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
            kind = rng.choice(("restore", "features", "gram", "inputs", "lam", "lam_summary", "srga", "ddr"))
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


def trial(path: Path, out: Path, *, training: bool, overrides: tuple[str, ...]) -> str:
    """Load and plan one recipe; what came of it."""
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import plan_study
    from xlli_ray.engine.run.plan import check_limits
    from xlli_ray.errors import XlliError
    from xlli_ray.recipe import load_recipe, parse_recipe
    from xlli_ray.report.text import plan_table
    from xlli_ray.training.recipe import load_recipe as load_training

    try:
        if training:
            load_training(path, overrides=overrides)
            return "loaded"
        recipe = load_recipe(path, overrides=overrides)
        again = parse_recipe(json.loads(json.dumps(recipe.dump(), allow_nan=False)), base=Path("/elsewhere"))
        assert again == recipe, "the dump parses to something else"
        try:
            manifest, plan = plan_study(recipe, str(out), Options(workers=0, quiet=True))
            plan_table(manifest, plan, workers=2)
            check_limits(plan, recipe, workers=2)
            return "planned"
        except XlliError as error:
            return f"plan refused: {type(error).__name__}"
    except XlliError as error:
        return f"refused: {type(error).__name__}" if str(error).strip() else f"no word: {type(error).__name__}"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the trials; returns the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for recipes with findings")
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    outcomes: Counter[str] = Counter()
    findings: list[dict[str, Any]] = []
    slowest = 0.0
    # `timed here` walks networks for seconds, which is no hang and not what is tried here
    quick = patch("xlli_ray.engine.run.projection.timed", return_value=None)
    with tempfile.TemporaryDirectory() as where, less_memory(MEMORY), quick:
        folder = Path(where)
        tiny(folder)
        known = {name: shrunk(raw, folder) for name, raw in seeds().items()}
        names = sorted(known)
        path, out, canary = folder / "recipe.yaml", folder / "study", folder / "canary"
        path.write_text(yaml.safe_dump(known["quickstart.yaml"]))
        trial(path, out, training=False, overrides=())  # torch loads, which takes longer than a trial may
        shutil.rmtree(out)
        for number in range(options.trials):
            rng = random.Random(f"{options.seed}/{number}")
            name = names[number % len(names)]
            if number < len(names):
                data = text_of(known[name], _Still(), canary)
            elif rng.random() < 0.5:
                data = text_of(fitted(known[name], rng), _Still(), canary)
            else:
                data = text_of(mutated(known[name], rng), rng, canary)
            path.write_bytes(data)
            sets = (f"{rng.choice(('seed', 'corpus.scale', 'stages.0', 'models.0.id', 'limits.bytes', 'a..b', '', 'name.x'))}"
                    f"={rng.choice(('1', 'x', '[', '.nan', '!!python/name:os.system', '{a: 1}', ''))}",)  # fmt: skip
            start = time.monotonic()
            try:
                with limited(SECONDS):
                    outcome = trial(path, out, training="train" in known[name], overrides=sets if rng.random() < 0.1 else ())
                outcomes[outcome] += 1
            except (Exception, Hang) as error:
                frames = traceback.extract_tb(error.__traceback__)
                spot = next((f"{f.filename}:{f.lineno}" for f in reversed(frames) if "xlli_ray/" in f.filename), "")
                findings.append({"trial": number, "seed": name, "error": f"{type(error).__name__}: {error}"[:300], "at": spot})
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{options.seed}-{number}.yaml").write_bytes(data)
                    (options.keep / f"{options.seed}-{number}.txt").write_text("".join(traceback.format_exception(error)))
            slowest = max(slowest, time.monotonic() - start)
            if canary.exists():
                findings.append({"trial": number, "seed": name, "error": "code of a YAML tag ran", "at": ""})
                canary.unlink()
            shutil.rmtree(out, ignore_errors=True)
    return {
        "trials": options.trials, "seed": options.seed, "recipes": len(names), "outcomes": dict(sorted(outcomes.items())),
        "findings": findings, "slowest_seconds": round(slowest, 2), "seconds": round(time.monotonic() - begun, 1),
    }  # fmt: skip


class _Still(random.Random):
    """Changes nothing: the seeds themselves must plan."""

    def random(self) -> float:
        return 0.99

    def choice(self, seq: Any) -> Any:
        return seq[0]


if __name__ == "__main__":
    summary = main()
    print(json.dumps(summary, indent=1))
    sys.exit(1 if summary["findings"] else 0)
