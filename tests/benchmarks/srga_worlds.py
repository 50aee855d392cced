"""Studies of SRGA drawn from a known law, and their fits many at a time: for `coverage.py`.

Features are linear in contents: photographs share half of their variance (or more) among their patches, differ in how loud they are, and
their spectrum falls as a power. A network mixes them by gains of its own; a degradation takes from loud contents more than from others and
adds a little noise. `fits` is `stats.srga.fit_gram` for a stack of matrices, refined; `check` compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from xlli_ray.stats.ggd import FLOOR, GRID, RATIOS
from xlli_ray.stats.srga import TRIM, fit_gram, index_of

Array = np.ndarray


@dataclass(frozen=True)
class Law:
    """How a study is drawn."""

    samples: int
    photographs: int
    components: int
    amount: float = 0.2
    """How much the degradation takes."""
    power: float = 0.8
    """Of the spectrum."""
    alike: float = 0.5
    """Share of the variance that patches of a photograph have in common."""
    dimensions: int = 120
    uneven: tuple[int, ...] = ()
    """Patches of each photograph, where they differ; else `samples` are dealt."""

    @property
    def group(self) -> Array:
        if self.uneven:
            return np.repeat(np.arange(self.photographs), self.uneven)
        return np.arange(self.samples) % self.photographs

    def kept(self, samples: int) -> int:
        """Components of a part of the samples: as many as of all, or, where it has too few, its share."""
        return self.components if self.components < samples else self.share(samples)

    def share(self, samples: int) -> int:
        """Components of a part of the samples, in proportion."""
        return max(1, self.components * samples // self.samples)

    def contents(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """Features of contents, (N, D), and how loud each is, (N, 1)."""
        shape = (self.photographs, self.dimensions)
        own = np.sqrt(self.alike) * rng.normal(size=shape)[self.group]
        own += np.sqrt(1 - self.alike) * rng.normal(size=(self.samples, self.dimensions))
        loud = np.exp(0.5 * rng.normal(size=(self.photographs, 1)))[self.group] * np.exp(0.2 * rng.normal(size=(self.samples, 1)))
        return own * loud * np.arange(1, self.dimensions + 1) ** -self.power, loud

    def networks(self, rng: np.random.Generator, more: float = 1.15) -> list[tuple[Array, Array]]:
        """(reference, degraded) features of two networks on the same contents; the second suffers `more` times as much."""
        contents, loud = self.contents(rng)
        out = []
        for phase, amount in ((0.0, self.amount), (2.0, self.amount * more)):
            mixed = contents * (1 + 0.5 * np.sin(np.arange(self.dimensions) * 0.7 + phase))
            # what a network takes from a photograph is its own, too
            taste = np.exp(0.3 * rng.normal(size=(self.photographs, 1)))[self.group]
            kept = 1 - amount * (0.5 + 0.5 * np.tanh(loud * taste - 1))
            out.append((mixed, mixed * kept + 0.02 * amount * contents.std() * rng.normal(size=mixed.shape)))
        return out


def parts(matrix: Array, chosen: Array) -> Array:
    """float64 (R, h, h): the parts of a Gram matrix that rows of `chosen`, int (R, h), name."""
    return matrix[chosen[:, :, None], chosen[:, None, :]]


def fits(matrices: Array, components: int) -> tuple[Array, Array]:
    """σ and α of a stack of Gram matrices, float64 (R, h, h) → (R,) each."""
    rows = matrices.mean(axis=2, keepdims=True)
    centred = matrices - rows - rows.swapaxes(1, 2) + matrices.mean(axis=(1, 2), keepdims=True)
    values, vectors = np.linalg.eigh(centred)
    scores = (vectors[:, :, -components:] * np.sqrt(np.maximum(values[:, None, -components:], 0))).reshape(len(matrices), -1)
    away = np.abs(scores - scores.mean(axis=1, keepdims=True))
    kept = away < TRIM * scores.std(axis=1, keepdims=True)
    second, absolute = ((np.where(kept, some, 0)).sum(axis=1) / kept.sum(axis=1) for some in (scores**2, np.abs(scores)))
    alpha = np.interp(-np.log(second / absolute**2), -np.log(RATIOS), GRID)
    return np.sqrt(second), alpha


def divergences(reference: tuple[Array, Array], test: tuple[Array, Array]) -> Array:
    """KL(reference ‖ test) of fits, float64 (R,)."""
    (s, a), (r, b) = reference, test
    scale = [np.log(sigma) + 0.5 * (gammaln(1 / alpha) - gammaln(3 / alpha)) for sigma, alpha in ((s, a), (r, b))]
    apart = scale[1] - scale[0]
    power = np.exp(gammaln((b + 1) / a) - gammaln(1 / a) - b * apart)
    return np.maximum(np.log(a / b) + gammaln(1 / b) - gammaln(1 / a) + apart + power - 1 / a, 0.0)


def indices(divergence: Array) -> Array:
    return np.log1p(divergence / FLOOR) / np.log(10)


def check(law: Law) -> None:
    """The stack's fits are the package's."""
    reference, test = law.networks(np.random.default_rng(0))[0]
    grams = [some @ some.T for some in (reference, test)]
    ours = indices(divergences(*(fits(gram[None], law.components) for gram in grams)))[0]
    theirs = index_of(*(fit_gram(gram, law.components, refine=True).fit for gram in grams))
    assert abs(ours - theirs) < 1e-2, (ours, theirs)
