"""Infidelity, maximum sensitivity and sparseness: captum's values for the same draws, Quantus' formula, exact cases."""

from __future__ import annotations

import numpy as np
import pytest

from xlli_ray.probes.lam.diffusion_index import diffusion_index, gini
from xlli_ray.stats.infidelity import claimed, infidelity, max_sensitivity, scaled_infidelity, sparseness, unexplained_share

CAPTUM = {"infidelity": 4.697104163320137, "scaled": 0.8484315617166921, "sensitivity": 0.08160093556717929}
"""captum 0.9.0 on the function and draws below: `infidelity`, the same with `normalize=True`, and `sensitivity_max` of input × gradient."""


def draws() -> tuple[np.ndarray, ...]:
    """x and weights (3, 5, 6), perturbations (12, 3, 5, 6), an attribution."""
    rng = np.random.default_rng(20261127)
    x, weights = rng.random((3, 5, 6)), rng.standard_normal((3, 5, 6))
    perturbations = 0.3 * rng.standard_normal((12, 3, 5, 6))
    return x, weights, perturbations, rng.standard_normal((3, 5, 6))


def score(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A nonlinear score of each input of (n, 3, 5, 6)."""
    return np.asarray(np.tanh((x * weights).sum((1, 2, 3)) / 4) + np.square(x).sum((1, 2, 3)) / 10)


def product(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Input × gradient of that score."""
    slope = 1 - np.tanh((x * weights).sum() / 4) ** 2
    return np.asarray(x * (slope * weights / 4 + x / 5))


def test_the_numbers_are_captums_for_the_same_draws() -> None:
    x, weights, perturbations, attribution = draws()
    changes = score(x[None], weights) - score(x - perturbations, weights)
    claims = claimed(perturbations, attribution)
    assert infidelity(claims, changes) == pytest.approx(CAPTUM["infidelity"], abs=1e-9)
    assert scaled_infidelity(claims, changes) == pytest.approx(CAPTUM["scaled"], abs=1e-9)
    nearby = np.stack([product(x + 0.1 * one, weights) for one in perturbations])
    assert max_sensitivity(product(x, weights), nearby) == pytest.approx(CAPTUM["sensitivity"], abs=1e-9)


def test_a_linear_score_has_no_infidelity_and_a_scaled_map_has_that_of_its_factor() -> None:
    _, weights, perturbations, _ = draws()
    claims = changes = claimed(perturbations, weights)
    assert infidelity(claims, changes) == 0
    assert infidelity(3 * claims, changes) == pytest.approx(4 * np.square(changes).mean())
    assert scaled_infidelity(-3 * claims, changes) == pytest.approx(0, abs=1e-20)
    assert unexplained_share(claims, changes) == 0
    assert unexplained_share(0 * claims, changes) == 1
    assert np.isnan(unexplained_share(claims, 0 * changes))


def test_sparseness_is_one_minus_di() -> None:
    """Quantus 0.6: Σ (2i − n − 1) aᵢ / (n Σ a) of the sorted |φ| + 1e-7."""
    _, _, _, attribution = draws()
    values = np.sort(np.abs(attribution).ravel() + 1e-7)
    ranks = np.arange(1, values.size + 1)
    quantus = ((2 * ranks - values.size - 1) * values).sum() / (values.size * values.sum())
    assert sparseness(attribution) == pytest.approx(quantus, abs=1e-12)
    plane = np.abs(attribution.sum(0))
    assert sparseness(plane) == pytest.approx(1 - diffusion_index(plane) / 100, abs=1e-12)
    assert sparseness(plane) == pytest.approx(gini(plane), abs=1e-12)
    assert np.isnan(sparseness(np.zeros(4)))


def test_a_map_of_zeros_has_no_sensitivity() -> None:
    assert np.isnan(max_sensitivity(np.zeros((2, 2)), np.ones((3, 2, 2))))
