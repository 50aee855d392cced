"""Kind `images`: clean targets from which the input is made.

    target image -> crop to a multiple of the scale -> blur -> bicubic down, 8 bit      whole image, once for all its
    patches -> crop at box / scale -> noise -> JPEG -> / 255                        the patch

so patches have no borders of their own, and the target of a degraded sample is the clean image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from xlli_ray.corpus.degradations import Degraded, Domain, Mixture, extras_of
from xlli_ray.corpus.files.sources import list_files
from xlli_ray.corpus.kinds.kind import CorpusKind, Source, one_or_many
from xlli_ray.corpus.resize import downscale, modcrop
from xlli_ray.corpus.sample import Loaded, Loader, Sample, cut, planes
from xlli_ray.corpus.scan import Look
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.errors import SampleError


class Images(CorpusKind):
    """`images: ["photos/*.png"]`: globs or URLs, with `scale`."""

    Given: ClassVar[Any] = Annotated[list[str], BeforeValidator(one_or_many)]
    MADE: ClassVar[bool] = True

    def sources(self, given: list[str], corpus: CorpusSpec, base: Path | str) -> list[Source]:
        return [Source("images", uri) for uri in list_files(given, base)]

    def scan(self, source: Source, look: Look, row: dict[str, Any]) -> None:
        decoded = look.describe(source.uri, row)
        row["scale"] = scale = look.corpus.scale or 1
        check_scale(row["height"], row["width"], scale)
        look.choose(row, decoded)

    def load(self, sample: Sample, loader: Loader, into: NDArray[np.float32] | None) -> Loaded:
        whole = loader.pixels(sample.source, sample.source_sha)
        return make(loader, sample, whole, sample.source_sha, f"{sample.seed}|{sample.content}", into)


def check_scale(height: int, width: int, scale: int) -> None:
    """Raise SampleError if an image of that size leaves no input."""
    if min(height, width) < scale:
        raise SampleError(f"too small: {width} x {height} pixels cannot be downscaled by {scale}")


@dataclass(frozen=True)
class _Small:
    """The whole image after its target domain, downscaled: uint8 (h, w, 3), with its by-products."""

    image: NDArray[np.uint8]
    extras: Mapping[str, NDArray[Any]]

    @property
    def nbytes(self) -> int:
        return self.image.nbytes + sum(extra.nbytes for extra in self.extras.values())


def make(loader: Loader, sample: Sample, whole: NDArray[np.float32], sha: str, key: str, into: NDArray[np.float32] | None) -> Loaded:
    """Input, target and by-products of `sample`, or of one of its frames, made from the clean image `whole`, whose sha256 is `sha`.

    Draws in the input domain are keyed by `key`, those in the target domain by the study's seed and `sha`.
    """
    mixture = loader.mixture(sample.label)
    clean = modcrop(whole, sample.scale)
    small = _small(loader, mixture.only("target"), clean, sha, sample)
    patch = _degraded(mixture, cut(small.image, sample.box, scale=sample.scale), "input", key)
    given = planes(patch.image, into)
    given /= np.float32(255)
    target = planes(cut(clean, sample.box))
    sizes: Mapping[Domain, tuple[int, int]] = {"input": patch.image.shape[:2], "target": target.shape[1:]}  # type: ignore[dict-item]
    extras = {name: np.zeros(shape, dtype) for name, (shape, dtype) in extras_of(loader.beside, sizes).items()}
    extras |= {name: np.array(cut(extra, sample.box)) for name, extra in small.extras.items()} | dict(patch.extras)
    return Loaded(input=given, target=target, extras=extras)


def _small(loader: Loader, whole: Mixture, clean: NDArray[np.float32], sha: str, sample: Sample) -> _Small:
    """The whole image, degraded in its target domain and downscaled."""

    def made() -> _Small:
        degraded = _degraded(whole, clean, "target", f"{sample.seed}|{sha}")
        small = downscale(degraded.image, sample.scale)
        small.setflags(write=False)
        return _Small(small, degraded.extras)

    return loader.remember(("small", sha, sample.seed, sample.scale, whole.identity), made)


def _degraded(mixture: Mixture, array: NDArray[Any], domain: Domain, key: str) -> Degraded:
    """An error of a degradation's own code is an error of this sample."""
    try:
        return mixture.apply(array, domain, key=key)
    except MemoryError:
        raise
    except Exception as error:
        said = (str(error).strip() or "no message").splitlines()[0][:300]
        raise SampleError(f"degradation {mixture.label}: {type(error).__name__}: {said}") from error
