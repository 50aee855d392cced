"""DDR: what do a network's features encode? Separability of degradations, levels and contents, layer by layer.

Y. Liu, A. Liu, J. Gu, Z. Zhang, W. Wu, Y. Qiao, C. Dong, "Discovering Distinctive 'Semantics' in Super-Resolution Networks", arXiv
2108.00406: deep degradation representations, DDR (some call the method DDS, after the title). The features of a super-resolution network
cluster by the degradation of its input, those of a classifier by its content. For each layer the features of all samples are flattened, not
pooled; CHI, the Calinski–Harabasz index (`stats.separability`), measures how well the samples of different labels are separated.

There are two spaces: the first 50 scores of one PCA of all samples of the layer, for the main CHI, and all features. Values of different
spaces, of pooled and unpooled features, and of different numbers of samples cannot be compared. Classes are types of degradation, levels
within a type, contents (a patch with all its degraded copies), or images.

Intervals leave out each image once, with all its patches and copies (`stats.separability`), the same for every layer and network, so ratios
of two CHI are paired; t over images in logarithms, none below 3 images.
The null exchanges the degradations of each image at random: a CHI at or below it shows no separation. If every degradation has the same
contents, the differences between contents are within-class scatter, and CHI without effect is near 0; if each has its own contents, it is
near 1. An untrained network is the baseline: how well the inputs themselves are separated.

Embeddings (PCA, t-SNE, UMAP of the scores; `stats.reduce`) are shown in two versions. With the same contents under every degradation, the
copies of a patch are neighbours, and no embedding shows clusters however well they are separated; if no content occurs twice, clusters can
be seen. CHI of an embedding depends on its seed: its mean and standard deviation are in a table, but not among the main numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel

from xlli_ray.analyses.analysis import Result, Table, cells_of, whole
from xlli_ray.analyses.ddr.params import Params
from xlli_ray.analyses.ddr.tables import FULL, TABLES
from xlli_ray.analyses.shared.findings import Finding, Outcome
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.plots.palette import network_looks
from xlli_ray.store.records.manifest import Cell, SampleTable


class Ddr:
    """CHI by degradation, level and content for every layer, ratios, and embeddings. Writes `ddr`, `ddr_pairs`, `ddr_contrasts`,
    `ddr_embeddings`, `ddr_points`."""

    KIND: ClassVar[str] = "ddr"
    # 2: networks in colours of their own; 3: intervals; 4: depth curves drawn from a view; 5: where a higher level is a weaker degradation
    # (jpeg), ratios of levels also have the stronger one as numerator
    VERSION: ClassVar[int] = 5
    REFERENCE: ClassVar[str] = (
        "Liu et al., arXiv 2108.00406 (DDR); Caliński and Harabasz, Communications in Statistics 3, 1974 (CHI); "
        "van der Maaten and Hinton, JMLR 9, 2008 (t-SNE); McInnes et al., arXiv 1802.03426 (UMAP)"
    )
    TABLES: ClassVar[tuple[Table, ...]] = TABLES
    HEADLINE: ClassVar[tuple[str, tuple[str, ...]]] = (
        "ddr_contrasts", ("kind", "model", "other", "layer", "labels", "ratio", "low", "high"),
    )  # fmt: skip
    Params: ClassVar[type[BaseModel]] = Params

    @classmethod
    def inputs(cls, params: BaseModel, cells: Sequence[Cell]) -> list[str]:
        assert isinstance(params, Params)
        return [cell.id for cell in cells_of(cells, params.source, "features", asked_by="ddr.from")]

    @classmethod
    def check(cls, params: BaseModel, cells: Sequence[Cell], samples: SampleTable) -> list[str]:
        from xlli_ray.analyses.ddr.check import check

        assert isinstance(params, Params)
        return check(params, cells, samples)

    @classmethod
    def findings(cls, outcome: Outcome) -> Iterable[Finding]:
        """See `analyses.analysis.Telling`."""
        from xlli_ray.analyses.ddr.findings import findings

        return findings(outcome)

    @classmethod
    def run(cls, params: BaseModel, view: View, seed: int) -> Result:
        from xlli_ray.analyses.ddr import figures as draw
        from xlli_ray.analyses.ddr.contrasts import contrasts
        from xlli_ray.analyses.ddr.embeddings import embedding_row, layer_embeddings, point_rows
        from xlli_ray.analyses.ddr.measures import Measures
        from xlli_ray.analyses.ddr.scatter import scatter
        from xlli_ray.analyses.shared.thumbnails import inputs

        assert isinstance(params, Params)
        measures = Measures(view, params, seed)
        measures.measure(measures.embedded())
        made = list(layer_embeddings(measures, params.embed, params.seeds)) if params.embed else []
        shown = sorted({int(measures.samples.rows[place]) for embedding in made for place in embedding.places})
        pixels = inputs(view, shown) if params.thumbnails and shown else {}
        if params.thumbnails and len(pixels) < len(shown):
            measures.notes.append(f"{len(shown) - len(pixels)} inputs could not be read from the corpus again: they have no thumbnails.")
        separations, pairs, ratios = measures.separations(), measures.pair_rows(), contrasts(measures)
        embeddings = [embedding_row(measures, embedding) for embedding in made]
        rows = {
            "ddr": separations, "ddr_pairs": pairs, "ddr_contrasts": ratios, "ddr_embeddings": embeddings,
            "ddr_points": [row for embedding in made for row in point_rows(measures, embedding, pixels)],
        }  # fmt: skip
        flags, notes = measures.say()
        figures = [
            *draw.depth_curves(separations, measures.models, network_looks(view.study_models)),
            *draw.contrasts(ratios, measures.models),
            *draw.pairs(pairs, measures.models, measures.samples.labels, view.meaning),
            *scatter(made, embeddings, measures.samples, pixels),
        ]
        return Result(
            {table.name: whole(rows[table.name], table.columns) for table in TABLES}, figures, _values(separations), flags, notes
        )


def _values(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """CHI of the last layer of each model, by labelling, in the space of the scores."""
    out: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["space"] != FULL:
            out.setdefault(f"chi by {row['labels']}, last layer", {})[row["model"]] = row["chi"]  # the last layer remains
    return out
