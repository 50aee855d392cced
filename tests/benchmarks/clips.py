"""Clips: what a study costs beside a plain loop, and whether its memory grows with the length of the video.

    python tests/benchmarks/clips.py [--quick]

**Cost.** Mobile RRN (16 channels, weights of the test fixtures) restores windows of 7 frames of 180 × 144 pixels, made from PNG frames by
bicubic downscaling, and scores the centre frame and the means over frames, as `restore` does. CPU seconds of `xlli run` with all of its
processes at two numbers of windows, and of a loop in one process that reads, decodes, downscales, restores and scores the same; ratio of
the differences (the marginal cost, so that start and imports do not count). Bar: 1.05.

**Memory.** Peak resident memory of a study of one video as frames, 10 times as long against once; windows do not overlap. Bar: 1.05.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import common
import numpy as np
from memory import peak

FRAMES = 7
HEIGHT, WIDTH, SCALE = 576, 720, 4


def write_frames(folder: Path, windows: int) -> None:
    """A pan over one scene and back, as PNG frames; equal frames have other noise, so that no two files are alike."""
    from PIL import Image

    folder.mkdir(parents=True)
    scene = np.concatenate(common.scenes(5, count=3, size=768), axis=1)
    for i in range(windows * FRAMES):
        left = abs((3 * i) % 1400 - 700)
        rng = np.random.default_rng([1, i])
        frame = scene[:HEIGHT, left : left + WIDTH] * 255 + rng.integers(-3, 4, (HEIGHT, WIDTH, 1))
        Image.fromarray(frame.clip(0, 255).astype(np.uint8)).save(folder / f"frame_{i:06d}.png", compress_level=1)


def recipe(folder: Path, weights: Path) -> dict[str, Any]:
    return {
        "name": "clips", "seed": 0, "baseline": False, "corpus": {"clips": {"frames": f"{folder}/*.png", "window": FRAMES}, "scale": SCALE},
        "models": [{"id": "rrn", "weights": str(weights), "network": "mobile_rrn"}], "stages": [{"restore": {}}],
    }  # fmt: skip


def study(folder: Path, weights: Path, out: Path) -> None:
    """One run in this process."""
    from xlli_ray.engine.worker.environment import one_arena

    one_arena()
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import run_study
    from xlli_ray.recipe import parse_recipe

    summary = run_study(parse_recipe(recipe(folder, weights), base=folder), str(out), Options(workers=0, quiet=True))
    assert summary.failed == 0, summary
    print(peak(os.getpid()))


def plain(folder: Path, weights: Path) -> None:
    """The same numbers by a loop."""
    import torch
    from PIL import Image

    from xlli_ray.corpus.resize import downscale
    from xlli_ray.models.build_model import load_model
    from xlli_ray.models.checkpoint import read_state_dict
    from xlli_ray.models.model_spec import ModelSpec
    from xlli_ray.probes.restore import score

    torch.set_num_threads(1)
    tensors = read_state_dict(weights.read_bytes(), name="rrn").tensors
    model = load_model(ModelSpec("rrn", weights=str(weights), network="mobile_rrn"), tensors)
    files = sorted(folder.glob("*.png"))
    found = []
    for start in range(0, len(files), FRAMES):
        frames = [np.asarray(Image.open(file).convert("RGB")) for file in files[start : start + FRAMES]]
        targets = np.stack(frames).astype(np.float32).transpose(0, 3, 1, 2) / 255
        small = np.stack([downscale(frame, SCALE) for frame in frames]).astype(np.float32).transpose(0, 3, 1, 2) / 255
        with torch.no_grad():
            output = model.forward(torch.from_numpy(small)[None])[0].numpy()
        images = np.floor(output.clip(0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
        found.append([score(image, target, border=SCALE) for image, target in zip(images, targets)])
    print(np.mean([one[FRAMES // 2][0] for one in found]))


def main() -> None:
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--child", choices=("study", "plain"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    fixtures = Path(os.environ.get("XLLI_FIXTURES", Path(__file__).resolve().parents[3] / "shared/fixtures"))
    weights = fixtures / "models/mobile_rrn/mobile_rrn_16.safetensors"
    if args.child:
        study(args.folder, weights, args.out) if args.child == "study" else plain(args.folder, weights)
        return
    few, many = (2, 6) if args.quick else (6, 60)
    rounds = args.rounds or (1 if args.quick else 3)
    me = [sys.executable, str(Path(__file__).resolve())]
    cpu: dict[str, list[float]] = {"study": [], "plain": []}
    resident: dict[int, list[float]] = {few: [], many: []}
    with common.scratch(args.scratch) as scratch:
        for windows in (few, many):
            write_frames(scratch / f"v{windows}", windows)
        for turn in range(rounds):
            for what, seconds in cpu.items():
                spent = []
                for windows in (few, many):
                    command = [*me, "--child", what, "--folder", str(scratch / f"v{windows}"), "--out", str(scratch / f"o{windows}-{turn}")]
                    cost = common.run_measured(command)
                    spent.append(cost.cpu)
                    if what == "study":
                        resident[windows].append(float(cost.output.split()[-1]) / 1e6)
                seconds.append((spent[1] - spent[0]) / ((many - few) * FRAMES))
                print(f"turn {turn + 1}, {what}: {1000 * seconds[-1]:.1f} ms CPU a frame", flush=True)
    ratios = [ours / theirs for ours, theirs in zip(cpu["study"], cpu["plain"])]
    memory = min(resident[many]) / min(resident[few])
    common.show("Marginal CPU, ms a frame; bar 1.05", [[name, *(f"{1000 * s:.1f}" for s in some)] for name, some in cpu.items()],
                ["", *(f"turn {i + 1}" for i in range(rounds))])  # fmt: skip
    common.finish("clips", windows=[few, many], ratios=ratios, peak_mb={str(k): min(v) for k, v in resident.items()}, memory_ratio=memory)


if __name__ == "__main__":
    main()
