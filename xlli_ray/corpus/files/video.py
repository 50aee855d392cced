"""Frames of a video file, decoded by PyAV (the extra `video`): by their position in the file, so that a number is always the same frame.

A video is decoded from its beginning, which is exact for any key frames and time stamps, but slow for frames far from it: extract the
frames of long videos. Pixels are those of FFmpeg's conversion to 8-bit RGB.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from io import BytesIO
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.decode import Decoded
from xlli_ray.errors import EnvironmentFailure, SampleError


def check_installed(uri: str) -> None:
    """Raise EnvironmentFailure if videos cannot be read here."""
    if importlib.util.find_spec("av") is None:
        raise EnvironmentFailure(f"{uri} is a video, which needs a package that is not installed: pip install 'xlli_ray[video]'")


def frames(data: bytes, *, max_pixels: int) -> Iterator[Decoded]:
    """All frames of a file, in presentation order. Raises SampleError for a file that is not a video, or too large."""
    check_installed("this file")
    import av

    try:
        with av.open(BytesIO(data)) as container:
            if not container.streams.video:
                raise SampleError("no video: the file has no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            for frame in container.decode(stream):
                if frame.width * frame.height > max_pixels:
                    raise SampleError(
                        f"too large: frames of {frame.width} x {frame.height} pixels; the limit is {max_pixels} pixels;"
                        " raise corpus.max_pixels if the file can be trusted"
                    )
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
