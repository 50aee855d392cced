"""Complexity: what the measures cost, what they say of rain, and whether the interval of κ holds the truth. Run by hand:

    python tests/benchmarks/complexity.py cost PHOTOS                 # ms per 128 × 128 image on one core, measure by measure
    python tests/benchmarks/complexity.py rain PHOTOS                 # per-image rates against measures of sets, rain range by rain range
    python tests/benchmarks/complexity.py coverage PHOTOS --draws 200 # κ of n photographs against its mean over draws of n

`PHOTOS` is a folder of PNG files; one crop of each, at its centre, of luma. What came out: docs/deraining.md, Complexity.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import common  # noqa: F401  (first: one thread)
import numpy as np

from xlli_ray.analyses.complexity_summary.measures import measured
from xlli_ray.analyses.complexity_summary.pairs import kappa_of
from xlli_ray.corpus.decode import decode, to_u8
from xlli_ray.corpus.degradations import parse
from xlli_ray.probes.complexity import cut, grid_places, luma8
from xlli_ray.stats import image_complexity as ic
from xlli_ray.stats.code_length import bpp_jpeg75, bpp_lzma, bpp_png, bpp_webp
from xlli_ray.stats.patch_cloud import centred, told

RANGES = ("hu25-small", "hu25-medium", "hu25-large")
FAMILIES = ("hu25", "neurips23")
SHOWN = ("bpp_png", "si_std", "entropy", "delentropy", "spectral_slope", "svd_entropy")
SETS = ("eff_rank", "k95", "id_twonn", "id_mle")
POINTS = 2048


def photographs(folder: Path, side: int = 128) -> list[np.ndarray]:
    """Centre crops, uint8 (side, side, 3), of all files large enough."""
    out = []
    for path in sorted(folder.glob("*.png")):
        pixels = to_u8(decode(path.read_bytes()).pixels)
        top, left = ((size - side) // 2 for size in pixels.shape[:2])
        if min(top, left) >= 0:
            out.append(pixels[top : top + side, left : left + side])
    return out


def luma(pixels: np.ndarray) -> np.ndarray:
    return luma8(pixels.transpose(2, 0, 1).astype(np.float32) / 255)


def rained(pixels: np.ndarray, preset: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    """(residual of luma, layer as it was drawn)."""
    made = parse({"rain": {"preset": preset}}).apply(pixels, "input", key=key)
    return luma(made.image) - luma(pixels), made.extras["rain"].reshape(pixels.shape[:2]).astype(np.int16)


def cost(photos: list[np.ndarray], repeats: int) -> None:
    greys = [luma(one) for one in photos[:24]]
    values = [grey.astype(float) for grey in greys]
    bytes_ = [ic.eight_bit(grey) for grey in greys]
    edges = [ic.canny(value) for value in values]
    parts: dict[str, tuple[Callable[..., object], list[np.ndarray]]] = {
        "bpp_png": (bpp_png, bytes_), "bpp_webp": (bpp_webp, bytes_), "bpp_jpeg75": (bpp_jpeg75, bytes_), "entropy": (ic.entropy, greys),
        "Sobel": (ic.sobel, values), "delentropy": (ic.delentropy, greys), "spectral_slope": (ic.spectral_slope, values),
        "Canny": (ic.canny, values), "box_dimension": (ic.box_dimension, edges), "svd_entropy": (ic.svd_entropy, values),
        "co-occurrence": (ic.cooccurrence, bytes_), "tv": (ic.total_variation, values), "all measures": (ic.measures, greys),
    }  # fmt: skip
    for name, (function, images) in parts.items():
        function(images[0])
        seconds = []
        for _ in range(repeats):
            start = time.process_time()
            for image in images:
                function(image)
            seconds.append((time.process_time() - start) / len(images))
        print(f"{name:16s} {1e3 * statistics.median(seconds):7.2f} ms CPU per image of 128 × 128, best {1e3 * min(seconds):.2f}")


def cloud(greys: list[np.ndarray], patches: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Patches that say something, and the photograph of each."""
    some = [cut(grey, grid_places(*grey.shape, patches, np.random.default_rng((seed, i)))) for i, grey in enumerate(greys)]
    points, group = np.concatenate(some), np.repeat(np.arange(len(some)), [len(one) for one in some])
    kept = told(points)
    return points[kept], group[kept]


def rain(photos: list[np.ndarray]) -> None:
    sides = {"photographs": [luma(one) for one in photos]}
    for family in FAMILIES:
        both = {size: [rained(one, f"{family}-{size}", f"{i}") for i, one in enumerate(photos)] for size in ("small", "medium", "large")}
        sides |= {f"{family}-{size}, layer": [layer for _, layer in some] for size, some in both.items()}
        sides |= {f"{family}-{size}, O − B": [residual for residual, _ in some] for size, some in both.items()}
    clouds = {name: cloud(greys, 64, 0) for name, greys in sides.items()}
    count = min(POINTS, *(len(points) for points, _ in clouds.values()))
    print(f"{len(photos)} photographs, {count} patches of each set")
    print(f"| set | {' | '.join((*SHOWN, *SETS, *(f'{one}, norm.' for one in SETS), 'LZMA'))} |")
    for name, greys in sides.items():
        images = [ic.measures(grey) for grey in greys]
        per_image = [f"{np.nanmean([one[key] for one in images]):.2f}" for key in SHOWN]
        points, group = clouds[name]
        chosen = np.sort(np.random.default_rng(0).permutation(len(points))[:count])
        sets = []
        for normalise in (False, True):
            found = measured(centred(points[chosen], normalise=normalise), group[chosen], len(greys), np.random.default_rng(1))
            sets += [f"{found[key].value:.1f}" for key in SETS]
        lzma = bpp_lzma(np.stack([ic.eight_bit(patch.astype(np.int64)) for patch in points[chosen]]))
        print(f"| {name} | {' | '.join((*per_image, *sets, f'{lzma:.2f}'))} |")


def coverage(photos: list[np.ndarray], draws: int) -> None:
    """κ of n photographs drawn at random; the truth is the mean of its logarithms over all draws of n."""
    greys = [luma(one) for one in photos]
    for preset in RANGES:
        residuals = [rained(one, preset, f"{i}")[0] for i, one in enumerate(photos)]
        for n in (4, 8, 16, 32):
            found: dict[str, list[tuple[float, float, float]]] = {}
            for draw in range(draws):
                some = np.random.default_rng((n, draw)).permutation(len(greys))[:n]
                both = [cloud([images[i] for i in some], 32, draw) for images in (residuals, greys)]
                count = min(len(points) for points, _ in both)
                values = []
                for points, group in both:
                    chosen = np.sort(np.random.default_rng(draw).permutation(len(points))[:count])
                    values.append(measured(centred(points[chosen]), group[chosen], n, np.random.default_rng(0)))
                for name in SETS:
                    found.setdefault(name, []).append(kappa_of(values[0][name], values[1][name], level=0.95)[:3])
            for name, rows in found.items():
                kappa, low, high = np.array(rows).T
                held = (low <= kappa.mean()) & (kappa.mean() <= high)
                print(f"{preset:12s} n {n:3d} {name:9s} κ {kappa.mean():+.2f}  spread {kappa.std():.3f}  held {held.mean():.3f}  "
                      f"length {np.median(high - low):.2f}")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "rain", "coverage"))
    parser.add_argument("photos", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--draws", type=int, default=200)
    given = parser.parse_args()
    images = photographs(given.photos)
    if given.what == "cost":
        cost(images, given.repeats)
    elif given.what == "rain":
        rain(images)
    else:
        coverage(images, given.draws)
