"""Embeddings of layers in two dimensions: which samples they contain, how many runs there are, and how faithful each is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlli_ray.analyses.ddr.measures import Measures
from xlli_ray.analyses.ddr.samples import own_contents
from xlli_ray.analyses.shared.thumbnails import png
from xlli_ray.errors import counted
from xlli_ray.stats.bootstrap import generator, key
from xlli_ray.stats.gram import gram
from xlli_ray.stats.reduce import NEIGHBOURS, chance, continuity, nearest, purity, trustworthiness, tsne, umap
from xlli_ray.stats.separability import separation, units_of_gram

POINTS = 4000
"""Maximum number of points; more contents are thinned evenly."""
FEWEST = 5
_NAN = float("nan")
_Row = dict[str, Any]


@dataclass(frozen=True)
class LayerEmbedding:
    """One layer in two dimensions, by one method, for one selection of samples."""

    model: str
    layer: str
    contents: str
    """`own` or `same`."""
    method: str
    places: np.ndarray
    """int64 (n,): indices into the samples."""
    runs: tuple[np.ndarray, ...]
    """float64 (n, 2) each; the first is drawn."""
    scores: np.ndarray
    """float64 (n, k): the scores that were embedded."""


def layer_embeddings(measures: Measures, methods: Sequence[str], seeds: int) -> Iterator[LayerEmbedding]:
    """For each layer whose scores were kept: own contents first, then the same contents, one embedding per method."""
    samples = measures.samples
    for (model, layer), (where, scores) in measures.scores.items():
        for contents in ("own", "same") if len(samples.labels) > 1 else ("same",):
            rng = generator(measures.seed, "own contents")  # the same selection for every model
            places = own_contents(samples, where, rng) if contents == "own" else where
            places = _thinned(measures, places)
            if len(places) < FEWEST:
                few = counted(len(places), "sample")
                measures.notes.append(f"{model} {layer}: {few} with {contents} contents: too few for an embedding.")
                continue
            mine = scores[np.searchsorted(where, places)]
            for method in methods:
                runs = tuple(_run(method, mine, measures.seed, number) for number in range(1 if method == "pca" else seeds))
                yield LayerEmbedding(model, layer, contents, method, places, runs, mine)


def _thinned(measures: Measures, places: np.ndarray) -> np.ndarray:
    if len(places) <= POINTS:
        return places
    contents = np.unique(measures.samples.content[places])
    step = -(-len(places) // POINTS)
    text = f"Embeddings show every {step}th content; CHI is computed from all samples."
    if text not in measures.notes:
        measures.notes.append(text)
    return places[np.isin(measures.samples.content[places], contents[::step])]


def _run(method: str, scores: np.ndarray, seed: int, number: int) -> np.ndarray:
    draw = key(seed, method, number) % 2**31
    if method == "pca":
        return scores[:, :2] if scores.shape[1] > 1 else np.hstack([scores, np.zeros_like(scores)])
    if method == "tsne":
        return tsne(scores, draw, start="random" if number else "pca")
    return umap(scores, draw)


def embedding_row(measures: Measures, embedding: LayerEmbedding) -> _Row:
    """A row of `ddr_embeddings`."""
    label = measures.samples.label[embedding.places]
    trust = [trustworthiness(embedding.scores, run) for run in embedding.runs]
    kept = [continuity(embedding.scores, run) for run in embedding.runs]
    pure = [purity(run, label) for run in embedding.runs]
    chi = [_chi(run, label) for run in embedding.runs]
    out: _Row = {**measures.place(embedding.model, embedding.layer), "contents": embedding.contents, "method": embedding.method,
                 "samples": len(embedding.places), "seeds": len(embedding.runs), "chance": chance(label),
                 "purity_scores": purity(embedding.scores, label), "chi_scores": _chi(embedding.scores, label)}  # fmt: skip
    for name, values in (("trustworthiness", trust), ("continuity", kept), ("purity", pure), ("chi", chi)):
        out[name] = float(np.mean(values))
        out[f"{name}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else _NAN
    return out


def _chi(points: np.ndarray, label: np.ndarray) -> float:
    if not 1 < len(np.unique(label)) < len(label):
        return _NAN
    return separation(units_of_gram(gram(points), label)).chi


def point_rows(measures: Measures, embedding: LayerEmbedding, pixels: Mapping[int, np.ndarray]) -> Iterator[_Row]:
    """Rows of `ddr_points`. `pixels`: row of the sample table → uint8 (h, w, 3)."""
    samples = measures.samples
    who, far = nearest(embedding.scores, NEIGHBOURS)
    files: dict[int, bytes] = {}
    about = {**measures.place(embedding.model, embedding.layer), "contents": embedding.contents, "method": embedding.method}
    for point, (place, (x, y)) in enumerate(zip(embedding.places.tolist(), embedding.runs[0].tolist())):
        row = int(samples.rows[place])
        if row in pixels and row not in files:
            files[row] = png(pixels[row])
        label = int(samples.label[place])
        yield {
            **about, "point": point, "x": x, "y": y, "label": samples.labels[label], "type": samples.types[label],
            "content": samples.contents[samples.content[place]], "image": samples.images[samples.image[place]],
            "sample_id": samples.ids[place], "row": row, "thumbnail": {"bytes": files[row]} if row in files else None,
            "neighbours": {"ids": who[point].tolist(), "distances": far[point].tolist()},
        }  # fmt: skip
