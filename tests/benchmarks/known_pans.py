"""What BasicVSR loses without alignment: known pans over photographs, operators swapped at inference.

The claim for CNNs of "Rethinking Alignment in Video Super-Resolution Transformers" (NeurIPS 2022): alignment is indispensable. A window
pans over a photograph by a whole number of pixels, so the motion is known: 1, 5, 17, 33 and 65 pixels a frame are 0.25 to 16.25 pixels of
the input, which is a quarter as large (bicubic, as everywhere here). Five frames, the centre frame the same at all speeds; its PSNR-Y
inside a border of 32 pixels. The window has 192 × 192 pixels, and 256 × 256 at the fastest speed, which the network's own flow does not
find in less. The public weights (Vimeo-90K, BI) run with their own flow and each operator in turn; nothing is trained. At the fastest
speed their flow fails in half of the photographs, so the true one is given to them as well. The control is `support: current`, the centre
frame five times.

Six photographs: one of Urban100, one of Set14, a frame of Vid4, three of scikit-image. Differences in dB, with 95 % intervals over
photographs. Needs the fixtures; about three minutes on one core. Results go to a JSON-lines file as they come, and a second run goes on
where the first one stopped.

    python tests/benchmarks/known_pans.py --results known_pans.jsonl
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import common
import numpy as np

FIXTURES = Path(os.environ.get("XLLI_FIXTURES", Path(__file__).resolve().parents[3] / "shared" / "fixtures"))
PHOTOS = ("images/Urban100/x4/img_001_HR.png", "images/Set14/x4/img_002_HR.png", "video/Vid4/city/hr_01.png", "skimage://coffee",
          "skimage://rocket", "skimage://stereo_motorcycle")  # fmt: skip
STEPS = (1, 5, 17, 33, 65)  # pixels of the photograph a frame
OPERATORS = ("bilinear", "nearest", "patch", "none")
CASES = (*((step, "own") for step in STEPS), (STEPS[-1], "true"))
"""Speed, and whose flow."""
SCALE, FRAMES, BORDER = 4, 5, 32
SIDES = {step: 192 if step < 65 else 256 for step in STEPS}
"""Side of the window, pixels of the photograph."""


def photo(place: str) -> np.ndarray:
    """(H, W, 3) uint8."""
    if place.startswith("skimage://"):
        from skimage import data

        found = getattr(data, place.removeprefix("skimage://"))()
        return np.asarray(found[0] if isinstance(found, tuple) else found)
    from PIL import Image

    return np.asarray(Image.open(FIXTURES / place).convert("RGB"))


def pan(pixels: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """A clip whose window moves right by `step` pixels a frame: its input, float32 (T, 3, h, w) in 0..1, and the centre frame's target."""
    from xlli_ray.corpus.resize import downscale

    side = SIDES[step]
    top, left = ((n - side) // 2 for n in pixels.shape[:2])
    at = [left + step * (t - FRAMES // 2) for t in range(FRAMES)]
    windows = [pixels[top : top + side, x : x + side] for x in at]
    small = [downscale(window.astype(np.float32) / 255, SCALE).astype(np.float32) / 255 for window in windows]
    return np.stack(small).transpose(0, 3, 1, 2), windows[FRAMES // 2]


def score(output: np.ndarray, target: np.ndarray) -> float:
    """PSNR-Y of the rounded output (3, H, W), inside the border."""
    from xlli_ray.stats.fidelity import luma_studio, psnr

    rounded = np.floor(output.clip(0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
    inside = (slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    return float(psnr(luma_studio(rounded[inside]), luma_studio(target[inside])))


@cache
def model(alignment: str) -> Any:
    from xlli_ray.models import open_model

    return open_model(str(FIXTURES / "models/basicvsr/basicvsr_vimeo90k_bi_x4.pth"), network="basicvsr", args={"alignment": alignment})


def measure(place: str, step: int, whose: str) -> dict[str, float]:
    """PSNR of the centre frame by operator; `single` is the control."""
    import torch

    from xlli_ray.models.blocks.motion import Motion

    clip, target = pan(photo(place), step)
    x = torch.from_numpy(clip)[None]
    left = x.new_zeros(1, FRAMES - 1, 2, *x.shape[-2:])
    left[:, :, 0] = -step / SCALE
    with torch.no_grad():
        motion = Motion(left, -left) if whose == "true" else model("bilinear").module.motion(x)
        found = {name: model(name).module(x, motion) for name in OPERATORS}
        found["single"] = model("none").forward(x[:, FRAMES // 2, None].expand_as(x))
    return {name: score(y[0, FRAMES // 2].numpy(), target) for name, y in found.items()}


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--results", type=Path, default=Path("known_pans.jsonl"))
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    places = PHOTOS[:3] if options.quick else PHOTOS
    rows = [json.loads(line) for line in options.results.read_text().splitlines()] if options.results.exists() else []
    done = {(row["photo"], row["step"], row["flow"]) for row in rows}
    for place, (step, whose) in ((place, case) for place in places for case in CASES):
        if (place, step, whose) not in done:
            rows.append({"photo": place, "step": step, "flow": whose, **measure(place, step, whose)})
            with options.results.open("a") as sink:
                sink.write(json.dumps(rows[-1]) + "\n")
    print(table(rows, places))
    common.finish("known_pans", photographs=len(places))


def table(rows: list[dict[str, Any]], places: tuple[str, ...]) -> str:
    """Differences from `bilinear` by speed, in Markdown, and from the control; whether the claim holds."""
    from xlli_ray.stats.intervals import intervals

    by = {(row["photo"], row["step"], row["flow"]): row for row in rows}
    names = [name for name in OPERATORS if name != "bilinear"]
    lines = [f"| px a frame | bilinear, dB | {' | '.join(f'{name} − bilinear' for name in names)} | bilinear − single | none − single |",
             "|---" * (len(names) + 4) + "|"]  # fmt: skip
    means = {}
    for step, whose in CASES:
        scores = {name: np.array([by[place, step, whose][name] for place in places]) for name in (*OPERATORS, "single")}
        differences = [*(scores[name] - scores["bilinear"] for name in names), scores["bilinear"] - scores["single"],
                       scores["none"] - scores["single"]]  # fmt: skip
        found = intervals(np.stack(differences, 1), difference=True)
        means[step, whose] = dict(zip(names, (one.mean for one in found)))
        cells = " | ".join(f"{one.mean:+.2f} [{one.low:+.2f}, {one.high:+.2f}]" for one in found)
        speed = f"{step / SCALE:g}" + (", true flow" if whose == "true" else "")
        lines.append(f"| {speed} | {scores['bilinear'].mean():.2f} | {cells} |")
    lost = [f"{step / SCALE:g} {whose} flow {'yes' if mean['none'] <= -0.5 else 'NO'}"
            for (step, whose), mean in means.items() if step > STEPS[0]]  # fmt: skip
    lines.append(f"at least 0.5 dB lost without alignment: {', '.join(lost)}")
    close = all(mean["patch"] >= -0.4 for mean in means.values())
    lines += [f"patch within 0.4 dB of bilinear: {'yes' if close else 'NO'}", f"photographs: {len(places)}"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
