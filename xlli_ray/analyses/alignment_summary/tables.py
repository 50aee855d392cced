"""What `alignment_summary` writes: the tables and their columns, with meanings."""

from __future__ import annotations

from typing import Final

from xlli_ray.analyses.shared.replicates import GROUP, OTHER
from xlli_ray.store.tables.results import Column, Table

_STRATUM = Column("stratum", "string", "pixels: all; smooth, medium, textured, by the target; visible, occluded, in the next frames")
_LOW = Column("motion_low", "float64", "least motion of the pixels to a supporting frame, inclusive", unit="input pixels")
_HIGH = Column("motion_high", "float64", "largest motion, exclusive; null: unlimited", unit="input pixels")
_VALUES = Column("values", "int64", "restored values that are compared: one a pixel and channel of the scored frames of all clips")
_CLIPS = Column("clips", "int64", "clips that have such pixels: folders or videos, or photographs of made motion")
_EFFECTIVE = Column("effective_clips", "float64", "clips of equal size that would say as much; few: one or two clips hold the pixels")
_TRAININGS = Column("trainings", "int64", "trainings in the group")
_OVER = Column("over", "string", "what the intervals speak of: trainings and clips, or clips alone, for these trainings")
_REASON = Column("reason", "string", "why there is no interval; empty where there is one")
_ABOUT = (_VALUES, _CLIPS, _EFFECTIVE, _TRAININGS, _OVER, _REASON)


def _ends(name: str, unit: str = "") -> tuple[Column, Column]:
    low = Column(f"{name}_low", "float64", "lower end of its interval", unit=unit)
    return low, Column(f"{name}_high", "float64", "upper end of its interval", unit=unit)


WINDOWS: Final = Table(
    "alignment_windows",
    "One row per pair of groups and window: difference of PSNR where the motion stays inside the window, and beyond it, on the same pixels",
    (
        GROUP,
        OTHER,
        Column("window", "float64", "motion that still counts as inside", unit="input pixels"),
        Column("inside", "float64", "PSNR of `group` minus PSNR of `other`, inside; above 0: `group` is better", unit="dB"),
        *_ends("inside", "dB"),
        Column("beyond", "float64", "the same beyond", unit="dB"),
        *_ends("beyond", "dB"),
        Column("change", "float64", "beyond − inside: what crossing the window costs (below 0) or gains `group`", unit="dB"),
        *_ends("change", "dB"),
        Column("values_inside", "int64", "restored values inside: one a pixel and channel"),
        Column("values_beyond", "int64", "restored values beyond"),
        _CLIPS,
        _TRAININGS,
        _OVER,
        _REASON,
    ),
)  # fmt: skip

MOTION: Final = Table(
    "alignment_motion",
    "One row per group, stratum and bin of motion: PSNR of the pooled squared error. Bins differ in content: compare groups, not bins",
    (
        GROUP,
        _STRATUM,
        _LOW,
        _HIGH,
        Column("psnr", "float64", "of the pooled squared error of all such pixels", unit="dB", better="higher"),
        *_ends("psnr", "dB"),
        *_ABOUT,
    ),
)  # fmt: skip

DIFFERENCES: Final = Table(
    "alignment_differences",
    "One row per pair of groups, stratum and bin of motion: difference of PSNR on the same pixels",
    (
        GROUP,
        OTHER,
        _STRATUM,
        _LOW,
        _HIGH,
        Column("difference", "float64", "PSNR of `group` minus PSNR of `other`; exactly 0 for equal outputs", unit="dB"),
        *_ends("difference", "dB"),
        Column("paired", "bool", "over trainings with the same value of `replicate`"),
        *_ABOUT,
    ),
)  # fmt: skip

KNOTS: Final = Table(
    "alignment_knots",
    "One row per pair of groups: whether the slope of the difference against motion bends at the first window, and where it bends most",
    (
        GROUP,
        OTHER,
        Column("window", "float64", "the knot that is asked about", unit="input pixels"),
        Column("slope", "float64", "of the difference of PSNR against motion up to the window", unit="dB per pixel"),
        Column("bend", "float64", "change of the slope there; below 0: `group` loses from the window on", unit="dB per pixel"),
        *_ends("bend", "dB per pixel"),
        Column("best", "float64", "the edge of bins that fits best; without a bend it means nothing", unit="input pixels"),
        *_ends("best", "input pixels"),
        _CLIPS,
        _REASON,
    ),
)  # fmt: skip

MAPS: Final = Table(
    "alignment_maps",
    "One row per group of networks with maps: which frames they use, and whether attribution follows what moves; empty without `lam`",
    (
        GROUP,
        Column("centre_share", "float64", "share of the attribution in the frame that is restored, 0…1"),
        *_ends("centre_share"),
        Column("effective_frames", "float64", "exp of the entropy of the frames' shares: how many frames are used"),
        *_ends("effective_frames"),
        Column("motion", "float64", "mean distance in the other frames from the window to its content", unit="input pixels"),
        Column("tracking_error", "float64", "mean distance there from the attribution to the content", unit="input pixels", better="lower"),
        *_ends("tracking_error", "input pixels"),
        Column("follows", "float64", "share of the motion that the attribution follows: 1 with the object, 0 stays at the place"),
        *_ends("follows"),
        Column("verdict", "string", "by the interval of `follows` about 0.5: `follows`, `stays`, `undecided`; `no motion`: below 1 pixel"),
        Column("windows", "int64", "maps with motion"),
        _CLIPS,
        _TRAININGS,
        _OVER,
        _REASON,
    ),
)  # fmt: skip

TABLES: Final = (WINDOWS, MOTION, DIFFERENCES, KNOTS, MAPS)
