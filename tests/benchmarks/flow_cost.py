"""CPU seconds of the flow of 1,000 frame pairs of 180 × 144: a study against OpenCV alone.

    python tests/benchmarks/flow_cost.py [--rounds 3] [--frames 1001]

Frames: PNG files of a window that moves and turns over photographs. All variants run in this process, on one core, interleaved round by
round after a warm-up, and find the flow of each pair in both directions by DIS (medium). CPU seconds are those of all threads of the
process. Each variant runs on all frames and on the first fifth: the difference is what further pairs cost, without what a study costs
whatever its length.

    opencv   reads each frame once (imread, cvtColor), runs DIS there and back, and throws the flow away
    plain    the same, and what the stage `flow` gives, with OpenCV and NumPy: forward–backward check (remap), quantiles and histogram,
             float16 flow and masks of occlusion in one file per clip
    scan     what is done once per corpus, whatever is measured: each file hashed and decoded, the sample table, the plan
    study    `xlli run --workers 0` of a stage `flow` after that: decoding with the check of sha256, flow, check, statistics, shards with
             checksums, records, tables
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage import data

from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import plan_study, run_study, save_manifest
from xlli_ray.engine.worker.environment import keep_freed_memory
from xlli_ray.recipe import Recipe, parse_recipe
from xlli_ray.store.objects.client import open_objects

HEIGHT, WIDTH, PAIRS = 144, 180, 10
"""Size of a frame, and pairs of frames in a clip."""


def make_frames(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    photos = [image[:300, :400] for image in (data.chelsea(), data.coffee(), data.astronaut())]
    for t in range(count):
        photo = photos[t // 100 % 3]  # all frames differ: equal clips would be one sample
        turn = cv2.getRotationMatrix2D((200, 150), 10 * np.sin(t / 15), 1 + 0.1 * np.sin(t / 9))
        turn[:, 2] += -110 + 30 * np.sin(t / 10), -78 + 20 * np.cos(t / 13)
        cv2.imwrite(str(folder / f"f_{t:04d}.png"), cv2.warpAffine(photo[..., ::-1], turn, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT))


def both_ways(files: list[Path], keep: Callable[[list[np.ndarray], list[np.ndarray]], None] | None) -> None:
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    before, ahead, back = None, [], []
    for number, file in enumerate(files):
        grey = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2GRAY)
        if before is not None:
            ahead.append(dis.calc(before, grey, None))
            back.append(dis.calc(grey, before, None))
        before = grey
        if number and number % PAIRS == 0:
            if keep is not None:
                keep(ahead, back)
            ahead, back = [], []


def plain(files: list[Path], folder: Path) -> None:
    folder.mkdir()
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    edges = np.array([0, 0.5, 1, 2, 4, 6, 8, 12, 16, 24, 32, np.inf])

    def keep(ahead: list[np.ndarray], back: list[np.ndarray]) -> None:
        hidden, motions = [], []
        for flows, others in ((ahead, back), (back, ahead)):
            for flow, other in zip(flows, others):
                there = cv2.remap(other, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                error, size = ((flow + there) ** 2).sum(-1), (flow**2).sum(-1) + (there**2).sum(-1)
                hidden.append(error > 0.01 * size + 0.5)
                motions.append(np.sqrt((flow**2).sum(-1)))
        np.quantile(motions, [0.5, 0.9, 0.99])
        np.histogram(motions, edges)
        name = str(len(list(folder.iterdir())))
        np.savez(folder / name, flow=np.array([ahead, back], np.float16), hidden=np.array(hidden))

    both_ways(files, keep)


def recipe_of(folder: Path, frames: str) -> Recipe:
    corpus = {"clips": {"input": f"{folder}/{frames}/*.png", "frames": PAIRS + 1, "stride": PAIRS}}
    return parse_recipe({"name": "cost", "corpus": corpus, "stages": [{"flow": {}}]}, base=folder)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=1001)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # one core: reader threads on its neighbour would slow the search down
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    keep_freed_memory()
    folder = Path(tempfile.mkdtemp(prefix="flow_cost_"))
    try:
        make_frames(folder / "frames", options.frames)
        files = sorted((folder / "frames").iterdir())
        quiet = Options(workers=0, quiet=True)

        few = max(1, len(files) // (5 * PAIRS)) * PAIRS + 1
        counts = (few, len(files))
        for count in counts:
            (folder / f"frames{count}").mkdir()
            for file in files[:count]:
                (folder / f"frames{count}" / file.name).hardlink_to(file)
        recipes = {count: recipe_of(folder, f"frames{count}") for count in counts}

        def scan(name: str, count: int) -> None:
            manifest, _ = plan_study(recipes[count], str(folder / name), quiet)
            save_manifest(open_objects(folder / name), manifest)

        def study(name: str, count: int) -> None:
            summary = run_study(recipes[count], str(folder / name), quiet)
            assert summary.failed == 0, summary
            assert summary.samples * PAIRS == count - 1, summary

        spent: dict[str, list[list[float]]] = {"opencv": [], "plain": [], "scan": [], "study": []}
        for number in range(options.rounds + 1):
            for count in counts if number else counts[:1]:  # the first round warms up
                name = f"{number}-{count}"
                works = {"opencv": partial(both_ways, files[:count], None), "plain": partial(plain, files[:count], folder / f"plain{name}"),
                         "scan": partial(scan, f"study{name}", count), "study": partial(study, f"study{name}", count)}  # fmt: skip
                for variant, work in works.items():
                    start = time.process_time()
                    work()
                    if number:
                        rounds = spent[variant]
                        rounds += [[]] * (number - len(rounds))
                        rounds[-1] = [*rounds[-1], time.process_time() - start]
                        print(f"round {number}: {variant} of {count - 1} pairs {rounds[-1][-1]:.2f} s", flush=True)
        for what, part in (("all", lambda pair: pair[1]), ("further", lambda pair: pair[1] - pair[0])):
            pairs = len(files) - 1 if what == "all" else len(files) - few
            for name, rounds in spent.items():
                seconds = [part(pair) for pair in rounds]
                over = {other: np.median([a / part(b) for a, b in zip(seconds, spent[other])]) for other in ("opencv", "plain")}
                ratios = ", ".join(f"{v:.3f} of {k}" for k, v in over.items())
                print(f"{name:8} {np.median(seconds):.2f} CPU s of {what} {pairs} pairs; {ratios}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
