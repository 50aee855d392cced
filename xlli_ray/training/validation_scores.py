"""Scores of a trained network on the images of a `validate` or `measure` section: means of `image_scores`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from xlli_ray.corpus.decode import MAX_PIXELS, to_u8
from xlli_ray.corpus.degradations import CLEAN, GIVEN, Mixture
from xlli_ray.corpus.resize import downscale, modcrop
from xlli_ray.corpus.sample import Loader, Sample
from xlli_ray.errors import RecipeError
from xlli_ray.stats.fidelity import border_of
from xlli_ray.training.clip_scores import ClipCase, clip_case, score_clips
from xlli_ray.training.corpus import ImageFiles
from xlli_ray.training.image_scores import U8, Scored, compare
from xlli_ray.training.images import pixels_of, rejected, samples_of, scan_here


@dataclass(frozen=True)
class Case:
    """One image to score: uint8 (h, w, 3) and (sh, sw, 3)."""

    name: str
    input: U8
    target: U8


@dataclass(frozen=True)
class ScoredSet:
    """The files of a `validate` or `measure` section: scanned, so that a bad one is reported before training; decoded when scored."""

    files: ImageFiles
    samples: tuple[Sample, ...]
    scale: int

    @classmethod
    def of(cls, files: ImageFiles, scale: int) -> ScoredSet:
        """Raises RecipeError for a file that cannot be used: scores are of all images, or they are none."""
        corpus = files.scanned(scale)
        rows = scan_here(corpus)
        for file, reason in rejected(rows):
            raise RecipeError(f"a file to be scored on cannot be used: {file}: {reason}")
        samples = tuple(samples_of(rows, corpus))
        for sample in samples:
            if not files.made and sample.target is None:
                raise RecipeError(f"{sample.source} has no target to score against; expected images, pairs or a list of them")
        return cls(files, samples, scale)

    def scores(self, crop: int | None = None, *, known_flow: bool = False) -> dict[str, Callable[[nn.Module], Scored]]:
        """For each degradation, as in `cases`, the function from a network to its scores. `known_flow`: it is handed the true flow."""
        if not self.files.clips:
            return {suffix: partial(score, cases=cases, scale=self.scale) for suffix, cases in self.cases(crop).items()}
        loader = Loader(max_pixels=self.files.max_pixels or MAX_PIXELS, mixture=self.files.mixture, beside=self.files.mixtures)
        clips: dict[str, list[ClipCase]] = {}
        for sample in self.samples:
            clips.setdefault(_suffix(sample.label), []).append(clip_case(sample, loader, self.scale, crop))
        return {suffix: partial(score_clips, cases=cases, scale=self.scale, known_flow=known_flow) for suffix, cases in clips.items()}

    def cases(self, crop: int | None = None) -> dict[str, list[Case]]:
        """The images by the degradation of their inputs: "" for clean ones and for given ones without a label, else " blur2".

        `crop`: target pixels around the centre of images whose inputs are made here, None for the whole image.
        """
        loader = Loader(max_pixels=self.files.scanned(self.scale).max_pixels or MAX_PIXELS)
        if self.files.made:
            return {_suffix(one.label): [_made(sample, loader, one, crop) for sample in self.samples] for one in self.files.mixtures}
        cases: dict[str, list[Case]] = {}
        for sample in self.samples:
            small, target = pixels_of(sample, loader)
            assert target is not None
            cases.setdefault(_suffix(sample.label), []).append(Case(sample.source, small, target))
        return cases


def _suffix(label: str) -> str:
    return "" if label in (CLEAN, GIVEN) else f" {label}"


def _made(sample: Sample, loader: Loader, mixture: Mixture, crop: int | None) -> Case:
    """One clean image and the input made from it. The same draws in every validation of every network."""
    scale, key = sample.scale, f"0|{sample.source_sha}"
    target = modcrop(loader.pixels(sample.source, sample.source_sha), scale)
    small = downscale(mixture.apply(target, "target", key=key).image, scale)
    large = to_u8(target)
    if crop is not None:
        size = crop // scale
        top, left = max(small.shape[0] - size, 0) // 2, max(small.shape[1] - size, 0) // 2
        small = small[top : top + size, left : left + size]
        size *= scale
        large = large[top * scale : top * scale + size, left * scale : left * scale + size]
    return Case(sample.source, mixture.apply(np.ascontiguousarray(small), "input", key=key).image, large)


def restore(network: nn.Module, image: U8) -> U8:
    """uint8 (h, w, 3) through a network that works in 0..1, to uint8 (sh, sw, 3)."""
    device = next(network.parameters()).device
    planes = np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255)
    with torch.inference_mode():
        output = network(torch.from_numpy(planes).to(device))[0].float().cpu().numpy()
    return to_u8(output.transpose(1, 2, 0))


def score(network: nn.Module, cases: Sequence[Case], *, scale: int) -> Scored:
    """Run `network` (in eval mode) over all cases. `scale`: target size over input size; determines the border."""
    border = border_of(scale)
    scored = [case for case in cases if min(case.target.shape[:2]) > 2 * border]
    rows = [compare(restore(network, case.input), case.target, border=border) for case in scored]
    rows = [row for row in rows if np.isfinite(row[0])]
    if not rows:
        return Scored(0, *[float("nan")] * 3)
    psnrs, high, target_high = (float(np.mean(column)) for column in zip(*rows, strict=True))
    return Scored(len(rows), psnrs, high, target_high)
