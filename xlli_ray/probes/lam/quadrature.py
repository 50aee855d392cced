"""Quadrature: where gradients are taken along a path, how they are weighted, and the error of the result.

The integral A = ∫ ∇D(x(u)) · dx(u) is approximated cell by cell: the gradient at a cell's centre times the cell's exact increment. The
gradient of a ReLU network jumps along the path, so high-order rules are worse than midpoints (comparison in docs/log.md).

The error estimate is the second difference of neighbouring gradients times the increment, cell by cell. If the gradient jumps at random,
the errors of the cells add like independent random numbers: hence the root of a sum of squares, and a constant determined on real networks:

    E = ¼ · sqrt(Σ_i ‖Σ_c 2 (g_i − lin_i) · dx_i‖²) / ‖Σ_c A‖      interior cells; lin_i interpolates both neighbours at u_i

It is an estimate, not a bound. The completeness residual |ΣA − (D(I) − D(x(0)))| is nearly always smaller than the true error of the map,
since errors of both signs cancel in a sum. So it is reported as a check and never as an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

FACTOR = 0.25
FIRST_CELLS = 6


@dataclass(frozen=True, order=True)
class Cell:
    """A part of the path, in exact fractions, so that a node requested twice is recognised."""

    start: Fraction
    stop: Fraction

    @property
    def centre(self) -> Fraction:
        return (self.start + self.stop) / 2

    @property
    def width(self) -> Fraction:
        return self.stop - self.start

    def thirds(self) -> tuple[Cell, Cell, Cell]:
        """Three equal parts; the middle one keeps the centre."""
        third = self.width / 3
        return Cell(self.start, self.start + third), Cell(self.start + third, self.stop - third), Cell(self.stop - third, self.stop)


def even_cells(count: int) -> list[Cell]:
    """`count` equal cells of 0..1."""
    return [Cell(Fraction(i, count), Fraction(i + 1, count)) for i in range(count)]


def estimate(centres: Sequence[float], gradients: Tensor, increments: Tensor, total: Tensor) -> float:
    """E of the module docstring. `gradients`, `increments`: (n, C, H, W) in path order; `total`: A, (C, H, W). Of clips (n, T, C, H, W) and
    (T, C, H, W): the map has a value per frame and pixel.

    NaN below 3 cells or A = 0.
    """
    norm = float(total.double().sum(-3).norm())
    if len(centres) < 3 or norm == 0:
        return float("nan")
    where = torch.tensor(centres, dtype=torch.float64, device=gradients.device)
    before, here, after = where[:-2], where[1:-1], where[2:]
    share = ((here - before) / (after - before)).to(gradients.dtype).view(-1, *[1] * (gradients.ndim - 1))
    line = gradients[:-2] + share * (gradients[2:] - gradients[:-2])
    terms = (2 * (gradients[1:-1] - line) * increments[1:-1]).sum(-3)
    return FACTOR * float(terms.double().square().sum().sqrt()) / norm


def worst_cell(cells: Sequence[Cell], gradients: Tensor, increments: Tensor) -> int:
    """The cell to cut next: the one whose gradient differs most from those of its neighbours.

    Indicator: mean over the neighbours o of ‖Σ_c (g_o − g) · dx‖² · width / distance of the centres; the first of ties. All in path
    order.
    """
    best, largest = 0, -1.0
    for i, cell in enumerate(cells):
        scores = []
        for j in (i - 1, i + 1):
            if 0 <= j < len(cells):
                change = ((gradients[j] - gradients[i]) * increments[i]).sum(-3).double().square().sum()
                scores.append(float(change) * float(cell.width / abs(cells[j].centre - cell.centre)))
        score = sum(scores) / len(scores) if scores else 0.0
        if score > largest:
            best, largest = i, score
    return best


def draws_factor(count: int) -> float:
    """The factor with which E is the relative standard error of a mean of `count` independent draws g_k, added as g_k / count.

    Second differences of independent draws have E‖g_(k−1) − 2 g_k + g_(k+1)‖² = 6 s², whatever their mean, and there are count − 2.
    """
    return (count / (6 * (count - 2))) ** 0.5 if count > 2 else float("nan")


class SecondDifferences:
    """E for equal cells without keeping all gradients: keeping three at a time. `add` in path order. `factor`: or `draws_factor`."""

    def __init__(self, factor: float = FACTOR) -> None:
        self._factor = factor
        self._gradients: list[Tensor] = []
        self._increments: list[Tensor] = []
        self._squares = 0.0
        self._count = 0

    def add(self, gradient: Tensor, increment: Tensor) -> None:
        """One node: both (C, H, W), or (T, C, H, W)."""
        self._gradients.append(gradient)
        self._increments.append(increment)
        self._count += 1
        if len(self._gradients) == 3:
            before, here, after = self._gradients
            term = ((after - 2 * here + before) * self._increments[1]).sum(-3)
            self._squares += float(term.double().square().sum())
            del self._gradients[0], self._increments[0]

    def relative_to(self, total: Tensor) -> float:
        """E, for the attribution `total`, (C, H, W) or (T, C, H, W)."""
        norm = float(total.double().sum(-3).norm())
        return float("nan") if self._count < 3 or norm == 0 else self._factor * self._squares**0.5 / norm
