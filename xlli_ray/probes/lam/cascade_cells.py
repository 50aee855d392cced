"""The names of the cells of the control `cascade`: `cascade_25` has the weights of a quarter of the layers drawn. Does not import torch."""

from __future__ import annotations

import re
from collections.abc import Sequence

CASCADE = "cascade"
SHARES = (0.25, 0.5, 0.75)
_CELL = re.compile(rf"{CASCADE}_([0-9]+)")


def cascade_problem(shares: Sequence[float]) -> str:
    """Why these shares of the layers cannot be drawn; '' if they can."""
    for share in shares:
        if share == 1:
            return "a share of 1 is the control randomised_weights: add that to controls, and give smaller shares here"
        if not 0 < share < 1 or abs(100 * share - round(100 * share)) > 1e-9:
            return f"expected whole percents between 0 and 1, such as 0.25, got {share:g}"
    names = [cascade_cell(share) for share in shares]
    twice = next((name for name in names if names.count(name) > 1), "")
    return f"{share_of(twice):g} is listed twice" if twice else ""


def cascade_cell(share: float) -> str:
    """The control of a share: `cascade_25` for 0.25."""
    return f"{CASCADE}_{round(100 * share)}"


def share_of(control: str) -> float | None:
    """The share of a control of that name; None for other controls."""
    found = _CELL.fullmatch(control)
    return int(found[1]) / 100 if found else None


def expanded(controls: Sequence[str], shares: Sequence[float]) -> list[str]:
    """`controls` with a name for each share in place of `cascade`."""
    return [name for control in controls for name in ([cascade_cell(share) for share in shares] if control == CASCADE else [control])]
