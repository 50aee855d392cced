"""End-point error of each flow estimator where the true motion is known, and how much of the true occlusion its check finds.

    python tests/benchmarks/flow_accuracy.py [--fixtures ../shared/fixtures]

Four Middlebury sequences (S. Baker et al., IJCV 92, 2011), and scikit-image's stereo pair *motorcycle* (D. Scharstein et al., GCPR 2014),
whose disparity is a horizontal motion of 7 to 60 px. Errors are in pixels, over pixels with known motion; `> 1`, `> 3`: share of errors
above 1 and 3 px. `zero`: no motion at all; `opencv`: DIS called directly on the same files, without this package. Times are CPU seconds of
one direction on one thread.

Occlusion, the array `occluded_next` of the stage `flow` (forward–backward check, or out of the frame), against the truth: recall, the share
of truly occluded pixels that are found; precision; and the share of all pixels that are marked. Two truths:

- motorcycle: a pixel of the left view is hidden if a pixel of its row with a disparity larger by more than one lands within half a pixel of
  the same place in the right view, or if it lands outside of it; pixels without disparity are left out;
- layers: a textured disc that moves over a textured background, each by whole pixels of its own. A pixel of the background is hidden
  where the disc is in the next frame and was not before; and whatever leaves the frame.

The Middlebury sequences have no flow back and no depth, so what is hidden in them is not known.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import skimage
import torch
from PIL import Image
from skimage import data

from xlli_ray.probes.flow.estimator import FlowEstimator
from xlli_ray.probes.flow.probe import Params, make_estimator
from xlli_ray.stats.motion import checked, inside

SEQUENCES = ("RubberWhale", "Dimetrodon", "Grove2", "Urban2")
SIDE = 200
"""Side of the frames with layers."""


@dataclass(frozen=True)
class Pair:
    """Two frames and what is known of the motion between them."""

    name: str
    frames: np.ndarray
    """uint8 (2, H, W, 3)."""
    flow: np.ndarray
    """(2, H, W); NaN: unknown."""
    hidden: np.ndarray | None = None
    """bool (H, W); where the flow is not NaN."""


def middlebury(folder: Path) -> Pair:
    frames = np.stack([np.asarray(Image.open(folder / f"frame{i}.png").convert("RGB")) for i in (10, 11)])
    raw = (folder / "flow10.flo").read_bytes()
    assert raw[:4] == b"PIEH"
    width, height = np.frombuffer(raw, "<i4", 2, 4)
    flow = np.frombuffer(raw, "<f4", offset=12).reshape(height, width, 2).transpose(2, 0, 1)
    return Pair(folder.name, frames, np.where(np.abs(flow) > 1e9, np.nan, flow))


def motorcycle() -> Pair:
    folder = Path(skimage.__file__).parent / "data"
    frames = np.stack([np.asarray(Image.open(folder / f"motorcycle_{side}.png").convert("RGB")) for side in ("left", "right")])
    disparity = np.load(folder / "motorcycle_disp.npz")["arr_0"].astype(np.float64)
    disparity[~np.isfinite(disparity)] = np.nan
    place = np.arange(disparity.shape[1]) - disparity
    hidden = place < -0.5
    for row in range(len(disparity)):
        for shift in range(1, 60):  # a pixel further to the right with a larger disparity lands on the same place
            ahead, behind = place[row, shift:], place[row, :-shift]
            covers = (np.abs(ahead - behind) <= 0.5) & (disparity[row, shift:] > disparity[row, :-shift] + 1)
            hidden[row, :-shift] |= covers
    return Pair("motorcycle", frames, np.stack([-disparity, np.where(np.isnan(disparity), np.nan, 0.0)]), hidden)


def layers(number: int) -> Pair:
    """A disc of one photograph over another."""
    rng = np.random.default_rng(number)
    photos = [image[: SIDE + 40, : SIDE + 40] for image in (data.chelsea(), data.coffee()[50:, 100:], data.astronaut()[20:, 100:])]
    back, front = (photos[i] for i in rng.choice(3, 2, replace=False))
    moves = rng.integers(-6, 7, (2, 2))  # x, y of the background and of the disc
    y, x = np.mgrid[:SIDE, :SIDE]
    middle, radius = rng.uniform(0.35, 0.65, 2) * SIDE, 0.2 * SIDE
    masks, frames = [], []
    for t in range(2):
        cut = [image[20 - dy * t : 20 - dy * t + SIDE, 20 - dx * t : 20 - dx * t + SIDE] for image, (dx, dy) in zip((back, front), moves)]
        mask = np.hypot(x - middle[0] - moves[1][0] * t, y - middle[1] - moves[1][1] * t) < radius
        frames.append(np.where(mask[..., None], cut[1], cut[0]))
        masks.append(mask)
    flow = np.where(masks[0], moves[1][:, None, None], moves[0][:, None, None]).astype(np.float64)
    there_x, there_y = x + moves[0][0], y + moves[0][1]
    covered = masks[1][there_y.clip(0, SIDE - 1), there_x.clip(0, SIDE - 1)] & ~masks[0]
    return Pair(f"layers {number}", np.stack(frames), flow, covered | ~inside(flow))


def estimators(fixtures: Path) -> Iterator[tuple[str, FlowEstimator]]:
    weights = str(fixtures / "models/basicvsr/basicvsr_vimeo90k_bi_x4.pth")
    for preset in ("ultrafast", "fast", "medium"):
        yield f"dis {preset}", make_estimator(Params(args={"preset": preset}))
    yield "farneback", make_estimator(Params(estimator="farneback"))
    yield "phase", make_estimator(Params(estimator="phase"))
    yield "phase tile 32", make_estimator(Params(estimator="phase", args={"tile": 32}))
    yield "spynet", make_estimator(Params(estimator="spynet", weights=weights))


def opencv(frames: np.ndarray) -> np.ndarray:
    """DIS without this package."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None).transpose(2, 0, 1)


def errors(flow: np.ndarray, true: np.ndarray) -> str:
    error = np.hypot(*(flow - true))
    error = error[np.isfinite(error)]
    return f"{error.mean():8.3f} {np.median(error):8.3f} {100 * (error > 1).mean():7.1f} % {100 * (error > 3).mean():7.1f} %"


def recall(pairs: list[Pair], masks: list[np.ndarray]) -> str:
    known = [np.isfinite(pair.flow[0]) for pair in pairs]
    true, found = (np.concatenate([m[k] for m, k in zip(many, known)]) for many in ([p.hidden for p in pairs], masks))
    both = (true & found).sum()
    precision = both / max(1, found.sum())
    return f"recall {both / true.sum():.3f}  precision {precision:.3f}  marked {found.mean():.3f}  (truly hidden {true.mean():.3f})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fixtures", type=Path, default=Path(__file__).resolve().parents[3] / "shared/fixtures")
    fixtures = parser.parse_args().fixtures
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pairs = [*(middlebury(fixtures / "flow/middlebury" / name) for name in SEQUENCES), motorcycle()]
    stacks = [layers(i) for i in range(8)]
    print(f"{'pair':12} {'estimator':14} {'mean':>8} {'median':>8} {'> 1':>9} {'> 3':>9} {'CPU s':>7}")
    direct = {}
    for pair in pairs:
        direct[pair.name] = opencv(pair.frames)
        print(f"{pair.name:12} {'zero':14} {errors(np.zeros_like(pair.flow), pair.flow)}")
        print(f"{pair.name:12} {'opencv':14} {errors(direct[pair.name], pair.flow)}")
    hidden: list[str] = []
    for name, estimator in estimators(fixtures):
        masks: dict[str, np.ndarray] = {}
        for pair in (*pairs, *stacks):
            start = time.process_time()
            flows = estimator.clip(np.ascontiguousarray(pair.frames.transpose(0, 3, 1, 2), np.float32) / np.float32(255), {})
            seconds = (time.process_time() - start) / 2
            masks[pair.name] = checked(flows.next[0], flows.previous[0])[1]
            if pair in pairs:
                print(f"{pair.name:12} {name:14} {errors(flows.next[0], pair.flow)} {seconds:7.2f}")
            if name == "dis medium" and pair in pairs:
                assert (flows.next[0] == direct[pair.name]).all(), "not what OpenCV gives"
        hidden.append(f"{'motorcycle':12} {name:14} {recall(pairs[-1:], [masks['motorcycle']])}")
        hidden.append(f"{'layers':12} {name:14} {recall(stacks, [masks[pair.name] for pair in stacks])}")
    print("dis medium is OpenCV's DIS to the last bit on all pairs\n")
    print("\n".join(hidden))


if __name__ == "__main__":
    main()
