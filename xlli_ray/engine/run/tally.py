"""The running totals of one run, from its events: what `RunStatus` says of nodes, reasons, losses and the time that is left.

Bounded in memory: a few numbers for each node and network, never one for each unit. Which nodes are slow is judged by the time of
units compared with what all nodes need for as many samples of the same networks, so that a node that happened to get the large images, or
only maps, is not called slow; the last units of a node count most.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from xlli_ray.engine.run.progress import WINDOW_SECONDS, Progress
from xlli_ray.store.records.lease import Holder
from xlli_ray.store.run_status.reasons import cut, fewest, short
from xlli_ray.store.run_status.status import MOST_GROUPS, MOST_NODES, Ended, Kind, NodeStatus, Remark, RunStatus, slowest_first

FORGET = 0.95
"""Weight of a node's earlier units with each new one: its last 20 or so make up its slowness."""
KEPT_REASONS = 200
"""Different reasons that are counted: beyond, new ones are counted together."""
BIN_SECONDS = 30.0
AFTER = {"scan": "planning", "run": "concluding", "train": "concluding"}
"""Phase that follows when one has ended."""


@dataclass
class _Times:
    """Time of the last units, and what all need on average for as many samples of the same networks. `last`: when one was finished."""

    took: float = 0.0
    usual: float = 0.0
    last: float = 0.0

    def add(self, now: float, took: float, usual: float) -> None:
        self.took, self.usual, self.last = FORGET * self.took + took, FORGET * self.usual + usual, now

    @property
    def slowness(self) -> float:
        return self.took / self.usual if self.usual > 0 else 1.0


@dataclass
class _Node:
    """One node. `bins`: (start, units, samples) within BIN_SECONDS; `workers`: by process id."""

    host: str
    node: str
    device: str = ""
    units: int = 0
    samples: int = 0
    failed: int = 0
    times: _Times = field(default_factory=_Times)
    bins: deque[tuple[float, int, int]] = field(default_factory=deque)
    workers: dict[int, _Times] = field(default_factory=dict)

    def add(self, now: float, pid: int, samples: int, failed: int, took: float, usual: float) -> None:
        self.units, self.samples, self.failed = self.units + 1, self.samples + samples, self.failed + failed
        self.times.add(now, took, usual)
        self.workers.setdefault(pid, _Times()).add(now, took, usual)
        if self.bins and now - self.bins[-1][0] < BIN_SECONDS:
            start, units, earlier = self.bins.pop()
            self.bins.append((start, units + 1, earlier + samples))
        else:
            self.bins.append((now, 1, samples))

    def status(self, now: float, span: float) -> NodeStatus:
        while self.bins and self.bins[0][0] < now - WINDOW_SECONDS:
            self.bins.popleft()
        self.workers = {pid: one for pid, one in self.workers.items() if one.last >= now - WINDOW_SECONDS}
        units, samples = sum(one[1] for one in self.bins), sum(one[2] for one in self.bins)
        several = self.workers if len(self.workers) > 1 else {}
        pid = max(several, key=lambda one: several[one].slowness, default=0)
        return NodeStatus(
            self.host, self.node, self.device, len(self.workers), self.units, self.samples, self.failed, round(60 * units / span, 3),
            round(samples / span, 3), self.times.slowness, pid, several[pid].slowness if pid else 0.0,
        )  # fmt: skip


class Tally:
    """`event` and `progress` are told what happens; `status` says how things stand. Not thread-safe: `RunLog` holds a lock."""

    def __init__(self, epoch: int) -> None:
        now = time.time()
        self._base = RunStatus(epoch, Holder.here(), what="", began=now, now=now)
        self._nodes: dict[tuple[str, str], _Node] = {}
        self._groups: dict[str, tuple[int, float]] = {}
        """Group of cells → samples and seconds of all its units."""
        self._reasons, self._lost = Counter[str](), Counter[str]()
        self._analyses: dict[str, str] = {}
        self._networks: dict[str, str] = {}
        self._started = time.monotonic()
        self._waiting = False

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """One event of the run. Unknown kinds are ignored."""
        if tell := getattr(self, f"_on_{kind}", None):
            tell(fields)

    def progress(self, progress: Progress) -> None:
        """How far the current phase is."""
        window, recent = progress.window()
        left = progress.left()
        kinds = [
            Kind(noun, pace.made, round(pace.seconds / pace.made, 6) if pace.made else None, progress.guessed(noun))
            for noun, pace in progress.by.items()
        ]
        self._base = replace(
            self._base, noun=progress.noun, done=progress.done, total=progress.total, failed=progress.failed, bytes=progress.bytes,
            left=None if left is None or not 0 <= left < 1e10 else round(left, 1), window=round(window, 1), recent=round(recent, 4),
            kinds=tuple(kinds), seconds={name: round(value, 3) for name, value in progress.split.items()},
        )  # fmt: skip

    def status(self, count: int) -> RunStatus:
        now = time.monotonic()
        span = max(1.0, min(WINDOW_SECONDS, now - self._started))
        nodes = slowest_first([node.status(now, span) for node in self._nodes.values()])
        longest = sorted(self._groups.items(), key=lambda item: -item[1][1])[:MOST_GROUPS]
        return replace(
            self._base, count=count, now=time.time(), groups={name: (made, round(took, 3)) for name, (made, took) in longest},
            nodes=tuple(nodes[:MOST_NODES]), nodes_more=max(0, len(nodes) - MOST_NODES),
            reasons=fewest(self._reasons), lost=fewest(self._lost), analyses=dict(self._analyses), networks=dict(self._networks),
        )  # fmt: skip

    def ended(self, ended: Ended) -> None:
        """The last word, unless a failed analysis or network is worse."""
        bad = [name for names in (self._analyses, self._networks) for name, state in names.items() if state == "failed"]
        if ended.how == "finished" and bad:
            ended = Ended("failed", 1, f"{', '.join(bad[:5])}{', …' if len(bad) > 5 else ''} failed; the rest is done")
        elif ended.how == "finished" and self._base.done and self._base.failed >= self._base.done and self._base.what in ("run", "part"):
            ended = Ended("failed", 1, "every sample of this run failed")
        self._set(ended=ended, phase="ended", left=None)

    def _set(self, **fields: Any) -> None:
        self._base = replace(self._base, **fields)

    def _remark(self, text: str) -> None:
        self._set(last_error=Remark(time.time(), text))

    def _on_start(self, fields: Mapping[str, Any]) -> None:
        self._set(what="part" if "part" in fields else str(fields.get("what", "run")), part=str(fields.get("part", "")))

    def _on_planned(self, fields: Mapping[str, Any]) -> None:
        self._set(units_planned=fields["units"], units_share=fields.get("share", fields["units"]), units_missing=fields["missing"])

    def _on_begin(self, fields: Mapping[str, Any]) -> None:
        self._started = time.monotonic()
        phase = fields["phase"]
        what = self._base.what or phase  # `xlli scan` has no `start`
        noun = {"train": "network", "scan": "file"}.get(phase, "sample")
        self._set(
            phase=phase, what=what, noun=noun, done=0, total=fields["total"], failed=0, left=None, window=0.0, recent=0.0, kinds=(),
            seconds={},
        )  # fmt: skip

    def _on_end(self, fields: Mapping[str, Any]) -> None:
        self._set(phase=AFTER.get(fields["phase"], "concluding"), left=None)

    def _on_unit(self, fields: Mapping[str, Any]) -> None:
        group, samples = str(fields["group"]), int(fields["samples"])
        took = max(0.0, float(fields["ended"]) - float(fields["began"]))
        before, seconds = self._groups.get(group, (0, 0.0))
        self._groups[group] = before + samples, seconds + took
        usual = (seconds + took) / max(1, before + samples) * samples
        key = str(fields["host"]), str(fields["node"])
        node = self._nodes.setdefault(key, _Node(*key))
        node.device = str(fields["device"])
        node.add(time.monotonic(), int(fields["pid"]), samples, int(fields["failed"]), took, usual)
        if self._waiting:
            self._waiting = False
            self._set(note=None)
        self._set(units=self._base.units + 1, again=self._base.again + bool(fields["attempt"]))
        for reason, number in fields["reasons"].items():
            self._count(self._reasons, reason, number)
            self._remark(reason)

    def _on_lost(self, fields: Mapping[str, Any]) -> None:
        self._count(self._lost, short(str(fields["reason"]), numbers=False), 1)
        self._remark(f"a worker was lost: {short(str(fields['reason']), numbers=False)}")

    def _on_waiting(self, fields: Mapping[str, Any]) -> None:
        self._waiting = True
        self._set(note=Remark(time.time(), cut(str(fields["text"]))))

    def _on_draining(self, fields: Mapping[str, Any]) -> None:
        self._set(note=Remark(time.time(), cut(str(fields["text"]))))

    def _count(self, counts: Counter[str], reason: str, number: int) -> None:
        counts[reason if reason in counts or len(counts) < KEPT_REASONS else "other reasons"] += number

    def _on_analysis(self, fields: Mapping[str, Any]) -> None:
        name, state = str(fields["id"]), str(fields["state"])
        self._analyses[name] = state
        self._set(phase="analysis" if state == "begin" else "concluding", about=name if state == "begin" else "")
        if state == "failed":
            self._remark(f"analysis {name}: {short(str(fields['reason']), numbers=False)}")

    def _on_trained(self, fields: Mapping[str, Any]) -> None:
        self._networks[str(fields["id"])] = "finished"
        self._set(done=self._base.done + 1)

    def _on_failed(self, fields: Mapping[str, Any]) -> None:
        self._networks[str(fields["id"])] = "failed"
        self._set(failed=self._base.failed + 1)
        self._remark(f"{fields['id']}: {short(str(fields['reason']), numbers=False)}")
