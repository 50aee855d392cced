"""Extraction, SRGA and Gram matrices on a GPU against what the card gives alone; and 1 to 16 CPU workers against as many plain processes.

    share     images/s of a study (128 × 128 JPEGs, `*:last_conv_input` pooled) over images/s of the network with its input on the device:
              RFDN and an RRDB of six blocks. `steady`: from the 5th batch to the last; `wall`: of the whole run in its process, scan and
              tables included; `clock`: seconds by activity, of the units' records
    gram      the Gram matrix of 800 × 1,048,576 float32 by `device_gram` against the card's own float32 product of that shape
    srga      from images to the index, two networks × five sets: the device against 16 CPU workers of the same recipe
    cores     n workers on the CPU against n plain processes that read, run the same network and pool: images/s while all of them work,
              and CPU milliseconds an image, counted in the workers from batch to batch

Prints one JSON line a part; parts begin only while `--seconds` last. Each runs in a process of its own. Networks come from $XLLI_FIXTURES.
`--device cpu --quick` shows here that all of it runs.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import common
import numpy as np

FIXTURES = Path(os.environ.get("XLLI_FIXTURES") or Path(__file__).resolve().parents[3] / "shared/fixtures")
MODELS = {
    "rfdn": {"id": "rfdn", "weights": str(FIXTURES / "models/rfdn/rfdn_x4.pth"), "network": "rfdn"},
    "rrdb": {"id": "rrdb", "weights": str(FIXTURES / "models/rrdb/RealESRGAN_x4plus_anime_6B_fp16.pth")},
}
BATCH = 32
SETS = ["clean", "blur2", "noise20", "jpeg50", "blur2+noise10"]
COUNTING = '''
import os, time
import torch
from torch import nn

VERSION = 1


class Counting(nn.Module):
    """Four convolutions; notes wall and CPU time of its process and the images of each batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layers = []
        for inputs, outputs, stride in ((3, 16, 2), (16, 32, 2), (32, 32, 1), (32, 32, 1)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU()]
        self.body = nn.Sequential(*layers[:-1])

    def forward(self, x):
        y = self.body(x)
        if not x.is_meta and len(x) == 32:
            with open(os.path.join(os.environ["XLLI_COUNT"], str(os.getpid())), "a") as file:
                print(time.time(), time.process_time(), len(x), file=file)
        return y


def make():
    return Counting()
'''


def say(**line: Any) -> None:
    print(json.dumps(line, default=float), flush=True)


# -- images ----------------------------------------------------------------------------------------------------------


def _some(job: tuple[str, int, int, int, str]) -> None:
    folder, first, last, size, kind = job
    base = common.scenes(5, count=12, size=size)
    for number in range(first, last):
        rng = np.random.default_rng([5, number])
        grain = rng.normal(0, 0.02, (size, size, 1)).astype(np.float32)
        scene = np.roll(base[number % len(base)], tuple(rng.integers(0, size, 2)), (0, 1)) + grain
        pixels = (scene.clip(0, 1) * np.float32(255)).astype(np.uint8)
        (Path(folder) / f"{number:06d}.{kind.lower()}").write_bytes(common.encoded(pixels, kind))


def images(folder: Path, count: int, size: int, kind: str = "JPEG") -> None:
    """Textured scenes, each different, made by all cores."""
    folder.mkdir(parents=True)
    cores = os.cpu_count() or 1
    cuts = np.linspace(0, count, cores + 1).astype(int).tolist()
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.map(_some, [(str(folder), a, b, size, kind) for a, b in pairwise(cuts)])


# -- children --------------------------------------------------------------------------------------------------------


def study(recipe: dict[str, Any], base: Path, out: Path, **options: Any) -> tuple[float, list[tuple[float, int]]]:
    """Run a recipe in this process. Seconds of all, and (time, images) of each batch that was launched."""
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import run_study
    from xlli_ray.engine.worker.run_probes import Measuring
    from xlli_ray.recipe import parse_recipe

    launched: list[tuple[float, int]] = []
    launch = Measuring.launch

    def noted(self: Any, model: Any, batch: Any, staging: Any) -> Any:
        launched.append((time.perf_counter(), len(batch.samples)))
        return launch(self, model, batch, staging)

    Measuring.launch = noted  # type: ignore[method-assign]
    start = time.perf_counter()
    summary = run_study(parse_recipe(recipe, base=base), str(out), Options(quiet=True, **options))
    assert summary.failed == 0, summary
    return time.perf_counter() - start, launched


def clock(out: Path) -> dict[str, float]:
    """Seconds by activity, over all units."""
    from xlli_ray.store.objects.client import open_objects
    from xlli_ray.store.records.documents import load_manifest
    from xlli_ray.store.records.listing import Listing
    from xlli_ray.store.records.unit_records import read_receipts

    objects = open_objects(str(out))
    manifest = load_manifest(objects)
    assert manifest is not None
    total: dict[str, float] = {}
    for group in {cell.group: cell for cell in manifest.cells if not cell.model.startswith("bicubic")}.values():
        for receipt in read_receipts(Listing(objects), group.id):
            for kind, seconds in receipt.seconds.items():
                total[kind] = round(total.get(kind, 0.0) + seconds, 3)
    return total


def card(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(0) if device.startswith("cuda") else f"cpu, {os.cpu_count()} cores"


def child_share(folder: Path, device: str, network: str, count: int, size: int, seconds: float) -> dict[str, Any]:
    import torch

    recipe = {
        "name": network, "corpus": {"inputs": [f"{folder}/jpegs/*"]}, "models": [MODELS[network]], "batch": {"features": BATCH},
        "stages": [{"features": {"layers": ["*:last_conv_input"], "pool": "mean"}}],
    }  # fmt: skip
    recipe["corpus"] = {"inputs": [str(path) for path in sorted((folder / "jpegs").iterdir())[:count]]}
    out = folder / f"study-{network}"
    wall, launched = study(recipe, folder, out, workers=0, device=device)
    alone = _alone(out, network, device, size, seconds)
    first = min(4, (len(launched) - 1) // 2)
    within = launched[-1][0] - launched[first][0]
    steady = sum(images for _, images in launched[first:-1]) / within if within else float("nan")
    loop = launched[-1][0] - launched[0][0]
    return {
        "network": network, "images": count, "alone": alone, "steady": steady, "share": steady / alone,
        "wall_rate": count / wall, "wall": wall, "around_the_batches": wall - loop, "clock": clock(out), "card": card(device),
        "torch": torch.__version__,
    }  # fmt: skip


def _alone(out: Path, network: str, device: str, size: int, seconds: float) -> float:
    """Images a second of the network of a study, its input on the device."""
    import torch

    from xlli_ray.engine.worker.study_model import load_study_model
    from xlli_ray.store.objects.client import open_objects
    from xlli_ray.store.records.documents import load_manifest

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    objects = open_objects(str(out))
    manifest = load_manifest(objects)
    assert manifest is not None
    model = load_study_model(objects, manifest.model(network), torch.device(device))
    x = torch.rand(BATCH, 3, size, size, device=device)

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    with torch.no_grad():
        for _ in range(3 if device.startswith("cuda") else 1):
            model.forward(x)
        wait()
        start, batches = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            for _ in range(5 if device.startswith("cuda") else 1):
                model.forward(x)
                batches += 1
            wait()
    return batches * BATCH / (time.perf_counter() - start)


def child_gram(folder: Path, device: str, samples: int, width: int) -> dict[str, Any]:
    import torch

    from xlli_ray.probes.device_gram import device_gram

    torch.backends.cuda.matmul.allow_tf32 = False
    features = torch.randn(samples, width, device=device) + 2

    def timed(function: Callable[[], Any]) -> float:
        function()
        best = float("inf")
        for _ in range(5):
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            start = time.perf_counter()
            function()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
        return best

    own, ours = timed(lambda: features @ features.T), timed(lambda: device_gram(features, None, device))
    shifted = (features[:64] - features[:1]).double()
    exact = (shifted @ shifted.T).cpu().numpy()
    error = np.abs(device_gram(features, None, device)[:64, :64] - exact).max() / np.abs(exact).max()
    host = features.cpu().numpy()
    start = time.perf_counter()
    same = bool((device_gram(host, None, device) == device_gram(features, None, device)).all())
    return {
        "shape": [samples, width], "product": own, "gram": ours, "ratio": own / ours, "error": float(error), "card": card(device),
        "tflops": 2 * samples**2 * width / ours / 1e12, "from_host": time.perf_counter() - start - ours, "from_host_same_bytes": same,
    }  # fmt: skip


def child_srga(folder: Path, device: str, workers: int, patches: int) -> dict[str, Any]:
    recipe = {
        "name": "srga", "corpus": {"images": [f"{folder}/pngs/*"], "scale": 4, "pies": {"patches": patches, "size": 128, "sets": SETS}},
        "models": [{"id": name, "weights": f"builtin:srresnet-{name}-clean"} for name in ("gr", "nogr")],
        "stages": [{"srga": {"components": patches // 2, "restore": None, "resamples": 0}}],
    }  # fmt: skip
    out = folder / f"srga-{device.replace(':', '')}-{workers}"
    wall, launched = study(recipe, folder, out, workers=workers, device=device)
    loop = launched[-1][0] - launched[0][0] if launched else None
    return {"device": device, "workers": workers, "patches": patches, "wall": wall, "loop": loop, "units": _units(out),
            "clock": clock(out), "card": card(device)}  # fmt: skip


def _units(out: Path) -> float:
    """Seconds from the plan to the last record: units without start-up, scan, tables, analyses and page."""
    times = [path.stat().st_mtime for path in (out / "records").rglob("*") if path.is_file()]
    return max(times) - (out / "study.json").stat().st_mtime


def child_cores(folder: Path, device: str, workers: int, each: int) -> dict[str, Any]:
    recipe = {
        "name": f"cores{workers}", "corpus": {"inputs": [str(path) for path in _corpus(folder, workers * each)]},
        "models": [{"id": "net", "network": "counting.py:make", "output": "none"}], "batch": {"features": BATCH},
        "stages": [{"features": {"layers": ["body.6"], "pool": "mean"}}],
    }  # fmt: skip
    notes = folder / f"count-ours-{workers}"
    notes.mkdir()
    os.environ["XLLI_COUNT"] = str(notes)
    wall, _ = study(recipe, folder, folder / f"cores-{workers}", workers=workers, device="cpu")
    return {"workers": workers, "images": workers * each, "wall": wall, **rates(notes, workers)}


def _corpus(folder: Path, count: int) -> list[Path]:
    return sorted((folder / "large").iterdir())[:count]


def _plain(job: tuple[str, str, int, int, Any]) -> None:
    """What a loop by hand does: read, decode, run, pool."""
    folder, notes, part, workers, paths = job
    os.environ["XLLI_COUNT"] = notes
    sys.path.insert(0, folder)
    import counting  # type: ignore[import-not-found]
    import torch

    from xlli_ray.corpus.decode import decode
    from xlli_ray.engine.worker.environment import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    network = counting.make().eval()
    found: dict[str, Any] = {}
    network.body[6].register_forward_hook(lambda _m, _i, output: found.__setitem__("x", output))
    mine, pooled = paths[part::workers], []
    with torch.no_grad():
        for start in range(0, len(mine), BATCH):
            some = mine[start : start + BATCH]
            data = torch.empty(len(some), 3, 256, 256)
            for place, path in zip(data, some):
                place.copy_(torch.from_numpy(decode(Path(path).read_bytes()).pixels.transpose(2, 0, 1)))
            network(data)
            pooled.append(found["x"].flatten(2).double().mean(2).float())
    torch.save(pooled, Path(notes) / f"pooled-{part}.pt")


def child_plain(folder: Path, device: str, workers: int, each: int) -> dict[str, Any]:
    notes = folder / f"count-plain-{workers}"
    notes.mkdir()
    paths = [str(path) for path in _corpus(folder, workers * each)]
    processes = [
        multiprocessing.get_context("spawn").Process(target=_plain, args=((str(folder), str(notes), part, workers, paths),))
        for part in range(workers)
    ]
    start = time.perf_counter()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return {"workers": workers, "images": workers * each, "wall": time.perf_counter() - start, **rates(notes, workers)}


def rates(notes: Path, workers: int) -> dict[str, float]:
    """Images a second while all processes work, and CPU milliseconds an image from their second batch on."""
    runs = [np.loadtxt(path, ndmin=2) for path in notes.iterdir() if path.suffix != ".pt"]
    runs = [run for run in runs if len(run) > 3]
    begin, end = max(run[1, 0] for run in runs), min(run[-1, 0] for run in runs)
    within = sum(float(run[(run[:, 0] > begin) & (run[:, 0] <= end), 2].sum()) for run in runs)
    cpu = sum(run[-1, 1] - run[1, 1] for run in runs) / sum(run[2:, 2].sum() for run in runs)
    rate = within / (end - begin) if end > begin else float("nan")
    return {"processes": len(runs), "rate": rate, "window": end - begin, "cpu_ms": 1e3 * float(cpu)}


CHILDREN = {"share": child_share, "gram": child_gram, "srga": child_srga, "cores": child_cores, "plain": child_plain}


def run_child(folder: Path, device: str, name: str, *args: Any, timeout: float) -> dict[str, Any]:
    """One part in a process of its own; what went wrong is a result as well."""
    command = [sys.executable, __file__, "--child", name, str(folder), device, *map(str, args)]
    start = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(timeout, 5))
        result = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"error": (done.stderr or done.stdout)[-1500:]}
    except subprocess.TimeoutExpired:
        result = {"error": f"not done after {timeout:.0f} s"}
    result = {"part": name, **result, "process": round(time.perf_counter() - start, 2)}
    say(**result)
    return result


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        name, folder, device, *rest = sys.argv[2:]
        values = [json.loads(value) if value.replace(".", "", 1).isdigit() else value for value in rest]
        print(json.dumps(CHILDREN[name](Path(folder), device, *values), default=float))
        return
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--parts", default="share,gram,srga,cores")
    parser.add_argument("--workers", default="1,16,4,8,2", help="of cores, in that order")
    args = parser.parse_args()
    end = time.monotonic() + args.seconds
    quick, parts = args.quick, args.parts.split(",")
    cores = os.cpu_count() or 1
    steps = [n for n in ((1, 2) if quick else map(int, args.workers.split(","))) if n <= cores]
    each = 160 if quick else 2560  # ten seconds: sixteen processes do not start at one moment

    def left() -> float:
        return end - time.monotonic()

    with common.scratch(args.scratch) as folder:
        if "share" in parts:
            size, most = (32, 192) if quick else (128, 9000)
            images(folder / "jpegs", most, size)
            run_child(folder, args.device, "share", "rfdn", most, size, 0.5 if quick else 2.0, timeout=left())
            run_child(folder, args.device, "share", "rrdb", 64 if quick else 1300, size, 0.5 if quick else 2.0, timeout=left())
        if "gram" in parts and left() > 10:
            run_child(folder, args.device, "gram", *((64, 65_536 + 100) if quick else (800, 1_048_576)), timeout=left())
        if "srga" in parts and left() > 20:
            images(folder / "pngs", 6 if quick else 24, 512, "PNG")
            patches = 12 if quick else 194
            ours = run_child(folder, args.device, "srga", 0, patches, timeout=left())
            cpu = run_child(folder, "cpu", "srga", 0 if quick else min(16, cores), patches, timeout=left())
            if "error" not in ours and "error" not in cpu:
                say(part="srga ratio", wall=cpu["wall"] / ours["wall"], units=cpu["units"] / ours["units"])
        if "cores" in parts and left() > 15:
            images(folder / "large", each * max(steps), 256)
            (folder / "counting.py").write_text(COUNTING)
            first: dict[str, float] = {}
            for n in steps:
                if left() < 12:
                    say(part="cores", skipped=n)
                    continue
                plain = run_child(folder, "cpu", "plain", n, each, timeout=left())
                ours = run_child(folder, "cpu", "cores", n, each, timeout=left())
                if "error" in plain or "error" in ours:
                    continue
                first = first or {"ours": ours["cpu_ms"], "plain": plain["cpu_ms"]}
                say(part="cores ratio", workers=n, rate=ours["rate"] / plain["rate"], cpu=ours["cpu_ms"] / first["ours"],
                    plain_cpu=plain["cpu_ms"] / first["plain"])  # fmt: skip
        say(part="end", seconds=args.seconds - left(), cores=cores)


if __name__ == "__main__":
    main()
