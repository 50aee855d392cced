"""Progress and speed of a phase, in units of what is measured: samples or files per second, seconds per map.

A run mixes units that cost a millisecond per sample with others that cost a minute, model by model. So the remaining time is estimated from
the plan's multiply-adds of each kind and the time that such work has taken so far, never from counts. The split of the workers' time into
reading, computing and writing shows whether the network waits for data. If workers come or go, the time that is left follows the speed of
the last minutes, compared with that of the whole run.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

WINDOW_SECONDS = 600.0
"""What `the last minutes` are."""
BIN_SECONDS = 10.0
ENOUGH_UNITS = 8
"""In the window, before its speed counts: single units say little."""


@dataclass
class Bin:
    """Units finished within BIN_SECONDS of `start`: how many, what the phase counts, and the work of each kind."""

    start: float
    units: int = 0
    done: int = 0
    work: dict[str, float] = field(default_factory=dict)


@dataclass
class Pace:
    """Pace of one kind of output: number made, wall time, that of units with work, and work (any unit) planned and done."""

    made: int = 0
    seconds: float = 0.0
    working: float = 0.0
    planned: float = 0.0
    done: float = 0.0


@dataclass
class Progress:
    """Counts of one phase (scan or run)."""

    phase: str
    total: int
    noun: str = "sample"
    """Noun for what `total` counts."""
    done: int = 0
    failed: int = 0
    units: int = 0
    bytes: int = 0
    started: float = field(default_factory=time.monotonic)
    split: dict[str, float] = field(default_factory=dict)
    by: dict[str, Pace] = field(default_factory=dict)
    """Kind of output (`sample`, `map`) → its pace."""
    _bins: deque[Bin] = field(default_factory=deque)
    _last: float = field(default_factory=time.monotonic)

    def expect(self, noun: str, work: float) -> None:
        """Add planned work of this kind."""
        self.by.setdefault(noun, Pace()).planned += work

    def add(
        self, samples: int, failed: int, nbytes: int, seconds: Mapping[str, float], *, noun: str = "", made: int = 0, work: float = 0.0
    ) -> None:
        """One unit is done. `seconds`: the worker's, by activity. `made`: number of `noun` it produced; without both: `samples`. `work`: 0
        for what no network does, whose time says nothing of theirs."""
        now = time.monotonic()
        pace = self.by.setdefault(noun or self.noun, Pace())
        pace.made += made if noun else samples
        pace.done += work
        pace.seconds += now - self._last  # concurrent units of several kinds are rare: models are processed one after another
        pace.working += now - self._last if work else 0.0
        self._last = now
        self.done += samples
        self.failed += failed
        self.units += 1
        self.bytes += nbytes
        if not self._bins or now - self._bins[-1].start >= BIN_SECONDS:
            self._bins.append(Bin(now))
        last = self._bins[-1]
        last.units, last.done = last.units + 1, last.done + samples
        last.work[noun or self.noun] = last.work.get(noun or self.noun, 0.0) + work
        while self._bins[0].start < now - WINDOW_SECONDS - BIN_SECONDS:
            self._bins.popleft()
        for kind, value in seconds.items():
            self.split[kind] = self.split.get(kind, 0.0) + value

    def shares(self) -> str:
        """`read 12 % · compute 80 % · write 8 %` of the workers' busy time."""
        groups = {"read": ("read",), "compute": ("compute",), "write": ("encode", "put")}
        sums = {name: sum(self.split.get(kind, 0.0) for kind in kinds) for name, kinds in groups.items()}
        total = sum(sums.values())
        return " · ".join(f"{name} {100 * value / total:.0f} %" for name, value in sums.items()) if total else ""

    def paces(self) -> str:
        """`12.3 samples/s, 3.2 s/map`: over everything made so far."""
        return ", ".join(_pace(noun, pace, counts=noun == self.noun) for noun, pace in self.by.items() if pace.made)

    def window(self) -> tuple[float, float]:
        """Length of the last minutes in seconds, and `done` per second in them."""
        now = time.monotonic()
        span = max(1e-6, min(WINDOW_SECONDS, now - self.started))
        return span, sum(one.done for one in self._recent(now)) / span

    def _recent(self, now: float) -> list[Bin]:
        return [one for one in self._bins if one.start >= now - WINDOW_SECONDS]

    def _speed(self) -> float:
        """Speed of the last minutes, 1 as on average: what their work takes on average, divided by their length."""
        now = time.monotonic()
        bins = self._recent(now)
        if now - self.started <= WINDOW_SECONDS or sum(one.units for one in bins) < ENOUGH_UNITS:
            return 1.0
        usual = sum(
            amount * self.by[noun].working / self.by[noun].done
            for one in bins for noun, amount in one.work.items() if amount and self.by[noun].done
        )  # fmt: skip
        return usual / WINDOW_SECONDS or 1.0

    def guessed(self, noun: str) -> bool:
        """Whether the time of this kind of output is taken from the others', since none is finished."""
        pace = self.by[noun]
        return pace.planned > 0 and not pace.done

    def left(self) -> float | None:
        """Remaining seconds, None if unknown."""
        known = [pace for pace in self.by.values() if pace.done and pace.working]
        if not known and any(pace.planned for pace in self.by.values()):
            return None
        if not known:
            rate = self.done / max(1e-6, time.monotonic() - self.started)
            return (self.total - self.done) / rate if rate else None
        usual = sum(pace.working for pace in known) / sum(pace.done for pace in known)
        return sum(
            max(0.0, pace.planned - pace.done) * (pace.working / pace.done if pace.done else usual) for pace in self.by.values()
        ) / self._speed()

    def line(self) -> str:
        """One line for people."""
        spent, left = time.monotonic() - self.started, self.left()
        parts = [f"{self.phase}: {self.done}/{self.total} {self.noun}s", f"{self.failed} failed"]
        if paces := self.paces():
            parts.append(paces)
        if left is not None and 0 < left < 1e7:
            parts += [f"{100 * spent / (spent + left):.0f} %", f"{left:.0f} s left"]
        elif self.done < self.total:
            parts.append(f"{spent:.0f} s so far")
        return ", ".join(parts) + (f" ({self.shares()})" if self.split else "")


def _pace(noun: str, pace: Pace, *, counts: bool) -> str:
    """For what the phase counts, number per second if at least one; otherwise seconds per item."""
    rate = pace.made / max(1e-6, pace.seconds)
    return f"{rate:.1f} {noun}s/s" if counts and rate >= 1 else f"{1 / rate:.3g} s/{noun}"
