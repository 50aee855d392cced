"""Kills: studies whose runs are killed again and again at random moments, until they are whole; then every byte is compared.

    python tests/benchmarks/kills.py --place local --kills 300 --faults 20 --seed 1 --log kills.jsonl
    python tests/benchmarks/kills.py --place s3 --kills 100 --seed 1

A study is one of three recipes (`kill_worlds.py`). Its runs are of all kinds: worker processes, a private Ray of two, this process alone,
parts of an array, with `--replace`. Killed are the driver, a worker, the network's own process, the raylet, the GCS, or everything at once;
by SIGKILL, sometimes by SIGTERM; at a random time, before a random change of files (`kill_points`), or, of a bucket, at a random request.
Between them, with `--faults`: a disk that is full, a mount that turns read-only, a driver that is stopped, taken over, and goes on
(`kill_faults.py`). In `--place s3` corpus and study lie on a real S3 server behind a proxy: 50 ms a request, and 5 % that end in 503, in a
reset, in a cut body, or without an answer.

Bars: each study ends with the bytes of an undisturbed run, `verify` finds nothing, no row is missing or there twice; no traceback, no exit
code but the expected ones; no process, no temporary file left. Exit code 1 if any of this does not hold. One JSON line for each run and
each finding.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import common
from kill_faults import fault
from kill_forks import Forks
from kill_runs import Hit, Run, Told, marked, newest, phase_of
from kill_worlds import NAMES, World, compare, environment, make_images, make_world

MODES = {"pool": (), "here": ("--workers", "0"), "ray": ("--workers", "2"), "part": ("--part",)}
SHARES = {"pool": 3, "here": 14, "ray": 1, "part": 4}
FORKED = {"pool": 0.8, "here": 0.9, "ray": 0.0, "part": 0.9}
"""Share of runs that load nothing (`kill_forks`)."""
SPAN = {"pool": 20.0, "here": 6.0, "ray": 30.0, "part": 6.0}
"""Seconds of a run, until one was seen."""
CHANGES = 420
"""Changes of files that the driver of an undisturbed run makes, about."""
REQUESTS = 500
OFTEN = {"images": 4, "rain": 1, "clips": 1}
"""Of studies; networks of a recipe's own, as in the last two, are loaded in a process of their own, which takes seconds."""
TRIES = 30
"""Runs of a study that may be killed; then one is left alone."""
WORKERS_A_RUN = 2
"""Kills of workers in one run: a sample in hand at three of them would be found guilty, and be marked."""
LATENCY, FAULTY = 0.05, 0.05
GRACE = 100.0
"""Seconds that the daemons of a killed driver's Ray have to end."""


@dataclass
class Place:
    """Where the studies of a campaign lie. `more`: environment of its runs."""

    kind: str
    folder: Path
    images: str
    more: dict[str, str]
    proxy: Any = None

    def study(self, name: str) -> str:
        return str(self.folder / name) if self.kind == "local" else f"s3://studies/{uuid.uuid4().hex}"

    def last(self, out: str, since: float) -> str:
        """The object that was written last; '' if none was since then."""
        return newest(Path(out), since) if self.kind == "local" else self.proxy.last_key(out)

    def remove(self, out: str) -> None:
        if self.kind == "local":
            shutil.rmtree(out, ignore_errors=True)
        else:
            from xlli_ray.store.objects.client import open_objects

            objects = open_objects(out)
            objects.delete([key for part in ("arrays.zarr", "records", "tables", "results", "samples") for key in objects.list(part)])


@dataclass
class Campaign:
    """Its draws, its log, and what it has counted."""

    place: Place
    worlds: dict[str, World]
    drawn: random.Random
    log: Any
    mark: str
    until: float
    wanted: int
    seed: int
    counts: dict[str, collections.Counter[str]] = field(default_factory=lambda: collections.defaultdict(collections.Counter))
    findings: list[str] = field(default_factory=list)
    spans: dict[str, float] = field(default_factory=lambda: dict(SPAN))
    modes: dict[str, int] = field(default_factory=lambda: dict(SHARES))
    forks: Forks | None = None
    """For most runs without processes of their own, and some of the others."""
    open: list[tuple[float, str]] = field(default_factory=list)
    """(when it ended, mark) of studies whose processes have a while to end."""

    @property
    def kills(self) -> int:
        return sum(self.counts["victims"].values())

    def write(self, **line: Any) -> None:
        self.log.write(json.dumps({"time": round(time.time(), 1), **line}, default=str) + "\n")
        self.log.flush()

    def find(self, where: str, what: list[str]) -> None:
        for text in what:
            self.findings.append(f"{where}: {text}")
            self.write(finding=text, where=where)
            print(f"FINDING {where}: {text}", flush=True)

    def note(self, name: str, told: Told) -> None:
        """Count a run's hits."""
        for hit in told.hits:
            kind = "victims" if hit.signal == "KILL" else "signals"
            self.counts[kind][hit.victim] += 1
            self.counts["phases"][hit.phase] += 1
        self.counts["runs"][told.mode] += 1
        self.counts["codes"][str(told.code)] += 1
        if told.code == 0 and not told.hits:
            self.spans[told.mode] = 0.5 * self.spans[told.mode] + 0.5 * told.seconds
        self.write(study=name, **told.plain())
        self.find(f"{name} {told.mode}", told.findings)

    def begin(self, world: World, out: str, mode: str, name: str, *options: str, **more: str) -> Run:
        given = list(MODES[mode])
        if mode == "part":
            given.append(f"{self.drawn.randint(1, 2)}/2")
        if self.drawn.random() < 0.5:
            given.append("--quiet")
        if self.place.proxy is not None:
            self.place.proxy.start_over()
        return Run(
            world, out, mode, [*given, *options], mark=f"{self.mark}-{name}", last=lambda since: self.place.last(out, since),
            more={**self.place.more, **more}, forks=self.forks if self.drawn.random() < FORKED[mode] else None,
        )  # fmt: skip

    def disturbed(self, world: World, out: str, name: str, *options: str) -> Told:
        """A run that is hit, if it does not end before."""
        mode = self.drawn.choices(list(self.modes), list(self.modes.values()))[0] if not options else self.drawn.choice(["pool", "here"])
        way = self.drawn.choices(["point", "time"], [3, 1])[0] if mode != "ray" else self.drawn.choices(["point", "time"], [1, 4])[0]
        if way == "time":
            run = self.begin(world, out, mode, name, *options)
            self._hit_in_time(run)
        elif self.place.kind == "local":
            run = self._hit_at_a_change(world, out, mode, name, options)
        else:
            run = self._hit_at_a_request(world, out, mode, name, options)
        told = run.told()
        self.note(name, told)
        return told

    def _hit_in_time(self, run: Run) -> None:
        for _ in range(WORKERS_A_RUN):
            span = self.spans[run.mode]
            if run.over(span * self.drawn.random() if self.drawn.random() < 0.4 else 0.1 * (span / 0.1) ** self.drawn.random()):
                return
            there = run.there()
            choices = {"driver": 4, "everything": 1, "SIGTERM": 1} | {name: {"worker": 5, "child": 1}.get(name, 2) for name in there}
            victim = self.drawn.choices(list(choices), list(choices.values()))[0]
            if victim == "SIGTERM":
                return run.hit("driver", None, signal.SIGTERM)
            run.hit(victim, self.drawn.choice(there[victim]) if victim in there else None)
            if victim not in ("worker", "child"):
                return
        return

    def _hit_at_a_change(self, world: World, out: str, mode: str, name: str, options: tuple[str, ...]) -> Run:
        who = "driver" if mode in ("here", "part") or self.drawn.random() < 0.7 else "worker"
        most = CHANGES if who == "driver" else CHANGES / 3
        number = int(most * self.drawn.random()) if self.drawn.random() < 0.3 else int(most ** self.drawn.random())
        log = self.place.folder / f"hit-{uuid.uuid4().hex[:8]}"
        run = self.begin(
            world, out, mode, name, *options, XLLI_KILL_AT=f"{who}:{number + 1}", XLLI_KILL_UNDER=out + "/", XLLI_KILL_LOG=str(log)
        )
        while not run.over(0.2) and time.monotonic() - run.started < 200:
            continue
        if log.exists():
            run.hits.append(hit_before(who, log.read_text()))
            log.unlink()
        return run

    def _hit_at_a_request(self, world: World, out: str, mode: str, name: str, options: tuple[str, ...]) -> Run:
        number = int(REQUESTS * self.drawn.random()) if self.drawn.random() < 0.4 else int(REQUESTS ** self.drawn.random())
        run = self.begin(world, out, mode, name, *options)
        self.place.proxy.at(number + 1, lambda: run.hit("driver", None))
        while not run.over(0.2) and time.monotonic() - run.started < 200:
            continue
        self.place.proxy.start_over()
        return run

    def study(self, number: int) -> None:
        """One study, from its first run to the comparison."""
        world = self.worlds[self.drawn.choices(list(self.worlds), [OFTEN[name] for name in self.worlds])[0]]
        name = f"{self.seed}-{number:03d}-{world.name}"
        out = self.place.study(name)
        told = self.until_whole(world, out, name)
        self.conclude(world, out, name, told)
        if self.drawn.random() < 0.25 and self.kills < self.wanted:
            replaced = ("--replace", {"images": "features", "rain": "derain", "clips": "restore"}[world.name])
            self.conclude(world, out, name, self.until_whole(world, out, name, *replaced), *replaced)
        self.place.remove(out)

    def until_whole(self, world: World, out: str, name: str, *options: str) -> Told | None:
        """Disturbed runs until one comes to its end; None if none did."""
        for _ in range(TRIES):
            told = self.disturbed(world, out, name, *options)
            if told.code == 0 and told.mode != "part":
                return told
            if self.kills >= self.wanted or time.monotonic() > self.until:
                break
        return None

    def conclude(self, world: World, out: str, name: str, told: Told | None = None, *options: str) -> None:
        """What the study is once a run has come to its end (`told`; without it, one that nothing disturbs)."""
        if told is None:
            self.note(name, self.begin(world, out, "here", name, *options).told())
        self.find(name, compare(world, out))
        self.counts["studies"][world.name] += 1
        self.open.append((time.monotonic(), f"{self.mark}-{name}"))
        self.leftovers(GRACE)
        print(f"{time.strftime('%H:%M:%S')} {name}: {self.kills} kills, {len(self.findings)} findings", flush=True)

    def leftovers(self, grace: float) -> None:
        """Processes of studies that ended more than `grace` seconds ago."""
        for when, mark in [one for one in self.open if time.monotonic() - one[0] > grace]:
            self.open.remove((when, mark))
            left = [f"{process.pid} {' '.join(process.cmdline())[:200]}" for process in marked(mark)]
            self.find(mark, [f"left a process: {one}" for one in left])

    def finish(self) -> None:
        """Wait for what has a while to end; then the temporary folder may hold nothing but what the next Ray of this user removes."""
        while self.open and any(marked(mark) for _, mark in self.open) and time.monotonic() - self.open[-1][0] < GRACE:
            time.sleep(1)
        self.leftovers(0.0)
        temporary = Path(self.place.more["TMPDIR"])
        expected = ("xlli-ray-", "xlli-sql-", "torchinductor_")
        self.find("temporary folder", [str(path) for path in temporary.iterdir() if not path.name.startswith(expected)])


def hit_before(who: str, said: str) -> Hit:
    """A hit from inside: what it was about to do, and to which objects."""
    key = said.split(" ")[-1]
    gone = said.startswith("os.remove") and not key.endswith(".partial")
    return Hit(who, said, ("deletion of " if gone else "") + phase_of(key))


@contextlib.contextmanager
def local_place(folder: Path, temporary: Path) -> Iterator[Place]:
    if not (folder / "corpus").exists():
        make_images(folder / "corpus")
    yield Place("local", folder, str(folder / "corpus"), {"TMPDIR": str(temporary)})


def main() -> int:
    parser = common.arguments(__doc__)
    parser.add_argument("--place", choices=["local", "s3"], default="local")
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worlds", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=list(MODES), help="kinds of runs; pool and ray have workers")
    parser.add_argument("--faults", type=int, default=0, help="studies with a fault that is no kill, only in --place local")
    parser.add_argument("--keep", default=None, help="work in this folder, and use the undisturbed studies that are in it")
    parser.add_argument("--log", default=os.devnull, help="JSON lines are appended to it")
    args: argparse.Namespace = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(args.keep).absolute() if args.keep else stack.enter_context(common.scratch(args.scratch))
        temporary = Path(tempfile.mkdtemp(prefix="xk", dir="/tmp"))  # short: Ray has its sockets there
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        if args.place == "s3":
            from kill_buckets import s3_place

            place = stack.enter_context(s3_place(folder, temporary, args.seed, LATENCY, FAULTY))
        else:
            place = stack.enter_context(local_place(folder, temporary))
        worlds = {name: make_world(name, folder, place.images) for name in args.worlds}
        campaign = Campaign(
            place, worlds, random.Random(args.seed), stack.enter_context(open(args.log, "a")), f"kills{os.getpid()}",
            time.monotonic() + 60 * args.minutes, args.kills, args.seed,
        )  # fmt: skip
        campaign.modes = {mode: SHARES[mode] for mode in args.modes}
        campaign.forks = Forks(environment(**place.more))
        stack.callback(campaign.forks.close)
        number, faults = 0, args.faults if args.place == "local" else 0
        while (campaign.kills < args.kills or faults) and time.monotonic() < campaign.until:
            number += 1
            if campaign.kills < args.kills:
                campaign.study(number)
            if faults:
                faults -= 1
                fault(campaign, number)
        campaign.finish()
        counts = {name: dict(counter) for name, counter in campaign.counts.items()}
        campaign.write(summary=counts, kills=campaign.kills, findings=len(campaign.findings))
    common.finish("kills", place=args.place, seed=args.seed, kills=campaign.kills, findings=campaign.findings, **counts)
    return 1 if campaign.findings else 0


if __name__ == "__main__":
    sys.exit(main())
