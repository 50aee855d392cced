"""What `xlli run` says of a run that has ended: what was done, what failed, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from xlli_ray.errors import counted

if TYPE_CHECKING:
    from xlli_ray.engine.run.driver import Summary


def ended(summary: Summary, place: str) -> Iterator[str]:
    """Line by line: notes, what was computed, what was analysed, how much failed. `place`: the study, as given to the command."""
    for note in summary.notes:
        yield f"note: {note}"
    if summary.complete and summary.failed:
        yield f"nothing left to compute, but {failures(summary.failed, summary.measurements)}; --retry-failed tries them again"
    elif summary.complete:
        yield f"complete: {counted(summary.samples, 'sample')}, {counted(summary.units, 'unit')}; nothing to do"
    else:
        yield f"done: {summary.units_run} of {counted(summary.units, 'unit')} computed, {counted(summary.samples, 'sample')}"
    if summary.analyses:
        yield f"analysed: {', '.join(summary.analyses)}"
    if summary.failed or summary.rejected:
        failed, rejected = counted(summary.failed, "measurement"), counted(summary.rejected, "file")
        yield f"{failed} failed (a sample counts once per model), {rejected} rejected: xlli query {place} \"from failures\""


def without_numbers(summary: Summary, place: str) -> str:
    """If every measurement failed: that, where the reasons are, and what to do; "" otherwise."""
    if not 0 < summary.measurements <= summary.failed:
        return ""
    return (
        f"FAILED: {failures(summary.failed, summary.measurements)}, this study has no numbers. Reasons: xlli query {place} "
        f'"select reason, count(*) as n from failures group by reason"; fix the cause and run again with --retry-failed'
    )


def failures(failed: int, measurements: int) -> str:
    """Number of failed measurements: samples, counted once per model."""
    if failed >= measurements:
        return f"ALL {counted(failed, 'measurement')} failed"
    return f"{failed} of {counted(measurements, 'measurement')} failed (a sample counts once per model)"
