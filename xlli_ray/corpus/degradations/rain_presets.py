"""Named ranges of rain. A preset's range, not its intensity, is what makes its rain simple or complex to learn.

    hu25-*        the generator of Hu et al., arXiv 2502.12600, the successor of "Networks are Slacking Off"; two public copies of the
                  group's code agree (zhiyuanyou/BasicSR, branch feature-derain, and J-FHu/CEM). Weights as in its training
    xpixel-*      the same group's older version: the streak is scaled by 1 - length / 100, weights as in its test
    neurips23-*   UNVERIFIED: ranges of "Networks are Slacking Off", Gu et al., NeurIPS 2023, arXiv 2305.15134, from memory; no code of that
                  paper is public. Nothing may be concluded from a match or a mismatch with its numbers

The older recipe gives the share of seed pixels as a value of 0.01 grey levels of 256: 200 to 300 are 0.78 % to 1.17 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from xlli_ray.corpus.degradations import ranges
from xlli_ray.corpus.degradations.ranges import Ranges

Kernel = Literal["plain", "scaled"]
DRAWN = ("amount", "width", "length", "angle", "weight")
"""What is drawn for each sample."""
DIGITS: Mapping[str, int] = {"amount": 6, "length": 0, "angle": 0, "weight": 6}
"""Decimal digits in which ranges that are made here begin and end."""


def _preset(
    amount: tuple[float, float], width: dict[int, float], length: tuple[int, int], angle: int, weight: tuple[float, float], kernel: Kernel
) -> dict[str, Any]:
    return {"amount": (amount,), "width": width, "length": (length,), "angle": ((-angle, angle),), "weight": (weight,), "kernel": kernel}


def _alike(*widths: int) -> dict[int, float]:
    return dict.fromkeys(widths, 1 / len(widths))


_FEW, _SOME, _MANY, _ANY, _OLD = (0.002, 0.004), (0.005, 0.007), (0.008, 0.010), (0.002, 0.010), (0.0078125, 0.01171875)
_HU25, _XPIXEL, _NEURIPS = (0.7, 1.0), (0.6, 1.0), (1.0, 1.0)

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "hu25-small": _preset(_FEW, _alike(1, 3), (25, 35), 10, _HU25, "plain"),
    "hu25-medium": _preset(_SOME, {3: 0.25, 5: 0.5, 7: 0.25}, (35, 45), 30, _HU25, "plain"),
    "hu25-large": _preset(_MANY, _alike(7, 9), (45, 55), 60, _HU25, "plain"),
    "hu25-random": _preset(_ANY, _alike(1, 3, 5, 7, 9), (25, 55), 60, _HU25, "plain"),
    "xpixel-small": _preset(_FEW, _alike(1, 3), (25, 35), 10, _XPIXEL, "scaled"),
    "xpixel-medium": _preset(_SOME, {3: 0.3, 5: 0.4, 7: 0.3}, (30, 45), 30, _XPIXEL, "scaled"),
    "xpixel-large": _preset(_MANY, _alike(7, 9), (40, 60), 60, _XPIXEL, "scaled"),
    "xpixel-random": _preset(_ANY, _alike(1, 3, 5, 7, 9), (25, 60), 60, _XPIXEL, "scaled"),
    "neurips23-small": _preset(_OLD, {5: 1.0}, (30, 31), 5, _NEURIPS, "scaled"),
    "neurips23-medium": _preset(_OLD, _alike(3, 5, 7), (20, 40), 30, _NEURIPS, "scaled"),
    "neurips23-large": _preset(_OLD, _alike(1, 3, 5, 7, 9), (5, 60), 70, _NEURIPS, "scaled"),
}
"""Parameters of `rain` by name of the preset. Amount: share of seed pixels. Width and length: pixels. Angle: degrees from the vertical."""


def verified(preset: str) -> bool:
    """Whether a preset's numbers were read in code or a paper; those of `neurips23-*` are from memory."""
    return not preset.startswith("neurips23-")


def names() -> str:
    """All presets, for messages; those that are from memory say so."""
    return ", ".join(name if verified(name) else f"{name} (unverified)" for name in PRESETS)


def outside(preset: str, parameter: str) -> Ranges | dict[int, float]:
    """What the whole family of a preset draws of a parameter and the preset does not: unseen rain of the same kind.

    Widths are equally likely. Raises ValueError where nothing is left.
    """
    own = PRESETS[preset][parameter]
    family = [other[parameter] for name, other in PRESETS.items() if name.partition("-")[0] == preset.partition("-")[0]]
    left: Any
    if parameter == "width":
        left = _alike(*sorted({width for other in family for width in other} - set(own))) if set().union(*family) != set(own) else {}
    else:
        left = ranges.rest(own, *ranges.hull(family), DIGITS[parameter])
    if not left:
        raise ValueError(
            f"ood: {preset} has the whole range of {parameter} of its family, nothing is left outside; give {parameter} itself, or take a "
            "narrower preset"
        )
    return left  # type: ignore[no-any-return]


def disjoint(trained: Mapping[str, Any], tested: Mapping[str, Any]) -> tuple[str, ...]:
    """Parameters of which two rains never draw the same value, of `DRAWN`; both are mappings as `PRESETS` has them.

    Empty: some of the tested rain could have been seen in training. Lengths of a plain and of a scaled kernel say different things, and are
    never called disjoint.
    """
    apart = []
    for name in DRAWN:
        one, other = trained[name], tested[name]
        alike = trained["kernel"] == tested["kernel"] or name != "length"
        if alike and (not set(one) & set(other) if name == "width" else ranges.disjoint(one, other)):
            apart.append(name)
    return tuple(apart)
