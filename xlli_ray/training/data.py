"""Training crops: drawn by (seed, iteration), so that a resumed training gets the same ones as an uninterrupted one.

All images are in memory as 8-bit arrays: the targets, and if inputs are made from them the clean low-resolution image
too. A batch depends only on the seed and its iteration: positions of crops come from one stream, degradations from
another, so twins that differ in their degradations use the same crops.

Crops are taken where there is something to learn: the mean gradient of the input's luma over the crop must reach
`min_gradient` grey levels, and an image is drawn with a weight of the square root of its number of such positions.

A degradation of the target domain applies to the whole image, before downscaling. Only the part of the image that the
crop depends on is processed (the blur's radius and the bicubic's support around it), which gives the same values.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.decode import MAX_PIXELS, luma_full
from xlli_ray.corpus.degradations import Mixture, draw
from xlli_ray.corpus.degradations.blur import Blur, gaussian
from xlli_ray.corpus.degradations.keyed_random import generator
from xlli_ray.corpus.files.sources import read_bytes
from xlli_ray.corpus.ids import sha256_hex
from xlli_ray.corpus.resize import bicubic, downscale
from xlli_ray.corpus.sample import Loader
from xlli_ray.errors import RecipeError
from xlli_ray.training.corpus import TrainCorpus
from xlli_ray.training.images import Image, Row, image_of, pixels_of, training_samples

VERSION = 1  # raised when the same recipe and images would give different crops
U8 = NDArray[np.uint8]
_SUPPORT = 2  # of the bicubic, in input pixels on each side of a crop


@dataclass(frozen=True)
class TrainingImage:
    """One training image. `target`: uint8 (sH, sW, 3); `small`: uint8 (H, W, 3), the input before degradations.

    `small is target` for a corpus of inputs only. `sha256`: of the file that the target (or input) was read from; `input_sha256`: of
    the input file of a pair.
    """

    name: str
    sha256: str
    target: U8
    small: U8
    input_sha256: str | None = None


@dataclass(frozen=True)
class Batch:
    """`input`, `target`: float32 (B, 3, h, w) and (B, 3, sh, sw) in 0..1, of clips (B, T, 3, …); `content`: int64 (B,), index of the
    image."""

    input: NDArray[np.float32]
    target: NDArray[np.float32]
    content: NDArray[np.int64]
    flow: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    """Of clips with known motion: from each frame to the next and back, float32 (B, T − 1, 2, h, w) each, components x and y in pixels
    of the input."""


def read_images(
    corpus: TrainCorpus, rows: Sequence[Row], *, seed: int = 0, read: Callable[[str], bytes] = read_bytes
) -> tuple[list[TrainingImage], int]:
    """The images of a scanned corpus, sorted by sha256, and the scale between input and target. `seed` selects those of `corpus.count`.

    Raises RecipeError for mixed scales, SampleError for files that changed since the scan.
    """
    samples = training_samples(corpus, rows, seed)
    loader = Loader(max_pixels=corpus.scanned().max_pixels or MAX_PIXELS, cache_bytes=0, read=read)
    scales = sorted({sample.scale or 1 for sample in samples})
    if len(scales) > 1:
        raise RecipeError(f"corpus: scales {', '.join(map(str, scales))} are mixed; train one scale at a time")
    images = []
    for sample in samples:
        small, target = pixels_of(sample, loader)
        if target is None or (sample.kind == "images" and scales == [1]):
            target = small  # the same bytes, held once
        files = image_of(sample)
        images.append(TrainingImage(files.file, files.sha256, target, small, files.input_sha256))
    return sorted(images, key=lambda image: (image.sha256, image.input_sha256 or "")), scales[0]


class CropSource(ABC):
    """Batches of random crops of some images, keyed by iteration."""

    def __init__(self, images: Sequence[TrainingImage]) -> None:
        self._images = list(images)

    @property
    def contents(self) -> int:
        """Number of images: values of `Batch.content` are below it."""
        return len(self._images)

    @property
    def images(self) -> list[Image]:
        """The files that the images were read from."""
        return [Image(image.name, image.sha256, image.input_sha256) for image in self._images]

    @property
    def images_sha256(self) -> str:
        """One hash over the hashes of all images, as in old checkpoints."""
        return sha256_hex("".join(image.sha256 for image in self._images).encode())

    @abstractmethod
    def batch(self, iteration: int) -> Batch:
        """The batch of one iteration: always the same for the same iteration."""


class Crops(CropSource):
    """Batches of random crops of single images.

    `crop`: target pixels, a multiple of `scale`. `degradations`: one is drawn per crop; they are made from targets.
    Raises RecipeError if no image has a position for a crop.
    """

    def __init__(
        self, images: Sequence[TrainingImage], scale: int, *, crop: int, batch: int, degradations: Sequence[Any], seed: int,
        min_gradient: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(images)
        if crop % scale:
            raise RecipeError(f"train.crop must be a multiple of the scale {scale}, got {crop} target pixels")
        self._scale, self._batch, self._seed = scale, batch, seed
        self._size = crop // scale
        self._degradations = list(degradations)
        self._places = [places_in(image.small, self._size, min_gradient) for image in self._images]
        weights = np.sqrt([len(places) for places in self._places])
        if not weights.sum():
            raise RecipeError(
                f"none of the images ({len(self._images)}) has a crop of {self._size} input pixels with a"
                f" mean gradient of {min_gradient:g} grey levels. Lower train.crop or train.min_gradient, or use larger"
                " images."
            )
        self._cumulative = np.cumsum(weights / weights.sum())

    def batch(self, iteration: int) -> Batch:
        where = generator(f"{self._seed}|crop|{iteration}")
        how = generator(f"{self._seed}|degradation|{iteration}")
        inputs, targets, contents = [], [], []
        for index in range(self._batch):
            content = min(int(np.searchsorted(self._cumulative, where.random(), "right")), len(self._places) - 1)
            places = self._places[content]
            place = int(places[int(where.integers(len(places)))])
            turn = int(where.integers(8))
            image = self._images[content]
            top, left = divmod(place, image.small.shape[1])
            mixture = draw(self._degradations, how)
            key = f"{self._seed}|{iteration}|{index}"  # each crop of each step has its own draws, in both domains
            small = self._input(image, mixture, top, left, key)
            small = mixture.apply(small, "input", key=key).image
            scale, size = self._scale, self._size
            large = image.target[top * scale : (top + size) * scale, left * scale : (left + size) * scale]
            inputs.append(_turned(small, turn))
            targets.append(_turned(large, turn))
            contents.append(content)
        return Batch(_planes(inputs), _planes(targets), np.array(contents, dtype=np.int64))

    def _input(self, image: TrainingImage, mixture: Mixture, top: int, left: int, key: str) -> U8:
        """The crop at (top, left), in input pixels, after the target-domain part of `mixture`; uint8."""
        parts = mixture.only("target").parts
        if not parts:
            return image.small[top : top + self._size, left : left + self._size]
        return degraded_crop(image.target, mixture.only("target"), self._scale, top, left, self._size, key=key)


def degraded_crop(target: U8, mixture: Mixture, scale: int, top: int, left: int, size: int, *, key: str) -> U8:
    """Result of whole-image degradation and downscaling at (top, left, size) of the input: uint8 (size, size, 3). `key`: for the draws of
    this crop.

    Equal to `downscale(mixture.apply(target))[top:top + size, left:left + size]`; for a crop away from the border
    with only blur, by small matrix products, which can differ by one grey level where a half is rounded.
    """
    blur = mixture.parts[0] if len(mixture.parts) == 1 else None
    if not isinstance(blur, Blur):
        whole = mixture.apply(target.astype(np.float32) / np.float32(255), "target", key=key).image
        return downscale(whole, scale)[top : top + size, left : left + size]
    half = gaussian(blur.params.sigma, blur.params.window)
    margin = math.ceil((len(half) - 1 + _SUPPORT * scale) / scale)  # input pixels that reach into the crop, on each side
    rows, columns = target.shape[0] // scale, target.shape[1] // scale
    first_row, last_row = top - margin, top + size + margin
    first_column, last_column = left - margin, left + size + margin
    if first_row >= 0 and first_column >= 0 and last_row <= rows and last_column <= columns:
        region = target[first_row * scale : last_row * scale, first_column * scale : last_column * scale]
        return _interior(region, half, scale, size, margin)
    first_row, first_column = max(first_row, 0), max(first_column, 0)
    region = target[first_row * scale : last_row * scale, first_column * scale : last_column * scale]
    blurred = mixture.apply(region.astype(np.float32) / np.float32(255), "target", key=key).image
    small = downscale(blurred, scale)
    return small[top - first_row : top - first_row + size, left - first_column : left - first_column + size]


def _interior(region: U8, half: NDArray[np.float64], scale: int, size: int, margin: int) -> U8:
    """Blur and downscale away from borders. Values are rounded to 8 bits between the two passes, as in the general case.

    `half`: the blur's kernel from its centre outwards."""
    span = region.shape[0]
    kernel = np.concatenate((half[:0:-1], half))
    blur = _bands(kernel, span, span, 1, -(len(kernel) // 2))
    down = _down(scale)
    offset = margin * scale - (len(down) - scale) // 2
    down_rows = _bands(down, size, span, scale, offset)
    rows = down_rows @ blur  # (size, span): the vertical half of both
    grey = (rows @ region.reshape(span, -1).astype(np.float64)).reshape(size, span, 3)
    grey = np.tensordot(grey, blur, axes=(1, 1))  # (size, 3, span)
    grey = np.floor(np.clip(grey, 0, 255) + 0.5)
    grey = np.tensordot(grey, down_rows, axes=(2, 1)).transpose(0, 2, 1)
    return np.floor(np.clip(grey, 0, 255) + 0.5).astype(np.uint8)


def _bands(kernel: NDArray[np.float64], rows: int, columns: int, step: int, offset: int) -> NDArray[np.float64]:
    """Matrix whose row i holds `kernel` from column i * step + offset on, truncated at the matrix."""
    matrix = np.zeros((rows, columns))
    for i in range(rows):
        start = i * step + offset
        low, high = max(start, 0), min(start + len(kernel), columns)
        if low < high:
            matrix[i, low:high] = kernel[low - start : high - start]
    return matrix


@lru_cache(maxsize=8)
def _down(scale: int) -> NDArray[np.float64]:
    """Weights of one output pixel of the bicubic, away from borders: from its impulse responses."""
    if scale == 1:
        return np.ones(1)
    count = 16
    answers = bicubic(np.eye(count * scale), out_shape=(count, count * scale))
    used = np.flatnonzero(answers[count // 2])
    weights = answers[count // 2, used[0] : used[-1] + 1]
    weights.setflags(write=False)
    return weights


def places_in(small: U8, size: int, min_gradient: float) -> NDArray[np.int32]:
    """Top left corners, as row * width + column, of the crops of `size` whose mean luma gradient is large enough."""
    height, width = small.shape[:2]
    if height < size or width < size:
        return np.zeros(0, dtype=np.int32)
    gradient = luma_gradient(small)
    sums = np.zeros((height + 1, width + 1))
    sums[1:, 1:] = gradient.cumsum(0).cumsum(1)
    mean = (sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]) / size**2
    rows, columns = np.nonzero(mean >= min_gradient - 1e-9)
    return (rows * width + columns).astype(np.int32)


def luma_gradient(image: U8) -> NDArray[np.float64]:
    """Gradient of the luma of (H, W, 3) at each pixel, grey levels: |difference| to the right and below, halved."""
    luma = luma_full(image.astype(np.float32))
    gradient = np.zeros(luma.shape)
    gradient[:, :-1] += np.abs(np.diff(luma, axis=1)) / 2
    gradient[:-1] += np.abs(np.diff(luma, axis=0)) / 2
    return gradient


def turned_clip(clip: U8, turn: int) -> U8:
    """Each frame of (T, H, W, 3) turned by one of the eight flips and rotations of a square."""
    if turn & 4:
        clip = clip.transpose(0, 2, 1, 3)
    if turn & 2:
        clip = clip[:, ::-1]
    return clip[:, :, ::-1] if turn & 1 else clip


def _turned(image: U8, turn: int) -> U8:
    """One of the eight flips and rotations of a square."""
    if turn & 4:
        image = image.transpose(1, 0, 2)
    if turn & 2:
        image = image[::-1]
    return image[:, ::-1] if turn & 1 else image


def _planes(images: Sequence[U8]) -> NDArray[np.float32]:
    """uint8 (H, W, 3) each -> float32 (B, 3, H, W) in 0..1."""
    stacked = np.stack(images).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(stacked, dtype=np.float32) / np.float32(255)


def clip_planes(clips: Sequence[U8]) -> NDArray[np.float32]:
    """uint8 (T, H, W, 3) each -> float32 (B, T, 3, H, W) in 0..1."""
    stacked = np.stack(clips).transpose(0, 1, 4, 2, 3)
    return np.ascontiguousarray(stacked, dtype=np.float32) / np.float32(255)
