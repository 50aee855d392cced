"""The findings of a stored result: those that its analysis tells (`analyses.analysis.Telling`), with what the result's own state says."""

from __future__ import annotations

from dataclasses import replace

from xlli_ray.analyses.shared.findings import Finding, Outcome, flags
from xlli_ray.errors import EnvironmentFailure
from xlli_ray.study import StudyResult
from xlli_ray.user_code import said

MOST = 3
_STATES = {"stale": "stale, made from other inputs than the study has now", "failed": "the last run of this analysis failed"}


def findings_of(cls: type | None, result: StudyResult) -> tuple[list[Finding], list[str]]:
    """(at most MOST findings, notes). `cls`: the analysis' class, None where its code is not here or may not run.

    An error costs the findings, never the page: a table may be damaged, or of a version that had other columns.
    """
    tell = getattr(cls, "findings", None)
    if tell is None:
        return [], []
    stored = result.stored
    try:
        told = tell(Outcome(stored.made.params, result.tables, tuple(file.name for file in stored.figures)))
        out = [replace(one, flag=flags(_STATES.get(result.state, ""), one.flag)) for one in list(told)[:MOST]]
    except EnvironmentFailure:
        raise
    except Exception as error:  # see the docstring
        return [], [f"What was found is not told in sentences: {said(error)}"]
    return out, []
