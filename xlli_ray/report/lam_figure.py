"""The picture that people expect of LAM: window, map, contribution area, signed map, output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from xlli_ray.notebook import LamResult


def lam_figure(found: LamResult) -> Any:
    """A matplotlib figure of one result, five panels in a row; the map on the input in grey, signed values on a symmetric scale."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    w, scale = found.result.window, found.output.shape[1] // found.input.shape[1]
    height, width = found.input.shape[1:]
    figure = Figure(figsize=(16, 16 / 5 * height / width + 0.75), layout="constrained")
    axes = figure.subplots(1, 5)
    extent = (0, width * scale, height * scale, 0)
    picture = found.output if found.target is None else found.target
    axes[0].imshow(_rgb(picture), extent=extent, cmap="gray")
    axes[0].set_title("target and window" if found.target is not None else "output and window", fontsize=10)
    grey = np.tensordot([0.299, 0.587, 0.114], found.input, axes=1)
    axes[1].imshow(grey, extent=extent, cmap="gray", vmin=-0.6, vmax=1.6)
    alpha = np.sqrt(np.nan_to_num(found.map)).clip(0, 1)
    axes[1].imshow(np.nan_to_num(found.map), extent=extent, cmap="Reds", vmin=0, vmax=1, alpha=alpha, interpolation="nearest")
    error = f", error ≈ {found.error_estimate:.1%}" if np.isfinite(found.error_estimate) else ""
    axes[1].set_title(f"map: DI {found.di:.2f}{error}", fontsize=10)
    axes[2].imshow(grey, extent=extent, cmap="gray", vmin=-0.6, vmax=1.6)
    axes[2].imshow(found.area, extent=extent, cmap="Reds", vmin=0, vmax=1, alpha=0.75 * found.area, interpolation="bilinear")
    axes[2].set_title("contribution area", fontsize=10)
    signed = np.nan_to_num(found.attribution.sum(0))
    most = float(np.quantile(np.abs(signed), 0.999)) or 1.0
    shown = axes[3].imshow(signed, extent=extent, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    axes[3].set_title("signed attribution", fontsize=10)
    figure.colorbar(shown, ax=axes[3], shrink=0.7, pad=0.02)
    axes[4].imshow(_rgb(found.output[:, w.top : w.top + w.size, w.left : w.left + w.size]), cmap="gray", interpolation="nearest")
    axes[4].set_title("output, the window", fontsize=10)
    for axis in axes[:4]:
        axis.add_patch(Rectangle((w.left, w.top), w.size, w.size, fill=False, ec="#d62728", lw=1.5))
    for axis in axes:
        axis.set_axis_off()
    figure.suptitle(f"{found.model}: what it uses for the window at row {w.top}, column {w.left}, size {w.size}", fontsize=11)
    return figure


def _rgb(planes: NDArray[np.floating]) -> NDArray[np.floating]:
    image = np.moveaxis(np.clip(planes, 0, 1), 0, 2)
    return image[..., 0] if image.shape[2] == 1 else image
