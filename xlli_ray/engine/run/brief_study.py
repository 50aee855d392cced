"""What a run knows of its corpus before the scan: whether the study seems to be one of seconds, for which Ray would take longer to start
than to run (`pools.process_pool`), and the file that every node must be able to read.

What is computed, and how, does not depend on it.
"""

from __future__ import annotations

from xlli_ray.engine.run.corpus_files import CorpusFiles
from xlli_ray.engine.run.plan import Plan
from xlli_ray.engine.run.scan_runner import CHUNK
from xlli_ray.errors import XlliError
from xlli_ray.store.records.manifest import Manifest

SECONDS = 60.0
"""Projected seconds of one worker (`Plan.seconds`)."""
MOMENT = 3.0
"""The same, up to which a second worker would load torch for longer than it helps."""


def is_brief(plan: Plan) -> bool:
    """By the plan, before units run."""
    return plan.seconds <= SECONDS


def is_momentary(plan: Plan) -> bool:
    """Whether one worker does."""
    return plan.seconds <= MOMENT


def seems_brief(files: CorpusFiles, known: Manifest | None, limit: int | None = None) -> bool:
    """Before there is a plan: by that of before, or if a single worker scans the corpus. `known`: the study so far."""
    if known is not None and known.cells:
        return is_brief(Plan(known.cells))
    try:
        count = len(files.look())
    except (XlliError, OSError, ValueError):
        return True  # reported where the corpus is read
    return min(count, limit or count) <= CHUNK


def first_files(files: CorpusFiles) -> list[str]:
    """The first file of the corpus, which every node must be able to read."""
    try:
        return [uri for source in files.look()[:1] for uri in source.files[:1]]
    except (OSError, ValueError):
        return []
