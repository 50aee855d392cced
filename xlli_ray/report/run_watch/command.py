"""`xlli status` of a study: once, or `--watch` until its run ends. Reads the store only, so it works from anywhere that sees it."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, TextIO

from xlli_ray.errors import EnvironmentFailure, StudyError
from xlli_ray.report.run_watch.asked import Asked
from xlli_ray.report.run_watch.verdict import judge
from xlli_ray.report.run_watch.view import View, as_json, block, line
from xlli_ray.report.text import status_text, training_text
from xlli_ray.store.objects.client import Objects, open_objects
from xlli_ray.store.run_status.look import Look, Observer
from xlli_ray.store.run_status.prometheus import metrics_text
from xlli_ray.store.run_status.status import RunStatus
from xlli_ray.store.run_status.together import together
from xlli_ray.store.tables.trainings import Standing, Trainings, by_log, read_trainings, standings, state
from xlli_ray.terminal import say

LOGS = 32
"""Logs of trainings read at each look: of the first that have not finished, since they are assigned in order."""
PACE_SECONDS = 600.0
TROUBLE_LOOKS = 10
"""Looks in a row that a store may fail for a passing reason."""
INTERRUPTED = 130


def status(study: str, asked: Asked) -> int:
    """Returns the exit code."""
    if asked.watch and asked.prometheus:
        raise StudyError("--watch shows, --prometheus prints once: give one of them (`xlli run --metrics FILE` keeps a file of metrics)")
    objects = open_objects(study)
    if asked.watch:
        return watch(study, objects, every=asked.every, json_lines=asked.json)
    if asked.prometheus:
        return _prometheus(study, objects)
    from xlli_ray.store.tables.results import plain
    from xlli_ray.study import open_study

    if (trained := read_trainings(objects)) is not None:
        standing = state(objects, trained)
        say(json.dumps(plain(standing), indent=1, allow_nan=False) if asked.json else training_text(standing))
        return 0
    found = open_study(study).status()
    say(json.dumps(plain(found), indent=1, allow_nan=False) if asked.json else status_text(found))
    return 0


def _prometheus(study: str, objects: Objects) -> int:
    look = Observer(objects).look()
    if (shown := shown_status(look)) is None:
        raise StudyError(f"{study}: no run has left a status here: it has none, or of an earlier version")
    living = [one.status.ended is None and one.life.alive is not False for one in look.parts]
    say(metrics_text(shown, study, running=any(living) or (look.held and look.life.alive is not False)).rstrip("\n"), raw=True)
    return 0


def shown_status(look: Look) -> RunStatus | None:
    """Of the parts together, or of the driver."""
    if look.parts:
        return together([one.status for one in look.parts])
    return look.driver.status if look.driver is not None else None


class Networks:
    """The trainings of a study, as their logs say; and the time that is left, by the iterations seen from here."""

    def __init__(self, objects: Objects, trainings: Trainings) -> None:
        self._objects = objects
        self._all = {one.network.id: one for one in standings(objects, trainings.networks)}
        self._seen = deque[tuple[float, int]]()

    def look(self, run: RunStatus | None) -> list[Standing]:
        """One request for each of the first LOGS that have not finished."""
        told = run.networks if run is not None else {}
        looks = 0
        for name, before in self._all.items():
            if before.state == "finished":
                continue
            if told.get(name) in ("finished", "failed"):
                self._all[name] = Standing(before.network, "finished" if told[name] == "finished" else "failed", before.log)
            elif looks < LOGS:
                looks += 1
                self._all[name] = by_log(self._objects, before.network)
        now = time.monotonic()
        self._seen.append((now, sum(one.iteration for one in self._all.values())))
        while self._seen[0][0] < now - PACE_SECONDS:
            self._seen.popleft()
        return list(self._all.values())

    def left(self) -> float | None:
        """Seconds; None before iterations have been seen to pass."""
        (first, before), (last, now) = self._seen[0], self._seen[-1]
        if now <= before:
            return None
        left = sum(one.network.iterations - one.iteration for one in self._all.values() if one.state in ("begun", "waiting"))
        return left * (last - first) / (now - before)


class Watcher:
    """Looks at the run of one study again and again."""

    def __init__(self, study: str, objects: Objects) -> None:
        self._study, self._objects, self._observer = study, objects, Observer(objects)
        self._networks: Networks | None = None
        self._news: object = None
        self._since = 0.0
        self._looks = 0

    def look(self) -> View:
        """Raises StudyError if there has never been a run, EnvironmentFailure if the store does not answer."""
        look = self._observer.look()
        if not look.epoch:
            raise StudyError(f"{self._study}: no run has begun here; start one with `xlli run RECIPE --out {self._study}`")
        shown, now = shown_status(look), time.monotonic()
        if self._networks is None and shown is not None and shown.what == "train":
            trainings = read_trainings(self._objects)
            self._networks = Networks(self._objects, trainings) if trainings is not None else None
        news = (look.epoch, look.held, shown.count if shown else 0, len(look.parts))
        if news != self._news:
            self._news, self._since = news, now
        verdict = judge(look, first=not self._looks, unchanged=now - self._since)
        networks: Sequence[Standing] = ()
        left: float | None = None
        if self._networks is not None:
            networks, left = self._networks.look(shown), self._networks.left()
        self._looks += 1
        return View(self._study, look, shown, now - self._since, verdict, networks, left)


def watch(study: str, objects: Objects, *, every: float, json_lines: bool, stream: TextIO | None = None) -> int:
    """Show the run until it ends. Returns its exit code: 0 finished, 1 ended with failures, 75 stopped or lost, else that of its error."""
    stream = sys.stdout if stream is None else stream
    watcher = Watcher(study, objects)
    view: View | None = None
    trouble = 0
    with ExitStack() as stack:
        show = _json if json_lines else _in_place(stack, stream) if stream.isatty() else _Lines()
        try:
            while True:
                began = time.monotonic()
                try:
                    view, trouble = watcher.look(), 0
                except EnvironmentFailure as error:
                    trouble += 1
                    if view is None or not error.passing or trouble > TROUBLE_LOOKS:
                        raise
                    say(f"the store does not answer, looking again: {error.strerror or error}", sys.stderr)
                else:
                    show(view, stream)
                    if view.verdict.over:
                        return view.verdict.code
                time.sleep(max(every, time.monotonic() - began))  # a slow store is not asked all the time
        except KeyboardInterrupt:
            return INTERRUPTED


def _json(view: View, stream: TextIO) -> None:
    from xlli_ray.store.tables.results import plain

    say(json.dumps(plain(as_json(view)), allow_nan=False), stream, raw=True)
    stream.flush()


class _Lines:
    """A block at first and at the end, between them a line for each change."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, view: View, stream: TextIO) -> None:
        text = block(view) if not self._last or view.verdict.over else line(view)
        if text != self._last:
            say(text, stream)
            stream.flush()
        self._last = text


def _in_place(stack: ExitStack, stream: TextIO) -> Any:
    """One block that is drawn again; the last stays."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    live = stack.enter_context(Live(console=Console(file=stream), auto_refresh=False, vertical_overflow="crop"))

    def show(view: View, stream: TextIO) -> None:
        live.update(Text(block(view), no_wrap=True, overflow="ellipsis"), refresh=True)

    return show
