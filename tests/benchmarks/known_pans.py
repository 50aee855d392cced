"""What BasicVSR loses without alignment: known pans over photographs, operators swapped at inference.

The claim for CNNs of "Rethinking Alignment in Video Super-Resolution Transformers" (NeurIPS 2022): alignment is indispensable. A window
pans over a photograph by a whole number of pixels, so the motion is known: 1, 5, 17, 33 and 65 pixels a frame are 0.25 to 16.25 pixels of
the input, which is a quarter as large (bicubic, as everywhere here). Five frames, the centre frame the same at all speeds; its PSNR-Y
inside a border of 32 pixels. The window has 192 × 192 pixels, and 256 × 256 at the fastest speed, which the network's own flow does not
find in less. The public weights (Vimeo-90K, BI) run with their own flow and each operator in turn; nothing is trained. The control is
`support: current`, the centre frame five times.

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


def measure(place: str, step: int, operators: tuple[str, ...]) -> dict[str, float]:
    """PSNR of the centre frame by operator; `single` is the control."""
    import torch

    clip, target = pan(photo(place), step)
    x = torch.from_numpy(clip)[None]
    found = {}
    with torch.no_grad():
        motion = model("bilinear").module.motion(x)  # its own flow, once for all operators
        for name in operators:
            if name == "single":
                y = model("none").forward(x[:, FRAMES // 2, None].expand_as(x))
            else:
                y = model(name).module(x, motion)
            found[name] = score(y[0, FRAMES // 2].numpy(), target)
    return found


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--results", type=Path, default=Path("known_pans.jsonl"))
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    places = PHOTOS[:3] if options.quick else PHOTOS
    rows = [json.loads(line) for line in options.results.read_text().splitlines()] if options.results.exists() else []
    done = {(row["photo"], row["step"]) for row in rows}
    for place, step in ((place, step) for place in places for step in STEPS):
        if (place, step) not in done:
            first = step == min(s for s in STEPS if SIDES[s] == SIDES[step])  # the control is that of the window
            rows.append({"photo": place, "step": step, **measure(place, step, (*OPERATORS, "single") if first else OPERATORS)})
            with options.results.open("a") as sink:
                sink.write(json.dumps(rows[-1]) + "\n")
    print(table(rows, places))
    common.finish("known_pans", photographs=len(places))


def table(rows: list[dict[str, Any]], places: tuple[str, ...]) -> str:
    """Differences from `bilinear` by speed, in Markdown, and from the control; whether the claim holds."""
    from xlli_ray.stats.intervals import intervals

    by = {(row["photo"], row["step"]): row for row in rows}
    single = {(place, SIDES[step]): by[place, step]["single"] for place in places for step in STEPS if "single" in by[place, step]}
    names = [name for name in OPERATORS if name != "bilinear"]
    lines = [f"| px a frame | bilinear, dB | {' | '.join(f'{name} − bilinear' for name in names)} | bilinear − single | none − single |",
             "|---" * (len(names) + 4) + "|"]  # fmt: skip
    worst = {}
    for step in STEPS:
        scores = {name: np.array([by[place, step][name] for place in places]) for name in OPERATORS}
        alone = np.array([single[place, SIDES[step]] for place in places])
        differences = {**{name: scores[name] - scores["bilinear"] for name in names}, "gain": scores["bilinear"] - alone,
                       "unaligned": scores["none"] - alone}  # fmt: skip
        found = dict(zip(differences, intervals(np.stack(list(differences.values()), 1), difference=True)))
        worst[step] = {name: found[name] for name in names}
        cells = [f"{one.mean:+.2f} [{one.low:+.2f}, {one.high:+.2f}]" for one in found.values()]
        lines.append(f"| {step / SCALE:g} | {scores['bilinear'].mean():.2f} | {' | '.join(cells)} |")
    lost = all(worst[step]["none"].mean <= -0.5 for step in STEPS[1:])
    close = all(worst[step]["patch"].mean >= -0.4 for step in STEPS)
    lines += ["", f"without alignment at least 0.5 dB lost from 1.25 px a frame on: {'yes' if lost else 'NO'}",
              f"patch within 0.4 dB of bilinear: {'yes' if close else 'NO'}", f"photographs: {len(places)}"]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
