"""All errors for users, as one tree. Messages say what, where, what was expected, what to do next.

XlliError
├── RecipeError (ValueError)        the recipe is wrong: unknown key, missing field, contradiction
├── SampleError (ValueError)        one sample cannot be measured: it becomes a failed row, the rest continues
├── WeightsError (ValueError)       a checkpoint cannot be read, or is not what it claims
├── NetworkError (ValueError)       a network cannot be built or does not behave as it declares
│   └── ForwardError                its own code raised an error, for this input
├── LayerPatternError (LookupError) a layer pattern matches nothing, or a layer that runs many times
├── PlanError (ValueError)          the plan is refused: limits, other content under the same id
├── StudyError (ValueError)         a study folder is missing, damaged or of another recipe
├── AnalysisError (RuntimeError)    an analysis failed, or lacks its inputs; the others are still run
├── EnvironmentFailure (OSError)    disk full, read-only, credentials, outages, folder not visible: stop, mark nothing
│   └── ClusterLost                 Ray itself died during a run: run the same command again
└── LeaseError (RuntimeError)       another driver holds this study, or took it over
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class XlliError(Exception):
    """Base of all errors that xlli_ray raises on purpose."""


class RecipeError(XlliError, ValueError):
    """The recipe is wrong."""


class SampleError(XlliError, ValueError):
    """One sample cannot be measured; `str(error)` is the reason that its row records."""


class WeightsError(XlliError, ValueError):
    """A checkpoint cannot be read safely, or is not what it claims."""


class NetworkError(XlliError, ValueError):
    """A network cannot be built, or does not behave as it declares."""


class ForwardError(NetworkError):
    """A network's own code raised an error; for another input it may not."""


class LayerPatternError(XlliError, LookupError):
    """A layer pattern matches nothing, or names a layer that runs more than once."""


class PlanError(XlliError, ValueError):
    """The plan is refused before any work."""


class StudyError(XlliError, ValueError):
    """A study folder is missing, damaged or belongs to another recipe."""


class AnalysisError(XlliError, RuntimeError):
    """An analysis failed, or its result does not match its declaration."""


class EnvironmentFailure(XlliError, OSError):
    """The environment fails (disk, permissions, credentials, visibility); nothing is marked failed, work stops."""

    passing = False
    """True if the same call may succeed later: a lost connection, a timeout, a server error."""


class ClusterLost(EnvironmentFailure):
    """Ray itself, or the cluster's head, died during a run; finished work is kept, and the same command continues."""


class LeaseError(XlliError, RuntimeError):
    """Another driver holds this study, or has taken it over."""


def closest(word: str, valid: Iterable[str], *, n: int = 3) -> list[str]:
    """Names in `valid` most similar to `word`, best first: for "did you mean" in messages."""
    return difflib.get_close_matches(word, list(valid), n=n, cutoff=0.3)


def counted(number: int, noun: str, many: str = "") -> str:
    """`1 file`, `3 files`; `many`: irregular plurals such as `2 analyses`."""
    return f"{number} {noun if number == 1 else many or noun + 's'}"


def without_lead(text: str, name: str) -> str:
    """`text` without `NAME: ` or `stage NAME: ` in front, even repeated: the caller names the stage once."""
    leads = (f"{name}: ", f"stage {name}: ")
    while lead := next((lead for lead in leads if text.startswith(lead)), ""):
        text = text[len(lead) :]
    return text
