"""What is shown of one look at a run: a block of text, one line, or JSON. Times of day are this machine's."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from xlli_ray.errors import counted
from xlli_ray.report.run_watch.verdict import Verdict
from xlli_ray.report.text import duration, grid
from xlli_ray.store.run_status.look import Life, Look
from xlli_ray.store.run_status.status import NodeStatus, Remark, RunStatus
from xlli_ray.store.tables.trainings import Standing
from xlli_ray.terminal import harmless, human_bytes

SHOWN_NODES, SHOWN_REASONS, SHOWN_NETWORKS = 10, 8, 12
SLOW = 1.5
"""Times as slow as its node, from which a worker is named."""
ACTIVITIES = {"read": ("read",), "compute": ("compute",), "write": ("encode", "put")}
LONGEST_SECONDS = 1e9
"""That a time which is left may be told: some thirty years."""
PHASES = {
    "starting": "starting", "scan": "reading the corpus", "planning": "planning", "run": "measuring", "train": "training",
    "concluding": "writing tables", "analysis": "analysis", "ended": "ended",
}  # fmt: skip


@dataclass(frozen=True)
class View:
    """`status`: of the driver, or of the parts together; None if the run has left none. `silent`: seconds since its last news. `networks`:
    of a training, with `left` by their iterations."""

    study: str
    look: Look
    status: RunStatus | None
    silent: float
    verdict: Verdict
    networks: Sequence[Standing] = ()
    left: float | None = None

    @property
    def remaining(self) -> float | None:
        """Seconds until the units, or trainings, are done, from now on."""
        if self.verdict.over or self.status is None:
            return None
        left = self.left if self.networks else self.status.left
        return None if left is None or left > LONGEST_SECONDS else max(0.0, left - (0.0 if self.networks else self.silent))


def block(view: View) -> str:
    """Some 30 lines for people."""
    status = view.status
    lines = [f"{view.study}: {_who(view)}"]
    if status is not None:
        lines += [line for line in (_progress(view), _pace(status), _end(view), _time(status)) if line]
        lines += _parts(view.look)
        lines += _networks(view.networks)
        lines += _nodes(status)
        lines += _counts(f"failed {status.failed} of {counted(status.done, status.noun)}", status.reasons)
        lost = counted(sum(status.lost.values()), "unit")
        lines += _counts(f"lost with their workers: {lost}; {status.again} done again", status.lost)
        if status.last_error is not None:
            lines.append(f"last error, {_before(status, status.last_error)}: {_plain(status.last_error.text)}")
        if status.note is not None and not view.verdict.over:
            lines.append(f"note, {_before(status, status.note)}: {_plain(status.note.text)}")
    lines += [view.verdict.text] if view.verdict.over or not view.look.held else []
    return harmless("\n".join(lines))


def line(view: View) -> str:
    """One line: for logs."""
    status, left = view.status, view.remaining
    if status is None:
        return harmless(f"{_who(view)}; {view.verdict.text}", line=True)
    parts = [f"{PHASES.get(status.phase, status.phase)}{f' {status.about}' if status.about else ''}"]
    if status.total and status.phase != "planning":
        parts.append(f"{status.done}/{status.total} {status.noun}s, {status.failed} failed")
    if view.networks:
        parts.append(_iterations(view.networks))
    if status.recent and status.phase in ("run", "scan"):
        parts.append(_rate(status.recent, status.noun))
    if left is not None:
        parts.append(f"{duration(left)} left")
    if len(status.nodes) > 1:
        parts.append(f"{len(status.nodes) + status.nodes_more} nodes, slowest {status.nodes[0].host} {status.nodes[0].slowness:.1f}×")
    if status.lost:
        parts.append(f"{counted(sum(status.lost.values()), 'unit')} lost with workers")
    if status.note is not None and not view.verdict.over:
        parts.append(_plain(status.note.text))
    return harmless(f"{', '.join(parts)}; {_alive(view.look.life) if view.look.held else view.verdict.text}", line=True)


def as_json(view: View) -> dict[str, Any]:
    """For programs; `status` as in the store format."""
    look = view.look
    return {
        "study": view.study, "epoch": look.epoch, "held": look.held, "alive": look.life.alive, "over": view.verdict.over,
        "code": view.verdict.code if view.verdict.over else None, "verdict": view.verdict.text, "left": view.remaining,
        "silent": round(view.silent, 1), "status": None if view.status is None else asdict(view.status),
        "parts": [
            {"part": one.status.part, "host": one.status.holder.host, "pid": one.status.holder.pid, "alive": one.life.alive,
             "done": one.status.done, "total": one.status.total, "failed": one.status.failed,
             "ended": None if one.status.ended is None else asdict(one.status.ended)}
            for one in look.parts
        ],
        "networks": [
            {"id": one.network.id, "state": one.state, "iteration": one.iteration, "iterations": one.network.iterations, "loss": one.loss}
            for one in view.networks
        ],
    }  # fmt: skip


def _who(view: View) -> str:
    look, status = view.look, view.status
    what = {"train": "training", "scan": "scan", "part": "parts of a run"}.get(status.what if status else "", "run")
    if look.parts:
        return f"{what}, under lease {look.epoch}"
    who = f"{look.holder.host}, pid {look.holder.pid}" if look.holder else "an unknown host (its lease cannot be read)"
    news = f"; last news {duration(view.silent)} ago" if look.held and status is not None and not view.verdict.over else ""
    return f"{what} {look.epoch} on {who}, {_alive(look.life) if look.held else 'ended'}{news}"


def _alive(life: Life) -> str:
    if life.silent >= 10:
        return f"no heartbeat for {duration(life.silent)}"
    return {None: "not yet known whether it is alive", True: "alive", False: "its process is gone"}[life.alive]


def _progress(view: View) -> str:
    status = view.status
    assert status is not None
    phase = PHASES.get(status.phase, status.phase) + (f" {status.about}" if status.about else "")
    parts = []
    if status.total and status.phase != "planning":
        parts.append(f"{status.done}/{status.total} {status.noun}s ({100 * status.done / status.total:.0f} %)")
    if status.units_planned:
        before = max(0, (status.units_share or status.units_planned) - status.units_missing)
        of = f"{status.units + before}/{status.units_planned} units"
        parts.append(of + (f", {before} of them done before this run" if before else ""))
    if status.bytes:
        parts.append(f"{human_bytes(status.bytes)} written")
    if view.networks:
        parts.append(_iterations(view.networks))
    return f"{phase}: {', '.join(parts)}" if parts else phase


def _iterations(networks: Sequence[Standing]) -> str:
    done, total = sum(one.iteration for one in networks), sum(one.network.iterations for one in networks)
    return f"{done}/{total} iterations ({100 * done / max(1, total):.0f} %)"


def _pace(status: RunStatus) -> str:
    """Of the last minutes, and of each kind of output since the start of the phase."""
    if status.phase not in ("run", "scan") or not status.done:
        return ""
    kinds = [f"{kind.made} {kind.noun}s at {kind.seconds_each:.3g} s each" for kind in status.kinds if kind.made and kind.seconds_each]
    recent = f"{_rate(status.recent, status.noun)} in the last {duration(status.window)}"
    return f"pace: {recent}" + (f"; since it began {', '.join(kinds)}" if kinds and status.phase == "run" else "")


def _rate(rate: float, noun: str) -> str:
    if rate >= 1 or not rate:
        return f"{rate:.1f} {noun}s/s"
    return f"{60 * rate:.1f} {noun}s/min" if rate >= 1 / 60 else f"{3600 * rate:.1f} {noun}s/h"


def _end(view: View) -> str:
    """When it will be done, how that is known, and what is not."""
    status, left = view.status, view.remaining
    if status is None or view.verdict.over:
        return ""
    if view.networks:
        known = "expected end: not known yet, the pace of iterations is seen after some looks"
        return known if left is None else f"expected end: {_at(left)}, by iterations at the pace seen from here"
    if status.phase in ("starting", "scan", "planning"):
        return "expected end: not known before the study is planned"
    if status.phase != "run":
        return "expected end: units are done; how long tables and analyses take is not known"
    if left is None:
        why = "parts that run have not all finished a unit" if view.look.parts else "no unit that runs a network is finished"
        return f"expected end: not known yet, {why}"
    guessed = [kind.noun for kind in status.kinds if kind.guessed]
    more = f"\n  no {' or '.join(guessed)} is finished yet, so its time is only guessed from multiply-adds" if guessed else ""
    waiting = _not_begun(view.look)
    more += f"\n  without {counted(waiting, 'part')} that {'has' if waiting == 1 else 'have'} not begun" if waiting > 0 else ""
    return f"expected end: {_at(left)}, by the work that is left{more}\n  then tables and analyses, whose time is not known"


def _not_begun(look: Look) -> int:
    """Number of parts of which nothing has been seen."""
    return max(0, max((one.status.parts for one in look.parts), default=0) - len(look.parts))


def _at(left: float) -> str:
    then = time.localtime(time.time() + left)
    form = "%H:%M" if left < 16 * 3600 else "%a %d %b, %H:%M"
    return f"about {time.strftime(form, then)} (in {duration(left)})"


def _time(status: RunStatus) -> str:
    sums = {name: sum(status.seconds.get(kind, 0.0) for kind in kinds) for name, kinds in ACTIVITIES.items()}
    total = sum(sums.values())
    return "workers' time: " + " · ".join(f"{name} {100 * value / total:.0f} %" for name, value in sums.items()) if total else ""


def _parts(look: Look) -> list[str]:
    if not look.parts:
        return []
    ended = [one for one in look.parts if one.status.ended is not None]
    bad = [one for one in ended if one.status.ended is not None and one.status.ended.how != "finished"]
    gone = [one for one in look.parts if one.status.ended is None and one.life.alive is False]
    running = len(look.parts) - len(ended) - len(gone)
    said = f"parts: {running} running, {len(ended) - len(bad)} finished, {_not_begun(look)} not begun, {len(bad)} stopped, {len(gone)} gone"
    why = [(one.status, one.status.ended.reason if one.status.ended else "its process is gone") for one in [*bad, *gone]]
    return [said, *(f"  part {one.part} on {one.holder.host}: {_plain(reason)}" for one, reason in why[:SHOWN_REASONS])]


def _networks(networks: Sequence[Standing]) -> list[str]:
    """Those at work first, then waiting ones, then finished."""
    order = {"begun": 0, "failed": 1, "waiting": 2, "finished": 3}
    ranked = sorted(networks, key=lambda one: order[one.state])
    rows = [[one.network.id, one.state, one.iteration, one.network.iterations, one.loss] for one in ranked[:SHOWN_NETWORKS]]
    rest = len(ranked) - len(rows)
    return [grid(rows, ["network", "state", "iteration", "of", "loss"]), *([f"and {rest} more"] if rest else [])] if rows else []


def _nodes(status: RunStatus) -> list[str]:
    """The slowest first."""
    if not status.nodes:
        return []
    double = len({node.host for node in status.nodes}) < len(status.nodes)
    rows = [
        [f"{node.host}/{node.node or node.device}" if double else node.host, node.device, node.workers, node.units,
         round(node.units_per_minute, 1), round(node.samples_per_second, 1), node.failed, f"{node.slowness:.2f} ×{_worker(node)}"]
        for node in status.nodes[:SHOWN_NODES]
    ]  # fmt: skip
    rest = len(status.nodes) - len(rows) + status.nodes_more
    head = ["node", "device", "workers", "units", "units/min", "samples/s", "failed", "usual time"]
    return [grid(rows, head), *([f"and {counted(rest, 'faster node')}"] if rest else [])]


def _before(status: RunStatus, remark: Remark) -> str:
    return f"{duration(max(0.0, status.now - remark.time))} before"


def _worker(node: NodeStatus) -> str:
    """Of a worker that is much slower than its node."""
    far = node.slowest_worker_time > SLOW * max(node.slowness, 0.1)
    return f" (process {node.slowest_worker}: {node.slowest_worker_time:.2f} ×)" if far else ""


def _counts(head: str, reasons: Mapping[str, int]) -> list[str]:
    if not reasons:
        return []
    rows = [f"  {number} × {_plain(reason)}" for reason, number in list(reasons.items())[:SHOWN_REASONS]]
    return [f"{head}:", *rows, *([f"  and {counted(len(reasons) - len(rows), 'more reason')}"] if len(reasons) > len(rows) else [])]


def _plain(text: str) -> str:
    return harmless(text, line=True)
