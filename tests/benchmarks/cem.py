"""Causal effect maps: speed against the plain description, draws against fixed independent ones, coverage of the intervals.

    python tests/benchmarks/cem.py             # speed, coverage, range; JSON lines
    python tests/benchmarks/cem.py --quick     # fewer blocks and a smaller pool

`speed`: one 64 × 64 input, one window of 32, blocks of 8 output pixels (1024), one thread. Ours and the plain description (3 independent
patches, 50 more where one changes PSNR by 0.01 dB or more, whole-image passes of one input) are both run on the same sample of blocks,
evenly spaced by distance from the window, and scaled to all. Their errors are not equal, so seconds × mean squared error are compared: the
time that equal errors take, since both errors fall with the root of the draws. The plain error is that of its draws; a block that it drops
after 3 counts with the error of 3. `seconds_of_53_passes`: of the plain description if every block had all its passes.

`coverage`: 32 × 32 inputs, a sample of blocks in the same order. The effect of every patch of a pool of 512 is measured, so the truth is
exact; then the stopping rule runs a thousand times on these numbers with fresh draws. Error is the real one (RMS over those runs), against
that of 50 fixed independent draws, by mean squares and as the mean over blocks; `told` is the standard error that a map says, which is on
the safe side. `felt`: blocks whose 50 independent draws have an error above a twentieth of the tolerance; where a change is so small that
rounding to 8 bits hides nearly every patch, few draws see none, and the interval is that of the least error (`smallest_change`).

`range`: effects beside the window, for SR, denoising and deraining, in dB. The published ones are of another picture.

Needs the fixtures (XLLI_FIXTURES).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import common  # noqa: F401  (one thread, and this checkout)
import numpy as np

FIXTURES = Path(os.environ.get("XLLI_FIXTURES", Path(__file__).resolve().parents[3] / "shared" / "fixtures"))
NETWORKS: dict[str, dict[str, Any]] = {
    "rlfn": {"weights": "rlfn/rlfn_x4.pth", "network": "rlfn"},
    "carn_m": {"weights": "carn_m/carn_m.pth", "network": "carn_m", "scale": 4},
    "srresnet": {"weights": "builtin:srresnet-gr-clean"},
}
PHOTO = FIXTURES / "images/Set5/x4/img_003"
PLAIN_FEW, PLAIN_MORE, TOLERANCE = 3, 50, 0.01
BLOCK, WINDOW, SIDE, SMALL = 8, 32, 64, 32


def model(name: str) -> Any:
    """The network called `name` as a Model."""
    from xlli_ray.models import open_model

    entry = dict(NETWORKS[name])
    weights = entry.pop("weights")
    return open_model(weights if weights.startswith("builtin:") else str(FIXTURES / "models" / weights), **entry)


def scene(network: Any, side: int) -> tuple[Any, Any, Any]:
    """(image, target, window): the middle of a photograph, `side` input pixels, and a window in its middle."""
    import torch

    from xlli_ray.corpus.decode import decode
    from xlli_ray.probes.lam.window import Window

    out = []
    for ending, factor in (("LR", 1), ("HR", network.scale)):
        planes = np.moveaxis(decode(Path(f"{PHOTO}_{ending}.png").read_bytes()).pixels, 2, 0)
        top, left = (factor * ((n // factor - side) // 2) for n in planes.shape[1:])
        cut = np.ascontiguousarray(planes[:, top : top + factor * side, left : left + factor * side])
        out.append(network.prepare(torch.from_numpy(cut)[None])[0])
    start = (network.scale * side - WINDOW) // 2
    return out[0], out[1], Window(start, start, WINDOW)


def sampled(shape: tuple[int, int], count: int) -> list[tuple[int, int]]:
    """Blocks evenly spaced in the order of distance from the middle."""
    rows, columns = np.indices(shape)
    away = np.hypot(rows - (shape[0] - 1) / 2, columns - (shape[1] - 1) / 2).ravel()
    order = np.argsort(away, kind="stable")
    return [tuple(int(n) for n in divmod(int(k), shape[1])) for k in order[(np.arange(count) + 0.5).astype(int) * (len(order) // count)]]  # type: ignore[misc]


def outcomes(network: Any, x: Any, windows_target: Any, window: Any, block: tuple[int, int], patches: Any, rows: int) -> np.ndarray:
    """PSNR of the window with the block replaced by each of the patches, whole-image passes of `rows` inputs."""
    import torch

    from xlli_ray.probes.cem.effects import _levels, _psnr_of

    side = patches.shape[-1]
    at = slice(side * block[0], side * (block[0] + 1)), slice(side * block[1], side * (block[1] + 1))
    truth, found = _levels(window.cut(windows_target), rounded=True).double(), []
    with torch.no_grad():
        for start in range(0, len(patches), rows):
            some = torch.from_numpy(patches[start : start + rows].copy())
            given = x[None].repeat(len(some), 1, 1, 1)
            given[:, :, at[0], at[1]] = some
            shown = _levels(window.cut(network.forward(given)), rounded=True).double()
            found += _psnr_of((shown - truth).square().mean(dim=(1, 2, 3)).numpy()).tolist()
    return np.array(found)


def speed(name: str, blocks: int) -> dict[str, Any]:
    """Seconds of all blocks, and mean squared errors."""
    import torch

    from xlli_ray.probes.cem import effects
    from xlli_ray.probes.cem.patch_pool import patch_pool
    from xlli_ray.probes.lam.receptive_field import proved_radius
    from xlli_ray.stats.stratified_draws import randoms_for

    torch.set_num_threads(1)
    network = model(name)
    image, target, window = scene(network, SIDE)
    pool = patch_pool(BLOCK // network.scale, network.scale, "clean", 10_000)
    shape = (SIDE * network.scale // BLOCK,) * 2
    chosen = sampled(shape, blocks)
    rng = np.random.default_rng(0)
    radius = proved_radius(network)
    plain = effects._reached

    def some(grid: Any, seen: Any) -> Any:
        mask = np.zeros(grid.shape, bool)
        mask[tuple(np.array(chosen).T)] = True
        return plain(grid, seen) & mask

    effects._reached = some
    try:
        start = time.thread_time()
        randoms = rng.random((*shape, randoms_for(64)))
        (ours,) = effects.causal_effects(network, image, [window], target, pool, randoms, effects.EffectRule(), radius=radius)
        taken = time.thread_time() - start
    finally:
        effects._reached = plain
    whole = float(ours.psnr)
    square, draws, start = [], 0, time.thread_time()
    for block in chosen:
        values = outcomes(network, image, target, window, block, pool[rng.integers(0, len(pool), PLAIN_FEW)], 1)
        if np.abs(whole - values).max() >= TOLERANCE:
            more = outcomes(network, image, target, window, block, pool[rng.integers(0, len(pool), PLAIN_MORE)], 1)
            values = np.concatenate([values, more])
        square.append(float(values.var(ddof=1) / len(values)))
        draws += len(values)
    slow, scale = time.thread_time() - start, np.prod(shape) / len(chosen)
    mine = np.array([ours.error[block] ** 2 for block in chosen])
    return {
        "what": "speed", "network": name, "blocks": len(chosen), "of": int(np.prod(shape)), "cropped": radius is not None,
        "seconds": round(taken * scale, 1), "plain_seconds": round(slow * scale, 1), "forwards": int(ours.draws.sum() * scale),
        "seconds_of_53_passes": round(slow / draws * (PLAIN_FEW + PLAIN_MORE) * np.prod(shape), 1),
        "plain_forwards": int(draws * scale), "error": round(float(np.sqrt(mine.mean())), 4),
        "plain_error": round(float(np.sqrt(np.mean(square))), 4), "mean_error": round(float(np.sqrt(mine).mean()), 4),
        "plain_mean_error": round(float(np.sqrt(square).mean()), 4), "times": round(slow / taken, 2),
        "times_at_equal_error": round(float(slow * np.mean(square) / (taken * mine.mean())), 2),
    }  # fmt: skip


def coverage(name: str, blocks: int, pool_size: int, runs: int) -> dict[str, Any]:
    """Share of intervals that contain the mean over the pool, and draws and errors against 50 independent draws."""
    import torch
    from scipy.stats import t as student

    from xlli_ray.probes.cem.effects import smallest_change
    from xlli_ray.probes.cem.patch_pool import patch_pool
    from xlli_ray.probes.cem.verdicts import EffectRule, judge
    from xlli_ray.stats.stratified_draws import mean_and_error, places, randoms_for, ranks

    torch.set_num_threads(1)
    network, rule = model(name), EffectRule()
    image, target, window = scene(network, SMALL)
    pool = patch_pool(BLOCK // network.scale, network.scale, "clean", pool_size)
    chosen = sampled((SMALL * network.scale // BLOCK,) * 2, blocks)
    before = outcomes(network, image, target, window, (-1, -1), pool[:1, :, :0, :0], 1)[0]
    least = float(smallest_change(before, np.int64(3 * WINDOW**2)))
    inside, used, mine, told, plain = [], [], [], [], []
    rng = np.random.default_rng(1)
    for block in chosen:
        values = before - outcomes(network, image, target, window, block, pool, 4)
        truth, count = values.mean(), rule.first
        at = places(rng.random((runs, randoms_for(rule.most))), rule.most)
        drawn = values[ranks(at, pool_size)]
        mean, error, draws = np.zeros(runs), np.zeros(runs), np.zeros(runs, int)
        going = np.ones(runs, bool)
        while going.any():
            mean[going], error[going] = mean_and_error(drawn[going][:, :count], at[going][:, :count])
            error[going] = np.maximum(error[going], least / count)
            draws[going] = count
            verdict, precise = judge(mean[going], error[going], count, rule)
            if count == rule.most:
                break
            going[going] = (verdict == 2) | ~precise
            count = min(2 * count, rule.most)
        half = student.ppf(0.5 + rule.level / 2, draws - 1) * error
        inside.append(float((np.abs(mean - truth) <= half + 1e-12).mean()))
        used.append(float(draws.mean()))
        mine.append(float(np.square(mean - truth).mean()))
        told.append(float(error.mean()))
        plain.append(float(values.var() / PLAIN_MORE))
    felt = [i for i, one in enumerate(plain) if one > (TOLERANCE / 20) ** 2]
    return {
        "what": "coverage", "network": name, "blocks": len(chosen), "pool": pool_size, "runs": runs,
        "coverage": round(float(np.mean(inside)), 4), "lowest": round(min(inside), 3), "felt": len(felt),
        "coverage_felt": round(float(np.mean([inside[i] for i in felt])), 4) if felt else None,
        "draws": round(float(np.mean(used)), 2), "draws_felt": round(float(np.mean([used[i] for i in felt])), 2) if felt else None,
        "error": round(float(np.sqrt(np.mean(mine))), 4), "independent_50_error": round(float(np.sqrt(np.mean(plain))), 4),
        "mean_error": round(real := float(np.sqrt(mine).mean()), 4), "mean_error_told": round(float(np.mean(told)), 4),
        "independent_50_mean_error": round(other := float(np.sqrt(plain).mean()), 4),
        "draws_at_equal_error": round(float(np.mean(used) * np.mean(mine) / np.mean(plain)), 2),
        "draws_at_equal_mean_error": round(float(np.mean(used)) * (real / other) ** 2, 2),
        "draws_at_equal_mean_error_told": round(float(np.mean(used)) * (float(np.mean(told)) / other) ** 2, 2),
    }  # fmt: skip


def ranges() -> Iterator[dict[str, Any]]:
    """Smallest and largest effect beside the window."""
    import torch

    import xlli_ray
    from xlli_ray.api.given_images import planes_of

    torch.set_num_threads(1)

    def cut(path: str | Path, side: int) -> np.ndarray:
        image = np.moveaxis(planes_of(path), 0, 2)
        top, left = ((n - side) // 2 for n in image.shape[:2])
        return np.ascontiguousarray(image[top : top + side, left : left + side])

    noise = 50 / 255 * np.random.default_rng(0).standard_normal((96, 96, 3))
    clean = cut(f"{PHOTO}_HR.png", 96)
    rain = FIXTURES / "rain/R100H"
    (rainy, dry), *_ = zip(sorted((rain / "rainy").glob("*.png")), sorted((rain / "clean").glob("*.png")))
    models = FIXTURES / "models"
    cases: Sequence[tuple[str, Any, Any, Any, dict[str, Any]]] = (
        ("SR, rlfn", models / "rlfn/rlfn_x4.pth", cut(f"{PHOTO}_LR.png", 40), cut(f"{PHOTO}_HR.png", 160), {"network": "rlfn"}),
        ("denoise σ 50, ffdnet", models / "ffdnet/ffdnet_color.pth", np.clip(clean + noise, 0, 1).astype(np.float32), clean,
         {"network": "ffdnet", "args": {"sigma": 50}, "label": "noise50"}),
        ("derain, prenet", models / "prenet/prenet_rain100h.pth", cut(rainy, 96), cut(dry, 96), {"network": "prenet"}),
    )
    for name, weights, image, target, more in cases:
        start = (target.shape[0] - WINDOW) // 2
        found = xlli_ray.cem(weights, image, (start, start, WINDOW), target=target, block=16, draws={"most": 16}, **more)
        yield {
            "what": "range", "case": name, "low": round(float(found.numbers["most_harmful"]), 3),
            "high": round(float(found.numbers["strongest"]), 3), **found.counts, "mean_error": round(float(found.numbers["mean_error"]), 4),
        }  # fmt: skip


def say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer blocks and a smaller pool")
    parser.add_argument("--only", choices=("speed", "coverage", "range"), help="one part")
    asked = parser.parse_args()
    if asked.only in (None, "speed"):
        for name in ("rlfn", "srresnet"):
            say(speed(name, 32 if asked.quick else 128))
    if asked.only in (None, "coverage"):
        for name in NETWORKS:
            say(coverage(name, 12 if asked.quick else 32, 256 if asked.quick else 512, 1000))
    if asked.only in (None, "range"):
        for one in ranges():
            say(one)


if __name__ == "__main__":
    main()
