"""Clips: what a study costs beside a plain loop, and whether its memory grows with the length of the video.

    python tests/benchmarks/clips.py [--quick]

**Cost.** BasicVSR, and as the worst case Mobile RRN with 16 channels (weights of the test fixtures), restore windows of 7 frames of
180 × 144 pixels, made from PNG frames by bicubic downscaling, and score every frame, as `restore` does. CPU seconds of a study in one
process at two numbers of windows, and of a loop that reads, decodes, downscales, restores and scores the same; ratio of the differences
(the marginal cost, so that start and imports do not count). A study reads and decodes every file twice, once for its sample table: that is
most of what it costs beside a network as small as the RRN. Bar for BasicVSR: 1.05.

**Memory.** Peak resident memory of the RRN's study of one video as frames, 6 times as long against once; windows do not overlap. Bar: 1.05.
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


NETWORKS = {"basicvsr": "basicvsr/basicvsr_vimeo90k_bi_x4.pth", "mobile_rrn": "mobile_rrn/mobile_rrn_16.safetensors"}
COUNTS = {"basicvsr": (1, 4), "mobile_rrn": (8, 48)}
"""Windows."""


def recipe(folder: Path, network: str) -> dict[str, Any]:
    return {
        "name": "clips", "seed": 0, "baseline": False, "corpus": {"clips": {"frames": f"{folder}/*.png", "window": FRAMES}, "scale": SCALE},
        "models": [{"id": "net", "weights": str(weights_of(network)), "network": network}], "stages": [{"restore": {}}],
    }  # fmt: skip


def weights_of(network: str) -> Path:
    fixtures = Path(os.environ.get("XLLI_FIXTURES", Path(__file__).resolve().parents[3] / "shared/fixtures"))
    return fixtures / "models" / NETWORKS[network]


def study(folder: Path, network: str, out: Path) -> None:
    """One run in this process."""
    from xlli_ray.engine.worker.environment import one_arena

    one_arena()
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import run_study
    from xlli_ray.recipe import parse_recipe

    summary = run_study(parse_recipe(recipe(folder, network), base=folder), str(out), Options(workers=0, quiet=True))
    assert summary.failed == 0, summary
    print(peak(os.getpid()))


def plain(folder: Path, network: str) -> None:
    """The same numbers by a loop, with the memory settings of a worker, which save a tenth and more of BasicVSR's time."""
    from xlli_ray.engine.worker.environment import keep_freed_memory, one_arena

    one_arena()
    keep_freed_memory()
    import torch
    from PIL import Image

    from xlli_ray.corpus.resize import downscale
    from xlli_ray.models.build_model import load_model
    from xlli_ray.models.checkpoint import read_state_dict
    from xlli_ray.models.model_spec import ModelSpec
    from xlli_ray.probes.restore import score

    torch.set_num_threads(1)
    weights = weights_of(network)
    model = load_model(ModelSpec("net", weights=str(weights), network=network), read_state_dict(weights, name="net").tensors)
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
    parser.add_argument("--network", choices=NETWORKS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.child:
        study(args.folder, args.network, args.out) if args.child == "study" else plain(args.folder, args.network)
        return
    rounds = args.rounds or (1 if args.quick else 3)
    me = [sys.executable, str(Path(__file__).resolve())]
    rows, ratios, memory = [], {}, {}
    with common.scratch(args.scratch) as scratch:
        for network in [args.network] if args.network else NETWORKS:
            few, many = (1, 2) if args.quick else COUNTS[network]
            for windows in {few, many}:
                if not (scratch / f"v{windows}").exists():
                    write_frames(scratch / f"v{windows}", windows)
            spent: dict[str, list[float]] = {"study": [], "plain": []}
            for turn in range(rounds):
                for what, seconds in spent.items():
                    cpu = []
                    for windows in (few, many):
                        out = scratch / f"{network}{windows}-{turn}"
                        where = ["--folder", str(scratch / f"v{windows}"), "--out", str(out)]
                        cost = common.run_measured([*me, "--child", what, "--network", network, *where])
                        cpu.append(cost.cpu)
                        if what == "study":
                            memory.setdefault(f"{network}, {windows} windows", []).append(float(cost.output.split()[-1]) / 1e6)
                    seconds.append(1000 * (cpu[1] - cpu[0]) / ((many - few) * FRAMES))
            ratios[network] = [ours / theirs for ours, theirs in zip(spent["study"], spent["plain"])]
            rows += [[f"{network}, {what}", *(f"{ms:.0f}" for ms in some)] for what, some in spent.items()]
            rows.append([f"{network}, ratio", *(f"{ratio:.3f}" for ratio in ratios[network])])
    common.show("Marginal CPU, ms a frame; bar 1.05 for BasicVSR", rows, ["", *(f"turn {i + 1}" for i in range(rounds))])
    common.finish("clips", ratios=ratios, peak_mb={name: min(some) for name, some in memory.items()})


if __name__ == "__main__":
    main()
