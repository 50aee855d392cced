"""Whether a run that is watched is over, how it ended, and what to do then."""

from __future__ import annotations

from dataclasses import dataclass

from xlli_ray.errors import counted
from xlli_ray.store.run_status.look import Look, Seen

AGAIN = 75
"""EX_TEMPFAIL of <sysexits.h>: run the same command again to continue."""
PARTS_SECONDS = 600.0
"""That a batch system may take to start parts that have not begun, or again those that were lost."""
PLAN_SECONDS = 30.0
"""After a scan or plan, for a part that begins then."""


@dataclass(frozen=True)
class Verdict:
    """`code`: exit code of a watch that ends with this."""

    over: bool
    code: int
    text: str


def judge(look: Look, *, first: bool, unchanged: float) -> Verdict:
    """`first`: nothing was seen before. `unchanged`: seconds since anything changed, by this process's clock."""
    ended = look.driver.status.ended if look.driver is not None else None
    if look.parts:
        return _of_parts(look, first=first, unchanged=unchanged)
    if ended is not None and look.driver is not None:
        if look.driver.status.what in ("scan", "plan") and not first and unchanged < PLAN_SECONDS:
            return Verdict(False, 0, "planned; waiting for parts of a run")
        if ended.how == "finished":
            return Verdict(True, 0, f"the {_noun(look.driver)} has finished")
        if ended.how == "failed":
            return Verdict(True, ended.code or 1, f"the {_noun(look.driver)} has ended: {ended.reason}")
        advice = "" if ended.code in (2, 4) else "; what is done is kept, the same command continues"
        return Verdict(True, ended.code, f"the {_noun(look.driver)} stopped: {ended.reason}{advice}")
    if look.held:
        if look.life.alive is False:
            return Verdict(True, AGAIN, "the run was killed, or its machine is gone; what is done is kept, the same command continues")
        return Verdict(False, 0, "running")
    return Verdict(True, 1, "no run is going on, and the last one left no status: it is of an earlier version, or ended at once")


def _noun(seen: Seen) -> str:
    return {"train": "training", "scan": "scan", "plan": "plan"}.get(seen.status.what, "run")


def _of_parts(look: Look, *, first: bool, unchanged: float) -> Verdict:
    total = max(len(look.parts), *(one.status.parts for one in look.parts))
    ended = [one.status.ended for one in look.parts if one.status.ended is not None]
    gone = [one for one in look.parts if one.status.ended is None and one.life.alive is False]
    running = len(look.parts) - len(ended) - len(gone)
    waiting = total - len(look.parts)
    good = sum(one.how == "finished" for one in ended)
    if running:
        return Verdict(False, 0, f"{counted(running, 'part')} running")
    if good == total:
        return Verdict(True, 0, "all parts have finished: `xlli run` without --part concludes")
    what = f"{good} of {counted(total, 'part')} finished, {len(ended) - good} stopped, {len(gone)} gone, {waiting} not begun"
    if first or unchanged > PARTS_SECONDS:
        advice = "run those again, or `xlli run` without --part, which computes what is left"
        return Verdict(True, AGAIN, f"no part is running: {what}; {advice}")
    return Verdict(False, 0, f"waiting: {what}")
