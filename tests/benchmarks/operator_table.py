"""What alignment operators keep and lose on Vid4, beside the table of the protocol (../shared/specs/vsr-derain.md, A8.1).

    python tests/benchmarks/operator_table.py [--fixtures ../shared/fixtures]

SPyNet with the weights of the BasicVSR checkpoint, directly between frames t and t + 4 (t + 1) of the low-resolution frames, t = 1 … 4;
root mean squared error to frame t, and the energy of high frequencies over that of frame t + gap, border of 8 pixels removed. The protocol
says "mean over 3–4 pairs": eight frames of the fixtures have four pairs with a gap of 4. Prints mean, smallest and largest of the pairs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from xlli_ray.corpus.resize import downscale
from xlli_ray.models.alignment.alignment import alignment_of
from xlli_ray.probes.alignment_error import name_of
from xlli_ray.probes.flow.probe import Params, make_estimator
from xlli_ray.stats.alignment_error import high_frequency_energy

OPERATORS = ["none", "bilinear", "bicubic", "nearest", "patch", {"patch": {"size": 16}}]
PROTOCOL = {
    ("calendar", 4): [(27.6, 1.0), (9.99, 0.42), (7.14, 0.77), (15.2, 1.0), (15.2, 1.0), (15.5, 1.0)],
    ("city", 4): [(21.8, 1.0), (5.61, 0.45), (4.57, 0.78), (8.42, 1.02), (8.82, 1.02), (9.48, 1.02)],
}
"""RMSE and share of high-frequency energy, by OPERATORS."""
PART = (slice(None), slice(8, -8), slice(8, -8))


def low(fixtures: Path, clip: str, number: int) -> np.ndarray:
    """A low-resolution frame, float32 (3, h, w) in 0..1."""
    frame = np.asarray(Image.open(fixtures / f"video/Vid4/{clip}/hr_{number:02d}.png").convert("RGB"))
    return (downscale(frame / np.float32(255), 4) / np.float32(255)).transpose(2, 0, 1)


def measured(operator: object, now: np.ndarray, later: np.ndarray, flow: np.ndarray) -> tuple[float, float]:
    """RMSE and share of high-frequency energy of one pair."""
    frames = [torch.from_numpy(np.ascontiguousarray(x))[None] for x in (later, now, flow)]
    with torch.no_grad():
        aligned = 255 * alignment_of(operator, channels=3)(*frames)[0].numpy().astype(np.float64)[PART]  # type: ignore[arg-type]
    current, support = (255 * frame[PART].astype(np.float64) for frame in (now, later))
    return float(np.sqrt(np.square(aligned - current).mean())), high_frequency_energy(aligned) / high_frequency_energy(support)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fixtures", type=Path, default=Path(__file__).resolve().parents[3] / "shared/fixtures")
    fixtures = parser.parse_args().fixtures
    torch.set_num_threads(1)
    weights = str(fixtures / "models/basicvsr/basicvsr_vimeo90k_bi_x4.pth")
    estimator = make_estimator(Params(estimator="spynet", weights=weights))
    worst = 0.0
    print(f"{'clip':9} gap {'operator':15} {'rmse':>22} {'protocol':>9} {'hf kept':>22} {'protocol':>9} {'off':>7}")
    for clip in ("calendar", "city"):
        for gap in (4, 1):
            pairs = [(low(fixtures, clip, t), low(fixtures, clip, t + gap)) for t in range(1, 5)]
            flows = [estimator.clip(np.stack(pair), {}).next[0] for pair in pairs]
            wanted = PROTOCOL.get((clip, gap), [(np.nan, np.nan)] * len(OPERATORS))
            for operator, (rmse, kept) in zip(OPERATORS, wanted):
                values = np.array([measured(operator, *pair, flow) for pair, flow in zip(pairs, flows)])
                mean, least, most = values.mean(0), values.min(0), values.max(0)
                off = mean[1] - kept
                worst = max(worst, abs(off)) if np.isfinite(off) else worst
                texts = [f"{mean[i]:.3f} ({least[i]:.3f}–{most[i]:.3f})" for i in (0, 1)]
                print(f"{clip:9} {gap:3} {name_of(operator):15} {texts[0]:>22} {rmse:9.2f} {texts[1]:>22} {kept:9.2f} {off:+7.3f}")  # type: ignore[arg-type]
    print(f"largest difference of the share of high-frequency energy from the protocol: {worst:.3f}")


if __name__ == "__main__":
    main()
