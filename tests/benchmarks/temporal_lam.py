"""Does the attribution follow the object? BasicVSR on pans over photographs, with its own alignment, with another, and without any.

A crop of 256 × 256 pixels moves over a photograph by a whole number of pixels a frame; five such frames, each made four times smaller, are
the input, and the true motion is known exactly. Explained is a window of 32 × 32 output pixels in the middle of the centre frame. The
alignment is swapped in the network, weights unchanged. One line per photograph, speed and operator: shares of the frames, centroids,
tracking error from the window's middle, share of the motion that is followed, the same with plain centroids, and what a map costs. Means
over photographs with their intervals.

`--accuracy`: instead, maps of 8, 12 and 20 gradients against 200, and the error estimate against the true error. `--network mobile_rrn`: of
a network of a hundredth of the cost, recurrent and without alignment.

Needs the fixtures. Results go to a JSON-lines file as they come, and a second run goes on where the first one stopped.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import common
import numpy as np

FIXTURES = Path(os.environ.get("XLLI_FIXTURES", Path(__file__).resolve().parents[3] / "shared" / "fixtures"))
WEIGHTS = {"basicvsr": "models/basicvsr/basicvsr_vimeo90k_bi_x4.pth", "mobile_rrn": "models/mobile_rrn/mobile_rrn_32.safetensors"}
FRAMES, SCALE, WINDOW = 5, 4, 32
SPEEDS = (5, 17, 33)
"""Pixels of the photograph per frame: 1.25, 4.25 and 8.25 input pixels."""
OPERATORS = ("bilinear", "patch", "none")
DENSE, RULES = 200, (8, 12, 20)


def network(name: str, alignment: str) -> Any:
    """The network with that alignment, as a Model."""
    from xlli_ray.models import open_model

    args = {"alignment": alignment} if name == "basicvsr" else {}
    return open_model(str(FIXTURES / WEIGHTS[name]), network=name, args=args, id=alignment)


def pan(photo: Path, speed: int, side: int) -> np.ndarray:
    """float32 (FRAMES, 3, side, side) in 0..1: content moves to the left by `speed` / SCALE input pixels a frame."""
    from xlli_ray.corpus.decode import decode
    from xlli_ray.corpus.resize import downscale

    pixels, large = decode(photo.read_bytes()).pixels, side * SCALE
    top, left = (pixels.shape[0] - large) // 2, (pixels.shape[1] - large - speed * (FRAMES - 1)) // 2
    frames = [downscale(pixels[top : top + large, left + k * speed :][:, :large], SCALE) for k in range(FRAMES)]
    return np.ascontiguousarray(np.moveaxis(np.stack(frames).astype(np.float32) / 255, 3, 1))


def photographs(given: list[Path], side: int, most: int) -> list[Path]:
    """Those that are large enough for the fastest pan."""
    from PIL import Image

    def fits(path: Path) -> bool:
        width, height = Image.open(path).size
        return height >= side * SCALE and width >= side * SCALE + max(SPEEDS) * (FRAMES - 1)

    return [path for path in given if fits(path)][:most]


def explained(model: Any, clip: np.ndarray, rule: Any) -> Any:
    """The map of the window in the middle of the centre frame."""
    import torch

    from xlli_ray.probes.lam.attribution import attribute
    from xlli_ray.probes.lam.path_points import BlurPath
    from xlli_ray.probes.lam.window import Window

    edge = (clip.shape[-1] * SCALE - WINDOW) // 2
    return attribute(model, torch.from_numpy(clip), [Window(edge, edge, WINDOW)], BlurPath(), rule=rule)[0]


def measured(model: Any, photo: Path, speed: int, side: int, nodes: int) -> dict[str, Any]:
    """One map and what is read from it."""
    from xlli_ray.probes.lam.attribution import Rule
    from xlli_ray.probes.lam.diffusion_index import diffusion_index
    from xlli_ray.stats.temporal_attribution import centroids, effective_frames, frame_shares
    from xlli_ray.stats.trajectory import motion_followed, near, tracking_drift, tracking_error, trajectory

    clip, centre, step = pan(photo, speed, side), FRAMES // 2, -speed / SCALE
    start = time.process_time()
    found = explained(model, clip, Rule(nodes=nodes))
    seconds = time.process_time() - start
    after = np.zeros((FRAMES - 1, 2, side, side))
    after[:, 0] = step
    path = trajectory(((side - 1) / 2, (side - 1) / 2), centre, after, -after)
    shares, places, plain = frame_shares(found.map), centroids(found.map), centroids(found.map, top=1.0)
    return {
        "photo": photo.name, "speed": speed / SCALE, "operator": model.id, "shares": shares.tolist(), "x": places[:, 1].tolist(),
        "y": places[:, 0].tolist(),
        "plain_x": plain[:, 1].tolist(), "true_x": path[:, 1].tolist(), "error": tracking_error(places, path, centre, side, side),
        "plain_error": tracking_error(plain, path, centre, side, side),
        "drift": tracking_drift(places, path, centre, side, side),
        "followed": motion_followed(places, path, centre, side, side),
        "near": near(found.map.astype(float), path, centre, 8.0), "effective": effective_frames(shares), "di": diffusion_index(found.map),
        "estimate": found.error_estimate, "completeness": found.completeness, "seconds": seconds,
    }  # fmt: skip


def accuracy(model: Any, photo: Path, speed: int, side: int) -> dict[str, Any]:
    """Maps of few gradients against one of many."""
    from xlli_ray.probes.lam.attribution import Rule

    clip = pan(photo, speed, side)
    dense = explained(model, clip, Rule(nodes=DENSE))
    truth = dense.attribution.sum(1, dtype=np.float64)
    names = {"photo": photo.name, "speed": speed / SCALE, "operator": model.id}
    out: dict[str, Any] = {**names, "completeness": dense.completeness, "rules": {}}
    for label, rule in {**{f"midpoint {n}": Rule(nodes=n) for n in RULES}, "averaged 12": Rule(nodes=12, gates="averaged")}.items():
        found = explained(model, clip, rule)
        error = float(np.linalg.norm(found.attribution.sum(1, dtype=np.float64) - truth) / np.linalg.norm(truth))
        out["rules"][label] = {"error": error, "estimate": found.error_estimate, "completeness": found.completeness}
    return out


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def mean(rows: list[dict[str, Any]], key: str, digits: int = 2) -> str:
    """Mean over photographs with its interval."""
    from xlli_ray.stats.intervals import intervals

    if not rows:
        return "–"
    limits = {"near": (0.0, 1.0), "followed": (None, None), "effective": (1.0, float(FRAMES))}.get(key, (0.0, None))
    (found,) = intervals(np.array([[row[key]] for row in rows], np.float64), limits=limits)
    ends = f" [{found.low:.{digits}f}, {found.high:.{digits}f}]" if np.isfinite(found.low) else ""
    return f"{found.mean:.{digits}f}{ends}"


def table(rows: list[dict[str, Any]]) -> None:
    """Print means over photographs, and the bars."""
    lines = []
    for speed in sorted({row["speed"] for row in rows}):
        for operator in dict.fromkeys([*OPERATORS, *(row["operator"] for row in rows)]):
            some = [row for row in rows if row["speed"] == speed and row["operator"] == operator]
            if not some:
                continue
            shares, x, true = (np.mean([row[key] for row in some], axis=0) for key in ("shares", "x", "true_x"))
            lines.append(
                [f"{speed:g} {operator}", str(len(some)), " ".join(f"{value:.3f}" for value in shares),
                 " ".join(f"{value:.1f}" for value in x), " ".join(f"{value:.1f}" for value in true), mean(some, "error"),
                 mean(some, "plain_error"), mean([row for row in some if "drift" in row], "drift"), mean(some, "followed"),
                 mean(some, "near"), mean(some, "effective"),
                 f"{np.median([row['estimate'] for row in some]):.2f}", f"{np.median([row['completeness'] for row in some]):.3f}",
                 f"{np.median([row['seconds'] for row in some]):.0f}"]
            )  # fmt: skip
    names = ["pan", "n", "share t − 2 … t + 2", "centroid x", "true x", "tracking error", "plain centroids", "drift", "followed", "near",
             "effective frames", "E", "completeness", "CPU s"]  # fmt: skip
    common.show("Means over photographs, input pixels", lines, names)
    for operator in OPERATORS:
        errors = [row["error"] for row in rows if row["operator"] == operator]
        if errors:
            print(f"{operator}: tracking error at most 3 px in {np.mean(np.array(errors) <= 3):.0%} of {len(errors)} maps, "
                  f"largest {max(errors):.1f}")  # fmt: skip


def accuracy_table(rows: list[dict[str, Any]]) -> None:
    """Print errors against the dense reference, and how far the estimate is from them."""
    lines = []
    for label in rows[0]["rules"]:
        found = [row["rules"][label] for row in rows]
        quotients = [one["error"] / one["estimate"] for one in found]
        lines.append(
            [label, f"{np.median([one['error'] for one in found]):.3f}", f"{max(one['error'] for one in found):.3f}",
             f"{np.median(quotients):.2f}", f"{min(quotients):.2f}–{max(quotients):.2f}",
             f"{np.median([one['completeness'] for one in found]):.3f}"]
        )  # fmt: skip
    common.show(
        f"{len(rows)} maps against {DENSE} midpoints", lines,
        ["rule", "error, median", "worst", "error / E, median", "error / E", "completeness, median"],
    )  # fmt: skip


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--photos", type=Path, nargs="*", help="photographs [those of the fixtures that are large enough]")
    parser.add_argument("--most", type=int, default=8, help="photographs used at most")
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--speeds", type=int, nargs="*", default=SPEEDS, help="pixels of the photograph per frame")
    parser.add_argument("--network", choices=WEIGHTS, default="basicvsr", help="mobile_rrn: with --operators none")
    parser.add_argument("--operators", nargs="*", default=OPERATORS)
    parser.add_argument("--side", type=int, default=64, help="input pixels")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--results", type=Path, default=Path("temporal_lam.jsonl"))
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    from xlli_ray.engine.worker.environment import keep_freed_memory

    keep_freed_memory()
    given = args.photos or sorted((FIXTURES / "images").glob("*/x4/*_HR.png"))
    photos = photographs(given, args.side, 1 if args.quick else args.most)
    done = {(row["photo"], row["speed"], row["operator"]) for row in rows_of(args.results)}
    models = {operator: network(args.network, operator) for operator in args.operators}
    for photo in photos:
        for speed in args.speeds[1:2] if args.quick else args.speeds:
            for operator, model in models.items():
                if (photo.name, speed / SCALE, operator) in done:
                    continue
                row = accuracy(model, photo, speed, args.side) if args.accuracy else measured(model, photo, speed, args.side, args.nodes)
                with args.results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)
    rows = rows_of(args.results)
    (accuracy_table if args.accuracy else table)(rows)
    common.finish("temporal_lam", photographs=len(photos), nodes=args.nodes, side=args.side)


if __name__ == "__main__":
    main()
