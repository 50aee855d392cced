"""The generalized Gaussian: closed forms, quadrature, scipy's own, published fits, and the authors' grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import gennorm

from xlli_ray.stats.ggd import GRID, RATIOS, Ggd, fit, from_moments, index, kl, log_ratio

PAIRS = [  # (σ₁, α₁), (σ₂, α₂), KL, index
    ((1, 2), (1, 1), 0.056014224171, 3.748376),
    ((1, 1), (1, 2), 0.072364942925, 3.859588),
    ((1, 2), (2, 2), 0.318147180560, 4.502642),
    ((1, 1), (2, 1), 0.193147180560, 4.285911),
    ((1, 0.5), (1.3, 1.7), 0.417292374651, 4.620451),
    ((1, 0.2), (1, 0.3), 0.139351369143, 4.144142),
    ((1, 4), (1, 1), 0.148534574511, 4.171857),
    ((1, 2), (1, 9), 1.475278420778, 5.168877),
]

PUBLISHED = [  # of one model: fit on clean; set, σ, α, KL, index, its interval from σ being rounded to three decimals
    ("SRResNet, clean", (2.718, 0.687), "blur1", (2.532, 0.661), 0.00308502, 2.491, (2.487, 2.494)),
    ("SRResNet, clean", (2.718, 0.687), "blur2", (2.333, 0.596), 0.02114306, 3.325, (3.324, 3.327)),
    ("SRResNet, clean", (2.718, 0.687), "blur4", (2.083, 0.494), 0.08682319, 3.939, (3.938, 3.939)),
    ("SRResNet, clean", (2.718, 0.687), "blur5", (2.007, 0.466), 0.11759818, 4.070, (4.070, 4.071)),
    ("SRResNet, blur 0-4", (2.866, 0.691), "blur1", (2.783, 0.682), 0.00047906, 1.689, (1.681, 1.697)),
    ("SRResNet, blur 0-4", (2.866, 0.691), "blur2", (2.795, 0.683), 0.00035570, 1.563, (1.554, 1.572)),
    ("SRResNet, blur 0-4", (2.866, 0.691), "blur4", (2.465, 0.591), 0.02277448, 3.358, (3.357, 3.359)),
    ("SRResNet, blur 0-4", (2.866, 0.691), "blur5", (2.299, 0.526), 0.05906852, 3.771, (3.771, 3.772)),
    ("SwinIR-GAN", (5.178, 0.740), "blur1", (5.140, 0.742), 0.00001522, 0.402, (0.387, 0.417)),
    ("SwinIR-GAN", (5.178, 0.740), "blur2", (5.069, 0.742), 0.00015115, 1.207, (1.199, 1.215)),
    ("SwinIR-GAN", (5.178, 0.740), "blur4", (4.929, 0.733), 0.00108345, 2.039, (2.036, 2.042)),
    ("DAN", (4.278, 0.668), "blur2", (3.849, 0.690), 0.00295465, 2.472, (2.470, 2.474)),
    ("DAN", (4.278, 0.668), "blur5", (2.465, 0.529), 0.16217514, 4.210, (4.210, 4.210)),
    ("BSRGAN", (8.921, 0.762), "blur2", (8.531, 0.749), 0.00108458, 2.039, (2.037, 2.041)),
    ("BSRGAN", (8.921, 0.762), "blur5", (7.695, 0.701), 0.01401884, 3.147, (3.146, 3.148)),
]


@pytest.mark.parametrize(("one", "other", "divergence", "value"), PAIRS)
def test_divergence_and_index_of_known_distributions(
    one: tuple[float, float], other: tuple[float, float], divergence: float, value: float
) -> None:
    assert kl(Ggd(*one), Ggd(*other)) == pytest.approx(divergence, abs=1e-11)
    assert index(kl(Ggd(*one), Ggd(*other))) == pytest.approx(value, abs=5e-7)


def test_closed_forms_and_the_direction() -> None:
    """KL(reference ‖ test): the other way round these two differ by a third."""
    gauss, laplace = Ggd(1, 2), Ggd(1, 1)
    assert kl(gauss, laplace) == pytest.approx(2 / math.sqrt(math.pi) - 0.5 * math.log(math.pi) - 0.5, abs=1e-14)
    assert kl(laplace, gauss) == pytest.approx(0.5 * math.log(math.pi) - 0.5, abs=1e-14)
    assert kl(gauss, Ggd(2, 2)) == pytest.approx(math.log(2) - 3 / 8, abs=1e-14)
    assert kl(laplace, Ggd(2, 1)) == pytest.approx(math.log(2) - 1 / 2, abs=1e-14)


@pytest.mark.parametrize("alpha", [0.4, 0.7, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("factor", [0.5, 0.99, 1.01, 1.1, 2.0])
def test_equal_shapes_have_a_closed_form(alpha: float, factor: float) -> None:
    assert kl(Ggd(3, alpha), Ggd(3 * factor, alpha)) == pytest.approx(math.log(factor) + (factor**-alpha - 1) / alpha, abs=1e-14)


def test_scale_alone_reads_as_noted() -> None:
    found = {s: kl(Ggd(1, 0.7), Ggd(s, 0.7)) for s in (1.01, 1.1, 2, 0.5)}
    assert found[1.01] == pytest.approx(3.45729e-5, rel=1e-5)
    assert found[1.1] == pytest.approx(3.1098674e-3, rel=1e-7)
    assert found[2] == pytest.approx(0.1439646187, rel=1e-9)
    assert found[0.5] == pytest.approx(0.1990025233, rel=1e-9)
    assert [index(value) for value in found.values()] == pytest.approx([0.64907, 2.49414, 4.15829, 4.29888], abs=5e-6)


@pytest.mark.parametrize(("one", "other"), [((1, 2), (1, 1)), ((1, 0.5), (1.3, 1.7)), ((2.718, 0.687), (2.083, 0.494)), ((1, 2), (1, 9))])
def test_divergence_is_what_quadrature_finds(one: tuple[float, float], other: tuple[float, float]) -> None:
    p, q = Ggd(*one), Ggd(*other)

    def integrand(u: float) -> float:
        # x = u⁴: dense at the cusp, and the tails of small shapes are reached
        x = u**4
        a, b = (float(gennorm.logpdf(x, d.alpha, scale=math.exp(d.log_scale))) for d in (p, q))
        return 2 * math.exp(a) * (a - b) * 4 * u**3 if a > -700 else 0.0

    end = (math.exp(p.log_scale) * 80 ** (1 / p.alpha)) ** 0.25
    found, _ = quad(integrand, 0, end, epsabs=1e-13, epsrel=1e-13, limit=400)
    assert kl(p, q) == pytest.approx(found, abs=1e-11)


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row[0]}, {row[2]}")
def test_published_fits_give_the_index_that_follows_from_them(row: tuple) -> None:
    _, clean, _, degraded, divergence, value, (low, high) = row
    found = kl(Ggd(*clean), Ggd(*degraded))
    assert found == pytest.approx(divergence, abs=6e-9)
    assert low - 5e-4 <= index(found) <= high + 5e-4
    assert index(found) == pytest.approx(value, abs=6e-4)
    corners = [index(kl(Ggd(clean[0] + a, clean[1]), Ggd(degraded[0] + b, degraded[1]))) for a in (-5e-4, 5e-4) for b in (-5e-4, 5e-4)]
    assert (round(min(corners), 3), round(max(corners), 3)) == (low, high), "what rounding of σ leaves open"


def test_orderings_of_the_published_models() -> None:
    at = {(model, label): index(kl(Ggd(*clean), Ggd(*degraded))) for model, clean, label, degraded, *_ in PUBLISHED}
    names = ["SRResNet, clean", "DAN", "BSRGAN", "SRResNet, blur 0-4", "SwinIR-GAN"]
    assert sorted(names, key=lambda name: -at[name, "blur2"]) == names
    assert at["SRResNet, clean", "blur4"] > at["SRResNet, blur 0-4", "blur4"] > at["SwinIR-GAN", "blur4"]
    assert at["DAN", "blur5"] > at["SRResNet, clean", "blur5"] > at["SRResNet, blur 0-4", "blur5"] > at["BSRGAN", "blur5"]


def test_index_of_nothing_is_zero_and_rounding_does_not_make_it_less() -> None:
    assert index(0.0) == 0.0
    assert index(-1e-16) == 0.0
    assert index(1.0) == pytest.approx(5.0000043, abs=5e-8)
    assert index(10.0) == pytest.approx(6.0000004, abs=5e-8)
    for alpha in (0.2, 0.687, 2.0, 9.999):
        assert index(kl(Ggd(1.7, alpha), Ggd(1.7, alpha))) == pytest.approx(0.0, abs=1e-8)
    for divergence in (1e-9, 3e-4, 2.0):
        assert index(divergence) == pytest.approx(math.log10(divergence + 1e-5) + 5, abs=1e-12), "as the authors write it"


def test_density_is_scipys_and_integrates_to_one() -> None:
    x = np.linspace(-5, 5, 41)
    for sigma, alpha in ((1, 2), (2.3, 0.7), (0.4, 5.0)):
        one = Ggd(sigma, alpha)
        np.testing.assert_allclose(one.density(x), gennorm.pdf(x, alpha, scale=math.exp(one.log_scale)), rtol=1e-12)
        assert gennorm.std(alpha, scale=math.exp(one.log_scale)) == pytest.approx(sigma, rel=1e-12)
    assert 2 * quad(lambda v: float(Ggd(1, 0.7).density(v)), 0, 400, limit=500, epsabs=1e-12)[0] == pytest.approx(1, abs=1e-8)


def test_grid_and_ratios_are_the_authors() -> None:
    assert len(GRID) == 9800
    assert (GRID[0], round(GRID[-1], 9)) == (0.2, 9.999)
    assert (np.diff(RATIOS) < 0).all()
    known = {0.2: 15.8889, 0.5: 10 / 3, 1.0: 2.0, 2.0: math.pi / 2, 9.999: 1.350379}
    for alpha, ratio in known.items():
        assert math.exp(float(log_ratio(alpha))) == pytest.approx(ratio, rel=4e-6)
    assert math.exp(float(log_ratio(1e6))) == pytest.approx(4 / 3, rel=1e-5)


def test_small_samples_by_hand() -> None:
    two = fit([-1.0, 1.0] * 5)
    assert (two.sigma, two.ratio, two.clipped) == (1.0, 1.0, True)
    assert two.alpha == pytest.approx(9.999)
    five = fit([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert (five.sigma**2, five.ratio) == pytest.approx((2.0, 25 / 18))
    assert five.alpha == pytest.approx(5.033, abs=1e-9)
    assert not five.clipped
    heavy = fit([0.0] * 400 + [1.0, -1.0])
    assert heavy.clipped
    assert heavy.alpha == 0.2


def test_deviation_is_about_zero_and_magnitude_about_the_mean() -> None:
    v = np.array([0.0, 1.0, 2.0, 5.0])
    found = fit(v)
    assert found.sigma == pytest.approx(math.sqrt(np.mean(v**2)))
    assert found.ratio == pytest.approx(np.mean(v**2) / np.mean(np.abs(v - 2)) ** 2)


def test_what_does_not_vary_is_degenerate_and_what_is_not_finite_is_refused() -> None:
    flat = fit(np.zeros(7))
    assert flat.degenerate
    assert math.isnan(flat.alpha)
    assert fit(np.full(7, 3.0)).degenerate
    with pytest.raises(ValueError, match="do not vary"):
        _ = flat.ggd
    for bad in ([], [1.0, math.nan], [math.inf]):
        with pytest.raises(ValueError, match="at least one value, all finite"):
            fit(bad)


@pytest.mark.parametrize(("alpha", "error"), [(0.4, 1.55), (0.5, 1.49), (0.7, 1.60), (1.0, 2.00), (2.0, 4.68), (4.0, 17.8)])
def test_shape_is_found_again_within_its_standard_error(alpha: float, error: float) -> None:
    """Without trimming; the standard error is the delta method's."""
    n = 200_000
    rng = np.random.default_rng(3)
    values = rng.choice([-1.0, 1.0], n) * rng.gamma(1 / alpha, size=n) ** (1 / alpha)
    moment = [math.exp(math.lgamma((k + 1) / alpha) - math.lgamma(1 / alpha)) for k in range(5)]
    spread = (moment[4] / moment[2] ** 2 - 1) + 4 * (moment[2] / moment[1] ** 2 - 1) - 4 * (moment[3] / (moment[1] * moment[2]) - 1)
    rho = math.exp(float(log_ratio(alpha)))
    slope = (math.exp(float(log_ratio(alpha + 1e-5))) - math.exp(float(log_ratio(alpha - 1e-5)))) / 2e-5
    assert math.sqrt(rho**2 * spread) / abs(slope) == pytest.approx(error, rel=5e-3)
    found, fine = fit(values), fit(values, refine=True)
    assert found.alpha == pytest.approx(alpha, abs=5 * error / math.sqrt(n))
    assert fine.alpha == pytest.approx(found.alpha, abs=5.1e-4), "the grid's step"
    assert math.exp(float(log_ratio(fine.alpha))) == pytest.approx(fine.ratio, rel=1e-11), "solved, not searched"


def test_refined_fit_clips_where_the_grid_does() -> None:
    assert from_moments(1.0, 1.0, refine=True) == from_moments(1.0, 1.0)
    assert from_moments(20.0, 1.0, refine=True).clipped
    middle = from_moments(float(RATIOS[500]), 1.0, refine=True)
    assert middle.alpha == pytest.approx(float(GRID[500]), abs=1e-12)
