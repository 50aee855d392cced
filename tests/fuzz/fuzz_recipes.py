"""Mutated recipes through load and plan: an answer within seconds, an error of ours or a plan, and no code from data.

    python tests/fuzz/fuzz_recipes.py --trials 2000 --seed 0

Every recipe of the package and of the documentation is a seed, of studies and of trainings, its corpus and weights replaced by tiny ones. A
trial changes its structure (keys, values, lists, nesting) or its text (bytes, tabs, aliases, tags), loads it, and plans what loads; of a
training it scans the corpus, and trains if that is a step or two. A finding is an exception that is no XlliError, a trial of more than
twenty seconds of work, a file that a YAML tag made, or a recipe whose dump does not parse back to itself.
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
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "engine"))  # `network: toy:small`

from limits import Hang, less_memory, limited
from recipe_changes import Still, fitted, mutated, text_of

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20
"""Of CPU time, all threads of the process: a short training with its figures takes 4 alone, and more on a busy machine."""
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
        for number in range(9):
            (folder / f"clip_{name}").mkdir(exist_ok=True)
            Image.fromarray(pixels[number : number + 96]).save(folder / f"clip_{name}/{number}.png")
    (folder / "no.png").write_bytes(b"no image")
    pq.write_table(pa.table({"image": [str(folder / "a_HR.png")]}), folder / "list.parquet")
    (folder / "w.csv").write_text(f"path,top,left,size\n{folder / 'a_LR.png'},0,0,16\n")


def shrunk(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The recipe over tiny images and the networks that come with the package."""
    missing: dict[str, Any] = {"stages": [{"restore": {}}], "models": [{"id": "m0", "weights": "builtin:srresnet-gr-clean"}]}
    raw = {"name": "block", **({} if "train" in raw else missing), **copy.deepcopy(raw)}
    raw = {key: value for key, value in raw.items() if value is not None}
    kinds = {kind for stage in raw.get("stages", []) for kind in stage}

    def located(corpus: dict[str, Any]) -> None:
        for key in ("images", "inputs"):
            if key in corpus:
                corpus[key] = [f"{folder}/*_HR.png"]
        if "pairs" in corpus:
            corpus["pairs"] = {"input": f"{folder}/*_{'HR' if 'derain' in kinds else 'LR'}.png", "target": f"{folder}/*_HR.png"}
        if isinstance(clips := corpus.get("clips"), dict):
            clips |= {key: [f"{folder}/clip_*/*.png"] for key in ("frames", "target", "input") if isinstance(clips.get(key), str | list)}
        if isinstance(motion := corpus.get("motion"), dict):
            motion |= {"images": [f"{folder}/*_HR.png"], "size": 32, "window": min(motion.get("window", 3), 3), "speeds": [0, 1]}
        if isinstance(pies := corpus.get("pies"), dict):
            pies["patches"], pies["sets"] = min(pies.get("patches", 8), 8), ["clean", "blur2"]
            if "real" in pies:
                pies["real"] = {"set14": f"{folder}/*_LR.png"}

    located(raw["corpus"])
    for section in (raw.get("validate"), *(raw.get("measure") or {}).values()):
        if isinstance(section, dict):
            located({"pairs": section} if "target" in section else section)
            section |= {"input": f"{folder}/*_LR.png", "target": f"{folder}/*_HR.png"} if "target" in section else {}
    for corpus in (raw["corpus"], *(entry.get("corpus", {}) for entry in raw.get("grid", []))):
        corpus |= {"count": 2} if corpus.get("count") else {}
    toys = "derain" in kinds or "clips" in raw["corpus"] or "motion" in raw["corpus"]
    for number, model in enumerate(raw.get("models", [])):
        if toys:
            scale = 1 if "derain" in kinds else raw["corpus"].get("scale") or 4
            model.clear()
            model |= {"id": f"m{number}", "network": "toy:small", "args": {"scale": scale}}
            model |= {} if "derain" in kinds else {"frames": "each"}
        elif "from" in model or not str(model.get("weights", "")).startswith("builtin:"):
            model.clear()
            model |= {"id": f"m{number}", "weights": "builtin:srresnet-gr-clean"}
        model.setdefault("id", f"m{number}")
        model["tags"] = {**dict.fromkeys(("args", "degradations", "count", "trained_on", "global_residual"), number), "seed": 0,
                         **model.get("tags", {})}  # fmt: skip
    if "models" in raw:
        raw["models"] = raw["models"][:2]
    if isinstance(raw.get("train"), dict):
        raw["train"] |= {"iterations": 1, "batch": 1, "crop": 32}
        for name in ("init", "device", "folder"):
            raw["train"].pop(name, None)
        if "motion" in raw["corpus"]:
            raw["corpus"]["motion"].pop("size", None)
        raw["grid"] = [{**entry, "train": {k: v for k, v in entry.get("train", {}).items() if k not in ("init", "iterations")},
                        "corpus": {k: v for k, v in entry.get("corpus", {}).items() if k in ("degradations", "count")}}
                       for entry in raw.get("grid", [])[:2]]  # fmt: skip
        for name in ("corpus.degradations", "corpus.count"):
            raw.get("sweep", {}).pop(name, None)
    for stage in raw.get("stages", []):
        for fields in stage.values():
            if isinstance(fields, dict) and isinstance(fields.get("layers"), list):
                fields["layers"] = ["head" if toys else "trunk.0", "*:last_conv_input"]
            if isinstance(fields, dict):
                fields |= {"components": 2 if "ddr" in stage else 1} if "components" in fields else {}
                if fields.get("weights") or ":" in str(fields.get("estimator")):
                    fields |= {"estimator": "phase", "args": {}}
                for key in ("weights", "sha256", "counts", "border", "models"):
                    fields.pop(key, None)
    return raw


def trial(path: Path, out: Path, *, training: bool, overrides: tuple[str, ...]) -> str:
    """Load and plan one recipe; what came of it."""
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import plan_study
    from xlli_ray.engine.run.plan import check_limits
    from xlli_ray.engine.run.training_runner import train_recipe
    from xlli_ray.errors import XlliError
    from xlli_ray.recipe import load_recipe, parse_recipe
    from xlli_ray.report.text import plan_table
    from xlli_ray.training.recipe import load_recipe as load_training

    try:
        if training:
            jobs = load_training(path, overrides=overrides).jobs()
            brief = len(jobs) <= 2 and all(job.train.iterations * job.train.batch <= 2 and job.train.crop <= 64 for job in jobs)
            without = contextlib.nullcontext() if brief else patch("xlli_ray.engine.run.training_runner._train")
            try:
                with without:
                    summary = train_recipe(path, str(out), overrides=overrides, options=Options(workers=0, quiet=True))
                return f"training: {'failed' if summary.failed else 'trained' if brief else 'scanned'}"
            except XlliError as error:
                return f"training refused: {type(error).__name__}"
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
    parser.add_argument("--first", type=int, default=0, help="number of the first trial; the first are the recipes as they stand")
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
        for number in range(options.first, options.first + options.trials):
            rng = random.Random(f"{options.seed}/{number}")
            name = names[number % len(names)]
            if number < len(names):
                data = text_of(known[name], Still(), canary)
            elif rng.random() < 0.5:
                data = text_of(fitted(known[name], rng), Still(), canary)
            else:
                data = text_of(mutated(known[name], rng), rng, canary)
            path.write_bytes(data)
            sets = (f"{rng.choice(('seed', 'corpus.scale', 'stages.0', 'models.0.id', 'limits.bytes', 'a..b', '', 'name.x'))}"
                    f"={rng.choice(('1', 'x', '[', '.nan', '!!python/name:os.system', '{a: 1}', ''))}",)  # fmt: skip
            start = time.monotonic()
            try:
                with limited(SECONDS):
                    some = sets if number >= len(names) and rng.random() < 0.1 else ()
                    outcome = trial(path, out, training="train" in known[name], overrides=some)
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


if __name__ == "__main__":
    summary = main()
    print(json.dumps(summary, indent=1))
    sys.exit(1 if summary["findings"] else 0)
