"""Gradient × input: the gradient of the score at the input, times the input (Shrikumar et al., "Not just a black box", 2016).

The integral from black with one node at its end: exact for a linear network, as far off as the score's curvature elsewhere. It promises no
sum, so the table has no completeness, and with a single gradient there is no error estimate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xlli_ray.probes.lam.method_choices import Gradients

if TYPE_CHECKING:
    from torch import Tensor

    from xlli_ray.probes.lam.path_points import Path


class GradientInput(Gradients):
    """One gradient, at the input."""

    NAME = "gradient_input"
    REFERENCE = "Shrikumar et al., Not just a black box: learning important features through propagating activation differences, 2016"

    @property
    def gradients(self) -> int:
        return 1

    def path(self, image: Tensor, key: str) -> Path:
        from xlli_ray.probes.lam.input_points import InputPoints

        return InputPoints(times_input=True)
