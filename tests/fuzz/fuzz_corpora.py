"""Malformed corpora of every kind through scan and measurement: clips of frames, videos, pairs with masks, lists, motion, rain.

    python tests/fuzz/fuzz_corpora.py --trials 2000 --seed 0

A trial writes a small corpus, damages it, and runs a study of `inputs` over it in this process. Damaged are the bytes of frames, videos,
images, masks and Parquet files; names, numbers and sizes of frames; columns, types and cells of lists; fields of `motion`, `clips` and
rain. A finding is an exception that is no XlliError, a message of many lines or thousands of characters, more than ten seconds of work, a
file of the corpus that is neither sample nor rejected, or a failed row without a reason. Prints one JSON object; the exit code is 1 when
something was found.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fuzz_images import mutated, seeds
from limits import Hang, less_memory, limited
from recipe_changes import HOSTILE

SECONDS = 10
MEMORY = 6 * 2**30
Random = random.Random


def picture(number: int, height: int = 24, width: int = 32) -> Image.Image:
    coarse = np.random.default_rng(number).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(coarse.repeat(4, 0).repeat(4, 1)[:height, :width])


def videos() -> dict[str, bytes]:
    """Name -> a video of ten frames, in the containers and codecs that people have."""
    import av

    found = {}
    for name, codec, pixels in (("a.mkv", "ffv1", "bgr0"), ("b.mp4", "libx264", "yuv420p"), ("c.avi", "mjpeg", "yuvj420p"),
                                ("d.webm", "libvpx-vp9", "yuv420p"), ("e.mp4", "mpeg4", "yuv420p"), ("f.mov", "png", "rgb24"),
                                ("g.y4m", "wrapped_avframe", "yuv420p"), ("h.mpg", "mpeg2video", "yuv420p")):  # fmt: skip
        with tempfile.TemporaryDirectory() as where, contextlib.suppress(av.FFmpegError, ValueError):
            path = Path(where) / name
            with av.open(str(path), "w") as container:
                stream = container.add_stream(codec, rate=25)
                stream.width, stream.height, stream.pix_fmt = 48, 32, pixels
                for i in range(10):
                    frame = av.VideoFrame.from_ndarray(np.asarray(picture(i, 32, 48)), format="rgb24")
                    container.mux(stream.encode(frame))
                container.mux(stream.encode())
            found[name] = path.read_bytes()
    return found


VIDEOS: dict[str, bytes] = {}


def damaged_bytes(data: bytes, rng: Random) -> bytes:
    """Changes anywhere in a file, or a file of another kind."""
    if rng.random() < 0.1:
        return rng.choice([b"", b"\0" * 50, b"no such thing", rng.choice(list(seeds().values()))[0], rng.randbytes(400)])
    return mutated(data, rng)


def no_file(path: Path, rng: Random) -> None:
    """A folder, a FIFO, a link in a circle or to what never ends."""
    rng.choice((path.mkdir, lambda: os.mkfifo(path), lambda: path.symlink_to(path), lambda: path.symlink_to("/dev/zero")))()


def of_videos(folder: Path, rng: Random) -> dict[str, Any]:
    VIDEOS.update({} if VIDEOS else videos())
    for _ in range(rng.choice((1, 2))):
        name = rng.choice(list(VIDEOS))
        ending = rng.choice((Path(name).suffix, Path(name).suffix, ".mp4", ".AVI", ".webm"))
        (folder / f"{Path(name).stem}{ending}").write_bytes(damaged_bytes(VIDEOS[name], rng))
    (folder / "good.mkv").write_bytes(VIDEOS["a.mkv"])
    clips = {"videos": [f"{folder}/*"], "window": rng.choice((1, 3, 10, 11)), "stride": rng.choice((1, 4, None))}
    return {"clips": clips, "scale": rng.choice((1, 2)), **({"patches": {"size": 16, "per_image": 2}} if rng.random() < 0.3 else {})}


ODD_NAMES = ("f_7.png", "f_007.png", "frame.png", "f_\x1b[31m9.png", "é_1.png", "f_" + "9" * 200 + ".png", "f_00000000000000000000007.png",
             "f_99999999999999999999.png", "f_٣.png", " .png")  # fmt: skip


def of_frames(folder: Path, rng: Random) -> dict[str, Any]:
    for clip in range(rng.choice((1, 2))):
        (folder / f"clip{clip}").mkdir()
        for number in range(6):
            picture(number).save(folder / f"clip{clip}/f_{number:02d}.png")
    for _ in range(rng.choice((1, 1, 2, 3))):
        path = rng.choice(sorted(folder.glob("*/*")))
        what = rng.randrange(8)
        if path.is_symlink() or not path.is_file():
            continue  # no file any more
        if what <= 2:
            path.write_bytes(damaged_bytes(path.read_bytes(), rng))
        elif what == 3:
            path.rename(path.with_name(rng.choice(ODD_NAMES)))
        elif what == 4:
            path.unlink()
        elif what == 5:
            picture(9, rng.choice((1, 8, 24, 48)), rng.choice((1, 32, 33))).save(path.with_suffix(".png"))
        elif what == 6:
            path.unlink()
            no_file(path, rng)
        else:
            path.write_bytes(rng.choice(list(seeds().values()))[0])
    clips: dict[str, Any] = {"frames": [f"{folder}/*/*"], "window": rng.choice((1, 2, 6, 7)), "stride": rng.choice((1, 2, None))}
    corpus: dict[str, Any] = {"clips": clips, "scale": rng.choice((1, 2, 5))}
    if rng.random() < 0.3:
        corpus = {"clips": {"input": [f"{folder}/*/*"], "target": [f"{folder}/*/*"], "frames": 2}}
    return {**corpus, **({"patches": {"size": 8, "per_image": 2}} if rng.random() < 0.3 else {})}


def of_pairs(folder: Path, rng: Random) -> dict[str, Any]:
    for number in range(4):
        picture(number, 12, 16).save(folder / f"{number}_in.png")
        picture(number, 24, 32).save(folder / f"{number}_out.png")
        picture(number, 12, 16).convert("1").save(folder / f"{number}_mask.png")
    for _ in range(rng.choice((1, 2, 3))):
        path = rng.choice(sorted(folder.iterdir()))
        what = rng.randrange(5)
        if what <= 1:
            path.write_bytes(damaged_bytes(path.read_bytes(), rng))
        elif what == 2:
            picture(9, rng.choice((1, 12, 24, 48)), rng.choice((1, 16, 32, 64))).save(path)
        elif what == 3:
            path.unlink()
        else:
            Image.new("RGB", (16, 12), rng.choice(("black", "#101010", "white"))).save(path)
    pairs: dict[str, Any] = {"input": f"{folder}/*_in.png", "target": f"{folder}/*_out.png"}
    if rng.random() < 0.6:
        pairs["mask"] = f"{folder}/*_mask.png"
    if rng.random() < 0.3:
        pairs["label"] = rng.choice(("blur2", "blur2", "heavy", "heavy", "\x1b", "a" * 200, "real-x", "clean"))
    if rng.random() < 0.2:
        pairs["parameters"] = rng.choice(({"blur": 1.6}, {"noise": {"sigma": 10}}, {"x": {}}, {"blur": 1e300}, {"blur": "a"}, {}))
    return {"pairs": pairs, **({"patches": {"size": 8, "per_image": 2}} if rng.random() < 0.3 else {})}


ODD_CELLS: tuple[Any, ...] = (
    "", " ", "/", ".", "..", "a.png", "no.png", "a" * 5000, "\x1b[31m", "é\n", "x\0y", "http://[", "s3://", "://", "file:///etc/passwd",
    "zip://a.png::nothing.zip", "skimage://x", "skimage://../../x", "/dev/zero", "/dev/stdin", "/proc/self/mem", "~nobody/a", "*", "a?.png",
    "memory://a", "data:image/png;base64,aGk=", "github://a:b@c/d", "local://a.png", "simplecache::a.png", "dir://a::b", None,
)  # fmt: skip
ODD_COLUMNS: tuple[Callable[[int], pa.Array], ...] = (
    lambda n: pa.array([None] * n), lambda n: pa.array(range(n)), lambda n: pa.array([b"\xff"] * n).view(pa.string()),
    lambda n: pa.array([math.nan, math.inf, -0.0, 1e300][:n] * n)[:n],
    lambda n: pa.array([[1, 2]] * n), lambda n: pa.array([{"a": 1}] * n), lambda n: pa.array([b"\xff"] * n),
    lambda n: pa.array(["x"] * n).dictionary_encode(), lambda n: pa.array([2**63 - 1] * n),
    lambda n: pa.array([2**64 - 1] * n, pa.uint64()),
    lambda n: pa.array([0] * n, pa.timestamp("ns")), lambda n: pa.array([0] * n, pa.decimal128(38, 10)), lambda n: pa.array(["blur2"] * n),
    lambda n: pa.array(['{"blur": 1.6}'] * n), lambda n: pa.array(["[" * 5000] * n), lambda n: pa.array([True] * n),
    lambda n: pa.array([0] * n, pa.duration("s")), lambda n: pa.array(["x"] * n, pa.large_string()),
    lambda n: pa.array([1] * n, pa.float16()),
    lambda n: pa.array([{"a": [{"b": None}]}] * n), lambda n: pa.array([""] * n), lambda n: pa.array(['{"noise": {"sigma": NaN}}'] * n),
)  # fmt: skip
COLUMN_NAMES = (
    "image", "input", "target", "mask", "label", "parameters", "row", "sample_id", "clip", "frames", "", " ", "é", "a.b", "a b", 'x"y',
    "\0", "x" * 500,
    "SELECT", "Image", "select * from samples", "blur", "kind", "motion", "level", "\x1b[31m", "1", "speed",
)  # fmt: skip


def of_lists(folder: Path, rng: Random) -> dict[str, Any]:
    for number in range(3):
        picture(number, 12, 16).save(folder / f"{'abc'[number]}.png")
        picture(number, 24, 32).save(folder / f"{'ABC'[number]}.png")
    small, large = ["a.png", "b.png", "c.png"], ["A.png", "B.png", "C.png"]
    names = rng.choice((("image",), ("image",), ("input",), ("input", "target"), ("input", "target", "mask")))
    texts = {"image": large, "input": small, "target": large, "mask": small}
    columns: dict[str, Any] = {name: list(texts[name]) for name in names}
    corpus: dict[str, Any] = {"scale": 2} if names == ("image",) and rng.random() < 0.9 else {}
    for _ in range(rng.choice((0, 1, 1, 2))):
        columns[rng.choice(names)][rng.randrange(3)] = rng.choice(ODD_CELLS)
    arrays = [(name, pa.array(cells, pa.string())) for name, cells in columns.items()]
    for _ in range(rng.choice((0, 0, 1, 2))):
        arrays.append((rng.choice(COLUMN_NAMES), rng.choice(ODD_COLUMNS)(3)))
    if rng.random() < 0.2:
        place = rng.randrange(len(arrays))
        arrays[place] = (arrays[place][0], rng.choice(ODD_COLUMNS)(3))
    if rng.random() < 0.1:
        arrays = [(name, cells[:0]) for name, cells in arrays]
    table = pa.Table.from_arrays([cells for _, cells in arrays], names=[name for name, _ in arrays])
    path, file = folder / rng.choice(("list.parquet", "list.parquet", "list.csv", "list")), io.BytesIO()
    if rng.random() < 0.1:
        with contextlib.suppress(pa.ArrowException):
            pa.csv.write_csv(table, file)
    else:
        with contextlib.suppress(pa.ArrowException):
            pq.write_table(table, file, compression=rng.choice(("snappy", "zstd", "none")))
    data = file.getvalue()
    path.write_bytes(damaged_bytes(data, rng) if rng.random() < 0.4 else data)
    return {"list": str(path), **corpus}


def of_images(folder: Path, rng: Random) -> dict[str, Any]:
    """Motion, and rain with odd fields."""
    for number in range(3):
        picture(number, 72, 72).save(folder / f"{number}.png")
    path = rng.choice(sorted(folder.iterdir()))
    path.write_bytes(damaged_bytes(path.read_bytes(), rng))
    odd = (*HOSTILE, 1.25, [0, 4], [[0, 4], 2.5], [1, 1], [4, 0], 2, 8, 32, 1000, 0.75, False)
    fit = {"window": (1, 2, 9, 1000), "size": (2, 8, 30, 64, 72, 80), "per_image": (1, 5),
           "speeds": ([0], [0.01], [40], [[0, 30], 1000], [1e-300]),
           "angles": (0, [10, 11], [-360, 360]), "exact": (False, True), "rotation": (5, [-90, 90], 1e-300), "zoom": (0.5, 2, [0.9, 1.1]),
           "layers": (1, 3, 16), "layer_size": (0.01, 1, [0.01, 1]), "min_std": (0, 60, 127.5)}  # fmt: skip
    if rng.random() < 0.6:
        motion: dict[str, Any] = {"images": [f"{folder}/*.png"], "window": 3, "size": 32, "speeds": [1, 2.5]}
        for _ in range(rng.choice((1, 2, 3))):
            name = rng.choice(list(fit))
            motion[name] = rng.choice(fit[name] if rng.random() < 0.85 else odd)
        level: Any = rng.choice(("clean", {"noise": 10}, {"blur": 1}))
        return {"motion": motion, "scale": rng.choice((1, 2, 2, 3)), "degradations": [level]}
    rain: dict[str, Any] = {}
    fits: dict[str, tuple[Any, ...]] = {
        "preset": ("hu25-small", "xpixel-large"), "ood": ("angle", ["length"], []), "amount": (0.0001, 1, [0.01, 0.02]),
        "threshold": (0, 254),
        "width": (1, 31, [3, 5], {3: 0.5, 5: 0.5}), "length": (1, 200, [[1, 2], [90, 200]]), "angle": (-89, 90, [0, 5]),
        "weight": (0.001, 1), "kernel": ("plain", "scaled"),
    }  # fmt: skip
    for _ in range(rng.choice((0, 1, 2))):
        name = rng.choice(list(fits))
        rain[name] = rng.choice(fits[name] if rng.random() < 0.85 else odd)
    levels = ({"rain": rain}, {"rain": rain}, {"rain": "hu25-random"}, {"rain": rain, "noise": 10}, {"rain": rng.choice(odd)})
    return {"images": [f"{folder}/*.png"], "scale": rng.choice((1, 2)), "degradations": ["clean", rng.choice(levels)]}


KINDS: dict[str, Callable[[Path, Random], dict[str, Any]]] = {
    "videos": of_videos, "frames": of_frames, "pairs": of_pairs, "lists": of_lists, "motion and rain": of_images,
}  # fmt: skip


def trial(corpus: dict[str, Any], out: Path, rng: Random) -> str:
    """Run a study of the inputs of a corpus; what came of it."""
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import run_study
    from xlli_ray.errors import XlliError
    from xlli_ray.recipe import parse_recipe
    from xlli_ray.store.tables.study_tables import rejected
    from xlli_ray.study import open_study

    data = {"name": "odd", "corpus": {"max_pixels": 1_000_000, **corpus}, "stages": [{"inputs": {}}]}
    try:
        recipe = parse_recipe(data, base=out.parent)
        run_study(recipe, str(out), Options(workers=0, quiet=True))
    except XlliError as error:
        if not 0 < len(str(error).strip()) < 3000:
            raise AssertionError(f"{len(str(error))} characters: {str(error)[:300]}") from error
        return f"refused: {type(error).__name__}"
    study = open_study(out)
    rows, bad = study.sql("from samples").num_rows, rejected(study.objects).to_pylist()
    assert all(row["reason"] for row in bad), "a rejected file without a reason"
    failed = study.sql("from failures where stage <> 'scan'").to_pylist()
    assert all(row["reason"] for row in failed), "a failed row without a reason"
    assert study.sql("from inputs").num_rows == rows, "not one row a sample"
    assert rows + len(bad) > 0, "neither samples nor rejected files, without a word"
    json.dumps(study.sql("from samples").to_pylist(), default=str)
    return f"ran: {'samples' if rows else 'no samples'}{', rejected' if bad else ''}{', failed' if failed else ''}"


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the trials; returns the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    parser.add_argument("--keep", type=Path, help="folder for corpora with findings")
    options = parser.parse_args(arguments)
    begun, slowest = time.monotonic(), 0.0
    outcomes: Counter[str] = Counter()
    findings: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as where, less_memory(MEMORY), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(options.first, options.first + options.trials):
            rng, kind = Random(f"{options.seed}/{number}"), list(KINDS)[number % len(KINDS)]
            (folder := Path(where) / "trial").mkdir()
            (files := folder / "files").mkdir()
            corpus = KINDS[kind](files, rng)
            start, problem = time.process_time(), ""
            try:
                with limited(SECONDS):
                    outcomes[f"{kind}: {trial(corpus, folder / 'study', rng)}"] += 1
            except (Exception, Hang):
                problem = traceback.format_exc(limit=-4)[-1500:]
            slowest = max(slowest, time.process_time() - start)
            if problem:
                findings.append({"trial": number, "kind": kind, "corpus": str(corpus)[:500], "problem": problem})
                sys.stderr.write(json.dumps(findings[-1]) + "\n")
                if options.keep:
                    shutil.copytree(files, options.keep / f"{options.seed}-{number}", symlinks=True, ignore=lambda at, names: [
                        name for name in names if not Path(at, name).is_dir() and not Path(at, name).is_file()])  # fmt: skip
            shutil.rmtree(folder)
    return {
        "trials": options.trials, "seed": options.seed, "outcomes": dict(sorted(outcomes.items())), "findings": findings,
        "slowest_cpu_seconds": round(slowest, 2), "seconds": round(time.monotonic() - begun, 1),
    }  # fmt: skip


if __name__ == "__main__":
    summary = main()
    print(json.dumps(summary, indent=1))
    sys.exit(1 if summary["findings"] else 0)
