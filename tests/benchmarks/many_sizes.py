"""Whole images of as many sizes as files against as many of one (the mean) size: files and time of a study.

    python tests/benchmarks/many_sizes.py [--images 60] [--rounds 1] [--full]

The recipe restores, and stores a pooled and a spatial layer. `--full`: 1,000 images. `each` is how it was with a bucket for each size;
its rows of the last round are compared with those of `many sizes`, bit for bit. Ends with one JSON line.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import common
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))  # `network: toy:small`
SIDE = 320
"""Mean height and width of the images, pixels."""


def write_images(folder: Path, sizes: list[tuple[int, int]]) -> None:
    from PIL import Image

    folder.mkdir()
    for number, (height, width) in enumerate(sizes):
        rng = np.random.default_rng(number)
        small = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        pixels = np.kron(small, np.ones((8, 8, 1), np.uint8))[:height, :width]
        Image.fromarray(pixels).save(folder / f"{number:04d}.png", compress_level=1)


def sizes_of(count: int) -> list[tuple[int, int]]:
    """`count` different sizes, all multiples of 2, whose pixels are on average those of a square of SIDE."""
    out = []
    for number in range(count):
        wide = number % 40
        out.append((SIDE - 2 * 20 + 2 * wide, SIDE - 2 * (count // 80) + 2 * (number // 40)))
    return out


def study(folder: Path, images: Path, name: str) -> tuple[float, int]:
    """(seconds, files of the study)."""
    import yaml

    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import run_study
    from xlli_ray.recipe import load_recipe

    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({
        "name": "sizes", "baseline": False,
        "corpus": {"images": [f"{images}/*.png"], "scale": 2},
        "models": [{"id": "small", "network": "toy:small", "args": {"width": 32}}],
        "stages": [{"restore": {}}, {"features": {"layers": ["head"]}}, {"features": {"id": "pooled", "layers": ["body"], "pool": "mean"}}],
    }))  # fmt: skip
    start = time.perf_counter()
    run_study(load_recipe(path), str(folder / name), Options(workers=0, quiet=True))
    return time.perf_counter() - start, sum(file.is_file() for file in (folder / name).rglob("*"))


def unequal_rows(ours: Path, theirs: Path) -> tuple[int, int]:
    """(rows compared, rows that differ) over all arrays and tables of scalars of two studies of the same samples."""
    from xlli_ray.study import open_study

    a, b = open_study(ours), open_study(theirs)
    ids = [str(name) for name in a.sql("select sample_id from samples order by row")["sample_id"].to_pylist()]
    compared = different = 0
    for name in a.arrays:
        for first in range(0, len(ids), 50):
            some = ids[first : first + 50]
            for mine, other in zip(a.array(name).rows(some), b.array(name).rows(some), strict=True):
                compared += 1
                different += (mine.dtype, mine.shape, mine.tobytes()) != (other.dtype, other.shape, other.tobytes())
    for mine, other in zip(*(study.sql("select * from restore order by row").to_pylist() for study in (a, b)), strict=True):
        compared += 1
        different += repr(mine) != repr(other)
    return compared, different


def main() -> None:
    import shutil
    import tempfile

    from xlli_ray.engine.run import many_sizes, network_process

    parser = common.arguments(__doc__ or "")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--full", action="store_true", help="1,000 images, and not as it was")
    args = parser.parse_args()
    count = 1000 if args.full else args.images
    network_process.OWN_PROCESS = False  # the toy is ours
    found: dict[str, list[tuple[float, int]]] = {}
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        folder = Path(name)
        write_images(folder / "many", sizes_of(count))
        pixels = statistics.mean(height * width for height, width in sizes_of(count))
        side = round(pixels**0.5 / 2) * 2
        write_images(folder / "same", [(side, side)] * count)
        usual: Any = many_sizes.MANY
        study(folder, folder / "same", "warm")  # imports, caches
        rounds = args.rounds or 1
        for number in range(rounds):
            for what, images, least in (("one size", "same", usual), ("many sizes", "many", usual), ("each", "many", 1 << 30)):
                many_sizes.MANY = least
                found.setdefault(what, []).append(study(folder, folder / images, f"{what.replace(' ', '-')}-{number}"))
                if number < rounds - 1 or what == "one size":
                    shutil.rmtree(folder / f"{what.replace(' ', '-')}-{number}")
        compared, different = unequal_rows(folder / f"many-sizes-{rounds - 1}", folder / f"each-{rounds - 1}")
    result = {what: {"seconds": min(s for s, _ in rounds), "files": rounds[0][1]} for what, rounds in found.items()}
    base = result["one size"]
    ratios = {what: {key: round(value[key] / base[key], 3) for key in value} for what, value in result.items()}
    common.finish("many_sizes", images=count, **{"of": result, "ratios": ratios, "rows compared": compared, "rows different": different})


if __name__ == "__main__":
    main()
