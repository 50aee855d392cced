"""Safe terminal output: text without control sequences, in the terminal's encoding.

File names, reasons and notes are untrusted: a name may contain escape sequences that recolour, retitle or overwrite. And a terminal, a log
or a pipe may only support Latin-1 or ASCII; a finished run must not fail because of a dash.
"""

from __future__ import annotations

import re
import sys
from typing import TextIO

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters except tab and newline, bidirectional marks, and bytes of names that are not valid text."""
_PLAIN = str.maketrans({
    "─": "-", "━": "-", "–": "-", "—": "-", "−": "-", "×": "x", "…": "...", "·": ".", "→": "->", "≤": "<=", "≥": ">=", "Δ": "D",
    "σ": "sigma", "α": "alpha", "ρ": "rho", "±": "+-", "²": "2", "³": "3", "’": "'", "“": '"', "”": '"', "√": "sqrt", "½": "1/2",
    "₁": "1", "₀": "0",
})  # fmt: skip


def harmless(text: str, *, line: bool = False) -> str:
    r"""`text` with control characters written out, as `\x1b`. `line`: newlines and tabs, too, for a cell of a table."""
    text = _CONTROL.sub(_written, text)
    return text.replace("\n", "\\n").replace("\t", "\\t") if line else text


def _written(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # Python's escape of a byte in a file name that is not UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def fitting(text: str, encoding: str | None) -> str:
    """`text` encodable in `encoding`: rules, dashes and signs become ASCII, other missing characters their code."""
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)


def say(text: str = "", stream: TextIO | None = None, *, raw: bool = False) -> None:
    """Write a line to standard output, or to `stream`. `raw`: for programs; then control characters are escaped only on a terminal."""
    stream = sys.stdout if stream is None else stream
    shown = text if raw and not stream.isatty() else harmless(text)
    stream.write(fitting(shown, stream.encoding) + "\n")


def forgive() -> None:
    """Make other writers to the standard streams, such as progress bars, not fail because of a character either."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def human_bytes(count: float) -> str:
    """`1.5 GB`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError
