"""Damaged studies: whatever lies in the folder, every command ends in an answer or in an error of ours.

    python tests/fuzz/fuzz_studies.py --trials 500 --seed 0

Each trial damages a copy of a small finished study (flipped bits, truncation, deletion, files swapped or under another's name, zeros,
FIFO, folder, link to elsewhere, garbage in JSON: raw, sealed again, or as of a study from before there were seals), then asks for
status, its last run, tables, arrays, verify, and sometimes for the page, a repair or a run, in a process of its own. A finding is an
exception that is no XlliError, a process that takes too long or dies, or code that ran because a study named it. Prints a JSON summary.
"""

from __future__ import annotations

import argparse
import copy
import faulthandler
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from small_study import PACKED, small_study

from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import run_study
from xlli_ray.engine.run.repair import repair_study
from xlli_ray.errors import XlliError
from xlli_ray.recipe import Recipe
from xlli_ray.report.page import write_report
from xlli_ray.report.run_watch.command import Watcher
from xlli_ray.report.run_watch.view import as_json, block, line
from xlli_ray.report.text import status_text
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records import listing
from xlli_ray.store.records.seal import sealed_json
from xlli_ray.store.run_status.prometheus import metrics_text
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import open_study

SECONDS = 120.0
"""A hang is what takes longer than this."""
QUERIES = ("from samples", "from models", "from features", "from failures", "from restore", "from lam", "from lam_summary")
GARBAGE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3, 1 << 31, 1 << 63, 10**40, -(10**30), 0.5, 1e308, float("nan"), "", "x", "../../../etc/passwd", "a/b", "\0",
    "'; drop table samples; --", '"', [], [[]], [1, 2, 3], {}, {"a": {"b": []}}, [None] * 50, "é" * 300, "int64", "tables", [[0, 1]],
)  # fmt: skip

Random = np.random.Generator


def files(study: Path) -> list[Path]:
    """Not the page and the log, which are for people."""
    found = [path for path in sorted(study.rglob("*")) if path.is_file()]
    return [path for path in found if path.relative_to(study).parts[0] not in ("events", "report") or path.name.endswith(".status.json")]


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
    garbage, garbage, garbage, garbage, hostile,
)  # fmt: skip


def actions(random: Random, recipe: Recipe, study: Path) -> list[tuple[str, Callable[[], object]]]:
    """What is asked of a damaged study, cheap things always."""
    place = str(study)

    def arrays() -> None:
        opened = open_study(study)
        for name in opened.arrays:
            array = opened.array(name)
            for bucket in array.buckets:
                list(array.scan(bucket))
                array.reader(bucket).rows([0])
                array.xarray(bucket).values  # noqa: B018

    def results() -> None:
        for result in open_study(study).results.values():
            assert result.tables is not None
            assert result.figures is not None

    def checked() -> None:
        opened = open_study(study)
        list(verify(opened.archive))

    def watched() -> None:
        view = Watcher(place, open_objects(place)).look()
        assert block(view)
        assert line(view)
        json.dumps(as_json(view), allow_nan=False)
        if view.status is not None:
            assert metrics_text(view.status, place)

    out: list[tuple[str, Callable[[], object]]] = [("status", lambda: status_text(open_study(study).status())), ("watch", watched)]
    out += [(f"query {sql}", lambda sql=sql: open_study(study).sql(sql)) for sql in QUERIES]
    out += [("arrays", arrays), ("results", results), ("verify", checked)]
    if random.random() < 0.25:
        out.append(("report", lambda: write_report(place)))
    if random.random() < 0.4:
        out += [("repair", lambda: repair_study(place)), ("verify after repair", checked)]
    if random.random() < 0.5:
        out += [("run", lambda: run_study(recipe, place, Options(workers=0, quiet=True))), ("verify after run", checked)]
    return out


def serve(recipe: Recipe, inbox: Any, outbox: Any) -> None:
    """A process that is asked for trials until it is told nothing more; a stack goes to stderr when one hangs."""
    listing.PACK = PACKED
    while (asked := inbox.recv()) is not None:
        seeds, study = asked
        faulthandler.dump_traceback_later(SECONDS - 5, exit=False)
        outbox.send(trial(np.random.default_rng(seeds), recipe, Path(study)))
        faulthandler.cancel_dump_traceback_later()


class Server:
    """The process of `serve`, made anew when a trial kills it or makes it hang."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._process: Any = None

    def ask(self, seeds: tuple[int, ...], study: Path) -> dict[str, Any]:
        if self._process is None:
            context = multiprocessing.get_context("spawn")  # a fork would inherit locks of threads that it does not have
            inbox, self._questions = context.Pipe(duplex=False)
            self._answers, outbox = context.Pipe(duplex=False)
            self._process = context.Process(target=serve, args=(self._recipe, inbox, outbox), daemon=True)
            self._process.start()
            outbox.close()
        self._questions.send((seeds, str(study)))
        try:
            if self._answers.poll(SECONDS):
                return dict(self._answers.recv())
            why = f"took longer than {SECONDS} s"
        except EOFError:
            why = "the process died"
        self.close()
        return {"damage": [], "outcomes": {}, "findings": [{"action": "?", "traceback": why}]}

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def trial(random: Random, recipe: Recipe, study: Path) -> dict[str, Any]:
    """Damage the study, ask everything. {"damage", "errors": {action: text}, "outcomes": {action: class}}."""
    damage = []
    for _ in range(int(random.choice([1, 1, 1, 2, 3]))):
        try:
            damage.append(DAMAGES[int(random.integers(len(DAMAGES)))](random, study))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            damage.append(f"not twice: {error!r}")  # there was no such file or value any more
    asked = actions(random, recipe, study)

    outcomes, findings = {}, []
    for name, action in asked:
        try:
            action()
            outcomes[name] = "ok"
        except XlliError as error:
            outcomes[name] = type(error).__name__
        except BaseException as error:
            outcomes[name] = f"TRACEBACK {type(error).__name__}"
            findings.append({"action": name, "traceback": traceback.format_exc()[-2500:]})
    if (study.parent / "ran").exists():
        findings.append({"action": "?", "traceback": "CODE WAS EXECUTED"})
    outside = study.parent / "outside"
    if outside.exists() and outside.read_text() != "somebody's file":
        findings.append({"action": "?", "traceback": "A FILE OUTSIDE WAS CHANGED"})
    return {"damage": damage, "outcomes": outcomes, "findings": findings}


def main(arguments: Sequence[str] | None = None, *, made: tuple[Recipe, Path] | None = None) -> dict[str, Any]:
    """`made`: a small study that is there already, and is left as it was; it is then tried in this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial: each has its own random numbers")
    asked = parser.parse_args(arguments)
    findings: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        recipe, whole = made or small_study(Path(folder) / "made")
        server = Server(recipe)
        for number in range(asked.first, asked.first + asked.trials):
            copied = Path(folder) / "damaged" / "study"
            shutil.copytree(whole, copied)
            seeds = (asked.seed, number)
            done = trial(np.random.default_rng(seeds), recipe, copied) if made else server.ask(seeds, copied)
            for name, outcome in done["outcomes"].items():
                counts[f"{name.split(' from')[0]}: {outcome}"] = counts.get(f"{name.split(' from')[0]}: {outcome}", 0) + 1
            for finding in done["findings"]:
                findings.append({"trial": number, "damage": done["damage"], **finding})
                sys.stderr.write(json.dumps(findings[-1]) + "\n")
            shutil.rmtree(copied.parent)
            sys.stderr.write(f"{number + 1 - asked.first} of {asked.trials}, {len(findings)} findings\n")
        server.close()
    summary = {"trials": asked.trials, "seed": asked.seed, "outcomes": dict(sorted(counts.items())), "findings": findings}
    print(json.dumps(summary, indent=1))
    return summary


if __name__ == "__main__":
    sys.exit(1 if main()["findings"] else 0)
