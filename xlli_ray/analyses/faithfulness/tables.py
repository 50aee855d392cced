"""The tables of `faithfulness`: their columns and what these mean."""

from __future__ import annotations

from typing import Final

from xlli_ray.store.tables.results import Column, Table

ALL: Final = "all"
"""The label of all degradations together."""
MORE, NO_MORE, DELETION_ONLY, INSERTION_ONLY, OPEN = (
    "more than distance", "no more than distance", "more on deletion alone", "more on insertion alone", "no interval",
)  # fmt: skip
"""Verdicts on a map: whether the intervals of its gains over nearest first lie above 0 on both curves, on neither, or on one of them."""


def _ends(name: str, about: str = "") -> tuple[Column, Column]:
    return (
        Column(f"{name}_low", "float64", f"lower end of {about or 'its interval, t over images'}; null below 3 images"),
        Column(f"{name}_high", "float64", "upper end of the interval"),
    )


_WHAT = (
    Column("model", "string", "the network"),
    Column("method", "string", "the stage of the map"),
)
_LABEL = Column("label", "string", f"degradation, or `{ALL}`: all of them together")
_IMAGES = Column("images", "int64", "images over which the means are taken, the windows of each averaged first")
_WINDOWS = Column("windows", "int64", "windows with a value")

SUMMARY: Final = Table(
    "faithfulness",
    "One row per network, method and degradation label: means over images, and intervals over images",
    (
        *_WHAT, _LABEL, _IMAGES, _WINDOWS,
        Column("deletion_gain", "float64", "area under the deletion curve minus that of nearest first on the same windows",
               better="higher"),
        *_ends("deletion"),
        Column("insertion_gain", "float64", "area under the insertion curve of nearest first minus the map's", better="higher"),
        *_ends("insertion"),
        Column("verdict", "string", f"`{MORE}`: both intervals lie above 0; `{NO_MORE}`: neither does; else which of them does"),
        Column("flag", "bool", f"the verdict is `{NO_MORE}`"),
        Column("rho", "float64", "Spearman's ρ of the map, averaged over a block, and |effect| of the block in the causal effect map, over "
                                 "the blocks that were tried, mean over images; null without cem, and for cem itself", better="higher"),
        *_ends("rho"),
        Column("beyond", "float64", "the same beyond what the block's position relative to the window explains", better="higher"),
        *_ends("beyond"),
        Column("infidelity", "float64", "mean square of what the map claims of squares minus what happens, over that of what happens; 1: a "
                                        "map of zeros; null without infidelity", better="lower"),
        Column("infidelity_share", "float64", "the same of the map times its best factor, 0…1", better="lower"),
        *_ends("infidelity_share"),
        Column("noise_infidelity", "float64", "as `infidelity`, of noise", better="lower"),
        Column("completeness", "float64", "mean of |ΣA − change of the score| / |change|; null where nothing is promised", better="lower"),
        Column("sparseness", "float64", "Gini coefficient of the map, 0…1; 1 − DI / 100"),
        Column("deletion_auc", "float64", "area under the deletion curve", better="higher"),
        Column("insertion_auc", "float64", "area under the insertion curve", better="lower"),
    ),
)  # fmt: skip

GAINS: Final = Table(
    "faithfulness_gains",
    "One row per network, method, label and rival: how much better than the rival's order the map's is, on the same windows",
    (
        *_WHAT, _LABEL,
        Column("rival", "string", "nearest: nearest to the window first; random: mean of the random orders; control: the order of the map "
                                  "of randomised weights"),
        _IMAGES, _WINDOWS,
        Column("deletion", "float64", "area under the deletion curve minus the rival's", better="higher"),
        *_ends("deletion"),
        Column("insertion", "float64", "area under the insertion curve of the rival minus the map's", better="higher"),
        *_ends("insertion"),
    ),
)  # fmt: skip

PAIRS: Final = Table(
    "faithfulness_pairs",
    "One row per pair and measure: paired differences on the same windows, of two methods on a network, or of two networks for a method",
    (
        Column("compared", "string", "methods | networks"),
        Column("model", "string", "the network of the first map"),
        Column("other_model", "string", "the network of the second"),
        Column("method", "string", "the stage of the first map"),
        Column("other_method", "string", "the stage of the second"),
        _LABEL,
        Column("measure", "string", "column of `faithfulness`: deletion_gain, insertion_gain, rho, beyond, infidelity_share"),
        _IMAGES, _WINDOWS,
        Column("difference", "float64", "the first minus the second, mean over images"),
        Column("low", "float64", "lower end of the interval, t over images, not adjusted for the number of pairs; null below 3 images"),
        Column("high", "float64", "upper end of the interval"),
    ),
)  # fmt: skip

WEIGHTS: Final = Table(
    "faithfulness_weights",
    "One row per network, method and share of layers with drawn weights, from the output down: what is left of the map",
    (
        *_WHAT,
        Column("drawn", "float64", "share of the layers whose weights were drawn, 0…1; 1: the control randomised_weights"),
        _IMAGES, Column("maps", "int64", "maps compared"),
        Column("rho", "float64", "Spearman's ρ of all pixels with the network's own map, mean over images"),
        *_ends("rho"),
        Column("beyond", "float64", "the same beyond what the position relative to the window explains"),
        *_ends("beyond"),
        Column("ssim", "float64", "structural similarity of the maps in 0…1, mean over images; null below 11 pixels"),
        *_ends("ssim"),
    ),
)

CURVES: Final = Table(
    "faithfulness_curves",
    "Mean deletion and insertion curves: one row per network, order and share of the pixels",
    (
        Column("model", "string", "the network"),
        Column("order", "string", "the stage of the map, or nearest, or random"),
        Column("percent", "float64", "share of the pixels that have gone or come", unit="%"),
        _IMAGES,
        Column("deletion", "float64", "distance of the window, relative to that at the baseline, mean over images"),
        Column("insertion", "float64", "the same when pixels come back"),
    ),
)

WINDOWS: Final = Table(
    "faithfulness_windows",
    "One row per network, method and window",
    (
        *_WHAT,
        Column("sample_id", "string", "the sample"),
        Column("row", "int64", "its row in the sample table"),
        Column("window", "int64", "index of the window"),
        Column("deletion_gain", "float64", "over nearest first", better="higher"),
        Column("insertion_gain", "float64", "over nearest first", better="higher"),
        Column("rho", "float64", "with the causal effect map", better="higher"),
        Column("beyond", "float64", "the same beyond position", better="higher"),
        Column("infidelity_share", "float64", "see `faithfulness`", better="lower"),
        Column("methods_rho", "float64", "mean of Spearman's ρ with the maps of the other methods, over blocks"),
    ),
)
TABLES: Final = (SUMMARY, GAINS, PAIRS, WEIGHTS, CURVES, WINDOWS)
