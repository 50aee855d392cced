"""How far maps are from the integral they approximate: rules side by side on seven networks and eight images.

Reference: 400 even midpoints in u. Against it: the demo's 50 steps, 12, 16, 20 and 24 midpoints, and `tolerance: 0.1`, all run live and in
full (nothing is looked up from stored gradients). Error: relative L2 distance of the signed, channel-summed attribution.

Networks: RLFN, RFDN, IMDN, CARN-M, CRAFT (attention), DnCNN (scale 1), and the built-in SRResNet. Images: the centre of four of Set5, two
of
BSD100 and two of Urban100, 48 × 48 input pixels (DnCNN: 96 × 96 with noise 25); one window of 16 output pixels in each, the most textured
one.
Needs the fixtures. Results go to a JSON-lines file as they come, and a second run goes on where the first one stopped; `--figure` draws
them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import common
import numpy as np

FIXTURES = Path(os.environ.get("XLLI_FIXTURES", Path(__file__).resolve().parents[3] / "shared" / "fixtures"))
NETWORKS: dict[str, dict[str, Any]] = {
    "rlfn": {"weights": "rlfn/rlfn_x4.pth", "network": "rlfn"},
    "rfdn": {"weights": "rfdn/rfdn_x4.pth", "network": "rfdn"},
    "imdn": {"weights": "imdn/imdn_x4.pth", "network": "imdn"},
    "carn_m": {"weights": "carn_m/carn_m.pth", "network": "carn_m", "scale": 4},
    "craft": {"weights": "craft/craft_x4.pth"},
    "dncnn": {"weights": "dncnn/dncnn_gray_s25.pth"},
    "srresnet": {"weights": "builtin:srresnet-gr-clean"},
}
PHOTOS = ("Set5/x4/img_001", "Set5/x4/img_002", "Set5/x4/img_003", "Set5/x4/img_004", "BSD100/x4/img_001", "BSD100/x4/img_005",
            "Urban100/x4/img_001", "Urban100/x4/img_003")  # fmt: skip
SIDE, NOISY_SIDE, WINDOW = 48, 96, 16
REFERENCE = 400
RULES = ("demo 50", "midpoint 12", "midpoint 16", "midpoint 20", "midpoint 24", "tolerance 0.1")


def model(name: str) -> Any:
    """The network called `name` as a Model."""
    from xlli_ray.models import open_model

    entry = dict(NETWORKS[name])
    weights = entry.pop("weights")
    return open_model(weights if weights.startswith("builtin:") else str(FIXTURES / "models" / weights), **entry)


def case(name: str, photo: str) -> tuple[Any, Any]:
    """(input (C, H, W), window) of one image for one network."""
    import torch

    from xlli_ray.corpus.decode import decode
    from xlli_ray.corpus.degradations import parse_label
    from xlli_ray.probes.lam.windows import enlarged, texture

    def centre(path: Path, side: int) -> np.ndarray:
        pixels = decode(path.read_bytes()).pixels
        top, left = ((n - side) // 2 for n in pixels.shape[:2])
        return pixels[top : top + side, left : left + side]

    place = FIXTURES / "images"
    if name == "dncnn":
        clean = centre(place / f"{photo}_HR.png", NOISY_SIDE)
        noisy = parse_label("noise25").apply((clean * 255).round().astype(np.uint8), "input", key=f"0|{photo}")
        rgb, look = noisy.astype(np.float32) / 255, clean
    else:
        rgb = centre(place / f"{photo}_LR.png", SIDE)
        look = np.moveaxis(enlarged(np.moveaxis(rgb, 2, 0), 4), 0, 2)
    (window,) = texture(np.moveaxis(look, 2, 0), WINDOW, 1)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(rgb, 2, 0), dtype=np.float32)), window


def measure(name: str, photo: str) -> dict[str, Any]:
    """All rules on one case."""
    from xlli_ray.probes.lam.attribution import Rule, attribute
    from xlli_ray.probes.lam.diffusion_index import diffusion_index
    from xlli_ray.probes.lam.path_points import BlurPath
    from xlli_ray.probes.lam.receptive_field import find_radius

    net = model(name)
    image, window = case(name, photo)
    x = net.prepare(image[None])[0]
    radius = find_radius(net)

    def run(rule: Rule) -> Any:
        return attribute(net, x, [window], BlurPath(), rule=rule, radius=radius)[0]

    rules = {
        "demo 50": Rule("paper"),
        **{f"midpoint {n}": Rule(nodes=n) for n in (12, 16, 20, 24)},
        "tolerance 0.1": Rule(tolerance=0.1),
    }
    reference = run(Rule(nodes=REFERENCE))
    truth = reference.attribution.sum(0, dtype=np.float64)
    out: dict[str, Any] = {
        "network": name, "picture": photo, "window": [window.top, window.left, window.size], "di": diffusion_index(reference.map),
        "completeness": reference.completeness, "reference_estimate": reference.error_estimate, "rules": {},
    }  # fmt: skip
    for label, rule in rules.items():
        found = run(rule)
        error = np.linalg.norm(found.attribution.sum(0, dtype=np.float64) - truth) / np.linalg.norm(truth)
        out["rules"][label] = {
            "error": float(error), "estimate": found.error_estimate, "nodes": found.nodes, "completeness": found.completeness,
            "di": diffusion_index(found.map) - out["di"],
        }  # fmt: skip
    return out


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def summary(rows: list[dict[str, Any]]) -> None:
    """Print the tables and the bars."""
    demo = np.array([row["rules"]["demo 50"]["error"] for row in rows])
    table = []
    for rule in RULES:
        found = [row["rules"][rule] for row in rows]
        errors = np.array([f["error"] for f in found])
        table.append(
            [rule, f"{np.mean([f['nodes'] for f in found]):.1f}", f"{np.median(errors):.4f}", f"{errors.max():.4f}",
             f"{np.exp(np.mean(np.log(errors / demo))):.2f}", f"{(errors <= demo).sum()} of {len(rows)}",
             f"{np.median([abs(f['di']) for f in found]):.3f}", f"{max(abs(f['di']) for f in found):.3f}"]
        )  # fmt: skip
    common.show(
        f"{len(rows)} maps; error against {REFERENCE} midpoints", table,
        ["rule", "gradients", "median", "worst", "ratio to demo", "no worse", "dDI median", "dDI worst"],
    )  # fmt: skip
    names = list(dict.fromkeys(row["network"] for row in rows))
    per = [
        [n, *(f"{np.median([row['rules'][rule]['error'] for row in rows if row['network'] == n]):.4f}" for rule in RULES)] for n in names
    ]
    common.show("Median error by network", per, ["network", *RULES])
    adaptive = [row["rules"]["tolerance 0.1"] for row in rows]
    reached = np.array([a["error"] for a in adaptive])
    met = np.array([a["estimate"] <= 0.1 for a in adaptive])
    print(f"\ntolerance 0.1: error under 0.12 in {(reached < 0.12).mean():.1%}, E under 0.1 in {met.mean():.1%} (bar 95 %); "
          f"nodes {min(a['nodes'] for a in adaptive)}–{max(a['nodes'] for a in adaptive)}")  # fmt: skip
    estimated = [f for row in rows for rule, f in row["rules"].items() if rule != "demo 50"]
    quotients = np.array([f["error"] / f["estimate"] for f in estimated])
    within = ((quotients >= 0.5) & (quotients <= 2)).mean()
    low, middle, high = np.quantile(quotients, (0.05, 0.5, 0.95))
    print(f"true error / E: 5 % {low:.2f}, median {middle:.2f}, 95 % {high:.2f}; "
          f"within 0.5–2 in {within:.1%} (bar 90 %)")  # fmt: skip


def figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Error against gradients, rules side by side; and the estimate against the truth."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "xlli_ray"
    from matplotlib import pyplot

    fig, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), constrained_layout=True)
    names = list(dict.fromkeys(row["network"] for row in rows))
    colours = dict(zip(names, pyplot.get_cmap("tab10").colors))
    counts = (12, 16, 20, 24)
    for name in names:
        some = [row for row in rows if row["network"] == name]
        medians = [np.median([r["rules"][f"midpoint {n}"]["error"] for r in some]) for n in counts]
        left.plot(counts, medians, "-o", ms=4, color=colours[name], label=name)
        left.plot([50], [np.median([r["rules"]["demo 50"]["error"] for r in some])], "s", color=colours[name])
        adaptive = [r["rules"]["tolerance 0.1"] for r in some]
        left.plot([np.mean([a["nodes"] for a in adaptive])], [np.median([a["error"] for a in adaptive])], "*", ms=10, color=colours[name])
    left.set(xscale="log", yscale="log", xlabel="gradients", ylabel="error of the map (median of 8 images)",
             title="● midpoints   ■ demo, 50 steps   ★ tolerance 0.1")  # fmt: skip
    left.set_xticks([12, 16, 20, 24, 50], ["12", "16", "20", "24", "50"])
    left.minorticks_off()
    left.legend(fontsize=8, frameon=False)
    for name in names:
        pairs = [(f["estimate"], f["error"]) for r in rows if r["network"] == name for k, f in r["rules"].items() if k != "demo 50"]
        right.plot(*zip(*pairs), ".", color=colours[name], ms=5)
    ends = np.array(right.get_xlim())
    line = np.geomspace(max(ends[0], 1e-3), ends[1], 2)
    for factor, style in ((1, "-"), (0.5, ":"), (2, ":")):
        right.plot(line, factor * line, style, color="0.4", lw=1)
    right.set(xscale="log", yscale="log", xlabel="error estimate E", ylabel="true error",
              title="E against the truth (dotted: half and twice)")  # fmt: skip
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--results", type=Path, default=Path("lam_accuracy.jsonl"))
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    from xlli_ray.engine.worker.environment import keep_freed_memory

    keep_freed_memory()
    names = args.networks.split(",")
    done = {(row["network"], row["picture"]) for row in rows_of(args.results)}
    for photo in PHOTOS[:1] if args.quick else PHOTOS:
        for name in names:
            if (name, photo) not in done:
                row = measure(name, photo)
                with args.results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(name, photo, {rule: round(found["error"], 4) for rule, found in row["rules"].items()}, flush=True)
    rows = [row for row in rows_of(args.results) if row["network"] in names]
    summary(rows)
    if args.figure:
        figure(rows, args.figure)
    common.finish("lam_accuracy", maps=len(rows), reference=REFERENCE)


if __name__ == "__main__":
    main()
