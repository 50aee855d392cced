"""Causal effects: how the PSNR of a window changes when a block of the input is replaced by other natural content.

    effect of a block = PSNR(window, input as it is) − mean over patches of PSNR(window, block replaced)      in dB

Positive: the block helps to restore the window; negative: the window is restored better without what is there. J. Hu et al., "Interpreting
Low-level Vision Models with Causal Effect Maps", TPAMI 2025, arXiv 2407.19789. Unlike a gradient, an intervention is a change that the
network can really meet, and its effect is measured in what restoration is judged by.

Differences from the authors' description. The mean is over a fixed pool of patches, in an order in which few draws suffice
(`patch_pool`, `stats.stratified_draws`), and every block has a standard error, never below what rounding to 8 bits hides. 8 draws become 16
unless the interval of the effect is outside or inside ± tolerance and narrow enough: on average as sure as 50 independent ones, which the
original takes where one of 3 passes the tolerance. Effects within the tolerance are not set to 0: `draws` 0 says that a block was not tried
because the window cannot depend on it, and its effect is exactly 0. Blocks are a grid over the height and the width, the last ones smaller
where the size is no multiple.

For a network with a proved finite reach, each forward pass is of the part of the input that the window can see.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlli_ray.errors import NetworkError
from xlli_ray.models.blocks.one_frame import one_frame
from xlli_ray.models.model import Model
from xlli_ray.probes.cem.verdicts import EffectRule, judge
from xlli_ray.probes.lam.receptive_field import Crop, Radius, crop_for
from xlli_ray.probes.lam.window import Window
from xlli_ray.stats.stratified_draws import mean_and_error, places, ranks


@dataclass(frozen=True)
class Grid:
    """Blocks of an input of (height, width), in each of `frames` (0: an image), of `side` pixels, those at the far borders smaller."""

    side: int
    height: int
    width: int
    frames: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """([T,] rows, columns)."""
        rows, columns = (-(-n // self.side) for n in (self.height, self.width))
        return (self.frames, rows, columns) if self.frames else (rows, columns)

    def box(self, block: tuple[int, ...]) -> Crop:
        """The pixels of a block, of an index of `shape`."""
        top, left = (self.side * n for n in block[-2:])
        return Crop(top, min(top + self.side, self.height), left, min(left + self.side, self.width))


@dataclass(frozen=True)
class WindowEffects:
    """The causal effect map of one window, ([T,] rows, columns) each."""

    window: Window
    psnr: float
    """Of the window with the input as it is, dB; infinite: perfect, so there is no effect to measure."""
    effect: NDArray[np.float64]
    """dB; NaN everywhere if `psnr` is infinite."""
    error: NDArray[np.float64]
    """Standard error of `effect`."""
    draws: NDArray[np.int64]
    """Patches that each block was replaced by; 0: the window cannot depend on it."""
    decided: NDArray[np.int64]
    """1 helps, −1 harms, 0 neither, by more than the tolerance; 2 undecided after all draws."""


class _Task(NamedTuple):
    block: tuple[int, ...]
    draw: int


def block_side(block: int, scale: int) -> int:
    """Input pixels along a block of `block` output pixels: rounded, at least 1."""
    return max(1, round(block / scale))


def causal_effects(
    model: Model, image: Tensor, windows: Sequence[Window], target: Tensor, pool: NDArray[np.float32], randoms: NDArray[np.float64],
    rule: EffectRule, *, radius: Radius | None = None, frame: int | None = None, corruption: Tensor | None = None,
) -> list[WindowEffects]:  # fmt: skip
    """Effects of all blocks on each window.

    `image`: (C, H, W), of a clip (T, C, H, W), as returned by `Model.prepare`, in 0..1. `target`: (C, sH, sW), that of the output (of its
    `frame`). `pool`: (N, C, b, b), in order (`patch_pool`). `randoms`: of the blocks' draws (`stats.stratified_draws`), in [0, 1),
    (*grid, `randoms_for(rule.most)`). `radius`: of a finite receptive field; None: never crop. `corruption`: as `image`, added to each
    patch, then clamped to 0..1. Raises NetworkError for a window outside the output or an output that is not finite.
    """
    scale, (height, width) = model.scale, image.shape[-2:]
    for window in windows:
        if problem := window.problem(scale * height, scale * width):
            raise NetworkError(problem)
    grid = Grid(pool.shape[-1], height, width, len(image) if image.ndim == 4 else 0)
    crops = [crop_for(w, radius, scale, height, width, margin=0, least=model.minimum) for w in windows] if radius else None
    if crops and sum(crop.area for crop in crops) < height * width:
        jobs: list[tuple[list[Window], Crop]] = [([window], crop) for window, crop in zip(windows, crops)]
    else:
        jobs = [(list(windows), Crop(0, height, 0, width))]
    out: list[WindowEffects] = []
    for some, crop in jobs:
        seen = [crop_for(w, radius, scale, height, width, margin=0) for w in some] if radius else [crop] * len(some)
        out += _Interventions(model, image, some, seen, crop, target, pool, randoms, rule, grid, frame, corruption).run()
    return out


class _Interventions:
    """Those of windows that share forward passes over `crop`. `seen`: what each window can depend on."""

    def __init__(
        self, model: Model, image: Tensor, windows: list[Window], seen: list[Crop], crop: Crop, target: Tensor, pool: NDArray[np.float32],
        randoms: NDArray[np.float64], rule: EffectRule, grid: Grid, frame: int | None, corruption: Tensor | None,
    ) -> None:  # fmt: skip
        self.model, self.rule, self.grid, self.crop, self.frame = model, rule, grid, crop, frame
        self.windows, self.inside = windows, [crop.moved(window, model.scale) for window in windows]
        self.input = crop.cut(image).contiguous()
        self.corruption = None if corruption is None else crop.cut(corruption)
        self.truth = [_levels(window.cut(target), rounded=rule.rounded).double() for window in windows]
        # a window that a patch makes perfect counts as one with a single value half a level off
        self.ceiling = np.array([_psnr_of(0.25 / truth.numel()) for truth in self.truth])
        self.values = np.array([truth.numel() for truth in self.truth])
        self.pool = torch.from_numpy(pool).to(image.device) if pool.flags.writeable else torch.tensor(pool, device=image.device)
        self.places = places(randoms, rule.most)
        self.ranks = ranks(self.places, len(pool))
        self.reached = [_reached(grid, one) for one in seen]

    def run(self) -> list[WindowEffects]:
        psnr = self._psnr(self.input[None])[:, 0]
        shape, most = self.grid.shape, self.rule.most
        values = np.full((len(self.windows), *shape, most), np.nan)
        draws = np.zeros((len(self.windows), *shape), np.int64)
        mean, error = np.zeros(draws.shape), np.zeros(draws.shape)
        decided = np.zeros(draws.shape, np.int64)
        going = np.stack(self.reached) & np.isfinite(psnr).reshape(-1, *(1 for _ in shape))
        least = smallest_change(psnr, self.values) if self.rule.rounded else np.zeros(len(psnr))
        least = np.broadcast_to(least.reshape(-1, *(1 for _ in shape)), draws.shape)
        done, count = 0, self.rule.first
        while going.any():
            tasks = [_Task(tuple(block), k) for block in np.argwhere(going.any(axis=0)).tolist() for k in range(done, count)]
            for some, found in self._outcomes(tasks):
                for task, changed in zip(some, found.T):
                    here: tuple[Any, ...] = (slice(None), *task.block, task.draw)
                    values[here] = psnr - np.minimum(changed, self.ceiling)
            at = np.broadcast_to(self.places, values.shape)
            mean[going], error[going] = mean_and_error(values[going][:, :count], at[going][:, :count])
            error[going] = np.maximum(error[going], least[going] / count)
            draws[going] = count
            verdict, precise = judge(mean[going], error[going], count, self.rule)
            decided[going] = verdict
            open_ = (verdict == 2) | ~precise
            if count == most:
                break
            done, count = count, min(2 * count, most)
            going[going] = open_
        out = []
        for j, window in enumerate(self.windows):
            if not np.isfinite(psnr[j]):
                mean[j], error[j] = np.nan, np.nan
            out.append(WindowEffects(window, float(psnr[j]), mean[j], error[j], draws[j], decided[j]))
        return out

    def _outcomes(self, tasks: Sequence[_Task]) -> Iterator[tuple[Sequence[_Task], NDArray[np.float64]]]:
        """Tasks of one pass each, and the PSNR of each window after them, (windows, tasks)."""
        for start in range(0, len(tasks), self.rule.rows):
            some = tasks[start : start + self.rule.rows]
            x = self.input[None].repeat(len(some), *(1,) * self.input.ndim)
            for row, task in zip(x, some):
                self._replace(row, task)
            yield some, self._psnr(x)

    def _replace(self, row: Tensor, task: _Task) -> None:
        """Put the task's patch in its block of `row`, the part of it that is in the crop."""
        box, crop = self.grid.box(task.block), self.crop
        top, bottom = max(box.top, crop.top), min(box.bottom, crop.bottom)
        left, right = max(box.left, crop.left), min(box.right, crop.right)
        patch = self.pool[int(self.ranks[(*task.block, task.draw)])]
        patch = patch[:, top - box.top : bottom - box.top, left - box.left : right - box.left]
        rows, columns = slice(top - crop.top, bottom - crop.top), slice(left - crop.left, right - crop.left)
        frame = row[task.block[0]] if self.grid.frames else row
        if self.corruption is not None:
            kept = self.corruption[task.block[0]] if self.grid.frames else self.corruption
            patch = (patch + kept[:, rows, columns]).clamp(0, 1)
        frame[:, rows, columns] = patch

    def _psnr(self, x: Tensor) -> NDArray[np.float64]:
        """(windows, rows) in dB of a batch of inputs."""
        with torch.no_grad():
            if self.frame is None:
                output = self.model.forward(x)
            else:
                with one_frame(self.frame):
                    output = self.model.forward(x)
                output = output[:, self.frame] if output.ndim == 5 else output
            found = []
            for window, truth in zip(self.inside, self.truth):
                given = _levels(window.cut(output), rounded=self.rule.rounded).double()
                found.append((given - truth).square().mean(dim=(1, 2, 3)))
            errors = torch.stack(found).cpu().numpy()
        if not np.isfinite(errors).all():
            raise NetworkError("not finite: NaN or infinity in the network's output, so there is no effect to measure")
        return _psnr_of(errors)


def smallest_change(psnr: NDArray[np.float64], values: NDArray[np.int64]) -> NDArray[np.float64]:
    """dB by which windows of `psnr` and of as many `values` change if one value, with the window's RMS error, changes by one grey level.

    Rounding hides smaller changes, so draws that all show none would have a standard error of 0, and an interval that is certain. After n
    such draws the next may be the first that shows one: the standard error is at least this change / n.
    """
    mse = 255.0**2 * 10.0 ** (-psnr / 10.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(10.0 * np.log10(1.0 + (2.0 * np.sqrt(mse) + 1.0) / (values * mse)))


def _reached(grid: Grid, seen: Crop) -> NDArray[np.bool_]:
    """Blocks with a pixel in `seen`, of the grid's shape."""
    rows, columns = grid.shape[-2:]
    down = [grid.side * i < seen.bottom and min(grid.side * (i + 1), grid.height) > seen.top for i in range(rows)]
    across = [grid.side * i < seen.right and min(grid.side * (i + 1), grid.width) > seen.left for i in range(columns)]
    return np.broadcast_to(np.outer(down, across), grid.shape).copy()


def _psnr_of(errors: Any) -> Any:
    """dB, of mean squared errors in grey levels²; infinite for 0."""
    with np.errstate(divide="ignore"):
        return 20 * math.log10(255) - 10 * np.log10(errors)


def _levels(values: Tensor, *, rounded: bool) -> Tensor:
    """Clamped grey levels 0..255 of values in 0..1, rounded half up to integers if asked."""
    levels = values.clamp(0, 1) * 255
    return torch.floor(levels + 0.5) if rounded else levels
