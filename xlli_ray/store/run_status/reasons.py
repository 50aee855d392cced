"""Reasons of failures and losses, for counting: without what differs from one sample or worker to the next, and without secrets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

LONGEST = 160
"""Characters of a reason."""
MOST = 20
"""Different reasons that are counted one by one; the rest are counted together."""
OTHERS = "other reasons"

_URL = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.\-]*://[^\s'\",;)]+")
_PATH = re.compile(r"(?<![\w.])~?(?:\.{0,2}/)[^\s'\",;:)]+|\b[\w\-]+(?:/[\w.\-]+)+")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|“[^”]*”|‘[^’]*’")
_ID = re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_LONG_NUMBER = re.compile(r"\d{3,}")
_SECRETS = (
    (re.compile(r"(://)[^/\s@]*@"), r"\1…@"),
    (re.compile(r"(://[^\s?#'\"]*)[?#][^\s'\",)]*"), r"\1?…"),
    (re.compile(r"(?i)\b(\w*(?:token|secret|password|passwd|signature|credential|api_?key)\w*\s*[=:]\s*)[^\s'\",;]+"), r"\1…"),
)


def short(reason: str, *, numbers: bool = True) -> str:
    """The first line of a reason, with `…` for names of files, URLs, quotations and ids, `N` for numbers (without `numbers`: only for long
    ones, such as process ids): samples that fail for one reason have one text. At most LONGEST characters."""
    text = (reason.strip().splitlines() or ["no reason"])[0]
    for pattern in (_URL, _QUOTED, _PATH, _ID):
        text = pattern.sub("…", text)
    return cut((_NUMBER if numbers else _LONG_NUMBER).sub("N", text))


def cut(text: str) -> str:
    """At most LONGEST characters."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def count(reasons: Iterable[str]) -> dict[str, int]:
    """Number of each `short` reason, the most frequent first; of more than MOST the rest together."""
    return fewest(Counter(short(reason) for reason in reasons))


def fewest(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent first; beyond MOST together, as OTHERS."""
    ranked = sorted((item for item in counts.items() if item[0] != OTHERS), key=lambda item: (-item[1], item[0]))
    out, rest = dict(ranked[:MOST]), sum(number for _, number in ranked[MOST:]) + counts.get(OTHERS, 0)
    return {**out, OTHERS: rest} if rest else out


def without_secrets(text: str) -> str:
    """`text` with users, queries and fragments of URLs, and values of settings that are named like secrets, replaced by `…`."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text
