"""How the video super-resolution benchmarks score a clip, as columns of `restore: {benchmark: …}`.

| benchmark | colour | frames | border |
|---|---|---|---|
| `reds4` (clips 000, 011, 015, 020 of REDS) | RGB | mean over all | none cut |
| `vimeo90k` (Vimeo-90K-T) | luma | the centre one | none cut |
| `vid4` | luma | mean over all | none cut |

After the protocol of BasicVSR (K. Chan et al., CVPR 2021) and of "Rethinking Alignment in Video Super-Resolution Transformers" (S. Shi et
al., NeurIPS 2022), whose tables these conventions make comparable; `restore` by itself cuts a border and scores luma. Luma is BT.601 in
studio range; SSIM of RGB is the mean over the channels. A published number is of all frames of a clip at once: make clips of the whole
length (`window`), and long ones in `segments` of the network. Inputs must be made as theirs: BI is MATLAB's bicubic, as here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from xlli_ray.probes.measurement import Column
from xlli_ray.probes.metrics.metric import Pair
from xlli_ray.stats.fidelity import psnr, ssim

Name = Literal["reds4", "vimeo90k", "vid4"]


@dataclass(frozen=True)
class Benchmark:
    """`luma`: else RGB. `centre`: the centre frame alone, else the mean over all frames."""

    luma: bool
    centre: bool


BENCHMARKS: Final[dict[str, Benchmark]] = {
    "reds4": Benchmark(luma=False, centre=False), "vimeo90k": Benchmark(luma=True, centre=True), "vid4": Benchmark(luma=True, centre=False)
}  # fmt: skip
COLUMNS: Final = (
    Column("psnr_benchmark", "float64", "PSNR as the named benchmark reports it", clips=True, unit="dB", better="higher"),
    Column("ssim_benchmark", "float64", "SSIM as the named benchmark reports it", limits=(-1.0, 1.0), clips=True, better="higher"),
)


def benchmark_scores(name: str, pairs: Sequence[Pair]) -> tuple[float, float]:
    """(PSNR, SSIM) of one clip. `pairs`: its frames without a cut border, or the centre one alone of a network that gives no other, which
    suffices for vimeo90k; NaN where frames are missing."""
    benchmark = BENCHMARKS[name]
    if not pairs or (len(pairs) == 1 and not benchmark.centre) or (pairs[0].grey and not benchmark.luma):
        return float("nan"), float("nan")
    scored = [pairs[len(pairs) // 2]] if benchmark.centre else pairs
    if benchmark.luma:
        each = [(psnr(*pair.luma), ssim(*pair.luma)) for pair in scored]
    else:
        each = [(psnr(pair.image, pair.eight_bit), _ssim_rgb(pair)) for pair in scored]
    return float(np.mean([one for one, _ in each])), float(np.mean([other for _, other in each]))


def _ssim_rgb(pair: Pair) -> float:
    return float(np.mean([ssim(pair.image[..., c], pair.eight_bit[..., c]) for c in range(3)]))
