"""How a clip moves over its photograph: one drawn motion, and the distribution that it is drawn from.

The frame of the *current* moment (T // 2) shows the photograph at an integer place, unchanged. Content at the point p of that frame,
measured from the frame's centre in pixels of the target, is k frames later at

    z^k R(k theta) p + k s v

with zoom z and rotation theta a frame, velocity v in pixels of the *input* a frame, and scale s. So v is the displacement that a network
sees from one low-resolution frame to the next. A pan whose s v is a whole number needs no resampling: every frame is a crop of the
photograph, and sub-pixel motion at low resolution (multiples of 1/s) is as exact as a camera's. This is the design of the controlled
studies of alignment (K. Xu et al., "Enhancing Video Super-Resolution via Implicit Resampling-based Alignment", CVPR 2024: synthetic motion
with ground-truth flow), which separates the errors of resampling from those of flow.

Occluding layers are patches from elsewhere in the same photograph, turned upside down, that move on their own in whole target
pixels. From the same photograph, so that a clip depends on the bytes of one file, and photographs stay the independent units.

Sines and cosines are rounded to multiples of 2^-24: all that follows is then the same on any machine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

TRIES = 32
"""Directions and places drawn before a motion is said not to fit the photograph."""
SUPPORT = 2
"""Target pixels around a point that cubic interpolation reads."""
Pair = tuple[float, float]
Shape = Literal["ellipse", "rectangle"]


@dataclass(frozen=True)
class Layer:
    """One occluding patch. `velocity`: (x, y), input pixels a frame. `centre`: (y, x) at the current moment, `half`: (y, x) pixels on
    each side of it, both in whole target pixels of the frame. `source`: (top, left) of its texture in the turned photograph."""

    velocity: Pair
    shape: Shape
    centre: tuple[int, int]
    half: tuple[int, int]
    source: tuple[int, int]

    def covers(self, y: NDArray[Any], x: NDArray[Any], shift: Pair) -> NDArray[np.bool_]:
        """Whether points (target pixels of the frame) lie in the patch, which has moved by `shift` (y, x) target pixels."""
        down = np.abs(y - (self.centre[0] + shift[0])) / (self.half[0] + 0.5)
        across = np.abs(x - (self.centre[1] + shift[1])) / (self.half[1] + 0.5)
        inside: NDArray[np.bool_] = down * down + across * across <= 1 if self.shape == "ellipse" else np.maximum(down, across) <= 1
        return inside


@dataclass(frozen=True)
class Motion:
    """The motion of one clip.

    `frames`: T. `size`: (height, width) of a frame in target pixels. `place`: (top, left) of the current frame in the photograph.
    `velocity`: (x, y), input pixels a frame. `rotation`: degrees a frame, positive from the x axis (right) to the y axis (down).
    `zoom`: factor a frame, above 1 towards the viewer. `layers`: from back to front.
    """

    frames: int
    size: tuple[int, int]
    scale: int
    place: tuple[int, int]
    velocity: Pair
    rotation: float = 0.0
    zoom: float = 1.0
    layers: tuple[Layer, ...] = ()

    @property
    def moments(self) -> range:
        """Frames from the current one, −(T // 2) first."""
        return range(-(self.frames // 2), self.frames - self.frames // 2)

    @property
    def centre(self) -> Pair:
        """(y, x) of the frame's centre, target pixels."""
        return (self.size[0] - 1) / 2, (self.size[1] - 1) / 2

    @property
    def turns(self) -> bool:
        """Whether it rotates or zooms."""
        return self.rotation != 0.0 or self.zoom != 1.0

    @property
    def exact(self) -> bool:
        """Whether every frame is a crop of the photograph, layers aside."""
        return not self.turns and all(float(self.scale * v).is_integer() for v in self.velocity)

    def shift(self, moment: int, velocity: Pair | None = None) -> Pair:
        """(y, x) in target pixels by which content has moved at that moment: of the background, or with another `velocity`."""
        x, y = self.velocity if velocity is None else velocity
        return self.scale * y * moment, self.scale * x * moment

    @cached_property
    def _matrices(self) -> dict[int, NDArray[np.float64]]:
        """Moment → (2, 2) from (y, x) in the frame, after undoing the shift, to (y, x) in the photograph, both from the centre."""
        out = {}
        for moment in self.moments:
            angle, size = -math.radians(self.rotation) * moment, self.zoom**-moment
            cosine, sine = (dyadic(size * f(angle)) for f in (math.cos, math.sin))
            out[moment] = np.array([[cosine, sine], [-sine, cosine]])
        return out

    def seen(self, moment: int, y: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points of the frame of a moment → where the background's content there is in the frame of the current moment; target pixels."""
        (centre_y, centre_x), (down, across) = self.centre, self.shift(moment)
        return self._turned(self._matrices[moment], y - centre_y - down, x - centre_x - across)

    def shown(self, moment: int, y: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The inverse of `seen`: where content of the current frame is at another moment."""
        (centre_y, centre_x), (down, across) = self.centre, self.shift(moment)
        (a, b), (c, d) = self._matrices[moment]
        determinant = a * d - b * c
        back = np.array([[d, -b], [-c, a]]) / determinant
        y, x = self._turned(back, y - centre_y, x - centre_x)
        return y + down, x + across

    def _turned(self, matrix: NDArray[np.float64], y: NDArray[Any], x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        centre_y, centre_x = self.centre
        if not self.turns:
            return y + centre_y, x + centre_x
        return matrix[0, 0] * y + matrix[0, 1] * x + centre_y, matrix[1, 0] * y + matrix[1, 1] * x + centre_x

    def reach(self, margin: int) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) in target pixels of the current frame: all that the frames show of the photograph, `margin` around
        them included; bottom and right excluded."""
        height, width = self.size
        corners = np.array([[-margin, -margin], [-margin, width - 1 + margin], [height - 1 + margin, -margin],
                            [height - 1 + margin, width - 1 + margin]], dtype=np.float64)  # fmt: skip
        points = np.stack([np.stack(self.seen(moment, corners[:, 0], corners[:, 1])) for moment in self.moments])
        low, high, more = points.min(axis=(0, 2)), points.max(axis=(0, 2)), 0 if self.exact else SUPPORT
        top, left = (math.floor(value) - more for value in low)
        bottom, right = (math.ceil(value) + more + 1 for value in high)
        return top, left, bottom, right

    def to_json(self) -> str:
        """As a text, for the sample table."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Motion:
        """Inverse of `to_json`."""
        given = json.loads(text)
        layers = tuple(Layer(**{key: _tuple(value) for key, value in layer.items()}) for layer in given.pop("layers"))
        return cls(**{key: _tuple(value) for key, value in given.items()}, layers=layers)


@dataclass(frozen=True)
class Moves:
    """What motions are drawn from: (low, high) each, uniform.

    `speeds`: input pixels a frame, of which a clip has one. `angles`: degrees, 0 to the right, 90 down. `exact`: components of
    velocities are rounded to multiples of 1/scale. `rotation`: degrees a frame; `zoom`: factor a frame. `layers`: their number;
    `layer_size`: their height and width as shares of the frame's.
    """

    speeds: tuple[Pair, ...] = ((0.0, 4.0),)
    angles: Pair = (0.0, 360.0)
    exact: bool = True
    rotation: Pair = (0.0, 0.0)
    zoom: Pair = (1.0, 1.0)
    layers: int = 0
    layer_size: Pair = (0.25, 0.5)


def draw(
    moves: Moves, speed: Pair, rng: np.random.Generator, photograph: tuple[int, int], *, frames: int, size: tuple[int, int], scale: int,
    margin: int,
) -> Motion | None:  # fmt: skip
    """A motion over a photograph of (height, width) pixels, such that all frames, with `margin` target pixels around them, lie inside;
    None if none of `TRIES` draws does. `speed`: one of `moves.speeds`."""
    height, width = photograph
    for _ in range(TRIES):
        motion = Motion(
            frames, size, scale, (0, 0), _velocity(moves, speed, rng, scale),
            dyadic(_uniform(moves.rotation, rng)), dyadic(_uniform(moves.zoom, rng)),
        )  # fmt: skip
        top, left, bottom, right = motion.reach(margin)
        rows, columns = height - (bottom - top), width - (right - left)
        first, second = rng.random(), rng.random()
        if rows < 0 or columns < 0:
            continue
        place = int(first * (rows + 1)) - top, int(second * (columns + 1)) - left
        layers = tuple(_layer(moves, speed, rng, photograph, size, scale) for _ in range(moves.layers))
        return Motion(frames, size, scale, place, motion.velocity, motion.rotation, motion.zoom, layers)
    return None


def _layer(
    moves: Moves, speed: Pair, rng: np.random.Generator, photograph: tuple[int, int], size: tuple[int, int], scale: int
) -> Layer:
    shape: Shape = "ellipse" if rng.random() < 0.5 else "rectangle"
    half = tuple(max(1, int(_uniform(moves.layer_size, rng) * side / 2)) for side in size)
    half_y, half_x = (min(one, (side - 1) // 2) for one, side in zip(half, photograph, strict=True))
    centre_y, centre_x = (int(rng.random() * side) for side in size)
    rows, columns = photograph[0] - 2 * half_y, photograph[1] - 2 * half_x  # of places of its texture
    source = int(rng.random() * rows), int(rng.random() * columns)
    velocity = _velocity(moves, speed, rng, scale, exact=True)
    return Layer(velocity, shape, (centre_y, centre_x), (half_y, half_x), source)


def _velocity(moves: Moves, speed: Pair, rng: np.random.Generator, scale: int, *, exact: bool = False) -> Pair:
    size, angle = _uniform(speed, rng), math.radians(_uniform(moves.angles, rng))
    step = scale if moves.exact or exact else 1 << 16
    x, y = (math.floor(size * f(angle) * step + 0.5) / step for f in (math.cos, math.sin))
    return x, y


def _uniform(ends: Pair, rng: np.random.Generator) -> float:
    return ends[0] + (ends[1] - ends[0]) * rng.random()


def dyadic(value: float) -> float:
    """`value` rounded to a multiple of 2^-24."""
    return math.floor(value * (1 << 24) + 0.5) / (1 << 24)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
