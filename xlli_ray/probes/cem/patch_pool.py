"""The pool of natural patches that blocks of an input are replaced by, ordered by brightness.

Patches are squares of photographs that come with scikit-image, made into inputs as those of the sample: degraded in the target's domain,
reduced by the scale, degraded in the input's. So a patch carries the blur, noise or compression of the inputs, and a map does not say that
a block helps because it alone is not noisy. Where the corruption of the sample itself is kept (`effects`), they are clean.

An effect is the mean over this pool, not over all natural patches, and does not depend on which of them were drawn; the pool is drawn with
a fixed key, so that it is the same on every worker and in every study. The order is that of the mean luma: the change of a network's output
is nearly a smooth function of the change of a block's mean, so draws spread evenly over the order (`stats.stratified_draws`) have less
variance than independent ones; on two networks the order explains 40 to 97 % of it (docs/log.md).

Of files of one's own (`own_pool`) each image gives as many patches by chance, keyed by its sha256.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.decode import decode
from xlli_ray.corpus.degradations import Mixture, parse_label
from xlli_ray.corpus.degradations.keyed_random import generator
from xlli_ray.corpus.files.sources import SKIMAGE, read_bytes
from xlli_ray.corpus.resize import downscale, modcrop
from xlli_ray.errors import NetworkError, RecipeError
from xlli_ray.probes.cem.own_pool import PoolFile, pixels_of

VERSION = 1
LUMA = np.array([0.299, 0.587, 0.114])
KEY = "xlli_ray|causal effect map|pool"


@lru_cache(maxsize=16)
def patch_pool(side: int, scale: int, label: str, count: int, files: tuple[PoolFile, ...] = ()) -> NDArray[np.float32]:
    """`count` patches (count, 3, side, side) in 0..1, by mean luma, of inputs of `scale` degraded as the samples of `label`.

    `files`: those of one's own, in order of their sha256; none: the photographs. Read-only. Raises NetworkError for a label whose
    degradation cannot be told from it, and for a side above that of the photographs; EnvironmentFailure for a file of one's own that
    cannot be read.
    """
    try:
        mixture = parse_label(label)
    except RecipeError as error:
        raise NetworkError(
            f"pool: patches are degraded as the sample's input, and the label {label!r} does not say how ({error}); leave out the `label` "
            "of this degradation, or use inputs of scale 1 with targets, whose own corruption is kept"
        ) from error
    patches = np.empty((count, side, side, 3), np.float32)
    drawn = _of_files(files, side, scale, mixture, count) if files else _of_photographs(side, scale, mixture, count)
    for k, patch in enumerate(drawn):
        patches[k] = patch.astype(np.float32) / np.float32(255)
    order = np.argsort(patches.mean(axis=(1, 2), dtype=np.float64) @ LUMA, kind="stable")
    pool = np.ascontiguousarray(np.moveaxis(patches[order], 3, 1))
    pool.setflags(write=False)
    return pool


def _of_photographs(side: int, scale: int, mixture: Mixture, count: int) -> Iterator[NDArray[np.uint8]]:
    """Patches (side, side, 3) of scikit-image's photographs."""
    inputs = [_input(decode(read_bytes(f"skimage://{name}")).pixels, scale, mixture, name) for name in sorted(SKIMAGE)]
    if side > (largest := min(min(one.shape[:2]) for one in inputs)):
        raise NetworkError(f"pool: blocks of {side} input pixels; the photographs have {largest} at scale {scale}: use smaller blocks")
    draws = generator(f"{KEY}|{side}|{scale}")
    for number in draws.integers(0, len(inputs), count).tolist():
        yield _patch(inputs[number], side, draws)


def _of_files(files: tuple[PoolFile, ...], side: int, scale: int, mixture: Mixture, count: int) -> Iterator[NDArray[np.uint8]]:
    """Patches of one image after the other: only one is held."""
    shares = np.bincount(generator(f"{KEY}|{side}|{scale}|own").integers(0, len(files), count), minlength=len(files))
    for file, share in zip(files, shares.tolist()):
        if share:
            image = _input(pixels_of(file), scale, mixture, file.sha256)
            draws = generator(f"{KEY}|{side}|{scale}|{file.sha256}")
            for _ in range(share):
                yield _patch(image, side, draws)


def _input(pixels: NDArray[np.float32], scale: int, mixture: Mixture, name: str) -> NDArray[np.uint8]:
    """An image made into an input, as `kinds.images` does."""
    key = f"{KEY}|{name}"
    small = downscale(mixture.apply(modcrop(pixels, scale), "target", key=key).image, scale)
    return mixture.apply(small, "input", key=key).image


def _patch(image: NDArray[np.uint8], side: int, draws: np.random.Generator) -> NDArray[np.uint8]:
    top, left = (int(draws.integers(0, n - side + 1)) for n in image.shape[:2])
    return image[top : top + side, left : left + side]
