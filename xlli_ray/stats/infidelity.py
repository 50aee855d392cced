"""How far an attribution is from what it claims: infidelity, maximum sensitivity, sparseness.

C.-K. Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019. An attribution φ of a score F at x claims that taking
away a perturbation I lowers the score by ⟨I, φ⟩. With several perturbations Iᵢ,

    infidelity         mean of (⟨Iᵢ, φ⟩ − (F(x) − F(x − Iᵢ)))²          0: every claim is true, as for a linear F
    scaled infidelity  the same for β φ with the best β, ⟨claims, changes⟩ / ⟨claims, claims⟩: the shape of φ alone
    relative           infidelity / mean square of the changes: 1 for φ = 0, (c − 1)² for c times a φ whose claims are true
    share              scaled infidelity / mean square of the changes: 0 all is explained, 1 nothing (of φ = 0)
    max sensitivity    max of ‖φ(xᵢ) − φ(x)‖ / ‖φ(x)‖ over inputs xᵢ near x: whether a map is stable

Values and conventions are those of captum (`captum.metrics`), and sparseness is Quantus' (P. Chalasani et al., ICML 2020), the Gini
coefficient of |φ|: 1 − DI / 100 (`probes.lam.diffusion_index`).

>>> import numpy as np
>>> claims = np.array([1.0, 2.0]); infidelity(claims, claims), infidelity(3 * claims, claims), scaled_infidelity(3 * claims, claims)
(0.0, 10.0, 0.0)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def claimed(perturbations: NDArray[np.floating], attribution: NDArray[np.floating]) -> Values:
    """⟨Iᵢ, φ⟩: perturbations (n, …) and an attribution (…,) → (n,), in units of the score."""
    flat = np.asarray(perturbations, np.float64).reshape(len(perturbations), -1)
    return flat @ np.asarray(attribution, np.float64).ravel()


def infidelity(claims: Values, changes: Values) -> float:
    """Mean squared difference between `claims` (n,) and `changes` (n,), F(x) − F(x − Iᵢ): 0 or more, in units of the score squared."""
    return float(np.square(claims - changes).mean())


def best_factor(claims: Values, changes: Values) -> float:
    """The number β that makes the infidelity of β φ least: 1 for an attribution of the right size; NaN if it claims nothing."""
    square = float(np.square(claims).sum())
    return float((claims * changes).sum()) / square if square > 0 else float("nan")


def scaled_infidelity(claims: Values, changes: Values) -> float:
    """Infidelity of the attribution times the number that makes it least; that of 0 if it claims nothing."""
    beta = best_factor(claims, changes) if np.square(claims).sum() else 1.0
    return infidelity(beta * claims, changes)


def relative_infidelity(claims: Values, changes: Values) -> float:
    """Infidelity over the mean square of the changes: 0 or more, 1 for an attribution of zeros; NaN if nothing changes."""
    total = float(np.square(changes).mean())
    return infidelity(claims, changes) / total if total > 0 else float("nan")


def unexplained_share(claims: Values, changes: Values) -> float:
    """Scaled infidelity over the mean square of the changes: 0..1; NaN if nothing changes."""
    total = float(np.square(changes).mean())
    return scaled_infidelity(claims, changes) / total if total > 0 else float("nan")


def max_sensitivity(attribution: NDArray[np.floating], nearby: NDArray[np.floating]) -> float:
    """Largest relative change of an attribution (…,) among those of inputs near its own, (n, …), by the L2 norm; NaN for a zero one."""
    own = np.asarray(attribution, np.float64)
    norm = float(np.linalg.norm(own.ravel()))
    changes = np.asarray(nearby, np.float64).reshape(len(nearby), -1) - own.ravel()
    return float(np.linalg.norm(changes, axis=1).max() / norm) if norm > 0 else float("nan")


def sparseness(attribution: NDArray[np.floating]) -> float:
    """Gini coefficient of |φ|, 0..1; NaN for one that is zero everywhere or not finite. As `probes.lam.diffusion_index.gini` of |φ|."""
    values = np.sort(np.abs(np.asarray(attribution, np.float64)).ravel())
    if values.size == 0 or not np.isfinite(values).all() or not values.any():
        return float("nan")
    values = values + 1e-7
    n = values.size
    return float(((2.0 * np.arange(1, n + 1) - n - 1) * values).sum() / (n * values.sum()))
