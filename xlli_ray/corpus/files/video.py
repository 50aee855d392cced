"""Frames of a video file, decoded by PyAV (the extra `video`): by their position in the file, so that a number is always the same frame.

Two kinds of videos are refused, since their frames would not be what a study of motion takes them for. With a *rotation flag*
(a phone held upright) the stored frames lie on their side, and players turn them. With a *variable frame rate* equal steps between
frames are not equal times, so that a displacement per frame is no speed.

A video is decoded from its beginning, which is exact for any key frames and time stamps, but slow for frames far from it: extract the
frames of long videos. Pixels are those of FFmpeg's conversion to 8-bit RGB.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.decode import Decoded
from xlli_ray.errors import EnvironmentFailure, SampleError


def check_installed(uri: str) -> None:
    """Raise EnvironmentFailure if videos cannot be read here."""
    if importlib.util.find_spec("av") is None:
        raise EnvironmentFailure(f"{uri} is a video, which needs a package that is not installed: pip install 'xlli_ray[video]'")


def frames(data: bytes, *, max_pixels: int) -> Iterator[Decoded]:
    """All frames of a file, in presentation order. Raises SampleError for a file that is not a video, or too large, and at the frame where
    it shows for a rotation flag and for a variable frame rate."""
    check_installed("this file")
    import av

    try:
        with av.open(BytesIO(data)) as container:
            if not container.streams.video:
                raise SampleError("no video: the file has no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            steps = _Steps()
            for frame in container.decode(stream):
                if frame.width * frame.height > max_pixels:
                    raise SampleError(
                        f"too large: frames of {frame.width} x {frame.height} pixels; the limit is {max_pixels} pixels;"
                        " raise corpus.max_pixels if the file can be trusted"
                    )
                if frame.rotation % 360:
                    raise SampleError(
                        f"rotation flag: players turn this video by {frame.rotation % 360} degrees, its stored frames are not upright;"
                        " extract its frames with ffmpeg, which turns them, or remove the flag"
                    )
                steps.add(frame)
                pixels = frame.to_ndarray(format="rgb24").astype(np.float32) / np.float32(255)
                yield Decoded(pixels, 8, "RGB")
    except (SampleError, MemoryError):
        raise
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise SampleError(f"damaged video: {error}") from error


def window(data: bytes, first: int, count: int, *, max_pixels: int) -> NDArray[np.float32]:
    """(count, H, W, 3) in 0..1 starting at frame `first`, counted from 0."""
    images = [frame.pixels for frame in islice(frames(data, max_pixels=max_pixels), first, first + count)]
    if len(images) < count:
        raise SampleError(f"changed since scan: the video ends after {first + len(images)} frames, expected {first + count}")
    return np.stack(images)


class _Steps:
    """The times between frames, which must be equal: within half of one, since containers round times and a tick may be long."""

    def __init__(self) -> None:
        self._number, self._last = 0, None
        self._first: Fraction | None = None

    def add(self, frame: Any) -> None:
        """Raises SampleError at the first frame that comes too early or too late. Frames without a time say nothing."""
        now = None if frame.pts is None or frame.time_base is None else frame.pts * Fraction(frame.time_base)
        step = None if now is None or self._last is None else now - self._last
        if step is not None and self._first is None:
            self._first = step
        if step is not None and self._first is not None and abs(step - self._first) > self._first / 2:
            raise SampleError(
                f"variable frame rate: frame {self._number} comes {1000 * float(step):.0f} ms after the one before it, the first two are"
                f" {1000 * float(self._first):.0f} ms apart; re-encode it with a constant rate, or extract its frames"
            )
        self._number, self._last = self._number + 1, now
