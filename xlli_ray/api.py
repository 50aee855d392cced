"""`xlli_ray.lam`: one network, one image, one window → arrays and a figure, without a study.

    import xlli_ray
    result = xlli_ray.lam("builtin:srresnet-gr-clean", "low_resolution.png", window=(64, 80, 16))
    result.di, result.map, result.figure("lam.png")     # others=[…]: several networks
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from xlli_ray.errors import XlliError

if TYPE_CHECKING:
    from xlli_ray.plots.image_panels import ImagePanels
    from xlli_ray.probes.lam.attribution import WindowResult
    from xlli_ray.probes.lam.objectives import Window


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
        return f"<LAM of {self.model}, {place}: DI {self.di:.2f}, estimated error {self.error_estimate:.1%}>"

    def _repr_html_(self) -> str:
        from xlli_ray.views.html import panels_html

        view = self.view()
        (row,) = view.rows
        return panels_html(replace(view, rows=(replace(row, label=repr(self).strip("<>")),)))

    def view(self, *, others: Sequence[LamResult] = ()) -> ImagePanels:
        """The output or target with the window, the map over the input, the contribution area, the signed map and the window alone, as data
        (`xlli_ray.plots.image_panels`).

        `others`: results of other networks for the same input and window: one row per network. Raises XlliError if their input or window
        differs.
        """
        from xlli_ray.views.lam import lam_panels

        return lam_panels([self, *others])

    def figure(self, path: str | os.PathLike[str] | None = None, *, others: Sequence[LamResult] = ()) -> Any:
        """The view as a matplotlib figure, saved if `path` is given. `others` and errors: as of `view`."""
        from xlli_ray.plots.panel_sheet import painted, save

        view = self.view(others=others)
        if path is not None:
            save(view, path)
        return painted(view)


def lam(
    model: Any,
    image: str | os.PathLike[str] | NDArray[Any],
    window: tuple[int, int, int] | None = None,
    *,
    target: str | os.PathLike[str] | NDArray[Any] | None = None,
    mode: Literal["accurate", "paper"] = "accurate",
    nodes: int | None = None,
    tolerance: float | None = None,
    gates: Literal["plain", "averaged"] = "plain",
    objective: Literal["gradient", "sum", "error"] = "gradient",
    path: str = "blur",
    **known: Any,
) -> LamResult:
    """Local attribution map of one window.

    `model`: checkpoint path, `builtin:NAME`, torch module (with `scale=`), or `Model`; `known`: fields of a recipe's model entry. `image`:
    the network's input, a file or (H, W, 3) uint8 or float in 0..1. `window`: (top, left, size) in output pixels; None: the most
    detailed one of 16. `nodes`: 20, or 12 with averaged gates. `target`: for objective `error` and path `pair`. `path`: blur,
    linear_black, linear_mean, linear_blurred, pair, or that of an installed package (entry points `xlli_ray.lam_paths`). Raises XlliError
    with what to do next.
    """
    import torch

    from xlli_ray.models.open_any_model import open_model
    from xlli_ray.probes.lam.area import contribution_area
    from xlli_ray.probes.lam.attribution import Rule, attribute
    from xlli_ray.probes.lam.objectives import Objective, Window
    from xlli_ray.probes.lam.path_choices import make_path
    from xlli_ray.probes.lam.probe import GATED_NODES, NODES
    from xlli_ray.probes.lam.receptive_field import proved_radius
    from xlli_ray.probes.lam.windows import enlarged, texture

    nodes = nodes or (GATED_NODES if gates == "averaged" else NODES)
    network = open_model(model, **known)
    planes = _planes(image)
    truth = None if target is None else _planes(target)
    if window is None:
        chosen = texture(enlarged(planes, network.scale) if truth is None else truth, 16, 1)
        if not chosen:
            raise XlliError(f"image of {planes.shape[2]}×{planes.shape[1]} pixels: its output is too small for a window of 16; give one")
        place = chosen[0]
    else:
        if len(window) != 3 or not all(isinstance(number, int | np.integer) for number in window):
            raise XlliError(f"window: expected three integers (top, left, size) in output pixels, got {window!r}")
        place = Window(*map(int, window))
    x = network.prepare(torch.from_numpy(planes)[None].to(network.device))
    wanted = None if truth is None else network.prepare(torch.from_numpy(truth)[None].to(network.device))[0]
    way, end = make_path(path, x[0], wanted)
    (result,) = attribute(
        network, x[0], [place], way, objective=Objective(objective), rule=Rule(mode, nodes, tolerance, gates=gates), end=end, target=wanted,
        radius=proved_radius(network),
    )  # fmt: skip
    with torch.no_grad():
        output = network.forward(x)[0].cpu().numpy()
    return LamResult(planes, output, truth, network.id, result, contribution_area(result.map))


def _planes(image: str | os.PathLike[str] | NDArray[Any]) -> NDArray[np.float32]:
    """A file or an array (H, W, 3) → (3, H, W) float32 in 0..1."""
    from xlli_ray.corpus.decode import decode

    if isinstance(image, str | os.PathLike):
        try:
            pixels = decode(Path(image).read_bytes()).pixels
        except OSError as error:
            raise XlliError(f"{image}: cannot be read ({error.strerror})") from error
    else:
        given = np.asarray(image)
        if given.ndim != 3 or given.shape[2] != 3:
            raise XlliError(f"image: expected an array (height, width, 3), got {given.shape}")
        pixels = given.astype(np.float32) / np.float32(255) if given.dtype == np.uint8 else given.astype(np.float32)
        if not np.isfinite(pixels).all():
            raise XlliError("image: contains NaN or infinity; its map would be undefined")
        if pixels.size and (pixels.max() > 2 or pixels.min() < -1):
            raise XlliError(
                f"image: values from {pixels.min():g} to {pixels.max():g}; expected 0..1, or uint8 (divide grey levels by 255)"
            )
    return np.ascontiguousarray(np.moveaxis(pixels, 2, 0), dtype=np.float32)
