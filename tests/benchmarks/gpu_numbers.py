"""Are the numbers of a GPU those of a CPU, and what does a lower precision cost? Through `xlli run`, over two public networks.

    same numbers   one study on the CPU, one on `--device`, both in float32: features of the last block (relative root mean square of the
                   difference), PSNR of every sample (dB), attribution maps (relative L2 of each), SRGA of every degraded set (relative)
    precision      stages in tf32, bf16 and fp16 beside those in float32 in the study on `--device`: the same four differences to float32
    same bytes     one worker with half of the GPU, two with half each: every shard and table of the two studies
    gradients      of each network, the gradient of its output five times, as it is and with `torch.use_deterministic_algorithms`: different
                   results, and milliseconds each. Maps of two runs on one GPU were not the same to the last digit; this is to say whether
                   operators that add in any order are why, and what those that do not would cost

Patches of BSD100, 32 × 32 input pixels, ×4, clean, blurred and noisy. Needs the fixtures. Each result is a JSON line at once, each part is
guarded by the clock (`--seconds`): what comes too late is named as skipped. `--device cpu --quick` shows that it runs: then one thread is
compared with two.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
from same_study import compare

FIXTURES = Path(os.environ.get("XLLI_FIXTURES") or Path(__file__).resolve().parents[3] / "shared/fixtures")
BARS = {"features": 5e-5, "psnr": 1e-3, "maps": 1e-3, "srga": 1e-3}
UNITS = {"features": "relative rms", "psnr": "dB", "maps": "relative L2", "srga": "relative"}
LABELS = ("clean", "blur2", "noise20")
LAYER = "*:last_conv_input"
NETWORKS = {"rfdn": {"weights": "rfdn/rfdn_x4.pth", "network": "rfdn"}, "craft": {"weights": "craft/craft_x4.pth"}}


def say(**found: Any) -> None:
    print(json.dumps(found, default=float), flush=True)


def recipe(networks: Sequence[str], precisions: Sequence[str], *, patches: int, maps: int, threads: int) -> dict[str, Any]:
    """Every measurement in each precision; stages of float32 have plain names, others end in the precision."""
    models = FIXTURES / "models"
    stages: list[dict[str, Any]] = []
    for name in precisions:
        end, own = ("", {}) if name == "float32" else (f"-{name}", {"precision": name})
        stages.append({"restore": {"id": f"restore{end}", **own}})
        stages.append({"features": {"id": f"features{end}", "layers": [LAYER], "dtype": "float32", "max_rows": 12, **own}})
        if name != "fp16":  # refused: gradients
            windows = {"size": 16, "per_sample": 1}
            stages.append({"lam": {"id": f"lam{end}", "nodes": 10, "windows": windows, "max_rows": maps, "signed": True, **own}})
        stages.append({"gram": {"id": f"gram{end}", "layers": [LAYER], **own}})
        stages.append({"srga": {"id": f"srga{end}", "of": f"gram{end}", "restore": f"restore{end}", "components": patches // 2}})
    images = FIXTURES / "images/BSD100/x4/*_HR.png"
    return {
        "name": "numbers", "baseline": False, "threads": threads,
        "corpus": {"images": [str(images)], "scale": 4, "degradations": ["clean", {"blur": 2}, {"noise": 20}],
                   "patches": {"size": 128, "count": patches}},
        "models": [{"id": name, **NETWORKS[name], "weights": str(models / NETWORKS[name]["weights"])} for name in networks],
        "stages": stages,
    }  # fmt: skip


def measured(content: dict[str, Any], place: Path, **options: Any) -> float:
    """Run it; seconds."""
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import run_study
    from xlli_ray.recipe import parse_recipe

    start = time.perf_counter()
    summary = run_study(parse_recipe(content, base=place.parent), str(place), Options(quiet=True, **options))
    if summary.failed or summary.analyses_failed:
        say(part="study", name=place.name, failed=summary.failed, analyses_failed=list(summary.analyses_failed))
    return time.perf_counter() - start


def differences(new: Path, old: Path, model: str, end: str = "") -> dict[str, float]:
    """The largest difference of each kind of number in `new`, stages ending in `end`, to those of float32 in `old`."""
    from xlli_ray.study import Study, open_study

    one, other = open_study(new), open_study(old)
    found: dict[str, float] = {}

    def arrays(study: Study, stage: str, name: str) -> np.ndarray | None:
        """(samples, values), float64."""
        cell = next((cell for cell in study.manifest.cells if (cell.stage, cell.model) == (stage, model)), None)
        if cell is None:
            return None
        rows = study.array(cell.id, name).reader().rows(range(cell.buckets[0].rows))
        return np.asarray(rows, np.float64).reshape(len(rows), -1)

    for what, stage, name in (("features", "features", "features"), ("maps", "lam", "map")):
        a, b = arrays(one, stage + end, name), arrays(other, stage, name)
        if a is not None and b is not None:
            ratios = np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)
            found[what] = float(np.linalg.norm(a - b) / np.linalg.norm(b)) if what == "features" else float(ratios.max())
            if what == "maps":
                found["maps, median"] = float(np.median(ratios))
    query = "select {} from {} where stage = '{}' and model = '{}' order by {}"
    for what, column, table, order in (("psnr", "psnr_y", "restore", "sample_id"), ("srga", "srga", "srga", "label")):
        values = [
            [row[column] for row in study.sql(query.format(column, table, table + some, model, order)).to_pylist()]
            for study, some in ((one, end), (other, "")) if any(stage["id"] == table + some for stage in study.manifest.recipe["stages"])
        ]  # fmt: skip
        if len(values) == 2 and values[0]:
            pairs = [(a, b) for a, b in zip(*values, strict=True) if a is not None and b]  # the reference's own index is 0
            found[what] = max(abs(a - b) / (1.0 if what == "psnr" else abs(b)) for a, b in pairs)
    return found


def gradients(name: str, device: str, *, rounds: int = 5, rows: int = 20) -> dict[str, dict[str, Any]]:
    """With and without deterministic operators: how many different gradients, milliseconds each, and what has no deterministic form."""
    import warnings

    import lam_accuracy
    import torch

    model = lam_accuracy.model(name).to(device)
    images = torch.rand(rows, 3, 64, 64, generator=torch.Generator().manual_seed(0)).to(device)

    def gradient() -> bytes:
        x = images.clone().requires_grad_()
        with torch.enable_grad():
            output = model.forward(x)
        (found,) = torch.autograd.grad(output, x, torch.ones_like(output))
        return found.cpu().numpy().tobytes()

    found: dict[str, dict[str, Any]] = {}
    for kind in ("as it is", "deterministic"):
        torch.use_deterministic_algorithms(kind == "deterministic", warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            gradient()
        start = time.perf_counter()
        results = {gradient() for _ in range(rounds)}
        seconds = time.perf_counter() - start
        reasons = sorted({str(one.message).split(" does not have")[0] for one in said if "deterministic" in str(one.message)})
        found[kind] = {"different": len(results), "ms": 1e3 * seconds / rounds, "without": reasons}
    torch.use_deterministic_algorithms(False)
    return found


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--networks", default="rfdn,craft")
    parser.add_argument("--precisions", default=None, help="default: all that the device has")
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()
    import torch

    until = time.monotonic() + args.seconds
    gpu = args.device.startswith("cuda")
    name = torch.cuda.get_device_name(0) if gpu else "cpu"
    networks = args.networks.split(",")[: 1 if args.quick else None]
    precisions = (args.precisions or ("float32,tf32,bf16,fp16" if gpu else "float32,bf16")).split(",")
    size = {"patches": 12, "maps": 3} if args.quick else {"patches": 24, "maps": 3}
    cores = len(os.sched_getaffinity(0))
    say(device=name, torch=torch.__version__, cores=cores, networks=networks, precisions=precisions, **size)
    with common.scratch(args.scratch) as folder:

        def left(part: str) -> bool:
            if time.monotonic() < until:
                return True
            say(part=part, skipped="no time left", device=name)
            return False

        seconds = measured(recipe(networks, precisions, threads=1, **size), folder / "device", device=args.device, workers=0)
        say(part="study", on=args.device, seconds=seconds)
        for model in networks:
            for precision in precisions[1:]:
                found = differences(folder / "device", folder / "device", model, f"-{precision}")
                say(part="precision", model=model, precision=precision, device=name, **found, units=UNITS)
        if left("same numbers"):
            threads = min(cores, 16) if gpu else 2
            seconds = measured(recipe(networks, ["float32"], threads=threads, **size), folder / "cpu", device="cpu", workers=0)
            say(part="study", on="cpu", threads=threads, seconds=seconds)
            for model in networks:
                found = differences(folder / "device", folder / "cpu", model)
                holds = {what: found[what] <= bar for what, bar in BARS.items() if what in found}
                say(part="same numbers", model=model, device=name, **found, bars=BARS, holds=holds)
        for model in networks:
            if left("gradients"):
                few = {"rounds": 2, "rows": 1} if args.quick else {}
                say(part="gradients", model=model, device=name, **gradients(model, args.device, **few))
        if left("same bytes"):
            content = recipe(networks[:1], ["float32"], threads=1, **size)
            share = {"gpus_per_worker": 0.5} if gpu else {}
            for workers in (1, 2):
                measured(content, folder / f"workers-{workers}", device=args.device, workers=workers, **share)
            differ, _ = compare(folder / "workers-1", folder / "workers-2")
            here, _ = compare(folder / "workers-1", folder / "device")  # whose tables have more rows, of the other precisions
            say(part="same bytes", model=networks[0], device=name, workers=[1, 2], differences=differ,
                against_this_process=[line for line in here if line.startswith("shard")])  # fmt: skip
    common.finish("gpu_numbers", device=name)


if __name__ == "__main__":
    main()
