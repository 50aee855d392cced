"""The tables of `srga`: their columns and what these mean."""

from __future__ import annotations

from typing import Final

from xlli_ray.analyses.shared.replicates import ENDS, GROUP, OTHER, PAIRED
from xlli_ray.store.tables.results import Column, Table

ALL: Final = "all"
"""The family of all paired sets but the reference."""

_MODEL = Column("model", "string", "model id")
_ENDS = (
    Column("low", "float64", "lower end of its interval"),
    Column("high", "float64", "upper end of its interval"),
)

SETS: Final = Table(
    "srga",
    "One row per model and set: its generalized Gaussian, and its index against the reference set of the same model",
    (
        _MODEL,
        Column("label", "string", "the set, by its degradation"),
        Column("family", "string", "kinds of its degradation: `blur`, `blur+noise`, …; `reference` for the reference itself"),
        Column("level", "float64", "level of its degradation if it has one kind; else null"),
        Column("srga", "float64", "log₁₀(KL + 1e-5) + 5, 0…; lower: features more like the reference's. Null depending on `state`",
               better="lower"),
        *_ENDS,
        Column("floor", "float64", "paired sets: half the length of the interval; unpaired ones: what other contents of the "
                                   "reference's kind score without any difference, not exceeded in `level` of cases"),
        Column("psnr_y", "float64", "mean PSNR of the same samples; null without targets or a restore stage", unit="dB", better="higher"),
        Column("sigma", "float64", "standard deviation of the trimmed scores"),
        Column("alpha", "float64", "shape of their generalized Gaussian, 0.2…9.999: 2 Gaussian, 1 Laplacian, lower: heavier tails"),
        Column("ratio", "float64", "mean square over squared mean magnitude of the trimmed scores: determines alpha"),
        Column("kl", "float64", "KL(reference ‖ set)", unit="nats", better="lower"),
        Column("state", "string", "`reference`; `ok`; `unpaired`: contents other than the reference's, not ranked; `degenerate`: constant "
                                  "features; `refused`: see `reason`"),
        Column("reason", "string", "what is wrong with the set; empty if nothing is"),
        Column("dropped", "int64", "scores trimmed at 5 standard deviations, of n · k"),
        Column("clipped", "bool", "the ratio is outside the grid of shapes: alpha is its end, kl and srga are unreliable"),
        Column("under_floor", "bool", "the index does not exceed its floor"),
        Column("n", "int64", "samples: the same in every set of a model"),
        Column("k", "int64", "principal components"),
        Column("rank", "int64", "number of these with more variance than float32 rounding"),
        Column("struck", "int64", "contents removed from all sets of the model because they failed in one"),
        Column("images", "int64", "images that the samples are from"),
        Column("height", "int64", "height of the network's input", unit="pixels"),
        Column("width", "int64", "width of the network's input", unit="pixels"),
        Column("layer", "string", "layer whose features were read"),
    ),
)  # fmt: skip

FAMILIES: Final = Table(
    "srga_families",
    "One row per model and degradation family: the mean index over its paired sets, and the model's place among the models",
    (
        _MODEL,
        Column("family", "string", f"kinds of degradation, or `{ALL}`: every paired set but the reference"),
        Column("sets", "int64", "number of sets in the mean: those that every model has"),
        Column("srga", "float64", "mean index over them", better="lower"),
        *_ENDS,
        Column("first", "int64", "best rank compatible with the paired differences of the models; 1: lowest index", better="lower"),
        Column("last", "int64", "worst such rank; models whose ranks overlap are tied", better="lower"),
    ),
)

PAIRS: Final = Table(
    "srga_pairs",
    "One row per pair of models and set, or family: differences of the index on the same contents; empty with `by`",
    (
        Column("model", "string", "the first model"),
        Column("other", "string", "the second model"),
        Column("family", "string", f"kinds of degradation, or `{ALL}`"),
        Column("label", "string", "the set; null: mean over the family"),
        Column("difference", "float64", "index of `model` minus index of `other`; negative: `model` is closer to its reference",
               better="lower"),
        *_ENDS,
        Column("floor", "float64", "half the width of the interval: smaller differences are noise"),
        Column("apart", "bool", "the interval does not contain 0"),
    ),
)  # fmt: skip

SPECTRUM: Final = Table(
    "srga_spectrum",
    "One row per model, set and principal component",
    (
        _MODEL,
        Column("label", "string", "the set"),
        Column("component", "int64", "1…k, by falling variance"),
        Column("variance", "float64", "variance of the features along it: squared singular value / n"),
        Column("share", "float64", "share of the total variance of the features, over all n − 1 components"),
    ),
)

_FAMILY = Column("family", "string", f"kinds of degradation, or `{ALL}`")
_LABEL = Column("label", "string", "the set; null: mean over the family")

GROUPS: Final = Table(
    "srga_groups",
    "One row per group of networks and set, or family: mean over trainings of each network's index; empty without `by`",
    (GROUP, _FAMILY, _LABEL, Column("srga", "float64", "mean of the index over trainings", better="lower"), *ENDS),
)

GROUP_PAIRS: Final = Table(
    "srga_group_pairs",
    "One row per pair of groups and set, or family; empty without `by`",
    (GROUP, OTHER, _FAMILY, _LABEL, Column("difference", "float64", "index of `group` minus index of `other`", better="lower"), *ENDS,
     PAIRED),
)  # fmt: skip

TABLES: Final = (SETS, FAMILIES, PAIRS, SPECTRUM, GROUPS, GROUP_PAIRS)
