"""What `complexity_summary` writes: the tables and their columns, with meanings."""

from __future__ import annotations

from typing import Final

from xlli_ray.store.tables.results import Column, Table

IMAGE: Final = "image"
RESIDUAL: Final = "degradation"
FITS, LEARNS, UNDECIDED = "fits the degradation", "learns the image", "undecided"

MEASURES: Final = {
    "eff_rank": "effective rank", "k95": "k95", "id_twonn": "TwoNN dimension", "id_mle": "MLE dimension",
    "eff_rank_normalised": "effective rank, normalised", "k95_normalised": "k95, normalised",
    "id_twonn_normalised": "TwoNN dimension, normalised", "id_mle_normalised": "MLE dimension, normalised",
    "preq": "prequential, steps", "set_bpp": "LZMA, bits per pixel",
}  # fmt: skip
"""Names of the measures in tables → in figures."""

_MEASURE = Column(
    "measure", "string",
    "eff_rank, k95: of the PCA of 8 × 8 patches without their means; id_twonn, id_mle: intrinsic dimension of that cloud; _normalised: of "
    "patches of equal contrast; preq: area under a learning curve, in steps; set_bpp: LZMA over all patches, bits per pixel",
)  # fmt: skip
_SET = (
    Column("degradation", "string", "degradation label"),
    Column("set", "string", "which images: `all`, or the first N of a seed, as in N8-seed0"),
    Column("count", "int64", "images of the subset, as `corpus.count` of a training; null: all"),
    Column("seed", "int64", "seed of the training whose subset this is; null: all images"),
)
_ENDS = (
    Column("low", "float64", "lower end of its interval, t over images in logarithms (preq: over trainings); null below 3"),
    Column("high", "float64", "upper end of its interval"),
)
_HALF = Column("half", "float64", "the same of half of the points: a measure that differs depends on how many there are")

SETS = Table(
    "complexity_sets", "One row per degradation, set, side and measure: images and residuals at the same places, equally many patches",
    (*_SET, Column("side", "string", "image: the clean images; degradation: inputs without their targets"), _MEASURE,
     Column("value", "float64", "complexity; higher: more complex"), *_ENDS, _HALF,
     Column("images", "int64", "photographs that it is of"),
     Column("points", "int64", "patches, the same number on both sides; of preq: trainings"),
     Column("flat", "float64", "share of this side's patches left out as flat, 0…1")),
)  # fmt: skip
KAPPA = Table(
    "complexity_kappa", "One row per degradation, set and measure: κ = log(C of the degradation / C of the images)",
    (*_SET, _MEASURE, Column("kappa", "float64", "below 0: the degradation is the simpler one, and a network is expected to fit it"),
     Column("kappa_low", "float64", "lower end of its interval, t over photographs of both sides (preq: over trainings); null below 3"),
     Column("kappa_high", "float64", "upper end of its interval"),
     Column("verdict", "string", f"`{FITS}`: the interval is below 0; `{LEARNS}`: above 0; `{UNDECIDED}`: it holds 0, or there is none"),
     Column("n", "int64", "photographs behind the interval; of preq: trainings")),
)  # fmt: skip
FEATURES = Table(
    "complexity_features", "One row per layer, degradation and measure: complexity of the vectors over positions of a layer",
    (Column("model", "string", "model id"), Column("layer", "string", "layer"), Column("degradation", "string", "degradation label"),
     _MEASURE, Column("value", "float64", "of vectors standardised by channel, on at most 64 principal components"), *_ENDS, _HALF,
     Column("images", "int64", "photographs"), Column("points", "int64", "vectors, at most 4,096 of a layer and degradation")),
)  # fmt: skip
TABLES = (KAPPA, SETS, FEATURES)
