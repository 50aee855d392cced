"""The tables of `lam_summary`: their columns and what these mean."""

from __future__ import annotations

from typing import Final

from xlli_ray.analyses.shared.replicates import ENDS, GROUP, OTHER, PAIRED
from xlli_ray.store.tables.results import Column, Table

ALL: Final = "all"
"""The label of all degradations together."""

_ENDS = (
    Column("low", "float64", "lower end of the interval, t over images; null below 3 images"),
    Column("high", "float64", "upper end of the interval"),
)

SUMMARY: Final = Table(
    "lam_summary",
    "One row per model, degradation label and input size: means over images with equal weights, and intervals over images",
    (
        Column("model", "string", "model id"),
        Column("label", "string", f"degradation, or `{ALL}`: all of them together"),
        Column("height", "int64", "height of the network's input; null: all sizes together", unit="pixels"),
        Column("width", "int64", "width of the network's input, likewise", unit="pixels"),
        Column("images", "int64", "images with at least one defined map, over which the means are taken"),
        Column("windows", "int64", "defined maps"),
        Column("di", "float64", "diffusion index, 0…100, mean over images; higher: more pixels used. Comparable at equal input size only"),
        Column("di_low", "float64", "lower end of its interval, skewness-corrected t over images; null below 3 images"),
        Column("di_high", "float64", "upper end of its interval"),
        Column("extent", "float64", "DI / 100 × height × width of the input: a border of zeros does not change it", unit="pixels"),
        Column("extent_low", "float64", "lower end of its interval", unit="pixels"),
        Column("extent_high", "float64", "upper end of its interval", unit="pixels"),
        Column("gini", "float64", "Gini coefficient of the map, 0…1, mean over images; DI = 100 (1 − gini)"),
        Column("area", "float64", "share of pixels with 95 % of the map, 0…1, mean over images"),
        Column("psnr_y", "float64", "PSNR of the same samples, mean over images; null without a restore stage", unit="dB", better="higher"),
        Column("undefined", "int64", "maps that are all zero or not finite: no DI, not in any mean"),
        Column("nonfinite", "int64", "maps whose gradients contained NaN or infinity"),
        Column("inexact", "int64", "maps whose error estimate is above `error_limit`"),
        Column("error_estimate", "float64", "median error estimate of the maps, relative", better="lower"),
        Column("completeness", "float64", "median of |relative completeness residual|", better="lower"),
    ),
)

PAIRS: Final = Table(
    "lam_pairs",
    "One row per pair of models and label: paired differences on the same windows, at equal input size; empty with `by`",
    (
        Column("model", "string", "the first model"),
        Column("other", "string", "the second model"),
        Column("label", "string", f"degradation, or `{ALL}`"),
        Column("images", "int64", "images with windows for which both models have a map"),
        Column("windows", "int64", "windows for which both models have a map"),
        Column("difference", "float64", "DI of `model` minus DI of `other`, mean over images of the mean over windows"),
        *_ENDS,
        Column("ratio", "float64", "geometric mean of DI / DI over images: independent of input size"),
        Column("ratio_low", "float64", "lower end of its interval"),
        Column("ratio_high", "float64", "upper end of its interval"),
        Column("share", "float64", "share of images on which `model` has the higher DI; ties count half"),
    ),
)

PSNR: Final = Table(
    "lam_psnr",
    "DI against PSNR: Spearman's ρ over models",
    (
        Column("scope", "string", "`within images`: ρ over the models on each sample, then the mean over images; "
                                  "`across models`: ρ of the models' means"),
        Column("label", "string", "degradation"),
        Column("models", "int64", "models compared: those with DI and PSNR; undefined below 3"),
        Column("images", "int64", "images on which all of them have both values"),
        Column("rho", "float64", "−1…1; null where undefined"),
        Column("low", "float64", "lower end of its interval over images, for these models"),
        Column("high", "float64", "upper end of the interval; for generalization to other models, see `p`"),
        Column("p", "float64", "two-sided permutation p over models (`across models` only)"),
    ),
)  # fmt: skip

CONTROLS: Final = Table(
    "lam_controls",
    "One row per model and control: similarity of the maps and their control maps",
    (
        Column("model", "string", "model id"),
        Column("control", "string", "`randomised_weights` or `shifted_window`"),
        Column("maps", "int64", "pairs of maps compared"),
        Column("images", "int64", "images they come from"),
        Column("rho", "float64", "median of Spearman's ρ over all pixels"),
        Column("beyond", "float64", "median of ρ beyond what the position relative to the window explains"),
        Column("beyond_low", "float64", "5 % quantile of it"),
        Column("beyond_high", "float64", "95 % quantile of it"),
        Column("follows", "float64", "median share of the window's shift that the map's centre moved (shifted_window)", better="higher"),
        Column("alike", "int64", "maps that fail: see `fails` in lam_control_maps"),
        Column("flag", "bool", "true: more than half of the maps fail"),
    ),
)

CONTROL_MAPS: Final = Table(
    "lam_control_maps",
    "One row per map with a control",
    (
        Column("model", "string", "model id"),
        Column("control", "string", "`randomised_weights` or `shifted_window`"),
        Column("sample_id", "string", "sample"),
        Column("row", "int64", "row of the sample table"),
        Column("window", "int64", "index of the window"),
        Column("rho", "float64", "Spearman's ρ of both maps over all pixels, −1…1"),
        Column("beyond", "float64", "ρ of ranks minus the mean rank at the same position relative to the window, −1…1"),
        Column("follows", "float64", "1: the map's centre moved with the window, 0: it did not move (shifted_window)", better="higher"),
        Column("fails", "bool", "the map survives randomised weights, or does not follow its window"),
    ),
)

_LABEL = Column("label", "string", f"degradation, or `{ALL}`")
_IMAGES = Column("images", "int64", "images with windows for which every network has a DI")

GROUPS: Final = Table(
    "lam_groups",
    "One row per group of networks and label: mean over trainings of each network's DI; empty without `by`",
    (GROUP, _LABEL, Column("di", "float64", "diffusion index, 0…100, on the same windows for all"), *ENDS, _IMAGES),
)

GROUP_PAIRS: Final = Table(
    "lam_group_pairs",
    "One row per pair of groups and label; empty without `by`",
    (GROUP, OTHER, _LABEL, Column("difference", "float64", "DI of `group` minus DI of `other`"), *ENDS, PAIRED, _IMAGES),
)

FRAMES: Final = Table(
    "lam_frames",
    "One row per model, label and frame of clips: its share of the attribution; empty for images",
    (
        Column("model", "string", "model id"),
        Column("label", "string", f"degradation, or `{ALL}`"),
        Column("frame", "int64", "frames from the explained one: 0, the one with the window; negative: earlier"),
        Column("images", "int64", "clips with such a frame"),
        Column("windows", "int64", "maps"),
        Column("share", "float64", "share of the attribution on that frame, mean over clips, 0…1"),
        Column("share_low", "float64", "lower end of its interval"),
        Column("share_high", "float64", "upper end of its interval"),
    ),
)

TABLES: Final = (SUMMARY, PAIRS, PSNR, CONTROLS, CONTROL_MAPS, GROUPS, GROUP_PAIRS, FRAMES)
