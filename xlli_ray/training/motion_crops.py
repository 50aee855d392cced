"""Training clips with known motion: drawn anew for each crop of each iteration, over photographs (`corpus.motion`).

What is drawn is keyed by (seed, iteration), as the crops of images are: places, motions and layers come from one stream,
degradations from another. Clips are turned and flipped at random, their flow with them, so that the shape of photographs (more fits
sideways into a wide one) favours no direction of motion.

Frames of exact pans are cut from low-resolution copies of the photograph, one for each offset between both grids (scale² of them, as
many pixels as the photograph has), which are made when first needed: the same bytes as in a study, for the cost of a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.degradations import Mixture, draw
from xlli_ray.corpus.degradations.keyed_random import generator
from xlli_ray.corpus.kinds.motion import MARGIN, MotionSpec
from xlli_ray.corpus.motion import moves
from xlli_ray.corpus.motion.flow import flow
from xlli_ray.corpus.motion.frames import frames
from xlli_ray.corpus.motion.moves import Motion
from xlli_ray.corpus.resize import downscale, modcrop
from xlli_ray.errors import RecipeError
from xlli_ray.training.data import U8, Batch, CropSource, TrainingImage, clip_planes, luma_gradient, turned_clip

VERSION = 1  # raised when the same recipe and photographs would give different clips
DRAWS = 16
"""Motions drawn for one crop until one begins where there is enough to learn; the last is taken."""


class MotionCrops(CropSource):
    """Batches of clips. `spec`: section `motion` of the corpus; `crop`: side of a frame, target pixels.

    Raises RecipeError if no photograph has room for a motion.
    """

    def __init__(
        self, images: Sequence[TrainingImage], scale: int, spec: MotionSpec, *, crop: int, batch: int, degradations: Sequence[Any],
        seed: int, min_gradient: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(images)
        if crop % scale:
            raise RecipeError(f"train.crop must be a multiple of the scale {scale}, got {crop} target pixels")
        self._scale, self._spec, self._crop, self._batch, self._seed = scale, spec, crop, batch, seed
        self._degradations, self._min_gradient = list(degradations), min_gradient
        self._small: dict[tuple[int, int, int], U8] = {}  # (image, row offset, column offset) → low-resolution copy
        rng = generator(f"{seed}|motion|room")
        self._room = [
            [number for number, image in enumerate(self._images) if self._motion(image.target.shape, speed, rng) is not None]
            for speed in spec.moves.speeds
        ]
        """For each speed the images with room for it."""
        if poor := [low for (low, _), some in zip(spec.moves.speeds, self._room, strict=True) if not some]:
            raise RecipeError(
                f"corpus.motion: no photograph has room for {spec.window} frames of {crop} pixels (train.crop) that move by {poor[0]:g} or"
                " more input pixels a frame: lower motion.speeds, motion.window or train.crop, or use larger photographs"
            )
        self._gradients = [luma_gradient(image.small) for image in self._images] if min_gradient else []

    def batch(self, iteration: int) -> Batch:
        """The batch of one iteration: always the same for the same iteration."""
        where = generator(f"{self._seed}|motion|{iteration}")
        how = generator(f"{self._seed}|degradation|{iteration}")
        inputs, targets, contents, forward, backward = [], [], [], [], []
        for index in range(self._batch):
            content, motion = self._drawn(where)
            turn = int(where.integers(8))
            small, large = self._made(content, motion, draw(self._degradations, how), f"{self._seed}|{iteration}|{index}")
            inputs.append(turned_clip(small, turn))
            targets.append(turned_clip(large, turn))
            contents.append(content)
            forward.append(turned_flow(flow(motion, 1)[:-1], turn))
            backward.append(turned_flow(flow(motion, -1)[1:], turn))
        flows = (_flow_planes(forward), _flow_planes(backward))
        return Batch(clip_planes(inputs), clip_planes(targets), np.array(contents, dtype=np.int64), flows)

    def _drawn(self, rng: np.random.Generator) -> tuple[int, Motion]:
        """An image and a motion over it."""
        speeds = self._spec.moves.speeds
        last: tuple[int, Motion] | None = None
        for _ in range(DRAWS):
            entry = int(rng.integers(len(speeds)))
            content = self._room[entry][int(rng.integers(len(self._room[entry])))]
            motion = self._motion(self._images[content].target.shape, speeds[entry], rng)
            if motion is None:
                continue
            last = content, motion
            if not self._min_gradient or self._gradient(*last) >= self._min_gradient:
                return last
        if last is None:
            raise RecipeError(f"corpus.motion: {DRAWS} draws found no photograph with room for the motion; use larger photographs")
        return last

    def _motion(self, shape: tuple[int, ...], speed: moves.Pair, rng: np.random.Generator) -> Motion | None:
        return moves.draw(
            self._spec.moves, speed, rng, (shape[0], shape[1]), frames=self._spec.window, size=(self._crop, self._crop), scale=self._scale,
            margin=MARGIN * self._scale,
        )  # fmt: skip

    def _gradient(self, content: int, motion: Motion) -> float:
        """Mean gradient of the luma under the current frame, to the nearest pixel of the input."""
        size, (top, left) = self._crop // self._scale, (edge // self._scale for edge in motion.place)
        return float(self._gradients[content][top : top + size, left : left + size].mean())

    def _made(self, content: int, motion: Motion, mixture: Mixture, key: str) -> tuple[U8, U8]:
        """Frames of the input and of the target, uint8 (T, h, w, 3) and (T, sh, sw, 3)."""
        photograph, scale = self._images[content].target, self._scale
        early = mixture.only("target")
        if motion.exact and not motion.layers and not early.parts:
            large = frames(photograph, motion)
            small = self._cut(content, motion)
        else:
            margin = MARGIN * scale
            whole = frames(photograph, motion, margin=margin)
            large = whole[:, margin:-margin, margin:-margin]
            if early.parts:
                parts = [early.apply(frame.astype(np.float32) / np.float32(255), "target", key=f"{key}|{t}").image
                         for t, frame in enumerate(whole)]  # fmt: skip
                small = np.stack([downscale(part, scale) for part in parts])
            else:
                small = _all_downscaled(whole, scale)
            small = small[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
        late = mixture.only("input")
        if late.parts:
            small = np.stack([late.apply(np.ascontiguousarray(frame), "input", key=f"{key}|{t}").image for t, frame in enumerate(small)])
        return small, large

    def _cut(self, content: int, motion: Motion) -> U8:
        """Frames of the input of an exact pan."""
        size, scale = self._crop // self._scale, self._scale
        out = np.empty((motion.frames, size, size, 3), dtype=np.uint8)
        for number, moment in enumerate(motion.moments):
            down, across = (int(shift) for shift in motion.shift(moment))
            row, column = motion.place[0] - down, motion.place[1] - across
            copy = self._copy(content, row % scale, column % scale)
            out[number] = copy[row // scale : row // scale + size, column // scale : column // scale + size]
        return out

    def _copy(self, content: int, row: int, column: int) -> U8:
        """The photograph from (row, column) on, downscaled."""
        key = (content, row, column)
        if key not in self._small:
            part = modcrop(self._images[content].target[row:, column:], self._scale)
            self._small[key] = downscale(part.astype(np.float32) / np.float32(255), self._scale)
        return self._small[key]


def _all_downscaled(whole: U8, scale: int) -> U8:
    """`downscale` of each frame of (T, H, W, 3), in one call."""
    frames_, height, width, channels = whole.shape
    wide = whole.transpose(1, 2, 0, 3).reshape(height, width, frames_ * channels)
    small = downscale(wide.astype(np.float32) / np.float32(255), scale)
    return small.reshape(height // scale, width // scale, frames_, channels).transpose(2, 0, 1, 3)


def turned_flow(flow: NDArray[np.float32], turn: int) -> NDArray[np.float32]:
    """The flow (…, h, w, 2) of a clip turned by `turned_clip`."""
    if turn & 4:
        flow = flow.swapaxes(-3, -2)[..., ::-1]
    if turn & 2:
        flow = flow[..., ::-1, :, :] * np.array([1, -1], np.float32)
    return flow[..., ::-1, :] * np.array([-1, 1], np.float32) if turn & 1 else flow


def _flow_planes(flows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(pairs, h, w, 2) each -> (B, pairs, 2, h, w)."""
    return np.ascontiguousarray(np.stack(flows).transpose(0, 1, 4, 2, 3))
