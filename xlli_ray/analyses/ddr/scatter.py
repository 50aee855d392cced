"""The embeddings of `ddr`: a panel for each layer, method and selection of contents, with a few inputs beside their points."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xlli_ray.analyses.analysis import figure
from xlli_ray.analyses.ddr.embeddings import LayerEmbedding
from xlli_ray.analyses.ddr.samples import Samples
from xlli_ray.analyses.shared.thumbnails import png
from xlli_ray.plots.embedding import Cloud, Embedding, Group, Thumbnail
from xlli_ray.plots.view import Png
from xlli_ray.store.tables.results import Figure

ROWS = 6
"""Layers per figure; more layers make further figures."""
THUMBNAILS = 4
"""Most inputs drawn in a panel, one per degradation."""
_TITLES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
_Row = dict[str, Any]


def scatter(
    made: Sequence[LayerEmbedding], rows: Sequence[_Row], samples: Samples, pixels: Mapping[int, np.ndarray]
) -> Iterator[Figure]:
    """Own contents on the left, the same contents on the right; one line per layer. `rows`: of `ddr_embeddings`, one per embedding."""
    embeddings = {(item.model, item.layer, item.contents, item.method): (item, row) for item, row in zip(made, rows)}
    lines = list(dict.fromkeys((item.model, item.layer) for item in made))
    columns = list(dict.fromkeys((item.contents, item.method) for item in made))
    columns.sort(key=lambda column: column[0] != "own")
    groups = tuple(Group(label, colour) for label, colour in samples.meaning.shades(samples.labels).items())
    heads = tuple(f"{_TITLES[method]}, {contents} contents" for contents, method in columns)
    for number, start in enumerate(range(0, len(lines), ROWS)):
        some = lines[start : start + ROWS]
        panels: list[tuple[Cloud | None, ...]] = []
        for model, layer in some:
            line = [embeddings.get((model, layer, *column)) for column in columns]
            inputs = [pixels if contents == "own" or len(columns) == 1 else {} for contents, _ in columns]
            panels.append(tuple(None if item is None else _cloud(*item, samples, shown) for item, shown in zip(line, inputs)))
        names = tuple(f"{model}\n{layer}" for model, layer in some)
        yield figure(
            "embedding" if number == 0 else f"embedding_{number + 1}",
            Embedding(f"features in two dimensions {number + 1}", names, heads, groups, tuple(panels)),
            "Each point is a sample, its colour the degradation. Own contents: no content occurs twice, so nearby points are similar in "
            "degradation, or in content by chance. Same contents: copies of a patch lie together. Purity: share of nearest neighbours "
            "of the same degradation, mean over seeds; in brackets, by chance. Gaps and sizes mean nothing in t-SNE and UMAP.",
        )  # fmt: skip


def _cloud(embedding: LayerEmbedding, row: _Row, samples: Samples, pixels: Mapping[int, np.ndarray]) -> Cloud:
    """One panel. The two directions of PCA scores differ much in scale; the other methods have equal axes."""
    points, label = embedding.runs[0], samples.label[embedding.places]
    return Cloud(
        f"purity {row['purity']:.2f} ({row['chance']:.2f})", _digits(points[:, 0]), _digits(points[:, 1]), tuple(label.tolist()),
        tuple(int(samples.rows[place]) for place in embedding.places), _thumbnails(embedding, samples, pixels), embedding.method != "pca",
    )  # fmt: skip


def _thumbnails(embedding: LayerEmbedding, samples: Samples, pixels: Mapping[int, np.ndarray]) -> tuple[Thumbnail, ...]:
    """One input for each of a few degradations: the one nearest to the median of its degradation."""
    points, label = embedding.runs[0], samples.label[embedding.places]
    codes = [code for code in range(len(samples.labels)) if (label == code).any()]
    chosen = [codes[round(i * (len(codes) - 1) / max(1, min(THUMBNAILS, len(codes)) - 1))] for i in range(min(THUMBNAILS, len(codes)))]
    out = []
    for code in chosen:
        mine = np.flatnonzero(label == code)
        middle = np.median(points[mine], axis=0)
        near = mine[np.argsort(np.linalg.norm(points[mine] - middle, axis=1), kind="stable")]
        point = next((int(i) for i in near if int(samples.rows[embedding.places[i]]) in pixels), None)
        if point is not None:
            file = png(pixels[int(samples.rows[embedding.places[point]])])
            out.append(Thumbnail(point, Png(base64.b64encode(file).decode())))
    return tuple(out)


def _digits(values: np.ndarray) -> tuple[float, ...]:
    """Seven digits, more than a figure shows; the table of points has the exact numbers."""
    return tuple(float(f"{value:.7g}") for value in values.tolist())
