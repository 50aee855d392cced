"""Statistics of every preset of `rain`: coverage of the mask at two thresholds and two sizes, what is drawn, and what a crop costs.

    python tests/benchmarks/rain_statistics.py                       # the table, about a minute
    python tests/benchmarks/rain_statistics.py --figure rain_presets.png

Coverage is the share of pixels whose rain layer exceeds 50, and 5, of 255. Beside that of the `hu25` presets stands what was measured for
the specification, over 40 draws of the group's own code; both are means over draws, and the interval is that of ours. Length, angle and
width of a drawn streak are measured on its pixels (`tests/corpus/test_rain.py` has them against the parameters).
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import common  # noqa: F401  (one thread, and the package's place)
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from xlli_ray.corpus.degradations import parse, rain_streaks
from xlli_ray.corpus.degradations.rain import Rain
from xlli_ray.corpus.degradations.rain_presets import PRESETS, verified

SPECIFIED = {
    "hu25-small": {128: (0.12, 0.21), 512: (0.10, 0.21)},
    "hu25-medium": {128: (0.35, 0.69), 512: (0.24, 0.69)},
    "hu25-large": {128: (0.65, 0.96), 512: (0.57, 0.96)},
    "hu25-random": {128: (0.36, 0.67), 512: (0.27, 0.67)},
}
THRESHOLDS = (50, 5)
TILE, GAP, HEAD = 120, 6, 18


def rain(preset: str) -> Rain:
    (part,) = parse({"rain": preset}).parts
    assert isinstance(part, Rain)
    return part


def coverage(preset: str, side: int, draws: int) -> list[tuple[float, float]]:
    """(mean, half width of its 95 % interval) at each threshold."""
    black = np.zeros((side, side, 3), np.uint8)
    layers = [rain(preset).apply(black, key=f"statistics|{i}").extras["rain"] for i in range(draws)]
    out = []
    for threshold in THRESHOLDS:
        each = np.array([(layer > threshold).mean() for layer in layers])
        out.append((float(each.mean()), 2.02 * float(each.std(ddof=1)) / math.sqrt(draws)))
    return out


def drawn(preset: str, draws: int = 400) -> dict[str, tuple[float, float, float]]:
    """(least, mean, greatest) length in pixels, angle in degrees from the vertical and width across, in pixels, of drawn streaks."""
    found: dict[str, list[float]] = {"length": [], "angle": [], "width": []}
    for i in range(draws):
        one = rain(preset).draw(f"statistics|{i}")
        kernel = rain_streaks.kernel(one.length, one.angle, one.width, scaled=rain(preset).params.kernel == "scaled").astype(float)
        y, x = np.indices(kernel.shape)
        weight = kernel / kernel.sum()
        dx, dy = x - (weight * x).sum(), y - (weight * y).sum()
        mixed = (weight * dx * dy).sum()
        values, vectors = np.linalg.eigh(np.array([[(weight * dx * dx).sum(), mixed], [mixed, (weight * dy * dy).sum()]]))
        along = vectors[:, 1] * (1 if vectors[1, 1] >= 0 else -1)
        places = (dx * along[0] + dy * along[1])[kernel >= 0.25 * kernel.max()]
        found["length"].append(float(np.ptp(places)) + 1)
        found["angle"].append(math.degrees(math.atan2(along[0], along[1])))
        found["width"].append(math.sqrt(12 * values[0]))  # of a box with this variance
    return {name: (min(values), float(np.mean(values)), max(values)) for name, values in found.items()}


def milliseconds(preset: str, side: int) -> float:
    """Of one crop, the median of 60, every streak seen before: as in a training that has run for a while."""
    image, part = np.zeros((side, side, 3), np.uint8), rain(preset)
    times = []
    for i in range(60):
        part.apply(image, key=f"time|{i}")
        before = time.process_time()
        part.apply(image, key=f"time|{i}")
        times.append(time.process_time() - before)
    return 1000 * float(np.median(times))


def table(draws: int) -> None:
    for preset in PRESETS:
        print(f"\n{preset}{'' if verified(preset) else ' (unverified)'}")
        for side in (128, 512):
            shown = []
            for place, (mean, half) in enumerate(coverage(preset, side, draws)):
                expected = f" (specified {SPECIFIED[preset][side][place]:.2f})" if preset in SPECIFIED else ""
                shown.append(f"> {THRESHOLDS[place]}: {mean:.3f} ± {half:.3f}{expected}")
            print(f"  coverage {side} x {side}   {'   '.join(shown)}")
        for name, (low, mean, high) in drawn(preset).items():
            print(f"  drawn {name:7} {low:7.1f} … {high:5.1f}, mean {mean:5.1f}")
        print("  ms a crop       " + "   ".join(f"{side} x {side}: {milliseconds(preset, side):.2f}" for side in (64, 128, 256, 512)))


def sheet(path: Path) -> None:
    """A contact sheet: of each preset a photograph under its rain, and another draw of the layer alone."""
    from skimage.data import camera

    photograph = camera()[60 : 60 + TILE, 180 : 180 + TILE]
    families = list(dict.fromkeys(name.partition("-")[0] for name in PRESETS))
    kinds = ("small", "medium", "large", "random")
    across, down = 2 * TILE + 3 * GAP, TILE + HEAD + GAP
    canvas = Image.new("L", (len(families) * across, len(kinds) * down + GAP), 255)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=12)
    for column, family in enumerate(families):
        for row, kind in enumerate(kinds):
            name = f"{family}-{kind}"
            if name not in PRESETS:
                continue
            left, top = column * across + GAP, row * down
            pen.text((left, top + 2), name if verified(name) else f"{name} (unverified)", fill=0, font=font)
            rainy = rain(name).apply(np.repeat(photograph[..., None], 3, 2), key="sheet|0").image[..., 0]
            layer: Any = rain(name).apply(np.zeros((TILE, TILE, 3), np.uint8), key="sheet|1").extras["rain"]
            for place, tile in enumerate((rainy, layer)):
                canvas.paste(Image.fromarray(tile), (left + place * (TILE + GAP), top + HEAD))
    canvas.quantize(32).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    sheet(given.figure) if given.figure else table(given.draws)
