"""Ticks of logarithmic axes."""

from __future__ import annotations

import math
from typing import Any


def log_ticks(axis: Any, count: int) -> None:
    """At most `count` ticks at powers of ten, or at 1, 2, 5 where the axis is shorter than two of these.

    No small ones: hundreds of them cost seconds of layout and say nothing.
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
    """1, 10, 100 or 0.1 as they are, else 10 with its exponent raised."""
    exponent = round(math.log10(value)) if value > 0 else 0
    if -1 <= exponent <= 3:
        return f"{10.0**exponent:g}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
