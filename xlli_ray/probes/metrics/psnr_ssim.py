"""PSNR and SSIM: the metrics that every `restore` table has."""

from __future__ import annotations

from xlli_ray.probes.measurement import Column
from xlli_ray.probes.metrics.metric import Metric, Pair
from xlli_ray.stats.fidelity import psnr, ssim


class PsnrY(Metric):
    """Peak signal-to-noise ratio on luma."""

    COLUMN = Column("psnr_y", "float64", "PSNR on luma; NaN without a target", unit="dB", better="higher")

    def score(self, pair: Pair) -> float:
        return psnr(*pair.luma)


class SsimY(Metric):
    """Structural similarity on luma."""

    COLUMN = Column(
        "ssim_y", "float64", "SSIM on luma, at most 1; NaN without a target or below 11 px", limits=(-1.0, 1.0), better="higher"
    )
    REFERENCE = "Wang et al., IEEE TIP 13(4), 2004"

    def score(self, pair: Pair) -> float:
        return ssim(*pair.luma)


class PsnrRgb(Metric):
    """Peak signal-to-noise ratio over the three channels."""

    COLUMN = Column("psnr_rgb", "float64", "PSNR over the three channels; NaN for one-channel networks", unit="dB", better="higher")

    def score(self, pair: Pair) -> float:
        return float("nan") if pair.grey else psnr(pair.image, pair.eight_bit)
