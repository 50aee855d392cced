"""What can happen to the files of a study: each function damages one thing of a copy, keyed by its random numbers, and says what."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from xlli_ray.store.records.seal import sealed_json

Random = np.random.Generator
GARBAGE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3, 1 << 31, 1 << 63, 10**40, -(10**30), 0.5, 1e308, float("nan"), "", "x", "../../../etc/passwd", "a/b", "\0",
    "'; drop table samples; --", '"', [], [[]], [1, 2, 3], {}, {"a": {"b": []}}, [None] * 50, "é" * 300, "int64", "tables", [[0, 1]],
)  # fmt: skip


def files(study: Path) -> list[Path]:
    return [path for path in sorted(study.rglob("*")) if path.is_file() and path.suffix not in (".css", ".html")]


def write(path: Path, data: bytes) -> None:
    """Damage a file of the study, never what a link that an earlier damage made leads to."""
    if path.is_symlink():
        path.unlink()
    path.write_bytes(data)


def pick(random: Random, study: Path) -> Path:
    """A file: first a folder of the study, so that the many small documents do not hide the rest."""
    by_part: dict[str, list[Path]] = {}
    for path in files(study):
        by_part.setdefault(path.relative_to(study).parts[0], []).append(path)
    part = sorted(by_part)[int(random.integers(len(by_part)))]
    return by_part[part][int(random.integers(len(by_part[part])))]


def flip(random: Random, study: Path) -> str:
    path = pick(random, study)
    data = bytearray(path.read_bytes() or b"\0")
    for _ in range(int(random.integers(1, 20))):
        data[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
    write(path, data)
    return f"flip {path}"


def truncate(random: Random, study: Path) -> str:
    path = pick(random, study)
    write(path, path.read_bytes()[: int(random.integers(0, path.stat().st_size + 1))])
    return f"truncate {path}"


def delete(random: Random, study: Path) -> str:
    path = pick(random, study)
    if random.random() < 0.3 and path.parent != study:
        shutil.rmtree(path.parent)
        return f"delete folder {path.parent}"
    path.unlink()
    return f"delete {path}"


def swap(random: Random, study: Path) -> str:
    one, other = pick(random, study), pick(random, study)
    first, second = one.read_bytes(), other.read_bytes()
    write(one, second)
    write(other, first)
    return f"swap {one} {other}"


def another_name(random: Random, study: Path) -> str:
    path = pick(random, study)
    name = path.name.replace("0", "1", 1) if "0" in path.name and random.random() < 0.7 else f"copy of {path.name}"
    write(path.with_name(name), path.read_bytes())
    return f"copy {path} as {name}"


def zeros(random: Random, study: Path) -> str:
    path = pick(random, study)
    data = bytearray(path.read_bytes())
    start, stop = sorted(random.integers(0, len(data) + 1, 2).tolist())
    data[start:stop] = bytes(stop - start)
    write(path, data)
    return f"zeros {path} {start}:{stop}"


def no_file(random: Random, study: Path) -> str:
    path = pick(random, study)
    how = str(random.choice(["fifo", "folder", "zero", "outside", "circle", "bad name"]))
    if how == "bad name":
        write(path.with_name(os.fsdecode(b"\xff\xfe 'a\".json")), path.read_bytes())
        return f"bad name beside {path}"
    path.unlink()
    if how == "fifo":
        os.mkfifo(path)
    elif how == "folder":
        path.mkdir()
    else:
        (study.parent / "outside").write_text("somebody's file")
        path.symlink_to({"zero": Path("/dev/zero"), "outside": study.parent / "outside", "circle": path}[how])
    return f"{how} {path}"


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a JSON document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))] if path else [
        place for key, item in inner for place in places(item, (key,))]  # fmt: skip


def garbage(random: Random, study: Path) -> str:
    """One value of a document becomes another, is doubled, or goes."""
    documents = [path for path in files(study) if path.suffix == ".json"]
    weights = np.array([8.0 if path.parent.name == "study" or path.name in ("result.json", "index.json", "digests.json") else
                        8.0 if path == study / "study.json" else 1.0 for path in documents])  # fmt: skip
    path = documents[int(random.choice(len(documents), p=weights / weights.sum()))]
    document = json.loads(path.read_text())
    how = str(random.choice(["raw", "sealed", "old"]))
    seal = document.pop("seal", None)
    for _ in range(int(random.integers(1, 4))):
        there = places(document)
        if not there:
            break
        *above, last = there[int(random.integers(len(there)))]
        holder = document
        for key in above:
            holder = holder[key]
        what = random.random()
        if what < 0.15:
            del holder[last]
        elif what < 0.3 and isinstance(holder[last], int) and not isinstance(holder[last], bool):
            holder[last] += int(random.choice([-1, 1, 1 << 20]))
        elif what < 0.4:
            holder[last] = copy.deepcopy(document)
        else:
            holder[last] = GARBAGE[int(random.integers(len(GARBAGE)))]
    if how == "sealed" and document:
        write(path, sealed_json(document, indent=1))
    else:
        if how == "raw" and seal is not None:
            document["seal"] = seal
        elif "format" in document and path.parent.name == "study":
            document["format"] = 1
        write(path, json.dumps(document).encode())
    return f"garbage {path} {how}"


def lines(random: Random, study: Path) -> str:
    """Lines of a log that a killed or foreign program has written."""
    logs = [path for path in files(study) if path.suffix == ".jsonl"]
    path = logs[int(random.integers(len(logs)))]
    rows = path.read_text().splitlines() or [""]
    odd = [json.dumps(value) for value in GARBAGE]
    odd += ["{", "[" * 5000, '{"time": NaN}', '{"event": "unit", "time": "x"}', "\ud800", '{"iteration": 1e999, "loss": 0}', '{"event": 3}',
            '{"iteration": -1, "loss": "nan"}', '{"time": 1e300, "event": "unit", "cells": {}}']  # fmt: skip
    for _ in range(int(random.integers(1, 4))):
        rows[int(random.integers(len(rows)))] = odd[int(random.integers(len(odd)))]
    write(path, "\n".join(rows).encode("utf-8", "surrogatepass"))
    return f"lines {path}"


def hostile(random: Random, study: Path) -> str:
    """A document that names code, sealed as if it were ours."""
    where = study.parent / "ran"
    for path in [*(study / "study").glob("*.json"), study / "study.json"]:
        if not path.is_file():
            continue  # a FIFO would wait
        try:
            document = json.loads(path.read_text())
            document["models"], document["cells"]
        except (OSError, ValueError, LookupError, TypeError):
            continue  # damaged before
        document.pop("seal", None)
        for model in document["models"]:
            model["network"], model["entry"]["network"], model["entry"]["args"] = "os:mkdir", "os:mkdir", {"path": str(where)}
        for cell in document["cells"]:
            cell["spec"] = {**cell["spec"], "network": "os:mkdir"}
        write(path, sealed_json(document, indent=1))
    return f"hostile {study}"


DAMAGES: tuple[Callable[[Random, Path], str], ...] = (
    flip, flip, truncate, truncate, delete, delete, swap, another_name, zeros, no_file, no_file,
    garbage, garbage, garbage, garbage, lines, hostile,
)  # fmt: skip
