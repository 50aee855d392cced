"""`xlli_ray.cem`: one network, one image, one window → causal effects in dB, each with its error, without a study.

    import xlli_ray
    result = xlli_ray.cem("builtin:srresnet-gr-clean", "low_resolution.png", window=(64, 80, 32), target="original.png", block=16)
    result.effect, result.error, result.counts, result.figure("cem.png")     # others=[…]: several networks; view(): the explorer

With the `seed` and `sample` of a row of a study's sample table (`seed`, `sample_id`), its input and its `label`, the map is that of the
study.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from xlli_ray.api.given_images import Image, place_of, planes_of
from xlli_ray.errors import XlliError

if TYPE_CHECKING:
    from xlli_ray.plots.image_panels import ImagePanels
    from xlli_ray.probes.cem.effects import WindowEffects
    from xlli_ray.probes.lam.window import Window

SIZE = 32
"""Side of the window that is chosen if none is given, output pixels: the authors'."""


@dataclass(frozen=True)
class CemResult:
    """A causal effect map with its input, output and numbers. Arrays of blocks are (rows, columns), of a clip (T, rows, columns)."""

    input: NDArray[np.float32]
    """(3, H, W), of a clip (T, 3, H, W), in 0..1: the input of the network."""
    output: NDArray[np.float32]
    """(C, sH, sW), not clamped; of a clip, the explained frame."""
    target: NDArray[np.float32]
    """(3, sH, sW); of a clip, the explained frame."""
    model: str
    result: WindowEffects
    numbers: Mapping[str, Any]
    """The row of table `cem`: `helping`, `area`, `strongest`, `corruption`, …; and the input's `label`."""
    tolerance: float
    """dB: effects within ± this are none."""
    beside: NDArray[np.bool_]
    """Blocks whose middle is outside the window."""
    frame: int | None = None
    """Of a clip, the explained frame."""

    @property
    def window(self) -> Window:
        """In output pixels."""
        return self.result.window

    @property
    def block(self) -> int:
        """Side of a block, input pixels."""
        return int(self.numbers["block"])

    @property
    def psnr(self) -> float:
        """Of the window with the input as it is, dB; infinite: perfect, and there is no effect to measure."""
        return self.result.psnr

    @property
    def effect(self) -> NDArray[np.float64]:
        """dB of each block; positive: it helps. NaN everywhere if the window is perfect."""
        return self.result.effect

    @property
    def error(self) -> NDArray[np.float64]:
        """Standard error of `effect`, dB."""
        return self.result.error

    @property
    def draws(self) -> NDArray[np.int64]:
        """How often each block was replaced; 0: the window cannot depend on it, its effect is exactly 0."""
        return self.result.draws

    @property
    def decided(self) -> NDArray[np.int64]:
        """1 helps, −1 harms, 0 neither, by more than the tolerance; 2 undecided after all draws."""
        return self.result.decided

    @property
    def counts(self) -> dict[str, int]:
        """Blocks that are helping, harming, neutral, undecided, and among the neutral ones those that are out of reach."""
        names = ("helping", "harming", "neutral", "undecided")
        return {**{name: int(self.numbers[name]) for name in names}, "out of reach": int((self.draws == 0).sum())}

    @property
    def range(self) -> float:
        """Input pixels from the window to the middle of the farthest helping or harming block; 0 without any."""
        return float(self.numbers["range"])

    def __repr__(self) -> str:
        w = self.window
        place = f"window top {w.top} left {w.left} size {w.size}"
        if self.numbers["undefined"]:
            return f"<CEM of {self.model}, {place}: the window is perfect, there is no effect to measure>"
        told = ", ".join(f"{number} {name}" for name, number in self.counts.items())
        ends = f"{self.numbers['most_harmful']:+.2f}…{self.numbers['strongest']:+.2f} dB beside the window"
        return f"<CEM of {self.model}, {place}: {told}; {ends}, standard error {self.numbers['mean_error']:.3f} dB>"

    def _repr_html_(self) -> str:
        from xlli_ray.views.html import panels_html

        panels = self.panels()
        return panels_html(replace(panels, rows=(replace(panels.rows[0], label=repr(self).strip("<>")), *panels.rows[1:])))

    def view(self, *, others: Sequence[CemResult] = ()) -> Any:
        """The effects in the explorer, in a notebook (Jupyter or marimo): zoom, effect ± standard error, draws and verdict of each block.

        `others`: as of `panels`. Raises XlliError if their input, window or blocks differ, or without the extra `notebook`.
        """
        from xlli_ray.registry import VIEWERS

        return VIEWERS.load("cem")([self, *others])

    def panels(self, *, others: Sequence[CemResult] = ()) -> ImagePanels:
        """Target with the window, effects, verdicts over the input, errors, the window alone, as data (`xlli_ray.plots.image_panels`).

        `others`: results of other networks for the same input and window: one row per network, one scale for all. Raises XlliError if
        their input, window or blocks differ.
        """
        from xlli_ray.views.cem import cem_panels

        return cem_panels([self, *others])

    def figure(self, path: str | os.PathLike[str] | None = None, *, others: Sequence[CemResult] = ()) -> Any:
        """The panels as a matplotlib figure, saved if `path` is given. `others` and errors: as of `panels`."""
        from xlli_ray.plots.panel_sheet import painted, save

        panels = self.panels(others=others)
        if path is not None:
            save(panels, path)
        return painted(panels)


def cem(
    model: Any,
    image: Image | Sequence[Image],
    window: tuple[int, int, int] | None = None,
    *,
    target: Image | Sequence[Image],
    block: int = 8,
    tolerance: float = 0.01,
    draws: Mapping[str, Any] | None = None,
    pool: str | Sequence[str] = "photographs",
    pool_size: int = 10_000,
    rounded: bool = True,
    crop: Literal["auto", "never"] = "auto",
    frame: int | None = None,
    label: str = "given",
    seed: int = 0,
    sample: str = "",
    **known: Any,
) -> CemResult:
    """Causal effect map of one window: what happens to its PSNR if a block of the input is replaced by other natural content.

    `model`, `image`, `window`, `frame`, `known`: as of `xlli_ray.lam`; without a window, the most detailed one of 32. `target`: what the
    output should be, `scale` times the input's size. `block`: side in output pixels. `draws`, `pool`, `pool_size`, `tolerance`, `rounded`,
    `crop`: fields of the stage `cem` (docs/recipes.md): `draws={"first": 4, "most": 256}`, `pool=["photos/*.png"]`, relative to the
    current folder. `label`: how the input is degraded, as in the column `label` (`clean`, `blur2`, `noise20`), so that patches are, too;
    `given`: at scale 1 the difference from the target stays while the content below it changes, else patches are clean. `seed`, `sample`:
    key of the draws; columns `seed` and `sample_id` of a study's sample give the study's map.

    Raises XlliError with what to do next.
    """
    import torch
    from pydantic import ValidationError

    from xlli_ray.models.model import ImageModel, frame_by_frame
    from xlli_ray.models.open_any_model import open_model
    from xlli_ray.probes.cem.columns import distances, map_row
    from xlli_ray.probes.cem.params import Params
    from xlli_ray.probes.cem.sample_map import sample_key, sample_maps
    from xlli_ray.probes.lam.attribution import output_frame
    from xlli_ray.probes.lam.window import Window
    from xlli_ray.probes.lam.windows import texture

    asked = {
        "block": block, "tolerance": tolerance, "draws": dict(draws or {}), "pool": pool if isinstance(pool, str) else list(pool),
        "pool_size": pool_size, "rounded": rounded, "crop": crop,
    }  # fmt: skip
    try:
        params = Params(**Params.inlined(asked, os.path.abspath))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise XlliError(f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}") from error
    network = open_model(model, **known)
    if network.output != "image":
        raise XlliError(f"{network.id} returns no image (`output: {network.output}`): an effect is a change of the PSNR of its output")
    planes, truth = planes_of(image), planes_of(target)
    if planes.ndim == 4:
        network = frame_by_frame(network) if isinstance(network, ImageModel) else network
        frame = output_frame(network, len(planes), frame)
    elif frame is not None:
        raise XlliError("frame is for clips: give a list of frames, or an array (T, H, W, 3)")
    if truth.shape != (expected := (*planes.shape[:-2], *(network.scale * n for n in planes.shape[-2:]))):
        wanted, given = (f"{one[-1]}×{one[-2]} pixels" + f", {one[0]} frames" * (len(one) == 4) for one in (expected, truth.shape))
        raise XlliError(f"target: expected {wanted}, the network's scale ({network.scale}) times the input; got {given}")
    shown = truth if frame is None else truth[frame]
    if window is None:
        chosen = texture(shown, SIZE, 1)
        if not chosen:
            raise XlliError(f"an output of {shown.shape[2]}×{shown.shape[1]} pixels is too small for a window of {SIZE}; give one")
        place = chosen[0]
    else:
        place = Window(*place_of(window))
    x = network.prepare(torch.from_numpy(planes)[None].to(network.device))
    how, (found,) = sample_maps(network, x[0], truth, [place], params, label=label, key=sample_key(seed, sample), frame=frame)
    with torch.no_grad():
        output = network.forward(x)[0].cpu().numpy()
    side = max(1, round(block / network.scale))
    row = {**map_row(found, index=0, side=side, scale=network.scale, corruption=how), "label": label}
    seen = output if frame is None or output.ndim == 3 else output[frame]
    beside = distances(place, side, network.scale, found.effect.shape) > 0
    return CemResult(planes, seen, shown, network.id, found, row, tolerance, beside, frame)
