"""Ticks of logarithmic axes."""

from __future__ import annotations

import math
from typing import Any


def log_ticks(axis: Any, count: int) -> None:
    """At most `count` ticks at powers of ten, or at 1, 2, 5 if the axis has fewer than two of these.

    No minor ticks: hundreds of them take seconds of layout and do not help.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    short = high / low <= 100
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if short else LogLocator(numticks=count))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value) if short else _power(value)))


def _short(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _power(value: float) -> str:
    """1, 10, 100 or 0.1 unchanged, otherwise 10 with a superscript exponent."""
    exponent = round(math.log10(value)) if value > 0 else 0
    if -1 <= exponent <= 3:
        return f"{10.0**exponent:g}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
