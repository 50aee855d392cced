"""The findings of a stored result: those that its analysis tells (`analyses.analysis.Telling`).

That the result is out of date is said once above the findings: `page_parts.first_screen`.
"""

from __future__ import annotations

from collections.abc import Collection

from xlli_ray.analyses.shared.findings import Finding, Outcome
from xlli_ray.errors import EnvironmentFailure
from xlli_ray.study import StudyResult
from xlli_ray.user_code import said

MOST = 3


def findings_of(cls: type | None, result: StudyResult, untrained: Collection[str] = ()) -> tuple[list[Finding], list[str]]:
    """(at most MOST findings, notes). `cls`: the analysis' class, None where its code is not here or may not run. `untrained`: as in
    `Outcome`.

    An error costs the findings, never the page: a table may be damaged, or of a version that had other columns.
    """
    tell = getattr(cls, "findings", None)
    if tell is None:
        return [], []
    stored = result.stored
    try:
        return list(tell(Outcome(stored.made.params, result.tables, tuple(file.name for file in stored.figures), untrained)))[:MOST], []
    except EnvironmentFailure:
        raise
    except Exception as error:  # see the docstring
        return [], [f"What was found is not told in sentences: {said(error)}"]
