"""Damaged studies: whatever lies in the folder, every command ends in an answer or in an error of ours.

    python tests/fuzz/fuzz_studies.py --trials 500 --seed 0

Each trial damages a copy of a small finished study, of images, of clips or of trainings (flipped bits, truncation, deletion, files swapped
or under another's name, zeros, FIFO, folder, link to elsewhere, garbage in JSON: raw, sealed again, or as of a study from before there were
seals; events, logs, the page's views and the explorer's parts, too), then asks for status, its last run, tables, arrays, verify, and
sometimes for the page, a comparison with the whole study, the server's page and parts, a part of a run, a repair or a run, in a process of
its own. The damages are those of `damages`. A finding is an exception that is no XlliError, a process that takes too long or dies, or code
that ran because a study named it. Prints a JSON summary.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import multiprocessing
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from damages import DAMAGES, Random
from small_study import PACKED, motion_study, small_study, small_training

from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import run_study
from xlli_ray.engine.run.part_run import Part, run_part
from xlli_ray.engine.run.repair import repair_study
from xlli_ray.engine.run.training_runner import train_recipe
from xlli_ray.errors import XlliError
from xlli_ray.recipe import Recipe
from xlli_ray.report.comparison.write_comparison import write_comparison
from xlli_ray.report.explorer.source import MissingPart
from xlli_ray.report.page import write_report
from xlli_ray.report.page_freshness import kept_page
from xlli_ray.report.run_watch.command import Watcher
from xlli_ray.report.run_watch.view import as_json, block, line
from xlli_ray.report.text import status_text, training_text
from xlli_ray.report.training_page import write_training_page
from xlli_ray.report.view_server.shown_study import ShownStudy
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records import listing
from xlli_ray.store.run_status.prometheus import metrics_text
from xlli_ray.store.tables.trainings import read_trainings, state
from xlli_ray.store.verify.check_study import verify
from xlli_ray.store.verify.check_training import training_findings
from xlli_ray.study import open_study

QUIET = Options(workers=0, quiet=True)
SECONDS = 120.0
"""A hang is what takes longer than this."""
QUERIES = ("from samples", "from models", "from features", "from failures", "from restore", "from lam", "from lam_summary",
           "from flow")  # fmt: skip
PARTS = ("study", "names-0", "column-0", "column-3", "sample-0", "sample-3", "thumbnails-0", "figure-0", "array-1-0", "nothing",
         "sample-999999999")  # fmt: skip
Made = dict[str, tuple[Recipe | Path, Path]]
"""Of each kind of study the recipe, of a training its file, and the folder."""
Actions = list[tuple[str, Callable[[], object]]]


def shown(place: str) -> None:
    """What `xlli view` shows: the page, then parts of the explorer."""
    server = ShownStudy(place)
    try:
        server.page()
        for name in PARTS:
            with contextlib.suppress(MissingPart):
                server.part(name)
    finally:
        server.close()


def watched(place: str) -> None:
    """What `xlli status --watch` and `--metrics` show."""
    view = Watcher(place, open_objects(place)).look()
    assert block(view)
    assert line(view)
    json.dumps(as_json(view), allow_nan=False)
    if view.status is not None:
        assert metrics_text(view.status, place)


def training_actions(random: Random, recipe: Path, study: Path) -> Actions:
    """The same of a training study."""
    place, objects = str(study), open_objects(str(study))

    def status() -> None:
        trained = read_trainings(objects)
        if trained is not None:
            json.dumps(training_text(state(objects, trained)))

    out: Actions = [("status", status), ("watch", lambda: watched(place)), ("verify", lambda: list(training_findings(objects)))]
    out.append(("view", lambda: shown(place)))
    if random.random() < 0.5:
        out.append(("report", lambda: write_training_page(objects)))
    if random.random() < 0.3:
        out += [("train", lambda: train_recipe(recipe, place, options=QUIET)), ("verify after training", out[2][1])]
    return out


def actions(random: Random, recipe: Recipe, study: Path, whole: Path) -> Actions:
    """What is asked of a damaged study, cheap things always."""
    place = str(study)

    def arrays() -> None:
        opened = open_study(study)
        for name in opened.arrays:
            buckets = [bucket for cell in opened.manifest.cells if cell.id == name for bucket in cell.buckets]
            for one in dict.fromkeys(meta.name for bucket in buckets for meta in bucket.arrays):
                array = opened.array(name, one)
                for bucket in array.buckets:
                    list(array.scan(bucket))
                    array.reader(bucket).rows([0])
                    array.xarray(bucket).values  # noqa: B018

    def results() -> None:
        for result in open_study(study).results.values():
            assert result.tables is not None
            assert result.figures is not None
            assert result.views is not None

    def checked() -> None:
        opened = open_study(study)
        list(verify(opened.archive))

    out: Actions = [("status", lambda: status_text(open_study(study).status())), ("watch", lambda: watched(place))]
    out += [(f"query {sql}", lambda sql=sql: open_study(study).sql(sql)) for sql in QUERIES]
    out += [("arrays", arrays), ("results", results), ("verify", checked), ("views", lambda: open_study(study).page_views)]
    if random.random() < 0.25:
        out += [("kept page", lambda: kept_page(place)), ("report", lambda: write_report(place))]
    if random.random() < 0.25:
        out.append(("view", lambda: shown(place)))
    if random.random() < 0.15:
        pair = (place, str(whole)) if random.random() < 0.5 else (str(whole), place)
        out.append(("comparison", lambda: write_comparison(*pair, str(study.parent / "both"))))
    if random.random() < 0.15:
        out.append(("part", lambda: run_part(recipe, place, QUIET, Part(1, 2))))
    if random.random() < 0.4:
        out += [("repair", lambda: repair_study(place)), ("verify after repair", checked)]
    if random.random() < 0.5:
        out += [("run", lambda: run_study(recipe, place, QUIET)), ("verify after run", checked)]
    return out


def serve(made: Made, inbox: Any, outbox: Any) -> None:
    """A process that is asked for trials until it is told nothing more; a stack goes to stderr when one hangs."""
    listing.PACK = PACKED
    while (asked := inbox.recv()) is not None:
        seeds, kind, study = asked
        faulthandler.dump_traceback_later(SECONDS - 5, exit=False)
        outbox.send(trial(np.random.default_rng(seeds), *made[kind], Path(study)))
        faulthandler.cancel_dump_traceback_later()


class Server:
    """The process of `serve`, made anew when a trial kills it or makes it hang."""

    def __init__(self, made: Made) -> None:
        self._made = made
        self._process: Any = None

    def ask(self, seeds: tuple[int, ...], kind: str, study: Path) -> dict[str, Any]:
        if self._process is None:
            context = multiprocessing.get_context("spawn")  # a fork would inherit locks of threads that it does not have
            inbox, self._questions = context.Pipe(duplex=False)
            self._answers, outbox = context.Pipe(duplex=False)
            self._process = context.Process(target=serve, args=(self._made, inbox, outbox), daemon=True)
            self._process.start()
            outbox.close()
        self._questions.send((seeds, kind, str(study)))
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


def trial(random: Random, recipe: Recipe | Path, whole: Path, study: Path) -> dict[str, Any]:
    """Damage the study, a copy of `whole`; ask everything. {"damage", "errors": {action: text}, "outcomes": {action: class}}."""
    damage = []
    for _ in range(int(random.choice([1, 1, 1, 2, 3]))):
        try:
            damage.append(DAMAGES[int(random.integers(len(DAMAGES)))](random, study))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            damage.append(f"not twice: {error!r}")  # there was no such file or value any more
    asked = actions(random, recipe, study, whole) if isinstance(recipe, Recipe) else training_actions(random, recipe, study)

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


def make(folder: Path) -> Made:
    """The three small studies."""
    return {"images": small_study(folder), "clips": motion_study(folder), "trainings": small_training(folder)}


def main(arguments: Sequence[str] | None = None, *, made: Made | None = None) -> dict[str, Any]:
    """`made`: small studies that are there already, and are left as they were; they are then tried in this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial: each has its own random numbers")
    asked = parser.parse_args(arguments)
    findings: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        studies = made or make(Path(folder))
        server, kinds = Server(studies), [*("images",) * 3, *("clips", "trainings")]
        for number in range(asked.first, asked.first + asked.trials):
            if (kind := kinds[number % len(kinds)]) not in studies:
                continue
            copied = Path(folder) / "damaged" / "study"
            shutil.copytree(studies[kind][1], copied)
            seeds = (asked.seed, number)
            done = trial(np.random.default_rng(seeds), *studies[kind], copied) if made else server.ask(seeds, kind, copied)
            for name, outcome in done["outcomes"].items():
                told = f"{'trainings: ' if kind == 'trainings' else ''}{name.split(' from')[0]}: {outcome}"
                counts[told] = counts.get(told, 0) + 1
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
