"""One flipped bit anywhere in a study: how often does `xlli verify` find it, and does it name the file?

    python tests/fuzz/fuzz_flips.py --trials 1000 --seed 0

Studies of images, of clips and of trainings. Files are drawn kind by kind, so that small ones count as much as large ones; then a byte and
a bit of it. Left out are the notes of docs/store-format.md: events and the page, but not the page's figures as data, which have a seal.
Prints a JSON summary: trials and what was found and named, per kind.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from small_study import motion_study, small_study, small_training

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.tables.trainings import DOCUMENT, FILES
from xlli_ray.store.verify.check_study import verify
from xlli_ray.store.verify.check_training import training_findings
from xlli_ray.study import open_study

NOTES = re.compile(r"events/.*|report/(?!views\.json$).*")


def kind_of(name: str) -> str:
    """`arrays.zarr shard`, `records pack`, … of a file's path."""
    top = name.split("/")[0]
    if top == "arrays.zarr":
        tail = "document" if name.endswith("zarr.json") else "row" if "/row/c/" in name else "valid" if "/valid/c/" in name else "shard"
        return f"arrays.zarr {tail}"
    if top == "records":
        return "scan record" if "/scan-" in name else "pack" if "/pack-" in name else "record"
    if Path(name).name in FILES:
        return f"network {Path(name).name}"
    return re.sub(r"/.*/|/", " ", f"{top}/{Path(name).suffix}") if "/" in name else name


def said(study: Path) -> list[str]:
    """The lines of `xlli verify`."""
    try:
        if (study / DOCUMENT).exists():
            return [str(finding) for finding in training_findings(open_objects(str(study))) if not str(finding).startswith("two: ")]
        opened = open_study(study)
        return list(verify(opened.archive))
    except StudyError as error:
        return [str(error)]


def main(arguments: Sequence[str] | None = None, *, studies: Sequence[Path] = ()) -> dict[str, Any]:
    """`studies`: small studies that are there already, and are left as they were."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    random = np.random.default_rng(asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        studies = studies or [make(Path(folder))[1] for make in (small_study, motion_study, small_training)]
        kinds: dict[str, list[tuple[Path, Path]]] = {}
        for study in studies:
            assert said(study) == []
            for path in sorted(study.rglob("*")):
                name = path.relative_to(study).as_posix()
                if path.is_file() and not NOTES.fullmatch(name):
                    of = "training " if (study / DOCUMENT).exists() and "network" not in kind_of(name) else ""
                    kinds.setdefault(f"{of}{kind_of(name)}", []).append((study, path))
        counts = {kind: {"trials": 0, "found": 0, "named": 0} for kind in kinds}
        missed = []
        for trial in range(asked.trials):
            kind = sorted(kinds)[trial % len(kinds)]
            study, path = kinds[kind][int(random.integers(len(kinds[kind])))]
            data = path.read_bytes()
            bit = int(random.integers(8 * len(data)))
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            lines = said(study)
            path.write_bytes(data)
            name = path.relative_to(study).as_posix()
            counts[kind]["trials"] += 1
            counts[kind]["found"] += bool(lines)
            counts[kind]["named"] += any(name in line for line in lines)
            if not any(name in line for line in lines):
                missed.append({"file": name, "bit": bit, "of": 8 * len(data), "said": lines[:3]})
        assert all(said(study) == [] for study in studies)
    found = sum(count["found"] for count in counts.values())
    summary = {"trials": asked.trials, "seed": asked.seed, "found": found, "share": found / asked.trials, "kinds": counts, "missed": missed}
    print(json.dumps(summary, indent=1))
    return summary


if __name__ == "__main__":
    main()
