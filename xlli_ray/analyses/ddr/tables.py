"""What `ddr` writes: the tables and their columns, with meanings."""

from __future__ import annotations

from typing import Final

from xlli_ray.store.tables.results import Column, Table

FULL: Final = "full"
"""The space of all features, as stored."""
LAST: Final = "(last)"
"""In place of a layer: the last one of each of two models."""

_WHERE = (
    Column("model", "string", "model id"),
    Column("layer", "string", "layer, in depth order (that of the recipe)"),
    Column("depth", "int64", "place among the layers of this model, from 0"),
)
_SPACE = Column("space", "string", "where CHI was computed: `pcaK`, the first K scores of one PCA of all samples; `full`, all features. "
                                   "Values of different spaces cannot be compared")  # fmt: skip
_ENDS = (
    Column("low", "float64", "lower end of its interval, t over images in logarithms; null below 3 images"),
    Column("high", "float64", "upper end of its interval"),
)

SEPARATION: Final = Table(
    "ddr",
    "One row per model, layer, labelling and space: how far the samples of one label stand apart from those of others",
    (
        *_WHERE,
        Column("labels", "string", "what the classes are: `type` of degradation, `level T` within type T, `content`, `image`"),
        _SPACE,
        Column("samples", "int64", "samples n; CHI grows with n − classes, so n belongs to the number"),
        Column("classes", "int64", "classes K"),
        Column("images", "int64", "images, each of which is left out once for the interval"),
        Column("chi", "float64", "Calinski–Harabasz index, (BD / (K − 1)) / (WD / (n − K)), 0…∞; higher: further apart. Null: WD is 0"),
        *_ENDS,
        Column("bd", "float64", "scatter between the classes, a sum of squares, not divided by its degrees of freedom"),
        Column("wd", "float64", "scatter within the classes, likewise"),
        Column("share", "float64", "BD / (BD + WD), 0…1: does not grow with n"),
        Column("null_chi", "float64", "mean CHI when labels mean nothing: renamed image by image (type, level), permuted within each "
                                      "degradation (content, image)"),
        Column("null_high", "float64", "its 95 % quantile"),
        Column("p", "float64", "share of the null at or above CHI, counting CHI itself"),
        Column("smallest", "int64", "samples of the smallest class; 1: a class without scatter of its own"),
    ),
)  # fmt: skip

PAIRS: Final = Table(
    "ddr_pairs",
    "One row per model, layer, space and pair of degradations: CHI of these two alone, in the basis of all samples",
    (
        *_WHERE,
        Column("label", "string", "the first degradation"),
        Column("other", "string", "the second degradation"),
        _SPACE,
        Column("samples", "int64", "samples of both"),
        Column("images", "int64", "images they come from"),
        Column("chi", "float64", "CHI of the two classes"),
        *_ENDS,
        Column("bd", "float64", "scatter between the two: n / 4 times the squared distance of their means when equal in size"),
        Column("wd", "float64", "scatter within the two"),
        Column("share", "float64", "BD / (BD + WD), 0…1"),
    ),
)

CONTRASTS: Final = Table(
    "ddr_contrasts",
    "Ratios of two CHI on the same images: what the paper says in signs",
    (
        Column("kind", "string", "`models` at a layer of one name, or each at its last; `depth` within a model, last third of the layers "
                                 "against the first; `labels` at one layer, type against content; `levels`, a stronger degradation "
                                 "against the next weaker one, each paired with clean"),
        Column("model", "string", "the first model, or the only one"),
        Column("other", "string", "the second model; null for the other kinds"),
        Column("layer", "string", f"layer; `{LAST}`: of each model its last one; null for `depth`"),
        Column("depth", "int64", "its place among the model's layers; null where it is none"),
        Column("labels", "string", "labelling of the CHI, or a pair of degradations"),
        Column("subject", "string", "what stands above the line"),
        Column("against", "string", "what stands below it"),
        _SPACE,
        Column("chi", "float64", "CHI of `subject`; of thirds the geometric mean over their layers"),
        Column("other_chi", "float64", "CHI of `against`"),
        Column("ratio", "float64", "chi / other_chi; 1: no difference"),
        *_ENDS,
        Column("above", "float64", "one-sided: how much of the t distribution about the logarithm of the ratio lies above that of 1"),
        Column("images", "int64", "images, each left out once on both sides"),
    ),
)  # fmt: skip

EMBEDDINGS: Final = Table(
    "ddr_embeddings",
    "One row per picture in two dimensions: how far it can be believed, and what it shows; means and standard deviations over seeds",
    (
        *_WHERE,
        Column("contents", "string", "`own`: each degradation has contents of its own; `same`: the same contents under every degradation, "
                                     "whose copies then are each other's neighbours"),
        Column("method", "string", "`pca`: the first two scores; `tsne`; `umap`"),
        Column("samples", "int64", "points"),
        Column("seeds", "int64", "runs; the first, which is drawn, starts from the scores (t-SNE), the others at random. PCA has one"),
        Column("trustworthiness", "float64", "0…1, of 15 neighbours in the picture against the scores; low: neighbours that are none",
               better="higher"),
        Column("trustworthiness_sd", "float64", "standard deviation over seeds"),
        Column("continuity", "float64", "0…1; low: neighbours torn apart", better="higher"),
        Column("continuity_sd", "float64", "standard deviation over seeds"),
        Column("purity", "float64", "share of points whose nearest neighbour in the picture has the same degradation"),
        Column("purity_sd", "float64", "standard deviation over seeds"),
        Column("purity_scores", "float64", "the same in the space of the scores, of which the picture is made"),
        Column("chance", "float64", "the purity that there would be without any order"),
        Column("chi", "float64", "CHI of the degradations in the picture: depends on method, seeds and n; compare nothing but its spread"),
        Column("chi_sd", "float64", "standard deviation over seeds"),
        Column("chi_scores", "float64", "CHI of the degradations of these samples in the space of the scores"),
    ),
)  # fmt: skip

POINTS: Final = Table(
    "ddr_points",
    "One row per point of each picture, as embedding-atlas reads it: --x x --y y --image thumbnail --neighbors neighbours",
    (
        *_WHERE,
        Column("contents", "string", "`own` or `same`, see ddr_embeddings"),
        Column("method", "string", "`pca`, `tsne`, `umap`"),
        Column("point", "int64", "number of the point within its picture, from 0"),
        Column("x", "float64", "first coordinate"),
        Column("y", "float64", "second coordinate"),
        Column("label", "string", "degradation"),
        Column("type", "string", "degradation without its level"),
        Column("content", "string", "what is seen: shared by all degraded copies"),
        Column("image", "string", "name of the photograph's file"),
        Column("sample_id", "string", "sample"),
        Column("row", "int64", "row of the sample table"),
        Column("thumbnail", "image", "PNG of the network's input, at most 64 px; null: its file cannot be read any more"),
        Column("neighbours", "neighbours", "the nearest points in the space of the scores: `ids` are numbers of points"),
    ),
)  # fmt: skip

TABLES: Final = (SEPARATION, PAIRS, CONTRASTS, EMBEDDINGS, POINTS)
