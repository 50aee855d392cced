"""The figure of windows on which the maps of different methods agree least: input with the window, the maps, the causal effect map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from xlli_ray.analyses.analysis import figure
from xlli_ray.analyses.faithfulness.agreement import Maps
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.analyses.shared.thumbnails import inputs
from xlli_ray.plots.colour_scale import ColourScale
from xlli_ray.plots.image_panels import Area, Frame, ImagePanel, ImagePanels, Layer, PanelRow
from xlli_ray.plots.panel_values import image_layer, layer_of
from xlli_ray.store.tables.results import Figure

SIDE = 160
"""Pixels along a panel."""
SHARE = ColourScale(0.0, 1.0, "magma", power=0.5)


def examples(view: View, maps: Maps, places: Sequence[tuple[str, int]], notes: dict[tuple[str, int, str], float]) -> Iterator[Figure]:
    """`places`: (network, index of the window); `notes`: (network, index, method) → gain on deletion over nearest first."""
    trials = maps.trials
    scales = {model.id: model.scale for model in view.models}
    pictures = inputs(view, [int(trials.windows[i, 0]) for _, i in places], edge=SIDE) if places else {}
    rows = []
    for model, i in places:
        row, j, top, left, size = trials.windows[i].tolist()
        scale = scales[model]
        found = {method: some[j] for method, some in maps.of(model, row).items() if j < len(some) and some.ndim == 3}
        if not found:
            continue
        height, width = next(iter(found.values())).shape[-2:]
        area, frame = Area(0, 0, height, width), Frame(top / scale, left / scale, size / scale, size / scale)

        def panel(caption: str, layer: Layer, note: str = "", area: Area = area, frame: Frame = frame) -> ImagePanel:
            return ImagePanel(caption, (layer,), note, area, (frame,), side=SIDE, enlarged=True)

        panels = [panel("input and window", image_layer(pictures[row], side=SIDE))] if row in pictures else []
        for method, values in found.items():
            gain = notes.get((model, i, method), float("nan"))
            said = f"deletion gain {gain:+.3f}".replace("-", "−") if np.isfinite(gain) else ""
            panels.append(panel(method, layer_of(_in_unit(values), SHARE, side=SIDE), said))
        effects = maps.effects(model, row)
        if effects is not None and j < len(effects[0]) and np.isfinite(effects[0][j]).all() and effects[0][j].any():
            top_effect = float(np.abs(effects[0][j]).max())
            drawn = layer_of(effects[0][j], ColourScale(-top_effect, top_effect, "RdBu_r"), side=SIDE)
            panels.append(panel(maps.cem or "", drawn, f"±{top_effect:.2g} dB; red: helps"))
        rows.append(PanelRow(f"{model}, {trials.label[i]}, sample {trials.sample_id[i]}, window {j}", tuple(panels)))
    if rows:
        shown = ImagePanels("windows on which maps agree least", tuple(rows), SHARE, "share of the map's peak")
        caption = "The windows on which the maps of the methods agree least (mean Spearman's ρ over blocks), each of another image"
        yield figure("examples", shown, f"{caption} where there are enough. Framed: the window.")


def _in_unit(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Over its peak."""
    size = np.abs(np.asarray(values, np.float64))
    return size / size.max() if size.max() > 0 else size
