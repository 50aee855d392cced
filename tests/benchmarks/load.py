"""Very many tiny images through a real run: whether memory grows with their number, how many files a study has, what an image costs.

    python tests/benchmarks/load.py --images 1000000 --seconds 3600 [--workers 1] [--log load.jsonl] [--scratch DIR]

PNG files of 16 × 16 pixels, all different, a thousand in each folder; scale 1 with noise, a network of two small convolutions, the mean
of one layer's features and the scores of the output. From nothing: scan, plan, units, tables, in a process of its own with Ray workers.
Every few seconds one JSON line: resident memory and CPU seconds of the driver and of each worker, files scanned and units done, by the
names in the study. After `--seconds` the run is interrupted as by a person, and what it reached is reported. Slopes are least squares over
each phase but for its first fifth, in MB per 100,000 images. Beside it, what plain loops in one process cost for each image: open, decode,
batches of 32, forward; and the same with noise and scores by this package's functions.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common
import numpy as np
import psutil

SIDE, A_FOLDER, CHUNK = 16, 1000, 64
NETWORK = '''
import torch
from torch import nn

VERSION = 1


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 3, 3, 1, 1))
'''


def recipe(folder: Path) -> dict[str, Any]:
    return {
        "name": "load", "seed": 0, "baseline": False,
        "corpus": {"images": [f"{folder}/images/*/*.png"], "scale": 1, "degradations": [{"noise": 20}]},
        "models": [{"id": "net", "network": "load_network:make"}],
        "stages": [{"features": {"layers": ["1"], "pool": "mean"}}, {"restore": {}}],
    }  # fmt: skip


def write_images(folder: Path, count: int) -> None:
    """`count` different PNG files, uncompressed but for zlib's frame: written by hand, since a million should take a minute."""
    rng = np.random.default_rng(0)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0))
    for first in range(0, count, A_FOLDER):
        place = folder / f"{first // A_FOLDER:05d}"
        place.mkdir(parents=True)
        lines = np.zeros((A_FOLDER, SIDE, 1 + 3 * SIDE), np.uint8)  # each line begins with its filter, 0
        lines[:, :, 1:] = rng.integers(0, 256, (A_FOLDER, SIDE, 3 * SIDE), dtype=np.uint8)
        for number in range(min(A_FOLDER, count - first)):
            data = head + chunk(b"IDAT", zlib.compress(lines[number].tobytes(), 1)) + chunk(b"IEND", b"")
            (place / f"{number:03d}.png").write_bytes(data)


def child_run(folder: Path, workers: int) -> None:
    from xlli_ray.engine.worker.environment import one_arena

    one_arena()  # as `xlli run` does
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import run_study
    from xlli_ray.recipe import parse_recipe

    start = time.perf_counter()
    summary = run_study(parse_recipe(recipe(folder), base=folder), str(folder / "study"), Options(workers=workers))
    print(f"RESULT {summary.samples} samples, {summary.failed} failed, {time.perf_counter() - start:.1f} s", flush=True)


def child_plain(folder: Path, count: int) -> dict[str, dict[str, float]]:
    """Microseconds for each image of a plain loop: open, decode, batches of 32, forward; `scored`: also noise and this package's scores."""
    sys.path.insert(0, str(folder))
    import load_network
    import torch
    from PIL import Image

    from xlli_ray.stats.fidelity import luma_studio, psnr, ssim

    torch.set_num_threads(1)
    network = load_network.make().eval()
    rng = np.random.default_rng(0)
    files = [folder / "images" / f"{n // A_FOLDER:05d}" / f"{n % A_FOLDER:03d}.png" for n in range(count)]
    out = {}
    for name in ("forward", "scored"):
        wall, cpu = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            for first in range(0, count, 32):
                images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files[first : first + 32]])
                seen = images + rng.normal(0, 20, images.shape).round() if name == "scored" else images
                outputs = network(torch.from_numpy(seen.clip(0, 255)).permute(0, 3, 1, 2).float() / 255).numpy()
                if name == "scored":
                    made = np.floor(outputs.clip(0, 1) * 255 + 0.5).astype(np.uint8).transpose(0, 2, 3, 1)
                    for one, target in zip(made, images):
                        pair = luma_studio(one), luma_studio(target)
                        psnr(*pair), ssim(*pair), psnr(one, target)
        taken = {"cpu_us": time.process_time() - cpu, "wall_us": time.perf_counter() - wall}
        out[name] = {unit: round(1e6 * value / count, 1) for unit, value in taken.items()}
    return out


class Watch:
    """Looks at a run from outside: its processes, and what its study says is done."""

    def __init__(self, pid: int, study: Path) -> None:
        self._driver, self._study, self._start = psutil.Process(pid), study, time.monotonic()
        self.lines: list[dict[str, Any]] = []

    def look(self) -> dict[str, Any]:
        line: dict[str, Any] = {"t": round(time.monotonic() - self._start, 1), "driver_mb": 0.0, "worker_mb": 0.0, "ray_mb": 0.0, "cpu": {}}
        cpu: Counter[str] = Counter()
        for process in self._tree():
            try:
                with process.oneshot():
                    times, size = process.cpu_times(), process.memory_info().rss / 1e6
                    role = self._role(process)
            except psutil.Error:
                continue
            line[f"{role}_mb"] = round(max(line[f"{role}_mb"], size) if role == "worker" else line[f"{role}_mb"] + size, 1)
            cpu[role] += times.user + times.system
        line["cpu"] = {role: round(value, 1) for role, value in cpu.items()}
        line |= {"scanned": CHUNK * self._count("scan-*"), "units": self._count("restore/net/*")}
        self.lines.append(line)
        return line

    def _tree(self) -> Iterator[psutil.Process]:
        try:
            yield self._driver
            yield from self._driver.children(recursive=True)
        except psutil.Error:
            return

    def _role(self, process: psutil.Process) -> str:
        if process.pid == self._driver.pid:
            return "driver"
        return "worker" if "_Actor" in " ".join(process.cmdline()) else "ray"

    def _count(self, pattern: str) -> int:
        folders = (self._study / "records").glob(pattern)
        return sum(1 for folder in folders if folder.is_dir() for entry in os.scandir(folder) if entry.name.endswith(".arrow"))


def slopes(lines: list[dict[str, Any]], images: int, units: int) -> dict[str, Any]:
    """MB per 100,000 images of each role in each phase, by least squares over all but the phase's first fifth."""
    out: dict[str, Any] = {}
    phases = {
        "scan": [(line["scanned"], line) for line in lines if 0 < line["scanned"] < images and not line["units"]],
        "units": [(images * line["units"] / max(1, units), line) for line in lines if 0 < line["units"] < units],
    }
    for phase, points in phases.items():
        kept = points[len(points) // 5 :]
        if len({done for done, _ in kept}) < 3:
            continue
        x = np.array([done for done, _ in kept]) / 1e5
        for role in ("driver", "worker", "ray"):
            y = np.array([line[f"{role}_mb"] for _, line in kept])
            out[f"{phase}, {role}"] = {
                "mb_per_100k": round(float(np.polyfit(x, y, 1)[0]), 2), "first": y[0], "last": y[-1], "most": float(y.max()),
            }  # fmt: skip
    return out


def stored(study: Path) -> dict[str, Any]:
    """Files and bytes of the study's folder, by its first level."""
    files: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for place, _, names in os.walk(study):
        part = Path(place).relative_to(study).parts[:1] or (".",)
        files[part[0]] += len(names)
        size[part[0]] += sum(os.lstat(f"{place}/{name}").st_size for name in names)
    return {"files": dict(files), "total": sum(files.values()), "mb": {part: round(value / 1e6, 1) for part, value in size.items()}}


def planned_units(study: Path) -> int:
    try:
        from xlli_ray.study import open_study

        return next(cell.units for cell in open_study(study).manifest.cells if cell.stage == "restore")
    except Exception:  # interrupted before there was a plan
        return 0


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--images", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=3600.0, help="then the run is interrupted")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two looks")
    parser.add_argument("--log", type=Path, default=None, help="file for the JSON lines [default: none]")
    parser.add_argument("--child")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    images = args.images or (2000 if args.quick else 20_000)
    if args.child == "run":
        child_run(args.folder, args.workers)
        return
    if args.child == "plain":
        print("RESULT " + json.dumps(child_plain(args.folder, images)))
        return
    with common.scratch(args.scratch) as folder:
        (folder / "load_network.py").write_text(NETWORK)
        start = time.perf_counter()
        write_images(folder / "images", images)
        print(f"{images} images written in {time.perf_counter() - start:.0f} s", flush=True)
        root = Path(__file__).resolve().parents[2]
        env = {**os.environ, "PYTHONPATH": f"{folder}:{root}:{Path(__file__).resolve().parent}"}
        command = [sys.executable, str(Path(__file__).resolve()), "--folder", str(folder), "--workers", str(args.workers), "--child"]
        plain = common.run_measured([*command, "plain", "--images", str(min(images, 20_000))], env=env)
        loop = json.loads(plain.output.rsplit("RESULT ", 1)[1])
        print(json.dumps({"plain loop": loop}), flush=True)

        process = subprocess.Popen([*command, "run", "--images", str(images)], env=env)
        watch, interrupted, start = Watch(process.pid, folder / "study"), False, time.perf_counter()
        while process.poll() is None:
            line = watch.look()
            if args.log:
                with args.log.open("a") as log:
                    log.write(json.dumps(line) + "\n")
            if time.perf_counter() - start > args.seconds and not interrupted:
                interrupted = True
                process.send_signal(signal.SIGINT)
            time.sleep(args.every)
        wall = time.perf_counter() - start
        assert interrupted or process.returncode == 0, process.returncode
        units = planned_units(folder / "study")
        last = watch.lines[-1]
        done = images * last["units"] // units if units and interrupted else images
        cpu = {role: max(line["cpu"].get(role, 0.0) for line in watch.lines) for role in ("driver", "worker", "ray")}
        grown = slopes(watch.lines, images, units)
        rows = [[name, *values.values()] for name, values in grown.items()]
        common.show("Memory, MB", rows, ["phase, process", "per 100,000 images", "first", "last", "most"])
        common.finish(
            "load", images=images, done=done, interrupted=interrupted, workers=args.workers, wall_s=wall, cpu_s=cpu,
            cpu_us_an_image={role: 1e6 * value / max(1, done) for role, value in cpu.items()}, plain=loop, slopes=grown,
            units=units, study=stored(folder / "study"), most_mb={role: max(line[f"{role}_mb"] for line in watch.lines)
                                                                  for role in ("driver", "worker", "ray")},
        )  # fmt: skip


if __name__ == "__main__":
    main()
