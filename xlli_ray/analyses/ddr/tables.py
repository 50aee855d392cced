"""The tables of `ddr`: their columns and what these mean."""

from __future__ import annotations

from typing import Final

from xlli_ray.store.tables.results import Column, Table

FULL: Final = "full"
"""The space of all stored features."""
LAST: Final = "(last)"
"""Instead of a layer name: the last layer of each of two models."""

_WHERE = (
    Column("model", "string", "model id"),
    Column("layer", "string", "layer, in depth order (that of the recipe)"),
    Column("depth", "int64", "index among the layers of this model, from 0"),
)
_SPACE = Column("space", "string", "where CHI was computed: `pcaK`, the first K scores of one PCA of all samples; `full`, all features. "
                                   "Values of different spaces cannot be compared")  # fmt: skip
_ENDS = (
    Column("low", "float64", "lower end of its interval, t over images in logarithms; null below 3 images"),
    Column("high", "float64", "upper end of its interval"),
)

SEPARATION: Final = Table(
    "ddr",
    "One row per model, layer, labelling and space: how well the samples of different labels are separated",
    (
        *_WHERE,
        Column("labels", "string", "what the classes are: `type` of degradation, `level T` within type T, `content`, `image`"),
        _SPACE,
        Column("samples", "int64", "samples n; CHI grows with n − classes, so n belongs to the number"),
        Column("classes", "int64", "classes K"),
        Column("images", "int64", "number of images; each is left out once for the interval"),
        Column("chi", "float64", "Calinski–Harabasz index, (BD / (K − 1)) / (WD / (n − K)), 0…∞; higher: further apart. Null: WD is 0"),
        *_ENDS,
        Column("bd", "float64", "scatter between the classes, a sum of squares, not divided by its degrees of freedom"),
        Column("wd", "float64", "scatter within the classes, likewise"),
        Column("share", "float64", "BD / (BD + WD), 0…1: does not grow with n"),
        Column("null_chi", "float64", "mean CHI with meaningless labels: exchanged image by image (type, level), permuted within each "
                                      "degradation (content, image)"),
        Column("null_high", "float64", "its 95 % quantile"),
        Column("p", "float64", "share of the null at or above CHI, counting CHI itself as one"),
        Column("smallest", "int64", "number of samples in the smallest class; 1: a class without within-class scatter"),
    ),
)  # fmt: skip

PAIRS: Final = Table(
    "ddr_pairs",
    "One row per model, layer, space and pair of degradations: CHI of these two alone, in the principal components of all samples",
    (
        *_WHERE,
        Column("label", "string", "the first degradation"),
        Column("other", "string", "the second degradation"),
        _SPACE,
        Column("samples", "int64", "number of samples of both"),
        Column("images", "int64", "number of images they come from"),
        Column("chi", "float64", "CHI of the two classes"),
        *_ENDS,
        Column("bd", "float64", "scatter between the two: n / 4 times the squared distance of their means if both have the same size"),
        Column("wd", "float64", "scatter within the two"),
        Column("share", "float64", "BD / (BD + WD), 0…1"),
    ),
)

CONTRASTS: Final = Table(
    "ddr_contrasts",
    "Ratios of two CHI on the same images: the comparisons that the paper makes qualitatively",
    (
        Column("kind", "string", "`models` at layers of one name, or each at its last; `depth` within a model, last third of the layers "
                                 "against the first; `labels` at one layer, type against content; `levels`, a stronger degradation "
                                 "against the next weaker one, each paired with clean"),
        Column("model", "string", "the first model, or the only one"),
        Column("other", "string", "the second model; null for the other kinds"),
        Column("layer", "string", f"layer; `{LAST}`: of each model its last one; null for `depth`"),
        Column("depth", "int64", "its index among the model's layers; null if there is none"),
        Column("labels", "string", "labelling of the CHI, or a pair of degradations"),
        Column("subject", "string", "numerator"),
        Column("against", "string", "denominator"),
        _SPACE,
        Column("chi", "float64", "CHI of `subject`; for thirds, the geometric mean over their layers"),
        Column("other_chi", "float64", "CHI of `against`"),
        Column("ratio", "float64", "chi / other_chi; 1: no difference"),
        *_ENDS,
        Column("above", "float64", "one-sided: share of the t distribution about the logarithm of the ratio that is above 0"),
        Column("images", "int64", "number of images; each is left out once, from both CHI"),
    ),
)  # fmt: skip

EMBEDDINGS: Final = Table(
    "ddr_embeddings",
    "One row per embedding in two dimensions: how faithful it is and what it shows; means and standard deviations over seeds",
    (
        *_WHERE,
        Column("contents", "string", "`own`: no content occurs under two degradations; `same`: the same contents under every degradation, "
                                     "whose copies are then neighbours"),
        Column("method", "string", "`pca`: the first two scores; `tsne`; `umap`"),
        Column("samples", "int64", "points"),
        Column("seeds", "int64", "number of runs; the first, which is drawn, starts from the scores (t-SNE), the others at random. PCA: 1"),
        Column("trustworthiness", "float64", "0…1, of 15 neighbours in the embedding against the scores; low: false neighbours",
               better="higher"),
        Column("trustworthiness_sd", "float64", "standard deviation over seeds"),
        Column("continuity", "float64", "0…1; low: neighbours were separated", better="higher"),
        Column("continuity_sd", "float64", "standard deviation over seeds"),
        Column("purity", "float64", "share of points whose nearest neighbour in the embedding has the same degradation"),
        Column("purity_sd", "float64", "standard deviation over seeds"),
        Column("purity_scores", "float64", "the same in the space of the embedded scores"),
        Column("chance", "float64", "expected purity of a random arrangement"),
        Column("chi", "float64", "CHI of the degradations in the embedding: depends on method, seeds and n; compare its spread only"),
        Column("chi_sd", "float64", "standard deviation over seeds"),
        Column("chi_scores", "float64", "CHI of the degradations of these samples in the space of the scores"),
    ),
)  # fmt: skip

POINTS: Final = Table(
    "ddr_points",
    "One row per point of each embedding, as read by embedding-atlas: --x x --y y --image thumbnail --neighbors neighbours",
    (
        *_WHERE,
        Column("contents", "string", "`own` or `same`, see ddr_embeddings"),
        Column("method", "string", "`pca`, `tsne`, `umap`"),
        Column("point", "int64", "index of the point within its embedding, from 0"),
        Column("x", "float64", "first coordinate"),
        Column("y", "float64", "second coordinate"),
        Column("label", "string", "degradation"),
        Column("type", "string", "degradation without its level"),
        Column("content", "string", "content id, shared by all degraded copies"),
        Column("image", "string", "file name of the photograph"),
        Column("sample_id", "string", "sample"),
        Column("row", "int64", "row of the sample table"),
        Column("thumbnail", "image", "PNG of the network's input, at most 64 px; null: its file can no longer be read"),
        Column("neighbours", "neighbours", "the nearest points in the space of the scores: `ids` are indices of points"),
    ),
)  # fmt: skip

TABLES: Final = (SEPARATION, PAIRS, CONTRASTS, EMBEDDINGS, POINTS)
