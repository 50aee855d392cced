"""What `derain_summary` writes: the tables and their columns, with meanings."""

from __future__ import annotations

from typing import Final

from xlli_ray.analyses.shared.replicates import GROUP, OTHER
from xlli_ray.store.tables.results import Column, Table

_MEASURE = Column("measure", "string", "of complexity: k95, eff_rank, preq, …; empty where the rows of κ do not say")
_LABEL = Column("label", "string", "degradation")
_UNSEEN = Column("unseen", "string", "degradation that the networks were not trained on")
_TRAININGS = Column("trainings", "int64", "trainings in the group")
_BACKGROUNDS = Column("backgrounds", "int64", "different clean images: one each, however many files, patches or rains it has")
_OVER = Column("over", "string", "what the intervals speak of: trainings and photographs, or photographs alone, for these trainings")
_REASON = Column("reason", "string", "why there is no interval, empty where there is one")


def _ends(name: str, unit: str = "") -> tuple[Column, Column]:
    low = Column(f"{name}_low", "float64", "lower end of its interval", unit=unit)
    return low, Column(f"{name}_high", "float64", "upper end of its interval", unit=unit)


_LEVELS: Final = "grey levels"

SUMMARY: Final = Table(
    "derain_summary",
    "One row per group of networks and degradation: means over backgrounds and trainings. E_R is to be read beside ρ, D⊥ and E_B",
    (
        GROUP,
        _LABEL,
        Column("rain", "string", "`seen` in training, `unseen`, or empty where it is not known"),
        _TRAININGS,
        _BACKGROUNDS,
        Column("coverage", "float64", "share of the pixels that are rain, 0…1"),
        Column("rho", "float64", "ρ: share of the rain that was removed"),
        *_ends("rho"),
        Column("d_perp", "float64", "D⊥: change in the rain that ρ does not explain", unit=_LEVELS, better="lower"),
        *_ends("d_perp", _LEVELS),
        Column("e_background", "float64", "E_B: error beside the rain", unit=_LEVELS, better="lower"),
        *_ends("e_background", _LEVELS),
        Column("e_rain_input", "float64", "E_R: change in the rain", unit=_LEVELS),
        Column("e_rain_perfect", "float64", "E_R*: change that a perfect network makes", unit=_LEVELS),
        Column("e_rain_left", "float64", "E_RB: error in the rain", unit=_LEVELS, better="lower"),
        Column("mse_rain_gt", "float64", "mean square error in the rain", unit="grey levels²", better="lower"),
        Column("mse_background_gt", "float64", "mean square error beside the rain", unit="grey levels²", better="lower"),
        Column("psnr_y", "float64", "PSNR on luma, whole image", unit="dB", better="higher"),
        *_ends("psnr_y", "dB"),
        Column("psnr_y_rain", "float64", "PSNR on luma in the rain", unit="dB", better="higher"),
        Column("psnr_y_background", "float64", "PSNR on luma beside it", unit="dB", better="higher"),
        Column("corrupted", "float64", "share of the samples further from the clean image in the rain than the input, 0…1", better="lower"),
        Column("inflated", "float64", "share of the samples of which more than half of E_R² is D⊥², 0…1", better="lower"),
        _OVER,
        _REASON,
    ),
)  # fmt: skip

GAPS: Final = Table(
    "derain_gaps",
    "One row per group of networks and unseen degradation: what is lost against the rain that the group was trained on",
    (
        GROUP,
        Column("seen", "string", "degradations that the group was trained on"),
        _UNSEEN,
        Column("rho_seen", "float64", "ρ on seen rain"),
        Column("rho_unseen", "float64", "ρ on unseen rain"),
        Column("gap", "float64", "Δρ = ρ seen − ρ unseen; above 0: the network fitted the rain", better="lower"),
        *_ends("gap"),
        Column("ratio", "float64", "ρ unseen / ρ seen; 1: all of it carries over. Null where ρ seen is not above 0", better="higher"),
        *_ends("ratio"),
        Column("d_perp_unseen", "float64", "D⊥ on unseen rain", unit=_LEVELS, better="lower"),
        Column("e_background_unseen", "float64", "E_B on unseen rain", unit=_LEVELS, better="lower"),
        Column("psnr_y_change", "float64", "PSNR-Y unseen − seen", unit="dB", better="higher"),
        Column("verdict", "string", "`not learned`: ρ on seen rain is below `learned`; `fits the rain`: the gap's interval lies above "
                                    "`fits`; `generalizes`: below it; else `undecided`"),
        Column("alternative", "string", "what else would explain it, with shares of the samples: under-fitted, corrupted (further from the "
                                        "clean image in the rain than the input), E_R inflated (D⊥² above half of E_R²); empty: none"),
        Column("paired", "bool", "the same backgrounds under both"),
        _TRAININGS,
        _BACKGROUNDS,
        _OVER,
        _REASON,
    ),
)  # fmt: skip

DIFFERENCES: Final = Table(
    "derain_differences",
    "One row per pair of groups, degradation and measure: difference on the same backgrounds",
    (
        GROUP,
        OTHER,
        _LABEL,
        Column("measure", "string", "rho, d_perp, e_background, psnr_y"),
        Column("difference", "float64", "mean of `group` minus mean of `other`, in the measure's unit"),
        *_ends("difference"),
        Column("paired", "bool", "over trainings with the same value of `replicate`"),
        _TRAININGS,
        _BACKGROUNDS,
        _OVER,
        _REASON,
    ),
)

KAPPA: Final = Table(
    "derain_kappa",
    "One row per measure, group with a κ and unseen degradation: relative complexity against the gap; empty without `kappa`",
    (
        GROUP,
        _UNSEEN,
        _MEASURE,
        Column("kappa", "float64", "log(complexity of the rain / complexity of the backgrounds) of the training set"),
        *_ends("kappa"),
        Column("gap", "float64", "Δρ", better="lower"),
        *_ends("gap"),
        Column("predicted", "string", "from the interval of κ: `fits the rain` below 0, `learns the image` above, else `undecided`"),
        Column("observed", "string", "`fits the rain` where Δρ is above `fits`, else `learns the image`"),
    ),
)

TESTS: Final = Table(
    "derain_kappa_tests",
    "Whether κ predicts the gap over the grid: one row per unseen degradation and measure; empty without `kappa`",
    (
        _UNSEEN,
        _MEASURE,
        Column("points", "int64", "groups with a κ and a gap"),
        Column("rho", "float64", "Spearman's ρ of κ and Δρ; the thesis says below 0. Null below 3 points"),
        Column("p", "float64", "two-sided permutation p of it"),
        Column("rho_k95", "float64", "Spearman's ρ of this κ and that of k95, over the groups: whether the cheap measure would do"),
        Column("decided", "int64", "points whose κ has a sign, by its interval where it has one"),
        Column("accuracy", "float64", "share of these where the sign predicts what is observed, 0…1", better="higher"),
        Column("null_accuracy", "float64", "mean of the same when the κ are exchanged between points"),
        Column("accuracy_p", "float64", "share of exchanges with an accuracy at least as high"),
    ),
)

TABLES: Final = (SUMMARY, GAPS, DIFFERENCES, KAPPA, TESTS)
