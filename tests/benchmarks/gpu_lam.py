"""LAM on a GPU: milliseconds a map, by hand and through a study, against the demo's loop and against bare passes of the network.

    demo     a loop that does what the authors' demo does, on the same device: 50 steps, one blurred input at a time (`lam.py`)
    single   one map of one image: as `xlli_ray.lam` makes it
    16       sixteen windows of one image, in single maps
    many     32 images with one window each, in groups, as a worker makes a batch of them
    bound    8 images × 20 nodes as one resident batch, fewer images where the card holds fewer: forward pass and gradient, nothing else
             (÷ images)
    many_tf32  as many, with `precision: tf32`
    study    `xlli run` over `--maps` images with all networks. `units`: from the plan to the last unit, all that a study does in between.
             Of each network `ms`, from the last unit of the network before to its own: networks load while maps of the last one are
             waited for, so that this counts some of the next one's loading; and `steady_ms`, between its first unit and its last but one

64 × 64 input pixels, ×4, window 16, 20 nodes, float32 without TF32. Needs the fixtures. Every part is guarded by the clock (`--seconds`),
and each result is a JSON line at once. `--device cpu --quick` shows that it runs.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import common
import lam_accuracy
from lam import demo_loop

NETWORKS = ("rlfn", "rfdn", "imdn", "carn_m", "craft")


def say(**found: Any) -> None:
    print(json.dumps(found, default=float), flush=True)


def milliseconds(run: Callable[[], Any], rounds: int, device: str) -> float:
    """Median of `rounds`, the device idle before and after each."""
    import torch

    wait = torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)
    taken = []
    for _ in range(rounds):
        wait()
        start = time.perf_counter()
        run()
        wait()
        taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken)


def by_hand(name: str, side: int, device: str, quick: bool) -> dict[str, float]:
    """The parts above for one network, without a study."""
    import torch

    from xlli_ray.probes.lam.attribution import Rule
    from xlli_ray.probes.lam.objectives import Objective
    from xlli_ray.probes.lam.pass_width import planned_rows, row_bytes
    from xlli_ray.probes.lam.passes import Explained
    from xlli_ray.probes.lam.path_points import BlurPath
    from xlli_ray.probes.lam.receptive_field import proved_radius
    from xlli_ray.probes.lam.wide_passes import WidePasses, in_groups
    from xlli_ray.probes.lam.window import Window

    model = lam_accuracy.model(name).to(device)
    radius = proved_radius(model)
    count, nodes, rounds = (4, 4, 1) if quick else (32, 20, 1 if name == "craft" else 3)
    images = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    middle = Window(2 * side - 8, 2 * side - 8, 16)

    def passes(network: Any = model) -> WidePasses:
        rule = Rule(nodes=nodes)
        return WidePasses(network, objective=Objective(), rule=rule, radius=radius, rows=lambda shape: planned_rows(model, shape))

    def explained(i: int, windows: list[Window]) -> Explained:
        return Explained(images[i], windows, BlurPath())

    def single() -> Any:
        return passes().launch([explained(0, [middle])])()

    every = [Window(top, left, 16) for top in range(0, 4 * side - 16, side) for left in range(0, 4 * side - 16, side)][:16]

    def many(network: Any = model) -> Any:
        made = passes(network)
        each = 2 * made.images_a_pass(tuple(images.shape[1:]))
        groups = [range(i, min(i + each, count)) for i in range(0, count, each)]
        places = [Window((37 * i) % (4 * side - 17), (53 * i) % (4 * side - 17), 16) for i in range(count)]
        return list(in_groups(made, groups, lambda i: explained(i, [places[i]]))())

    resident = max(1, min(8, planned_rows(model, (3, side, side)) // nodes))

    def bound() -> Any:
        x = images[:1].expand(resident * nodes, -1, -1, -1).contiguous().requires_grad_()
        with torch.enable_grad():
            output = model.forward(x)
        return torch.autograd.grad(output, x, torch.ones_like(output))

    steps = 1 if quick else 5 if name == "craft" else 50
    single(), many(), bound(), demo_loop(model, images[0], middle, 1)
    found = {
        "demo": milliseconds(lambda: demo_loop(model, images[0], middle, steps), min(rounds, 2), device) * 50 / steps,
        "single": milliseconds(single, rounds, device),
        "sixteen": milliseconds(lambda: passes().launch([explained(0, every)])(), rounds, device),
        "many": milliseconds(many, rounds, device) / count,
        "bound": milliseconds(bound, rounds, device) / resident,
        "rows": planned_rows(model, (3, side, side)), "saved_bytes_a_row": row_bytes(model, (3, side, side)),
        "radius": -1 if radius is None else radius.before,
    }  # fmt: skip
    if device.startswith("cuda"):
        fast = model.at("tf32")
        many(fast)
        found["many_tf32"] = milliseconds(lambda: many(fast), rounds, device) / count
        found["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.reset_peak_memory_stats()
    return found


def study(folder: Path, device: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Milliseconds a map of each network through `xlli run`, and the whole run's seconds. `params`: of the stage."""
    entries = [
        {"id": name, **{**entry, "weights": str(lam_accuracy.FIXTURES / "models" / entry["weights"])}}
        for name, entry in lam_accuracy.NETWORKS.items() if name in NETWORKS
    ]  # fmt: skip
    recipe = {
        "name": "gpu-lam", "corpus": {"images": ["images/*"], "scale": 4}, "models": entries,
        "stages": [{"lam": {"windows": {"choose": "texture", "size": 16, "per_sample": 1}, **params}}], "baseline": False,
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    place = folder / ("study" + "".join(f"-{value}" for value in params.values()))
    command = [sys.executable, "-m", "xlli_ray", "run", str(folder / "recipe.yaml"), "--out", str(place), "--device", device]
    start = time.time()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall = time.time() - start
    if done.returncode:
        return {"failed": (done.stdout + done.stderr)[-1500:]}
    events = [json.loads(line) for file in sorted((place / "events").glob("*.jsonl")) for line in file.read_text().splitlines()]
    units = [one for one in events if one["event"] == "unit"]
    begun = max((one["time"] for one in events if one["event"] == "begin" and one["time"] <= units[0]["time"]), default=start)
    maps = sum(one["samples"] for one in units)
    found: dict[str, Any] = {"wall": wall, "before_units": begun - start, "units": units[-1]["time"] - begun, "maps": maps}
    last = begun
    for group in dict.fromkeys(one["group"] for one in units):
        own = [one for one in units if one["group"] == group]
        name = next((name for name in NETWORKS if name in group), group)
        inner = own[1:-1]  # a unit's results may be read while the next network is loaded, and the first one loads its own
        found[name] = {
            "ms": 1e3 * (own[-1]["time"] - last) / sum(one["samples"] for one in own),
            "steady_ms": 1e3 * (inner[-1]["time"] - own[0]["time"]) / sum(one["samples"] for one in inner) if inner else float("nan"),
        }
        last = own[-1]["time"]
    return found


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--maps", type=int, default=224)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--sides", default="64")
    parser.add_argument("--no-study", action="store_true")
    parser.add_argument("--params", nargs="*", default=["{}", '{"precision": "tf32"}'], help="of the stage, JSON: a study for each")
    args = parser.parse_args()
    import torch

    until = time.monotonic() + args.seconds
    if args.device.startswith("cuda"):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
        say(device=torch.cuda.get_device_name(0), torch=torch.__version__)
    hand: dict[str, dict[str, float]] = {}
    with common.scratch(args.scratch) as folder:
        if not args.no_study:
            common.write_images(folder / "images", args.maps, seed=1, size=256)
            for params in map(json.loads, args.params):
                if time.monotonic() < until:
                    say(part="study", params=params, **study(folder, args.device, params))
        for side in map(int, args.sides.split(",")):
            for name in args.networks.split(","):
                if time.monotonic() > until:
                    say(part="by hand", network=name, skipped="no time left")
                    continue
                side = 24 if args.quick else side
                hand[name] = by_hand(name, side, args.device, args.quick)
                say(part="by hand", network=name, side=side, **hand[name], times_demo=hand[name]["demo"] / hand[name]["many"],
                    of_bound=hand[name]["many"] / hand[name]["bound"], sixteen_in_singles=hand[name]["sixteen"] / hand[name]["single"])
    common.finish("gpu_lam", device=args.device)


if __name__ == "__main__":
    main()
