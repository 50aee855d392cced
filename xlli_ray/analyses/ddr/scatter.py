"""The pictures of `ddr` in two dimensions: a panel for each layer, method and choice of contents, a few inputs beside their points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xlli_ray.analyses.ddr.embeddings import Picture
from xlli_ray.analyses.ddr.samples import Samples
from xlli_ray.plots import INK, MUTED, RULE, WIDTH, canvas, family_colour, paler, svg_text
from xlli_ray.store.tables.results import Figure

ROWS = 6
"""Layers of one figure; more make further figures."""
THUMBNAILS = 4
"""Inputs drawn in a panel, at most; one a degradation."""
MARGIN = 0.14
"""Share of a panel's side, at each end, that is left to the inputs."""
_TITLES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
_Row = dict[str, Any]


def label_colours(samples: Samples) -> dict[str, str]:
    """Colour of each degradation: its family's; weaker levels of a family are paler."""
    out = {}
    for code, label in enumerate(samples.labels):
        family = samples.types[code]
        level = samples.meaning.level
        rank = sorted({level(samples.labels[other]) for other in range(len(samples.labels)) if samples.types[other] == family})
        weaker = 1 - (rank.index(level(label)) + 1) / len(rank)
        out[label] = paler(family_colour(family, samples.families, samples.meaning.colours), 0.7 * weaker)
    return out


def scatter(
    made: Sequence[Picture], rows: Sequence[_Row], samples: Samples, pixels: Mapping[int, np.ndarray]
) -> Iterator[Figure]:
    """Own contents on the left, the same contents on the right; one line a layer. `rows`: of `ddr_embeddings`, one for each picture."""
    found = {(item.model, item.layer, item.contents, item.method): (item, row) for item, row in zip(made, rows)}
    lines = list(dict.fromkeys((item.model, item.layer) for item in made))
    columns = list(dict.fromkeys((item.contents, item.method) for item in made))
    columns.sort(key=lambda column: column[0] != "own")
    colours = label_colours(samples)
    for number, start in enumerate(range(0, len(lines), ROWS)):
        some = lines[start : start + ROWS]
        side = min(2.6, (WIDTH - 0.5) / len(columns))
        with canvas(side * len(columns) + 0.5, (side + 0.22) * len(some) + 0.75) as figure:
            axes = figure.subplots(len(some), len(columns), squeeze=False)
            for line, (model, layer) in enumerate(some):
                for place, (contents, method) in enumerate(columns):
                    axis = axes[line, place]
                    if (model, layer, contents, method) not in found:
                        axis.set_visible(False)
                        continue
                    picture, row = found[model, layer, contents, method]
                    _panel(axis, picture, samples, colours, pixels if contents == "own" or len(columns) == 1 else {}, side)
                    head = f"{_TITLES[method]}, {contents} contents\n" if line == 0 else ""
                    axis.set_title(f"{head}purity {row['purity']:.2f} ({row['chance']:.2f})", fontsize=7.5, color=INK, pad=3)
                    if place == 0:
                        axis.set_ylabel(f"{model}\n{layer}", fontsize=7.5, color=INK)
            marks = [axes.flat[0].plot([], [], "o", color=colour, markersize=5, label=label)[0] for label, colour in colours.items()]
            figure.legend(handles=marks, loc="outside lower center", ncols=min(len(marks), 8), frameon=False, fontsize=8)
            svg = svg_text(figure, f"features in two dimensions {number + 1}")
        yield Figure(
            "embedding" if number == 0 else f"embedding_{number + 1}", svg,
            "Each point is a sample, its colour the degradation. Own contents: no content occurs twice, so what is together is alike in "
            "degradation, or in content by chance. Same contents: the copies of a patch lie together. Purity: share of nearest neighbours "
            "of the same degradation, mean over seeds; in brackets, without any order. Gaps and sizes mean nothing in t-SNE and UMAP.",
        )  # fmt: skip


def _panel(
    axis: Any, picture: Picture, samples: Samples, colours: Mapping[str, str], pixels: Mapping[int, np.ndarray], side: float
) -> None:
    points = picture.runs[0]
    label = samples.label[picture.places]
    small = float(np.clip(22 * side / np.sqrt(len(points)), 2.0, 5.0))
    # drawn in an order that belongs to no label, so that the last one does not hide the others
    order = np.argsort((np.arange(len(points)) * 0.618034) % 1)
    axis.scatter(points[order, 0], points[order, 1], s=small**2, c=[colours[samples.labels[code]] for code in label[order]],
                 alpha=0.85, linewidths=0.25, edgecolors="white", zorder=2)  # fmt: skip
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(False)
    for name in ("left", "right", "top", "bottom"):
        axis.spines[name].set_visible(True)
        axis.spines[name].set_color(RULE)
    low, high = points.min(axis=0), points.max(axis=0)
    # scores: two directions of very different length; the others have one unit. Inputs are drawn in a margin of their own.
    size = high - low if picture.method == "pca" else np.full(2, float((high - low).max()))
    reach = np.maximum(size, 1e-12) * (0.54 if not pixels else 0.54 / (1 - 2 * MARGIN))
    middle = (low + high) / 2
    axis.set_xlim(middle[0] - reach[0], middle[0] + reach[0])
    axis.set_ylim(middle[1] - reach[1], middle[1] + reach[1])
    axis.set_box_aspect(1)
    _thumbnails(axis, picture, samples, colours, pixels, side)


def _thumbnails(
    axis: Any, picture: Picture, samples: Samples, colours: Mapping[str, str], pixels: Mapping[int, np.ndarray], side: float
) -> None:
    """One input for each of a few degradations, in the corners, tied to its point: that nearest to the middle of its degradation."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    if not pixels:
        return
    points, label = picture.runs[0], samples.label[picture.places]
    codes = [code for code in range(len(samples.labels)) if (label == code).any()]
    chosen = [codes[round(i * (len(codes) - 1) / max(1, min(THUMBNAILS, len(codes)) - 1))] for i in range(min(THUMBNAILS, len(codes)))]
    corners = [(0.09, 0.91), (0.91, 0.91), (0.91, 0.09), (0.09, 0.09)]
    for code in chosen:
        mine = np.flatnonzero(label == code)
        middle = np.median(points[mine], axis=0)
        near = mine[np.argsort(np.linalg.norm(points[mine] - middle, axis=1), kind="stable")]
        point = next((int(i) for i in near if int(samples.rows[picture.places[i]]) in pixels), None)
        if point is None:
            continue
        image = pixels[int(samples.rows[picture.places[point]])]
        where = axis.transLimits.transform(points[point])
        corner = min(corners, key=lambda c: (c[0] - where[0]) ** 2 + (c[1] - where[1]) ** 2)
        corners.remove(corner)
        colour = colours[samples.labels[code]]
        box = AnnotationBbox(
            OffsetImage(image, zoom=0.145 * side * 72 / max(image.shape[:2]), interpolation="nearest"), points[point], xybox=corner,
            xycoords="data", boxcoords="axes fraction", pad=0.12, bboxprops={"edgecolor": colour, "linewidth": 1.2},
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.7},
        )  # fmt: skip
        box.set_zorder(3)
        axis.add_artist(box)
