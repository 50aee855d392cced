"""`xlli_ray.lam`: one network, one image, one window → arrays and a figure, without a study.

    import xlli_ray
    result = xlli_ray.lam("builtin:srresnet-gr-clean", "low_resolution.png", window=(64, 80, 16))
    result.di, result.map, result.figure("lam.png")     # others=[…]: several networks

Of a clip, a list of frames or an array (T, H, W, 3), the result has the map of every frame and which frames are used (`ClipLamResult`).
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
    from xlli_ray.probes.lam.attribution import WindowResult
    from xlli_ray.probes.lam.window import Window


@dataclass(frozen=True)
class LamResult:
    """A map with its input, output and parameters."""

    input: NDArray[np.float32]
    """(3, H, W) in 0..1: the input of the network."""
    output: NDArray[np.float32]
    """(C, sH, sW), not clamped."""
    target: NDArray[np.float32] | None
    model: str
    result: WindowResult
    area: NDArray[np.float64]
    """(H, W) in 0..1: the contribution area (`probes.lam.area`)."""

    @property
    def window(self) -> Window:
        """In output pixels."""
        return self.result.window

    @property
    def map(self) -> NDArray[np.float32]:
        """(H, W) in 0..1."""
        return self.result.map

    @property
    def attribution(self) -> NDArray[np.float32]:
        """(C, H, W), signed."""
        return self.result.attribution

    @property
    def di(self) -> float:
        """Diffusion index, 0..100; NaN for an undefined map."""
        from xlli_ray.probes.lam.diffusion_index import diffusion_index

        return diffusion_index(self.map) if not self.result.undefined else float("nan")

    @property
    def error_estimate(self) -> float:
        """Estimated relative error of the map."""
        return self.result.error_estimate

    def __repr__(self) -> str:
        w = self.window
        place = f"window top {w.top} left {w.left} size {w.size}"
        error = f", estimated error {self.error_estimate:.1%}" if np.isfinite(self.error_estimate) else ""
        return f"<LAM of {self.model}, {place}: DI {self.di:.2f}{error}>"

    def _repr_html_(self) -> str:
        from xlli_ray.views.html import panels_html

        panels = self.panels()
        (row,) = panels.rows
        return panels_html(replace(panels, rows=(replace(row, label=repr(self).strip("<>")),)))

    def view(self, *, others: Sequence[LamResult] = ()) -> Any:
        """The maps in the explorer, in a notebook (Jupyter or marimo): zoom, pixel values, overlay, comparison.

        `others`: as of `panels`. Raises XlliError if their input or window differs, or without the extra `notebook`.
        """
        from xlli_ray.registry import VIEWERS

        return VIEWERS.load("lam")([self, *others])

    def panels(self, *, others: Sequence[LamResult] = ()) -> ImagePanels:
        """The output or target with the window, the map over the input, the contribution area, the signed map and the window alone, as data
        (`xlli_ray.plots.image_panels`).

        `others`: results of other networks for the same input and window: one row per network. Raises XlliError if their input or window
        differs.
        """
        from xlli_ray.views.lam import lam_panels

        return lam_panels([self, *others])

    def figure(self, path: str | os.PathLike[str] | None = None, *, others: Sequence[LamResult] = ()) -> Any:
        """The panels as a matplotlib figure, saved if `path` is given. `others` and errors: as of `panels`."""
        from xlli_ray.plots.panel_sheet import painted, save

        panels = self.panels(others=others)
        if path is not None:
            save(panels, path)
        return painted(panels)


@dataclass(frozen=True, repr=False)
class ClipLamResult(LamResult):
    """A map of a clip, for a window of one frame of the output. `input` is (T, 3, H, W), `map` and `area` (T, H, W), `attribution`
    (T, C, H, W); `output` and `target` are those of the explained frame."""

    frame: int
    """The explained frame."""
    frame_share: NDArray[np.float64]
    """(T,): share of the attribution on each frame, sum 1."""
    centroid: NDArray[np.float64]
    """(T, 2): y, x in input pixels, of the strongest half of each frame's attribution."""
    trajectory: NDArray[np.float64] | None
    """(T, 2): where the window's middle is in each frame; None without flow."""
    numbers: Mapping[str, float]
    """Columns of table `lam` for clips: `centre_share`, `effective_frames`; with flow `tracking_error`, `motion_followed`, …"""

    def __repr__(self) -> str:
        shown = ("effective_frames", "tracking_error", "motion_followed")
        more = "".join(f", {name} {self.numbers[name]:.2f}" for name in shown if name in self.numbers)
        return f"{super().__repr__()[:-1]}, frame {self.frame} of {len(self.input)}{more}>"

    def panels(self, *, others: Sequence[LamResult] = ()) -> ImagePanels:
        """One row of frames for each network: the map over the input, the window and where its content is, the centroid. `others` and
        errors: as of `LamResult.panels`."""
        from xlli_ray.views.lam_clips import clip_view

        same = [other for other in others if isinstance(other, ClipLamResult)]
        if len(same) < len(others):
            raise XlliError("others: results of images cannot stand beside those of clips")
        return clip_view([self, *same])


def lam(
    model: Any,
    image: Image | Sequence[Image],
    window: tuple[int, int, int] | None = None,
    *,
    target: Image | Sequence[Image] | None = None,
    mode: Literal["accurate", "paper"] = "accurate",
    nodes: int | None = None,
    tolerance: float | None = None,
    gates: Literal["plain", "averaged"] = "plain",
    objective: Literal["gradient", "sum", "error"] = "gradient",
    path: str = "blur",
    method: str | Mapping[str, Any] = "path",
    frame: int | None = None,
    flow: tuple[NDArray[Any], NDArray[Any]] | None = None,
    **known: Any,
) -> LamResult:
    """Local attribution map of one window.

    `model`: checkpoint path, `builtin:NAME`, torch module (with `scale=`), or `Model`; `known`: fields of a recipe's model entry. `image`:
    the network's input, a file or (H, W, 3) uint8 or float in 0..1. `window`: (top, left, size) in output pixels; None: the most
    detailed one of 16. `nodes`: 20, or 12 with averaged gates. `target`: for objective `error` and path `pair`. `path`: blur,
    linear_black, linear_mean, linear_blurred, pair, or that of an installed package (entry points `xlli_ray.lam_paths`). `method`: path
    (gradients along it), gradient_input, smoothgrad, occlusion, or {name: arguments}, as in a recipe. Raises XlliError with what to do
    next.

    Clips: `image` is a list of frames or (T, H, W, 3), `target` likewise, `frame` the one of the output with the window (None: the centre
    one); the result is a `ClipLamResult`. `flow`: motion from each frame to the next and back, (T − 1, 2, H, W) each, x first, in input
    pixels, as the stage `flow` stores it. A network for images is run frame by frame.
    """
    import torch

    from xlli_ray.models.model import ImageModel, frame_by_frame
    from xlli_ray.models.open_any_model import open_model
    from xlli_ray.probes.lam.area import contribution_area
    from xlli_ray.probes.lam.attribution import Rule, output_frame
    from xlli_ray.probes.lam.clip_path import path_of
    from xlli_ray.probes.lam.method_choices import INTEGRAL, asked_in_vain, method_of
    from xlli_ray.probes.lam.objectives import Objective
    from xlli_ray.probes.lam.over_clips import clip_numbers
    from xlli_ray.probes.lam.passes import Explained
    from xlli_ray.probes.lam.path_choices import way_of
    from xlli_ray.probes.lam.probe import GATED_NODES, NODES
    from xlli_ray.probes.lam.receptive_field import proved_radius
    from xlli_ray.probes.lam.wide_passes import maps_of
    from xlli_ray.probes.lam.window import Window
    from xlli_ray.probes.lam.windows import enlarged, texture

    if problem := asked_in_vain(method, {"mode": mode, "nodes": nodes, "tolerance": tolerance, "gates": gates, "path": path}):
        raise XlliError(problem)
    chosen_method = method_of(method)
    nodes = nodes or (GATED_NODES if gates == "averaged" else NODES)
    network = open_model(model, **known)
    planes = planes_of(image)
    truth = None if target is None else planes_of(target)
    if planes.ndim == 4:
        network = frame_by_frame(network) if isinstance(network, ImageModel) else network
        frame = output_frame(network, len(planes), frame)
    elif frame is not None or flow is not None:
        raise XlliError("frame and flow are for clips: give a list of frames, or an array (T, H, W, 3)")
    if truth is not None and truth.ndim != planes.ndim:
        raise XlliError(f"target: expected {'one frame for each of the input' if planes.ndim == 4 else 'one image'}")
    seen, shown = (one if one is None or frame is None else one[frame] for one in (planes, truth))
    assert seen is not None
    if window is None:
        chosen = texture(enlarged(seen, network.scale) if shown is None else shown, 16, 1)
        if not chosen:
            raise XlliError(f"image of {seen.shape[2]}×{seen.shape[1]} pixels: its output is too small for a window of 16; give one")
        place = chosen[0]
    else:
        place = Window(*place_of(window))
    x = network.prepare(torch.from_numpy(planes)[None].to(network.device))
    wanted = None if truth is None else network.prepare(torch.from_numpy(truth)[None].to(network.device))[0]
    integral = method == INTEGRAL
    way, end = path_of(way_of(path), x[0], wanted) if integral else (chosen_method.path(x[0], "one image"), x[0])
    radius = proved_radius(network) if frame is None else proved_radius(network, len(planes), frame)
    task = Explained(end, [place], way, wanted if wanted is None or frame is None else wanted[frame])
    if integral:
        rule = Rule(mode, nodes, tolerance, gates=gates)
        (result,) = maps_of(network, task, objective=Objective(objective), rule=rule, radius=radius, frame=frame)
    else:
        (result,) = chosen_method.maps(network, task, objective=Objective(objective), radius=radius, frame=frame)
    with torch.no_grad():
        output = network.forward(x)[0].cpu().numpy()
    if frame is None:
        return LamResult(planes, output, truth, network.id, result, contribution_area(result.map))
    numbers, arrays = clip_numbers(result, result.map, frame, network.scale, _flows(flow, planes))
    area = np.stack([contribution_area(one) for one in result.map])
    return ClipLamResult(
        planes, output[frame] if output.ndim == 4 else output, shown, network.id, result, area, frame, arrays["frame_share"],
        arrays["centroid"], arrays.get("trajectory"), numbers,
    )  # fmt: skip


def _flows(
    flow: tuple[NDArray[Any], NDArray[Any]] | None, planes: NDArray[np.float32]
) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Flow to the next frame and back, of the shape that a clip (T, 3, H, W) has."""
    if flow is None:
        return None
    frames, _, height, width = planes.shape
    shapes = [np.shape(one) for one in flow]
    if shapes != [(frames - 1, 2, height, width)] * 2:
        raise XlliError(f"flow: expected two arrays {(frames - 1, 2, height, width)}, to the next frame and back; got {shapes}")
    after, before = (np.asarray(one) for one in flow)
    return after, before
