"""From the layers of an image panel to the pixels that are seen: colours, one layer over the other, enlarged, windows framed."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xlli_ray.plots.colour_scale import ColourScale
from xlli_ray.plots.image_panels import Frame, ImagePanel, Layer
from xlli_ray.plots.pixels import Pixels, enlarged, framed, png_bytes, repeated_to

SMALL = 64 * 64
"""An overview of so many pixels is kept without loss."""


def composite(panel: ImagePanel) -> Pixels:
    """uint8 (H, W, 3): the layers over white, each repeated pixel by pixel to the size of the finest one. Raises ValueError for a layer
    without pixels."""
    levels = [_levels(layer, panel) for layer in panel.layers]
    size = max(level.shape[0] for level in levels), max(level.shape[1] for level in levels)
    image = np.full((*size, 3), 255.0)
    for layer, level in zip(panel.layers, levels):
        level = repeated_to(level, size)
        share = np.full(size, layer.opacity) if not layer.shared else layer.opacity * level / 255.0
        image = image * (1 - share[..., None]) + _colours(layer, level) * share[..., None]
    out: Pixels = (image + 0.5).astype(np.uint8)
    out = enlarged(out, panel.side) if panel.enlarged else out
    for frame in panel.frames:
        out = framed(out, _in_pixels(frame, panel, out), frame.colour)
    return _edged(out, panel.edge) if panel.edge else out


def encoded(panel: ImagePanel) -> tuple[str, bytes]:
    """(MIME type, file): a PNG without loss; of an overview that is not small, a JPEG (quality 88, no chroma subsampling)."""
    first = panel.layers[0]
    if len(panel.layers) == 1 and first.scale is not None and first.opacity == 1 and not (first.shared or panel.frames or panel.edge):
        levels = _levels(first, panel)
        return "image/png", png_bytes(enlarged(levels, panel.side) if panel.enlarged else levels, colours=first.scale.palette())
    image = composite(panel)
    if not panel.overview or image.shape[0] * image.shape[1] <= SMALL:
        return "image/png", png_bytes(image)
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "JPEG", quality=88, subsampling=0)
    return "image/jpeg", sink.getvalue()


def data_uri(panel: ImagePanel) -> str:
    """The panel as the source of an `<img>`."""
    mime, data = encoded(panel)
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def moving_uri(panels: Sequence[ImagePanel], milliseconds: int) -> str:
    """Panels of one size one after the other, endlessly, as the source of an `<img>`: an animated WebP (quality 80)."""
    from PIL import Image

    first, *others = [Image.fromarray(composite(panel)) for panel in panels]
    sink = io.BytesIO()
    first.save(sink, "WEBP", save_all=True, append_images=others, duration=milliseconds, loop=0, quality=80, method=4)
    return f"data:image/webp;base64,{base64.b64encode(sink.getvalue()).decode()}"


def ramp(scale: ColourScale) -> Pixels:
    """uint8 (4, 128, 3): a bar of the scale's colours."""
    shares = np.linspace(0, 1, 128) ** scale.power
    return np.tile(scale.palette()[(shares * 255 + 0.5).astype(np.uint8)], (4, 1, 1))


def _levels(layer: Layer, panel: ImagePanel) -> Pixels:
    """uint8 (H, W), of a colour image (H, W, 3)."""
    from PIL import Image

    if layer.png is None:
        raise ValueError(f"the panel {panel.caption!r} has no pixels yet: fill the view before it is drawn (plots.panel_values.filled)")
    with Image.open(io.BytesIO(base64.b64decode(layer.png)), formats=["PNG"]) as image:
        grey = layer.scale is not None or image.mode in ("L", "1")
        pixels: Pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return pixels


def _colours(layer: Layer, level: Pixels) -> Pixels:
    if layer.scale is not None:
        return layer.scale.palette()[level]
    return level if level.ndim == 3 else np.repeat(level[..., None], 3, axis=2)


def _in_pixels(frame: Frame, panel: ImagePanel, image: Pixels) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a frame's window in the drawn image."""
    assert panel.area is not None
    factors = image.shape[0] / panel.area.height, image.shape[1] / panel.area.width
    top, left = round((frame.top - panel.area.top) * factors[0]), round((frame.left - panel.area.left) * factors[1])
    return top, left, round(frame.height * factors[0]), round(frame.width * factors[1])


def _edged(image: Pixels, edge: tuple[str, ...]) -> Pixels:
    """The image with a stripe of colours and a gap at its left end."""
    each = max(1, image.shape[1] // 48)
    colours = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in edge], np.uint8)
    stripe: NDArray[np.uint8] = repeated_to(colours[:, None], (image.shape[0], each))
    return np.concatenate([stripe, np.full_like(stripe, 255), image], axis=1)
