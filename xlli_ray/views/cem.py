"""How causal effect maps are shown, on the page and in notebooks: effects in dB, what was decided of each block, and how sure it is.

Red helps the window, blue harms it. Colours follow the sign and |effect| to the power 1/1.2, and end, as those of the authors, at 2.5 dB
for super-resolution, 1 for denoising and 2 otherwise, or at the strongest effect beside the window where that is less; the blocks of the
window itself are nearly always stronger, and would leave nothing to be seen of the others. A second image tells what a colour cannot: which
blocks are undecided, and which the window cannot depend on at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xlli_ray.errors import XlliError
from xlli_ray.plots.colour_scale import ColourScale
from xlli_ray.plots.image_panels import SIDE, ImagePanel, ImagePanels, PanelRow
from xlli_ray.plots.panel_values import image_layer, layer_of
from xlli_ray.plots.pixels import LUMA, Pixels, around, still, to_image
from xlli_ray.views.lam import DETAIL, FAINT, Place, Window
from xlli_ray.views.lam_clips import frame_name, shown_frames

BOUNDS = {"super-resolution": 2.5, "noise": 1.0, "other": 2.0}
"""Ends of the authors' scale, dB."""
LEAST = 0.01
"""The smallest one: below it is nothing but rounding."""
COLOURS = {1: (178, 24, 43), -1: (33, 102, 172), 2: (230, 159, 0), 0: (255, 255, 255)}
"""Of `decided`: helps, harms, undecided, neither."""
VEIL = 0.6
"""Opacity of a verdict over the image."""
DARK = 0.55
"""Of the image where the window cannot depend on it."""
LEGEND = "red helps, blue harms, orange undecided, white neither, dark image: out of reach"


class Effects(Protocol):
    """What is shown of one network: `api.CemResult`."""

    @property
    def model(self) -> str: ...
    @property
    def window(self) -> Window: ...
    @property
    def block(self) -> int:
        """Side, input pixels."""
    @property
    def input(self) -> NDArray[np.float32]:
        """([T,] 3, H, W) in 0..1."""
    @property
    def output(self) -> NDArray[np.float32]:
        """(C, sH, sW)."""
    @property
    def target(self) -> NDArray[np.float32]:
        """(3, sH, sW)."""
    @property
    def effect(self) -> NDArray[np.float64]:
        """([T,] rows, columns), dB."""
    @property
    def error(self) -> NDArray[np.float64]: ...
    @property
    def draws(self) -> NDArray[np.int64]: ...
    @property
    def decided(self) -> NDArray[np.int64]: ...
    @property
    def beside(self) -> NDArray[np.bool_]:
        """Blocks whose middle is outside the window."""
    @property
    def frame(self) -> int | None:
        """Of a clip, the explained frame."""
    @property
    def numbers(self) -> Mapping[str, Any]:
        """`psnr`, `helping`, `harming`, `undecided`, `mean_error`."""


def bound_of(scale: int, label: str) -> float:
    """The authors' end of the scale for a network of `scale`, and at scale 1 for inputs of that label."""
    return BOUNDS["super-resolution" if scale > 1 else "noise" if label.startswith("noise") else "other"]


def effect_scale(effects: Sequence[NDArray[np.floating]], beside: NDArray[np.bool_], most: float) -> ColourScale:
    """One scale for maps of one window: up to the strongest effect `beside` the window, at most `most`."""
    strongest = max((float(np.abs(np.nan_to_num(one[beside])).max(initial=0.0)) for one in effects), default=0.0)
    end = min(most, max(strongest, LEAST))
    return ColourScale(-end, end, "effects")


def in_pixels(blocks: NDArray[Any], side: int, height: int, width: int) -> NDArray[Any]:
    """Values of blocks (rows, columns) at each pixel of the input: the last blocks may be smaller."""
    return np.repeat(np.repeat(blocks, side, axis=0), side, axis=1)[:height, :width]


def verdict_image(grey: NDArray[np.floating], decided: NDArray[np.integer], draws: NDArray[np.integer]) -> Pixels:
    """uint8 (H, W, 3): the image `grey`, (H, W) in 0..255, brightened, each pixel in the colour of its block's verdict; where a
    block has no draws the image is dark. `decided`, `draws`: at each pixel."""
    base = FAINT.levels(grey).astype(np.float64)
    image = np.repeat(base[..., None], 3, axis=2)
    for verdict, colour in COLOURS.items():
        there = (decided == verdict) & (draws > 0)
        image[there] = (1 - VEIL) * image[there] + VEIL * np.array(colour, np.float64)
    image[draws == 0] = DARK * np.asarray(grey, np.float64)[draws == 0][:, None]
    return np.floor(image + 0.5).astype(np.uint8)


def effect_panels(
    place: Place, found: Mapping[str, NDArray[Any]], side: int, grey: NDArray[np.floating] | None, scale: ColourScale,
    numbers: Mapping[str, Any], *, name: str = "effects",
) -> list[ImagePanel]:  # fmt: skip
    """Effects, verdicts and errors of one window. `found`: `effect`, `error`, `draws`, `decided`, (rows, columns) each; `side`: of a block;
    `grey`: the input, (H, W) in 0..255, None: not available."""
    shaped = {key: in_pixels(values, side, place.height, place.width) for key, values in found.items()}
    tried = shaped["draws"] > 0
    error = np.where(tried, np.nan_to_num(shaped["error"]), 0.0)
    widest = ColourScale(0.0, max(float(error.max(initial=0.0)), 1e-6), "cividis")
    told = f"{numbers['helping']} help, {numbers['harming']} harm, {numbers['undecided']} undecided"
    blank = np.full((place.height, place.width), 128.0) if grey is None else grey
    verdict = verdict_image(blank, shaped["decided"], shaped["draws"])
    sure = f"0 to {widest.high:.3g} dB, mean {numbers['mean_error']:.2g}"
    return [
        place.map_panel(name, (layer_of(np.nan_to_num(shaped["effect"]), scale, side=SIDE),), bound_text(scale, numbers)),
        place.map_panel(told, (image_layer(verdict, side=SIDE),), LEGEND),
        place.map_panel("standard error", (layer_of(error, widest, side=SIDE),), sure),
    ]


def bound_text(scale: ColourScale, numbers: Mapping[str, Any]) -> str:
    """What the colours mean, and what they cut off."""
    strongest = numbers.get("strongest", np.nan)
    cut = f", cut: {strongest:+.2f} is the strongest beside the window" if np.isfinite(strongest) and strongest > scale.high * 1.001 else ""
    return f"±{scale.high:.2g} dB{cut}"


def check_comparable(results: Sequence[Effects]) -> None:
    """Raises XlliError if results differ in input, window, blocks or frame: side by side they would mislead."""
    first = results[0]
    for other in results[1:]:
        same = other.window == first.window and other.effect.shape == first.effect.shape
        same = same and other.block == first.block and other.frame == first.frame
        if not same or other.input.shape != first.input.shape or not np.array_equal(other.input, first.input):
            raise XlliError(
                f"{other.model}: input, window or blocks differ from {first.model}'s; give `xlli_ray.cem` the same image, window and block"
            )


def cem_panels(results: Sequence[Effects]) -> ImagePanels:
    """One row per network: target with the window, effects, verdicts, errors, the window in output and target; of clips, the effects of all
    frames instead of errors. Raises XlliError if the results differ in input, window or blocks: they would not be comparable."""
    check_comparable(results)
    first = results[0]
    w = first.window
    corruption = first.numbers.get("label", "")
    most = bound_of(first.output.shape[-1] // first.input.shape[-1], str(corruption))
    scale = effect_scale([one.effect for one in results], first.beside, most)
    rows = tuple(PanelRow(one.model if len(results) > 1 else "", tuple(_panels(one, scale))) for one in results)
    names = ", ".join(one.model for one in results)
    title = f"{names}: which blocks help the window at row {w.top}, column {w.left}, size {w.size}, and by how many dB"
    return ImagePanels(title, rows)


def _panels(result: Effects, scale: ColourScale) -> list[ImagePanel | None]:
    height, width = result.input.shape[-2:]
    w, frame = result.window, result.frame
    place = Place(w.top, w.left, w.size, result.output.shape[1] // height, height, width)
    image = result.input if frame is None else result.input[frame]
    found = {"effect": result.effect, "error": result.error, "draws": result.draws, "decided": result.decided}
    here = found if frame is None else {key: values[frame] for key, values in found.items()}
    grey = np.tensordot(LUMA, image, axes=1) * 255
    effects = effect_panels(place, here, result.block, grey, scale, result.numbers)
    whole: list[ImagePanel | None] = [place.whole_panel("target and window", image_layer(to_image(result.target), side=SIDE))]
    if frame is not None:
        frames = shown_frames(len(result.input), frame)
        moving = [
            effect_panels(place, {key: values[t] for key, values in found.items()}, result.block, None, scale, result.numbers,
                          name=f"effects, {frame_name(t, frame)}")[0]
            for t in frames
        ]  # fmt: skip
        return [*whole, *moving, effects[1]]
    return [*whole, *effects, _window(place, "output, the window", result.output), _window(place, "target, the window", result.target)]


def _window(place: Place, caption: str, planes: NDArray[np.float32]) -> ImagePanel:
    top, left, height, width = around(place.top, place.left, place.size, still(planes).shape[1:])
    return place.window_panel(caption, image_layer(to_image(planes[:, top : top + height, left : left + width]), side=DETAIL))
