"""Malformed images through whole runs: each file is a row, the run ends with 0, and the good samples have the bytes of a run without them.

    python tests/fuzz/fuzz_runs.py --files 10000 --seed 0

The files are those of `fuzz_images`, put in folders of `--each` beside twenty good images, as the corpora of studies of `inputs`, `images`
and `pairs` in turn: mutated inputs, mutated targets, or both. A study scans, measures (`restore` with its outputs, `inputs`) and concludes,
as `xlli run` in a process of its own, with a worker process in every other study. Findings: an exit code other than 0, a traceback, a run
that takes too long, a file that is in neither table, a failure without a reason, a sample of a good image whose arrays or columns differ
from those of the study of the good images alone, and anything that `xlli verify` says. Prints one JSON object; the exit code is 1 when
something was found.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fuzz_images import mutated, seeds

from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.tables.study_tables import rejected
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import Study, open_study

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KINDS = ("inputs", "images", "pairs")
GOOD = 20
MOST_PIXELS = 100_000
"""Larger mutants are refused: what is tried is not how long a network takes."""
ADDRESSES = ("source", "target", "aliases")
"""Columns in which a sample of the same content may differ from study to study, beside its row number."""


def write_good(folder: Path, *, targets: bool) -> None:
    """Good images of five sizes; with `targets`, darker ones beside them."""
    for i in range(GOOD):
        rng = np.random.default_rng(i)
        coarse = rng.normal(0.45, 0.2, (6, 6 + i % 5, 3)).clip(0, 1)
        Image.fromarray((255 * np.kron(coarse, np.ones((4, 4, 1)))).astype(np.uint8)).save(folder / f"good{i:02d}_x", format="PNG")
        if targets:
            Image.fromarray((200 * np.kron(coarse, np.ones((4, 4, 1)))).astype(np.uint8)).save(folder / f"good{i:02d}_y", format="PNG")


def write_bad(folder: Path, kind: str, numbers: range, seed: int) -> None:
    """One file, or pair of files, for each number."""
    known = seeds()
    names = sorted(set(known) - {"bomb"})  # a second of decompressing each, and tried one by one in fuzz_images
    for number in numbers:
        rng = random.Random(f"{seed}/{number}")
        data, _ = known[names[number % len(names)]]
        bad = mutated(data, rng)
        whole = known["png"][0]
        both = rng.random() < 0.3
        (folder / f"bad{number:06d}_x").write_bytes(whole if kind == "pairs" and number % 2 and not both else bad)
        if kind == "pairs":
            (folder / f"bad{number:06d}_y").write_bytes(bad if number % 2 or both else whole)


def write_recipe(path: Path, files: Path, kind: str) -> None:
    """A study over all files of a folder."""
    corpus: dict[str, Any] = {
        "inputs": {"inputs": [f"{files}/*_x"]},
        "images": {"images": [f"{files}/*_x"], "scale": 2, "degradations": ["clean", {"noise": 20}]},
        "pairs": {"pairs": {"input": f"{files}/*_x", "target": f"{files}/*_y"}},
    }[kind]
    data = {
        "name": kind, "baseline": False, "corpus": {**corpus, "max_pixels": MOST_PIXELS},
        "models": [{"id": "small", "network": "toy:small", "args": {"scale": 1 if kind == "pairs" else 2}}],
        "stages": [{"restore": {"save": True}}, {"inputs": {}}], "batch": {"restore": 1, "inputs": 1},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(data))


AGAIN = 3
"""Times that a run may end with "run the same command again", as where Ray does not start on a busy machine."""


def run(recipe: Path, out: Path, workers: int, seconds: float) -> list[str]:
    """`xlli run` in a process of its own, again where it says so; what is wrong with how it ended."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE.parent / "engine")]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "xlli_ray", "run", str(recipe), "--out", str(out), "--workers", str(workers), "--quiet"]
    for _ in range(AGAIN):
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return [f"longer than {seconds:.0f} s"]
        said = done.stdout + done.stderr
        if done.returncode != 3 or "run the same command again" not in said:
            break
    out = [f"exit code {done.returncode}: {said[-1500:]}"] if done.returncode else []
    return [*out, f"traceback: {said[-2500:]}"] if "Traceback" in said else out


def values(study: Study, ids: Sequence[str]) -> dict[str, Any]:
    """Everything measured of these samples, comparable: array -> bytes of each sample, table -> rows in the order of the samples."""
    found: dict[str, Any] = {}
    for name in study.arrays:
        for array in dict.fromkeys(one.name for cell in study.manifest.cells if cell.id == name for b in cell.buckets for one in b.arrays):
            found[f"{name} {array}"] = [row.tobytes() for row in study.array(name, array).rows(ids)]
    for table in ("samples", "restore", "inputs"):
        rows = {row["sample_id"]: row for row in study.sql(f"from {table}").to_pylist()}
        found[table] = [{key: str(value) for key, value in rows[name].items() if key not in (*ADDRESSES, "row")} for name in ids]
    return found


def problems(study: Study, place: Path, files: Path, kind: str, good: Study) -> tuple[list[str], Counter[str]]:
    """What is wrong with a finished study, and how many files came to what."""
    counts: Counter[str] = Counter()
    out = [f"verify: {line}" for line in verify(study.archive)][:5]
    rows = study.sql("select source, aliases, sample_id from samples").to_pylist()
    named = {Path(uri).name for row in rows for uri in (row["source"], *(row["aliases"] or ()))}
    refused = {Path(row["source"]).name: row["reason"] for row in rejected(open_objects(str(place))).to_pylist()}
    for path in sorted(files.glob("*_x")):
        counts["sample" if path.name in named else "rejected" if path.name in refused else "neither"] += 1
        if path.name not in named and not refused.get(path.name):
            out.append(f"{path.name}: in neither table, or without a reason")
    failures = study.sql("from failures where stage <> 'scan'").to_pylist()
    counts["failed rows"] = len(failures)
    out += [f"failure without a reason: {row}" for row in failures if not row["reason"]]
    for table in ("restore", "inputs"):
        held = study.sql(f"select sample_id from {table}")["sample_id"].to_pylist()
        if sorted(held) != sorted(row["sample_id"] for row in rows):
            out.append(f"{table}: {len(held)} rows of {len(rows)} samples")
    ids = good.sql("select sample_id from samples order by row")["sample_id"].to_pylist()
    wanted, found = values(good, ids), values(study, ids)
    out += [f"{name}: not the bytes of the study of the good images alone" for name in wanted if found.get(name) != wanted[name]]
    return out, counts


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the studies; returns the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--each", type=int, default=1000, help="malformed files of a study")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=900.0, help="a run that takes longer is a finding")
    asked = parser.parse_args(arguments)
    begun, findings, counts = time.monotonic(), list[dict[str, Any]](), Counter[str]()
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        good: dict[str, Study] = {}
        for number, first in enumerate(range(0, asked.files, asked.each)):
            kind, workers = KINDS[number % 3], number // 2 % 2
            if kind not in good:
                (files := folder / f"good-{kind}").mkdir()
                write_good(files, targets=kind == "pairs")
                write_recipe(folder / f"good-{kind}.yaml", files, kind)
                if wrong := run(folder / f"good-{kind}.yaml", folder / f"study-{kind}", 0, asked.seconds):
                    raise RuntimeError(f"the study of good images: {wrong}")
                good[kind] = open_study(folder / f"study-{kind}")
            (place := folder / str(number)).mkdir()
            (files := place / "files").mkdir()
            write_good(files, targets=kind == "pairs")
            write_bad(files, kind, range(first, min(first + asked.each, asked.files)), asked.seed)
            write_recipe(place / "recipe.yaml", files, kind)
            wrong = run(place / "recipe.yaml", place / "study", workers, asked.seconds)
            if not wrong:
                wrong, came = problems(open_study(place / "study"), place / "study", files, kind, good[kind])
                counts.update({f"{kind}: {name}": count for name, count in came.items()})
            findings += [{"study": number, "kind": kind, "workers": workers, "problem": one} for one in wrong]
            seconds = time.monotonic() - begun
            sys.stderr.write(f"study {number}: {kind}, {workers} workers, {seconds:.0f} s, findings: {json.dumps(wrong)}\n")
            subprocess.run(["rm", "-rf", str(place)], check=True)
    return {
        "files": asked.files, "each": asked.each, "seed": asked.seed, "counts": dict(sorted(counts.items())), "findings": findings,
        "seconds": round(time.monotonic() - begun, 1),
    }  # fmt: skip


if __name__ == "__main__":
    summary = main()
    print(json.dumps(summary, indent=1))
    sys.exit(1 if summary["findings"] else 0)
