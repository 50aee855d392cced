"""Scores of windows with squares of the input covered: the forward passes of `occlusion`, for many images at once.

A row of a pass is an image with one square covered, and the first row of each image has none. All rows of images of one shape form passes
of one width, whatever image they are of; nothing is read on the way, so that a GPU computes one pass after the other, and only scores
come back. Windows of an image share its passes; with a finite receptive field they get their own with their crop instead, if that is less
to compute. Scores are summed in float64: a drop is a small difference of two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlli_ray.errors import NetworkError
from xlli_ray.models.blocks.one_frame import one_frame
from xlli_ray.models.model import Model
from xlli_ray.probes.lam.attribution import WindowResult, layout_for
from xlli_ray.probes.lam.objectives import Objective, squared_steps
from xlli_ray.probes.lam.passes import Explained
from xlli_ray.probes.lam.path_points import on_device
from xlli_ray.probes.lam.receptive_field import Crop, Radius, crop_for
from xlli_ray.probes.lam.square_grid import SquareGrid
from xlli_ray.probes.lam.wide_passes import to_host
from xlli_ray.probes.lam.window import Window


@dataclass(frozen=True)
class _Item:
    """Windows of one image that share forward passes, over `crop`, and the squares that any of them can depend on."""

    task: int
    windows: tuple[int, ...]
    crop: Crop
    squares: NDArray[np.int64]


@dataclass(frozen=True)
class _Piece:
    """Consecutive rows of an item in one pass: −1 is the image as it is, others are indices of the item's `squares`."""

    item: int
    first: int
    stop: int


@dataclass(frozen=True)
class _Done:
    """Scores of a pass, complete on the host when `ready` returns."""

    pieces: tuple[_Piece, ...]
    scores: Tensor
    """(windows, rows) float64."""
    flat: Tensor
    """(windows, rows) int64: flat pixels of each window."""
    ready: Callable[[], None]


class SquarePasses:
    """Drops of squares of `size` pixels, `stride` apart, with one network and objective; as `WidePasses` otherwise."""

    def __init__(
        self, model: Model, size: int, stride: int, *, objective: Objective, radius: Radius | None, frame: int | None = None,
        rows: Callable[[tuple[int, ...]], int],
    ) -> None:  # fmt: skip
        self._model, self._size, self._stride = model, size, stride
        self._objective, self._radius, self._frame, self._rows = objective, radius, frame, rows
        self._layout = layout_for(model)
        self._shrunk = 1
        self.narrowed = False
        """Whether memory ran out, and passes of less than the planned width were made."""

    def images_a_pass(self, shape: Sequence[int]) -> int:
        """Images of `shape` that fill a pass."""
        return max(1, self._width(shape) // (1 + self._grid(shape).count))

    def launch(self, tasks: Sequence[Explained]) -> Callable[[], list[list[WindowResult] | NetworkError]]:
        """Queue the passes for all windows of `tasks`, images of one size. The returned function waits for them: for each task its windows'
        results, or why it has none."""
        items = [item for number, task in enumerate(tasks) for item in self._items(number, task)]
        fills = [task.path.points(task.image, [0.0])[0] for task in tasks]
        while True:
            try:
                queued = [self._pass(tasks, fills, items, pieces) for pieces in self._grouped(tasks, items)]
                break
            except torch.OutOfMemoryError:
                if all(self._width(task.image.shape) == 1 for task in tasks):
                    raise
                self._shrunk, self.narrowed = 2 * self._shrunk, True
                torch.cuda.empty_cache()
        return lambda: self._collected(tasks, items, queued)

    # -- which rows -------------------------------------------------------------------------------------------------

    def _width(self, shape: Sequence[int]) -> int:
        return max(1, self._rows(tuple(shape)) // self._shrunk)

    def _grid(self, shape: Sequence[int]) -> SquareGrid:
        """The squares of an input of `shape`, (C, H, W) or (T, C, H, W)."""
        return SquareGrid(self._size, self._stride, shape[-2], shape[-1], shape[0] if len(shape) == 4 else 0)

    def _items(self, number: int, task: Explained) -> list[_Item]:
        """One item for each window with its crop, or one for all over the whole image if that is less to compute."""
        height, width = task.image.shape[-2:]
        scale, least, grid = self._model.scale, self._model.minimum, self._grid(task.image.shape)
        if not task.windows:
            return []
        everything = Crop(0, height, 0, width)
        if self._radius is None:
            return [_Item(number, tuple(range(len(task.windows))), everything, np.arange(grid.count))]
        alone = []
        for j, window in enumerate(task.windows):
            seen = crop_for(window, self._radius, scale, height, width)
            crop = crop_for(window, self._radius, scale, height, width, least=least)
            alone.append(_Item(number, (j,), crop, grid.touching(seen.top, seen.bottom, seen.left, seen.right)))
        reached = np.unique(np.concatenate([item.squares for item in alone]))
        shared = _Item(number, tuple(range(len(task.windows))), everything, reached)
        return alone if sum(map(_pixels, alone)) < _pixels(shared) else [shared]

    def _grouped(self, tasks: Sequence[Explained], items: Sequence[_Item]) -> Iterator[tuple[_Piece, ...]]:
        """Rows of one pass each: of one shape, with as many windows of the same sizes."""
        alike: dict[tuple[Any, ...], list[int]] = {}
        for i, item in enumerate(items):
            sizes = tuple(tasks[item.task].windows[j].size for j in item.windows)
            alike.setdefault((tuple(item.crop.cut(tasks[item.task].image).shape), sizes), []).append(i)
        for (shape, _), some in alike.items():
            pieces: list[_Piece] = []
            room = width = self._width(shape)
            for i in some:
                first, stop = -1, len(items[i].squares)
                while first < stop:
                    taken = min(room, stop - first)
                    pieces.append(_Piece(i, first, first + taken))
                    first, room = first + taken, room - taken
                    if not room:
                        yield tuple(pieces)
                        pieces, room = [], width
            if pieces:
                yield tuple(pieces)

    # -- one pass ---------------------------------------------------------------------------------------------------

    def _pass(self, tasks: Sequence[Explained], fills: Sequence[Tensor], items: Sequence[_Item], pieces: tuple[_Piece, ...]) -> _Done:
        parts = [self._covered(tasks[items[p.item].task].image, fills[items[p.item].task], items[p.item], p) for p in pieces]
        x = torch.cat(parts)
        x = x.contiguous(memory_format=self._layout) if x.ndim == 4 else x.contiguous()
        with torch.no_grad(), nullcontext() if self._frame is None else one_frame(self._frame):
            output = self._model.forward(x)
        if output.ndim == 5:
            output = output[:, self._frame]
        scores, flat, start = [], [], 0
        for piece in pieces:
            stop = start + piece.stop - piece.first
            score, still = self._scores(tasks[items[piece.item].task], items[piece.item], output[start:stop])
            scores.append(score)
            flat.append(still)
            start = stop
        return _Done(pieces, *to_host(torch.cat(scores, 1), torch.cat(flat, 1)))

    def _covered(self, image: Tensor, fill: Tensor, item: _Item, piece: _Piece) -> Tensor:
        """The rows of a piece: (rows, …, C, h, w)."""
        seen, colour = item.crop.cut(image), item.crop.cut(fill)
        numbers = np.arange(piece.first, piece.stop)
        boxes = self._grid(image.shape).boxes[item.squares[np.maximum(numbers, 0)]] if len(item.squares) else np.zeros((len(numbers), 5))
        boxes = np.where((numbers < 0)[:, None], 0, boxes).astype(np.int64)  # an empty box covers nothing
        frames, top, bottom, left, right = on_device(torch.from_numpy(boxes.T.copy()), image.device)[:, :, None]
        y = torch.arange(item.crop.top, item.crop.bottom, device=image.device)
        x = torch.arange(item.crop.left, item.crop.right, device=image.device)
        inside = ((y >= top) & (y < bottom))[:, None, :, None] & ((x >= left) & (x < right))[:, None, None, :]
        if image.ndim == 4:
            here = torch.arange(len(image), device=image.device) == frames
            inside = here[:, :, None, None, None] & inside[:, None]
        return torch.where(inside, colour[None], seen[None])

    def _scores(self, task: Explained, item: _Item, output: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (windows, rows) float64, and flat pixels (windows, rows) int64, of outputs (rows, C, sh, sw) of the item's crop."""
        scores, flat = [], []
        for j in item.windows:
            window = task.windows[j]
            patch = item.crop.moved(window, self._model.scale).cut(output, 1).double()
            inside = Window(0, 0, window.size)
            target = None if task.target is None else window.cut(task.target, 1).double()
            scores.append(self._objective(patch, inside, target))
            flat.append((squared_steps(patch) == 0).flatten(1).sum(1))
        return torch.stack(scores), torch.stack(flat)

    # -- results ----------------------------------------------------------------------------------------------------

    def _collected(
        self, tasks: Sequence[Explained], items: Sequence[_Item], queued: Sequence[_Done]
    ) -> list[list[WindowResult] | NetworkError]:
        scores = [np.full((len(item.windows), 1 + len(item.squares)), np.nan) for item in items]
        flat = [np.zeros(len(item.windows), np.int64) for item in items]
        for done in queued:
            done.ready()
            start = 0
            for piece in done.pieces:
                stop = start + piece.stop - piece.first
                scores[piece.item][:, piece.first + 1 : piece.stop + 1] = done.scores[:, start:stop].numpy()
                if piece.first < 0:
                    flat[piece.item] = done.flat[:, start].numpy()
                start = stop
        found: list[dict[int, WindowResult] | NetworkError] = [{} for _ in tasks]
        for item, values, still in zip(items, scores, flat):
            for row, j in enumerate(item.windows):
                made = found[item.task]
                if isinstance(made, NetworkError):
                    continue
                if not np.isfinite(values[row, 0]):
                    why = "not finite: NaN or infinity in the network's output, so there is no score to explain"
                    found[item.task] = NetworkError(why)
                    continue
                made[j] = self._result(tasks[item.task], item, j, values[row], int(still[row]))
        return [some if isinstance(some, NetworkError) else [some[j] for j in sorted(some)] for some in found]

    def _result(self, task: Explained, item: _Item, j: int, scores: NDArray[np.float64], flat: int) -> WindowResult:
        """`scores`: of the image as it is, then with each of the item's squares covered."""
        grid, window = self._grid(task.image.shape), task.windows[j]
        tried = self._reached(task, window, grid, item.squares)
        changes = (scores[0] - scores[1:])[tried]
        bad = int((~np.isfinite(changes)).sum())
        drops = np.zeros(grid.count)
        drops[item.squares[tried]] = changes
        channels = task.image.shape[-3]
        values = np.stack([grid.spread(drops) / channels] * channels, axis=-3).astype(np.float32)
        if bad:
            values[:] = np.nan
        nan = float("nan")
        return WindowResult(window, values, nan, float(scores[0]), len(changes), nan, bad, flat, changes)

    def _reached(self, task: Explained, window: Window, grid: SquareGrid, squares: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of `squares` the window can depend on."""
        if self._radius is None:
            return np.ones(len(squares), bool)
        seen = crop_for(window, self._radius, self._model.scale, *task.image.shape[-2:])
        return np.isin(squares, grid.touching(seen.top, seen.bottom, seen.left, seen.right))


def _pixels(item: _Item) -> int:
    """Input pixels of all its rows."""
    return item.crop.area * (1 + len(item.squares))
