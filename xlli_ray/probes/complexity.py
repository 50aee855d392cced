"""Complexity of images and of what a degradation adds to them, without a network.

J. Gu et al., "Networks are Slacking Off" (NeurIPS 2023, arXiv 2305.15134) and its successor (arXiv 2502.12600): a network that is trained
on pairs learns the less complex of the two, the image or the degradation. So both are measured by the same numbers: the clean image (the
target; the input where there is none), and the *residual*, the input without the target, whose columns begin with `residual_`.
Definitions: `stats.image_complexity`. All are of luma (BT.601, full range) in grey levels, of targets and inputs rounded to 8 bits. A
residual is measured where input and target are of one size, and differ.

Per-image numbers describe; they do not say which side a network finds simpler (docs/deraining.md). That is a property of sets, which the
analysis `complexity_summary` concludes from the array `patches`: up to `patches` patches of 8 × 8 of each sample, of a grid with a random
offset, so that none overlap. Places depend on the study's seed and the content alone: the copies of an image under all degradations, and
its residual, are seen at the same places. The patches of a corpus are those of its samples side by side, whatever unit measured them.
`crop` keeps one larger square besides, for learning curves and code lengths of sets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from xlli_ray.probes.measurement import ArrayPlan, Batch, Column, Forward, Measurement, Shapes, Subject
from xlli_ray.probes.probe import Probe
from xlli_ray.stats.bootstrap import generator
from xlli_ray.stats.image_complexity import NAMES, SMALLEST, clamped, measures

PATCH = 8
"""Pixels of a side."""
IMAGE, RESIDUAL = 0, 1
_ABOUT: dict[str, tuple[str, str, tuple[float | None, float | None]]] = {
    "bpp_png": ("size of its PNG data", "bits per pixel", (0.0, None)),
    "bpp_webp": ("size of its lossless WebP data", "bits per pixel", (0.0, None)),
    "bpp_jpeg75": ("size of its JPEG data at quality 75", "bits per pixel", (0.0, None)),
    "entropy": ("entropy of its grey levels", "bits", (0.0, None)),
    "si_std": ("standard deviation of Sobel's gradient, the SI of ITU-T P.910", "grey levels", (0.0, None)),
    "si_mean": ("mean of Sobel's gradient", "grey levels", (0.0, None)),
    "si_rms": ("root mean square of Sobel's gradient", "grey levels", (0.0, None)),
    "gradient_entropy": ("entropy of Sobel's gradient in 256 bins", "bits", (0.0, 8.0)),
    "delentropy": ("half of the entropy of its differences in x and y", "bits per pixel", (0.0, None)),
    "spectral_slope": ("exponent β of a power spectrum f^−β", "", (None, None)),
    "edge_density": ("share of pixels on an edge, 0…1", "", (0.0, 1.0)),
    "box_dimension": ("box dimension of its edges, 0…2", "", (0.0, 2.0)),
    "svd_entropy": ("entropy of its singular values, 0…1", "", (0.0, 1.0)),
    "glcm_entropy": ("entropy of its co-occurrence matrix of 32 levels", "bits", (0.0, 10.0)),
    "glcm_contrast": ("contrast of its co-occurrence matrix", "squared levels of 32", (0.0, None)),
    "glcm_homogeneity": ("homogeneity of its co-occurrence matrix, 0…1", "", (0.0, 1.0)),
    "tv": ("total variation", "grey levels per pixel", (0.0, None)),
}


def _columns() -> Iterable[Column]:
    for prefix, of in (("", "of the clean image: "), ("residual_", "of the input without the target: ")):
        for name in NAMES:
            about, unit, limits = _ABOUT[name]
            yield Column(prefix + name, "float64", of + about, unit=unit, limits=limits)
    yield Column("residual_clamped", "float64", "share of its pixels clamped to 8 bits for rates and co-occurrence", limits=(0.0, 1.0))


class Params(BaseModel):
    """Fields of a `complexity` stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    patches: int = Field(default=64, ge=1, le=4096, description="patches of 8 × 8 kept of each sample, for measures of sets")
    crop: int = Field(default=0, ge=0, le=512, description="side of a square kept of each sample, 16 or more; 0: none")

    @field_validator("crop")
    @classmethod
    def _usable(cls, side: int) -> int:
        if 0 < side < SMALLEST:
            raise ValueError(f"crop must be 0 or an integer ≥ {SMALLEST}, got {side}")
        return side


class Complexity(Probe):
    """One row per sample. Writes table `complexity` and the arrays `patches`, float16 (side, patch, y, x), and with `crop` `crop`, float16
    (side, y, x): side 0 the image, side 1 the residual, in grey levels; NaN where there is none."""

    KIND: ClassVar[str] = "complexity"
    VERSION: ClassVar[int] = 1
    SUBJECT: ClassVar[Subject] = "sample"
    COLUMNS: ClassVar[tuple[Column, ...]] = tuple(_columns())
    REFERENCE: ClassVar[str] = (
        "arXiv 2305.15134 and 2502.12600 (which of the two is simpler); ITU-T P.910 (SI); Larkin, arXiv 1609.01117 (delentropy); "
        "Field, JOSA A 4, 1987 (slope); Haralick et al., IEEE SMC 3, 1973 (co-occurrence)"
    )
    Params: ClassVar[type[BaseModel]] = Params
    cost = 4e3
    by_source = False

    def unfit(self, scale: int, height: int, width: int, source: str, *, target: bool) -> str:
        """See `probes.measurement.Selective`."""
        factor = scale if target else 1
        side = max(SMALLEST, self.params.crop)
        if min(height, width) * factor >= side:
            return ""
        return f"too small for its complexity: {width * factor}×{height * factor} pixels, expected {side} a side or more"

    def arrays(self, shapes: Shapes) -> tuple[ArrayPlan, ...]:
        about = {"sides": ["image", "residual"], "unit": "grey levels"}
        shape = (2, self.params.patches, PATCH, PATCH)
        plans = [ArrayPlan("patches", shape, "float16", ("side", "patch", "y", "x"), attributes=about, gaps=True)]
        if crop := self.params.crop:
            plans.append(ArrayPlan("crop", (2, crop, crop), "float16", ("side", "y", "x"), attributes=about, gaps=True))
        return tuple(plans)

    def measure(self, model: Any, batch: Batch, forward: Forward | None) -> Measurement:
        params, count = self.params, len(batch.samples)
        inputs = batch.input.cpu().numpy()
        columns = {column.name: [float("nan")] * count for column in self.COLUMNS}
        arrays = {"patches": np.full((count, 2, params.patches, PATCH, PATCH), np.nan, np.float16)}
        if params.crop:
            arrays["crop"] = np.full((count, 2, params.crop, params.crop), np.nan, np.float16)
        failed: dict[int, str] = {}
        for position in np.flatnonzero(batch.ok).tolist():
            target, sample = batch.targets[position], batch.samples[position]
            if not np.isfinite(inputs[position]).all() or not (target is None or np.isfinite(target).all()):
                failed[position] = "not finite: NaN or infinity in the image"
                continue
            image = luma8(inputs[position] if target is None else target)
            height, width = image.shape
            if problem := self.unfit(1, height, width, "", target=False):
                failed[position] = problem
                continue
            sides = {IMAGE: image}
            if target is not None and target.shape == inputs[position].shape:
                residual = luma8(inputs[position]) - image
                sides |= {RESIDUAL: residual} if residual.any() else {}
            places = grid_places(height, width, params.patches, generator(sample.seed, sample.content, "patches"))
            corner = generator(sample.seed, sample.content, "crop").random(2)
            for side, grey in sides.items():
                prefix = "residual_" if side == RESIDUAL else ""
                for name, value in measures(grey).items():
                    columns[prefix + name][position] = value
                arrays["patches"][position, side, : len(places)] = cut(grey, places)
                if params.crop:
                    top, left = (int((size - params.crop + 1) * share) for size, share in zip(grey.shape, corner))
                    arrays["crop"][position, side] = grey[top : top + params.crop, left : left + params.crop]
            if RESIDUAL in sides:
                columns["residual_clamped"][position] = clamped(sides[RESIDUAL])
        return Measurement(arrays, columns, failed=failed)


def luma8(planes: np.ndarray) -> np.ndarray:
    """float32 (3, H, W) RGB in 0..1 → luma of the 8-bit image, int16 (H, W) in 0..255."""
    red, green, blue = np.floor(planes.clip(0, 1) * np.float32(255) + np.float32(0.5)).astype(np.int32)
    # in integers: where a grey is added to all channels the luma rises by the same, without a rounding of its own
    return np.asarray((299 * red + 587 * green + 114 * blue + 500) // 1000, np.int16)


def grid_places(height: int, width: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Top left corners of up to `count` patches that do not overlap: int64 (n, 2), in random order."""
    spare = np.array([height % PATCH, width % PATCH])
    offset = (rng.random(2) * (spare + 1)).astype(np.int64)
    rows, columns = height // PATCH, width // PATCH
    chosen = rng.permutation(rows * columns)[:count]
    return np.stack([chosen // columns, chosen % columns], axis=1) * PATCH + offset


def cut(grey: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The patches at `places`: (n, PATCH, PATCH)."""
    windows = np.lib.stride_tricks.sliding_window_view(grey, (PATCH, PATCH))
    return windows[places[:, 0], places[:, 1]]
