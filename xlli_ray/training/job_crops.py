"""The crops that a training draws: of images, of real clips, or clips with known motion, as its corpus says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xlli_ray.corpus.files.sources import read_bytes
from xlli_ray.training.clip_crops import ClipCrops, read_windows
from xlli_ray.training.data import Crops, CropSource, read_images
from xlli_ray.training.images import Row
from xlli_ray.training.motion_crops import MotionCrops
from xlli_ray.training.recipe import Job


def crops_of(job: Job, rows: Sequence[Row], *, read: Callable[[str], bytes] = read_bytes) -> tuple[CropSource, int]:
    """The crops of a training, and the scale between input and target. `rows`: of the scan of its corpus.

    Raises RecipeError for mixed scales and where nothing can be cropped, SampleError for files that changed since the scan.
    """
    train, corpus = job.train, job.corpus
    if corpus.kind == "clips":
        windows, identities, scale = read_windows(corpus, rows, seed=job.seed, read=read)
        return ClipCrops(
            windows, identities, scale, crop=train.crop, batch=train.batch, degradations=corpus.draws, seed=job.seed,
            min_gradient=train.min_gradient,
        ), scale  # fmt: skip
    images, scale = read_images(corpus, rows, seed=job.seed, read=read)
    if corpus.kind == "motion":
        return MotionCrops(
            images, scale, corpus.given, crop=train.crop, batch=train.batch, degradations=corpus.draws, seed=job.seed,
            min_gradient=train.min_gradient,
        ), scale  # fmt: skip
    return Crops(
        images, scale, crop=train.crop, batch=train.batch, degradations=corpus.draws, seed=job.seed, min_gradient=train.min_gradient,
    ), scale  # fmt: skip
