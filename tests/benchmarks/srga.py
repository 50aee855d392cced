"""SRGA from given features against what the authors' program does: CPU seconds a set, working memory, one thread, in one run.

    loop     their procedure, from its description: scikit-learn's PCA(300, random_state=0) on the whole matrix (which picks the randomized
             solver), the trim as a walk over 240,000 Python scalars that takes the vector's standard deviation twice for each, removal from
             a list, the search over 9,800 shapes. The walk costs the same for each scalar, so `--walk` of them are timed and scaled
    mask     the same with the trim as a boolean mask: what a careful reader would write
    ours     Gram matrix in blocks, exact eigenvectors, mask, search

Features: float32, 800 × D, a spectrum that falls as 1/j, in a file that is mapped and in the page cache. Working memory is the largest
private resident memory beyond what was there before, so the features do not count. Each variant runs in a process of its own.

Also: the rate of the Gram matrix, counted as 2 N² D, against the machine's float32 matrix product; and from images to the index, through
`xlli run`, for one network of the package and two sets of patches.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np

SAMPLES, COMPONENTS = 800, 300
WIDTHS = (65_536, 1_048_576)
BARS = {(65_536, "loop"): 60, (1_048_576, "loop"): 15, (1_048_576, "mask"): 3}
MEMORY = 20
"""Times less working memory than `loop`, at 1,048,576."""

RECIPE = """
name: bench
corpus: {{images: ["skimage://*"], scale: 4, pies: {{patches: {patches}, size: 128, sets: [clean, blur2]}}}}
models: [{{id: net, weights: "builtin:srresnet-nogr-clean"}}]
stages: [{{srga: {{components: {components}, restore: null, resamples: 0}}}}]
"""


def write_features(path: Path, width: int) -> None:
    """float32 (800, width): low rank with a spectrum of 1/j, an offset and a little noise, written in blocks."""
    rng = np.random.default_rng(0)
    left = (rng.normal(size=(SAMPLES, 400)) / np.arange(1, 401)).astype(np.float32)
    out = np.lib.format.open_memmap(path, "w+", np.float32, (SAMPLES, width))
    for start in range(0, width, 16_384):
        stop = min(start + 16_384, width)
        block = left @ rng.standard_normal((400, stop - start), dtype=np.float32)
        out[:, start:stop] = block + 0.01 * rng.standard_normal(block.shape, dtype=np.float32) + 2
    out.flush()


def shape_of(values: np.ndarray) -> tuple[float, float]:
    """σ and α by the authors' search."""
    from scipy.special import gamma

    grid = np.arange(0.2, 10.0, 0.001)
    ratios = gamma(1 / grid) * gamma(3 / grid) / gamma(2 / grid) ** 2
    second = float(np.mean(values.astype(np.float64) ** 2))
    ratio = second / float(np.mean(np.abs(values - values.mean()))) ** 2
    return second**0.5, float(grid[np.abs(ratio - ratios).argmin()])


def scores(features: np.ndarray) -> np.ndarray:
    from sklearn.decomposition import PCA

    return PCA(n_components=COMPONENTS, random_state=0).fit_transform(features).reshape(-1)


def loop(features: np.ndarray, walk: int) -> dict[str, float]:
    """Seconds of the whole procedure; the walk over `walk` scalars is scaled to all of them."""
    start = time.process_time()
    values = scores(features)
    before = time.process_time() - start
    start = time.process_time()
    mean = np.mean(values)
    kept = list(values)
    for value in values[:walk]:
        if value <= mean - 5 * np.std(values) or value >= mean + 5 * np.std(values):
            kept.remove(value)
    trim = (time.process_time() - start) * len(values) / min(walk, len(values))
    reach = 5 * values.std()
    start = time.process_time()
    sigma, alpha = shape_of(values[(values > mean - reach) & (values < mean + reach)])
    return {"seconds": before + trim + time.process_time() - start, "trim": trim, "sigma": sigma, "alpha": alpha}


def mask(features: np.ndarray, walk: int) -> dict[str, float]:
    start = time.process_time()
    values = scores(features)
    reach = 5 * values.std()
    sigma, alpha = shape_of(values[np.abs(values - values.mean()) < reach])
    return {"seconds": time.process_time() - start, "sigma": sigma, "alpha": alpha}


def ours(features: np.ndarray, walk: int) -> dict[str, float]:
    from xlli_ray.stats.gram import gram
    from xlli_ray.stats.srga import fit_gram

    start = time.process_time()
    matrix = gram(features)
    middle = time.process_time()
    found = fit_gram(matrix, COMPONENTS)
    return {"seconds": time.process_time() - start, "gram": middle - start, "sigma": found.sigma, "alpha": found.alpha}


VARIANTS: dict[str, Callable[[np.ndarray, int], dict[str, float]]] = {"loop": loop, "mask": mask, "ours": ours}


def private_bytes() -> int:
    """Resident memory of this process that no file backs."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def child(name: str, path: str, walk: int) -> None:
    """One variant on the features in `path`; prints a line of JSON."""
    features = np.load(path, mmap_mode="r")
    for row in features:  # into the page cache
        float(row[::1024].sum())
    import sklearn.decomposition  # noqa: F401  its imports are nobody's working memory

    import xlli_ray.stats.srga  # noqa: F401

    small = np.asarray(features[:, :512])
    VARIANTS[name](np.tile(small, (1, 4)), 5)  # warm
    before, peak, done = private_bytes(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], private_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    found = VARIANTS[name](features, walk)
    done.set()
    thread.join()
    print(json.dumps({**found, "bytes": peak[0] - before}))


def measured(name: str, path: Path, walk: int) -> dict[str, float]:
    cost = common.run_measured([sys.executable, __file__, "--child", name, str(path), str(walk)])
    return json.loads(cost.output.splitlines()[-1])


def matrix_rate(size: int = 2048) -> float:
    """Float32 matrix products of this machine now, operations a second, one thread: the best of three."""
    a = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    a @ a
    best = 0.0
    for _ in range(3):
        start = time.process_time()
        a @ a
        best = max(best, 2 * size**3 / (time.process_time() - start))
    return best


def main() -> None:
    if "--child" in sys.argv:
        child(*sys.argv[2:4], int(sys.argv[4]))
        return
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--walk", type=int, default=1500, help="scalars of the authors' walk that are timed")
    parser.add_argument("--widths", default=None, help="numbers of features, separated by commas")
    args = parser.parse_args()
    rounds = args.rounds or (1 if args.quick else 2)
    walk = 100 if args.quick else args.walk
    widths = [int(text) for text in args.widths.split(",")] if args.widths else [8192] if args.quick else list(WIDTHS)
    rows: list[list[Any]] = []
    results: dict[str, Any] = {}
    with common.scratch(args.scratch) as folder:
        for width in widths:
            path = folder / f"{width}.npy"
            write_features(path, width)
            taken: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
            rates = []
            for _ in range(rounds):
                for name in VARIANTS:
                    taken[name].append(measured(name, path, walk))
                rates.append(2 * SAMPLES**2 * width / taken["ours"][-1]["gram"] / matrix_rate())
            path.unlink()
            for name, some in taken.items():
                ratio = common.spread([a["seconds"] / b["seconds"] for a, b in zip(some, taken["ours"])])
                memory = max(item["bytes"] for item in some) / max(item["bytes"] for item in taken["ours"])
                bar = BARS.get((width, name), "")
                rows.append([f"{width:,}", name, common.spread([item["seconds"] for item in some]), ratio, bar,
                             max(item["bytes"] for item in some) / 1e6, memory, some[0]["sigma"], some[0]["alpha"]])  # fmt: skip
                results[f"{width} {name}"] = {"ratio": ratio, "memory": memory, "seconds": [item["seconds"] for item in some]}
            results[f"{width} gram rate"] = common.spread(rates)
            walked = taken["loop"][0]["trim"]
            print(f"{width}: Gram at {np.median(rates):.2f} of the float32 matrix rate; the walk is {walked:.0f} s of the loop's time")
        common.show("CPU seconds a set, times slower than ours (and the bar), working memory in MB and in ours, σ, α", rows,
                    ["features", "variant", "seconds", "ratio", "bar", "MB", "memory", "σ", "α"])  # fmt: skip
        patches = 12 if args.quick else 100
        recipe = folder / "bench.yaml"
        recipe.write_text(RECIPE.format(patches=patches, components=patches // 2))
        command = [sys.executable, "-c", "from xlli_ray.__main__ import main; main()", "run", str(recipe), "--workers", "0", "--out",
                   str(folder / "study")]  # fmt: skip
        root = Path(__file__).resolve().parents[2]
        cost = common.run_measured(command, env={"PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"})
        print(f"\nimages to index: {2 * patches} patches in two sets, {cost.cpu:.0f} s of CPU with start, report and tables")
    common.finish("srga", rounds=rounds, results=results, images_to_index={"patches": 2 * patches, "cpu": cost.cpu})


if __name__ == "__main__":
    main()
