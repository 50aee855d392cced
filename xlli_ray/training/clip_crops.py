"""Training clips cut from real ones: random windows of frames, crops at the same place of each, flips, and time reversal.

Keyed by (seed, iteration) as the crops of images are. A video shows few scenes, so windows overlap and start at any frame; time
reversal doubles the motions. Frames are held once, as 8-bit arrays, whatever the number of windows that they are in. A degradation is
drawn for a clip, its own draws (noise) for each frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlli_ray.corpus.decode import MAX_PIXELS, to_u8
from xlli_ray.corpus.degradations import Mixture, draw
from xlli_ray.corpus.degradations.keyed_random import generator
from xlli_ray.corpus.files.sources import read_bytes
from xlli_ray.corpus.sample import Loader, Sample
from xlli_ray.errors import RecipeError
from xlli_ray.training.corpus import TrainCorpus
from xlli_ray.training.data import U8, Batch, CropSource, TrainingImage, clip_planes, degraded_crop, places_in, turned_clip
from xlli_ray.training.images import Row, image_of, training_samples

VERSION = 1  # raised when the same recipe and clips would give different crops


@dataclass(frozen=True)
class Window:
    """One window of a clip: its frames from first to last, and the positions of crops in the input of the middle one."""

    frames: tuple[TrainingImage, ...]
    places: np.ndarray


def read_windows(
    corpus: TrainCorpus, rows: Sequence[Row], *, seed: int = 0, read: Callable[[str], bytes] = read_bytes
) -> tuple[list[tuple[TrainingImage, ...]], list[TrainingImage], int]:
    """The windows of a scanned corpus of clips, sorted by their bytes; what identifies each; and the scale between input and target."""
    samples = sorted(training_samples(corpus, rows, seed), key=lambda one: (one.source_sha, one.target_sha or ""))
    loader = Loader(max_pixels=corpus.scanned().max_pixels or MAX_PIXELS, read=read)
    scales = sorted({sample.scale or 1 for sample in samples})
    if len(scales) > 1:
        raise RecipeError(f"corpus: scales {', '.join(map(str, scales))} are mixed; train one scale at a time")
    held: dict[tuple[str, ...], TrainingImage] = {}
    windows = [_frames(sample, loader, held) for sample in samples]
    identities = []
    for sample, frames in zip(samples, windows, strict=True):
        files, middle = image_of(sample), frames[len(frames) // 2]
        identities.append(TrainingImage(files.file, files.sha256, middle.target, middle.small, files.input_sha256))
    return windows, identities, scales[0]


def _frames(sample: Sample, loader: Loader, held: dict[tuple[str, ...], TrainingImage]) -> tuple[TrainingImage, ...]:
    """The frames of one window; those that another window has are taken from there."""
    keys = _keys(sample)
    if any(key not in held for key in keys):
        loaded = loader.load(sample)
        for number, key in enumerate(keys):
            small = np.ascontiguousarray(to_u8(loaded.input[number].transpose(1, 2, 0)))
            target = small if loaded.target is None else np.ascontiguousarray(to_u8(loaded.target[number].transpose(1, 2, 0)))
            held.setdefault(key, TrainingImage(sample.source, key[0], target, small))
    return tuple(held[key] for key in keys)


def _keys(sample: Sample) -> list[tuple[str, ...]]:
    """What identifies each frame: its sha256, or that of the video with its number there; with that of its target."""

    def of(files: Sequence[tuple[str, str]]) -> list[str]:
        if len(files) == sample.frames > 1 or not files:
            return [sha for _, sha in files] or [""] * sample.frames
        return [f"{files[0][1]}|{sample.first_frame + i}" for i in range(sample.frames)]

    return list(zip(of(sample.frame_files), of(sample.target_files), strict=True))


class ClipCrops(CropSource):
    """Batches of crops of windows.

    `crop`: target pixels, a multiple of `scale`. `degradations`: one is drawn per crop, for inputs made from targets.
    Raises RecipeError if no window has a position for a crop.
    """

    def __init__(
        self, windows: Sequence[tuple[TrainingImage, ...]], identities: Sequence[TrainingImage], scale: int, *, crop: int, batch: int,
        degradations: Sequence[Any], seed: int, min_gradient: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(identities)
        if crop % scale:
            raise RecipeError(f"train.crop must be a multiple of the scale {scale}, got {crop} target pixels")
        self._scale, self._size, self._batch, self._seed = scale, crop // scale, batch, seed
        self._degradations = list(degradations)
        known: dict[int, np.ndarray] = {}

        def places(frame: TrainingImage) -> np.ndarray:
            if id(frame) not in known:
                known[id(frame)] = places_in(frame.small, self._size, min_gradient)
            return known[id(frame)]

        found = [Window(frames, places(frames[len(frames) // 2])) for frames in windows]
        self._windows = [(number, window) for number, window in enumerate(found) if len(window.places)]
        if not self._windows:
            raise RecipeError(
                f"none of the {len(found)} windows of frames has a crop of {self._size} input pixels with a mean gradient of"
                f" {min_gradient:g} grey levels in its middle frame. Lower train.crop or train.min_gradient, or use larger frames."
            )

    def batch(self, iteration: int) -> Batch:
        where = generator(f"{self._seed}|clip|{iteration}")
        how = generator(f"{self._seed}|degradation|{iteration}")
        inputs, targets, contents = [], [], []
        for index in range(self._batch):
            content, window = self._windows[int(where.integers(len(self._windows)))]
            place = int(window.places[int(where.integers(len(window.places)))])
            turn, back = int(where.integers(8)), bool(where.integers(2))
            mixture = draw(self._degradations, how)
            frames = window.frames[::-1] if back else window.frames
            pairs = [self._pair(frame, mixture, place, f"{self._seed}|{iteration}|{index}|{t}") for t, frame in enumerate(frames)]
            inputs.append(turned_clip(np.stack([small for small, _ in pairs]), turn))
            targets.append(turned_clip(np.stack([large for _, large in pairs]), turn))
            contents.append(content)
        return Batch(clip_planes(inputs), clip_planes(targets), np.array(contents, dtype=np.int64))

    def _pair(self, frame: TrainingImage, mixture: Mixture, place: int, key: str) -> tuple[U8, U8]:
        """The crop of one frame: of the input, degraded, and of the target."""
        top, left = divmod(place, frame.small.shape[1])
        scale, size, early = self._scale, self._size, mixture.only("target")
        large = frame.target[top * scale : (top + size) * scale, left * scale : (left + size) * scale]
        if early.parts:
            small = degraded_crop(frame.target, early, scale, top, left, size, key=key)
        else:
            small = frame.small[top : top + size, left : left + size]
        return mixture.apply(small, "input", key=key).image, large
