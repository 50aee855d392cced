"""Frames of a video file, decoded by PyAV (the extra `video`): by their position in the file, so that a number is always the same frame.

Two kinds of videos are refused, since their frames would not be what a study of motion takes them for. With a *rotation flag*
(a phone held upright) the stored frames lie on their side, and players turn them. With a *variable frame rate* equal steps between
frames are not equal times, so that a displacement per frame is no speed.

A scan decodes a video from its beginning to its end, and a frame's number is its place there. Windows of frames are sought from the key
frame before them (`Windows`), which is possible since the rate is constant. The file, not its frames, is held in memory. Pixels are
those of FFmpeg's conversion to 8-bit RGB.
"""

from __future__ import annotations

import importlib.util
import threading
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.decode import Decoded
from xlli_ray.errors import EnvironmentFailure, SampleError

FORWARD = 48
"""Frames that are rather decoded than skipped by seeking."""


def check_installed(uri: str) -> None:
    """Raise EnvironmentFailure if videos cannot be read here."""
    if importlib.util.find_spec("av") is None:
        raise EnvironmentFailure(f"{uri} is a video, which needs a package that is not installed: pip install 'xlli_ray[video]'")


def frames(data: bytes, *, max_pixels: int) -> Iterator[Decoded]:
    """All frames of a file, in presentation order. Raises SampleError for a file that is not a video, or too large, and at the frame where
    it shows for a rotation flag and for a variable frame rate."""
    for pixels in _frames(data, max_pixels):
        yield Decoded(pixels.astype(np.float32) / np.float32(255), 8, "RGB")


def _frames(data: bytes, max_pixels: int) -> Iterator[NDArray[np.uint8]]:
    """The same as uint8 (H, W, 3)."""
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
                yield frame.to_ndarray(format="rgb24")
    except SampleError:
        raise
    except (av.FFmpegError, ValueError, IndexError) as error:  # also FFmpeg's MemoryError: a damaged header asks for any size
        raise SampleError(f"damaged video: {error}") from error


class Windows:
    """Windows of frames of one file that a scan has read, in any order.

    The place of a window is sought by the time stamps, from the key frame before it, and what was decoded is kept for the next window if it
    continues there. Frames without time stamps are counted from the beginning. For several threads; one decodes at a time.
    """

    def __init__(self, data: bytes, *, max_pixels: int) -> None:
        self._data, self._max_pixels = data, max_pixels
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._rest = _frames(self._data, self._max_pixels)
        self._next = 0
        """Number of the next frame of `_rest`."""
        self._kept: deque[NDArray[np.uint8]] = deque()
        """The frames just before it."""

    @property
    def nbytes(self) -> int:
        """Size of the file."""
        return len(self._data)

    def window(self, first: int, count: int) -> NDArray[np.float32]:
        """(count, H, W, 3) in 0..1 starting at frame `first`, counted from 0. Raises SampleError where the video ends before."""
        with self._lock:
            if not self._next - len(self._kept) <= first <= self._next + FORWARD:
                self._seek(first)
            while self._next < first + count:
                frame = next(self._rest, None)
                if frame is None:
                    raise SampleError(f"changed since scan: the video ends after {self._next} frames, expected {first + count}")
                self._kept.append(frame)
                self._next += 1
                while len(self._kept) > max(count, self._next - first):
                    self._kept.popleft()
            start = len(self._kept) - (self._next - first)
            chosen = [self._kept[i] for i in range(start, start + count)]
        return np.stack(chosen).astype(np.float32) / np.float32(255)

    def _seek(self, first: int) -> None:
        """Continue at the key frame at or before `first`, or at the beginning."""
        self._begin()
        found = _from_key_frame(self._data, first)
        if found is not None:
            self._next, self._rest = found


def _from_key_frame(data: bytes, first: int) -> tuple[int, Iterator[NDArray[np.uint8]]] | None:
    """(number of the first frame, frames) from the key frame at or before frame `first` on. None if time stamps do not tell the number."""
    import av

    with av.open(BytesIO(data)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        times = [frame.pts for frame, _ in zip(container.decode(stream), range(2))]
        if len(times) < 2 or None in times or times[1] <= times[0] or first == 0:
            return None
        step = Fraction(1) / (stream.average_rate * stream.time_base) if stream.average_rate else Fraction(times[1] - times[0])
        try:
            container.seek(int(times[0] + (first - 1) * step), stream=stream, backward=True)
            frame = next(container.decode(stream), None)
        except av.FFmpegError:
            return None
        if frame is None or frame.pts is None:
            return None
        number = round((frame.pts - times[0]) / step)
        if abs(frame.pts - times[0] - number * step) > step / 4 or not 0 <= number <= first:
            return None
        start = frame.pts
    return number, _from_time(data, start)


def _from_time(data: bytes, start: int) -> Iterator[NDArray[np.uint8]]:
    """Frames from the key frame of this time stamp on."""
    import av

    try:
        with av.open(BytesIO(data)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            container.seek(start, stream=stream, backward=True)
            for frame in container.decode(stream):
                if frame.pts is not None and frame.pts >= start:
                    yield frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise SampleError(f"damaged video: {error}") from error


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
