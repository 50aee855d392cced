"""Wide passes: the maps of many images and windows, several images × all nodes of their paths in one pass, for a GPU.

One image fills no GPU: a map of 64×64 pixels through twenty passes of one node takes as long as it takes to launch their kernels, whatever
the card. Here a pass has as many rows (nodes of images) as keep it busy, nothing waits for a number on the way, and what a map needs comes
back in one copy, while the next pass runs. The numbers are those of `attribution`, in another order of summation: the same midpoints or
demo steps, the same objective, crop and error estimate.

Windows of one image share its forward pass and have a vector-Jacobian product each, as in `attribution`; as many of them at once as keep
the card busy (`window_products`). With a finite receptive field they get a row each with their crop instead, if that is less to compute:
crops of windows that do not overlap in what they reach cost no more than one product for all of them over the whole image, and are exact,
too.

The width of a pass is planned (`pass_width`). If memory runs out all the same, passes of half the width follow, and `narrowed` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xlli_ray.errors import ForwardError, NetworkError
from xlli_ray.models.blocks.one_frame import one_frame
from xlli_ray.models.known import once
from xlli_ray.models.model import Model
from xlli_ray.probes.lam.attribution import FORWARD_SHARE, Rule, WindowResult, attribute, output_frame, without_gradient
from xlli_ray.probes.lam.demo import STEPS
from xlli_ray.probes.lam.device_sums import DeviceSums
from xlli_ray.probes.lam.objectives import Objective, squared_steps
from xlli_ray.probes.lam.pass_width import planned_rows
from xlli_ray.probes.lam.passes import Explained, Passes
from xlli_ray.probes.lam.path_points import BlurPath, Path
from xlli_ray.probes.lam.quadrature import even_cells
from xlli_ray.probes.lam.receptive_field import Crop, Radius, crop_for
from xlli_ray.probes.lam.window import Window
from xlli_ray.probes.lam.window_products import are_batched, with_products


@dataclass(frozen=True)
class _Item:
    """A row of a pass, times the nodes: windows of one image that share the forward pass; all of them, or one with its crop."""

    task: int
    windows: tuple[int, ...]
    crop: Crop | None


@dataclass
class _Done:
    """What a pass gives, still on its way: copies on the host that are complete when `ready` returns."""

    items: list[_Item]
    maps: Tensor
    """(windows, items, …, C, h, w) float32."""
    numbers: Tensor
    """(windows, items, 6 + nodes) float64: scores at both ends, E, entries not finite, flat pixels, finite output; Σ A of each node."""
    ready: Callable[[], None]


class WidePasses:
    """Maps with one network, objective and rule. `rows`: the width of a pass for inputs of a shape. `frame`: as of `attribute`.

    `launch` returns at once with the work queued on the device; what it returns waits for the maps.
    """

    def __init__(
        self, model: Model, *, objective: Objective, rule: Rule, radius: Radius | None, frame: int | None = None,
        rows: Callable[[tuple[int, ...]], int],
    ) -> None:  # fmt: skip
        self._model, self._objective, self._rule, self._radius, self._frame = model, objective, rule, radius, frame
        self._rows = rows
        self._cells = even_cells(rule.nodes)
        self._shrunk = 1
        self.narrowed = False
        """Whether memory ran out, and passes of less than the planned width were made."""

    @staticmethod
    def serves(rule: Rule) -> bool:
        """Whether maps by this rule can be made here: not where each window refines its own nodes, nor with gates averaged over
        neighbours."""
        return rule.tolerance is None and rule.gates == "plain"

    def images_a_pass(self, shape: Sequence[int]) -> int:
        """Images of `shape` that fill a pass."""
        return max(1, self._width(shape) // self._nodes)

    def launch(self, tasks: Sequence[Explained]) -> Callable[[], list[list[WindowResult] | NetworkError]]:
        """Queue the maps of all windows of `tasks`, images of one size. The returned function waits for them: for each task its windows'
        results, or why it has none. Raises NetworkError for a network without a gradient."""
        while True:
            try:
                queued = [self._pass(tasks, some) for some in self._grouped(tasks)]
                break
            except torch.OutOfMemoryError:
                if all(self._width(task.image.shape) == 1 for task in tasks):
                    raise
                self._shrunk, self.narrowed = 2 * self._shrunk, True
                torch.cuda.empty_cache()
        return lambda: self._collected(tasks, queued)

    # -- which rows -------------------------------------------------------------------------------------------------

    @property
    def _nodes(self) -> int:
        return STEPS if self._rule.mode == "paper" else len(self._cells)

    def _width(self, shape: Sequence[int]) -> int:
        return max(1, self._rows(tuple(shape)) // self._shrunk)

    def _grouped(self, tasks: Sequence[Explained]) -> Iterator[list[_Item]]:
        """Items of one pass each: of one shape, with as many windows of the same sizes."""
        alike: dict[tuple[Any, ...], list[_Item]] = {}
        for number, task in enumerate(tasks):
            if not task.windows:
                continue
            crops = self._crops(task)
            items = [_Item(number, (j,), crop) for j, crop in enumerate(crops)] if crops else [
                _Item(number, tuple(range(len(task.windows))), None)
            ]  # fmt: skip
            for item in items:
                sizes = tuple(task.windows[j].size for j in item.windows)
                alike.setdefault((tuple(_cut(task.image, item.crop).shape), sizes, crops is None), []).append(item)
        for (shape, *_), items in alike.items():
            each = max(1, self._width(shape) // self._nodes)
            for start in range(0, len(items), each):
                yield items[start : start + each]

    def _crops(self, task: Explained) -> list[Crop] | None:
        """A crop for each window, or None if one shared pass over the whole image is cheaper. Crops of windows of one size have one shape,
        as large as anywhere in the image: they share passes, and a GPU's libraries choose and prepare their kernels for every new shape."""
        if self._radius is None:
            return None
        height, width = task.image.shape[-2:]
        scale, least = self._model.scale, self._model.minimum
        crops = []
        for window in task.windows:
            side = max(least, window.size // scale + 2 + self._radius.before + self._radius.after)
            crop = crop_for(window, self._radius, scale, height, width, least=least)
            crops.append(crop.grown(min(side, height), min(side, width), height, width))
        whole = height * width * (FORWARD_SHARE + (1 - FORWARD_SHARE) * len(crops))
        return crops if sum(crop.area for crop in crops) < whole else None

    # -- one pass, or several for one item with more nodes than fit -----------------------------------------------------

    def _pass(self, tasks: Sequence[Explained], items: list[_Item]) -> _Done:
        with torch.no_grad():
            points, steps = self._path(tasks, items)
            count, windows = len(items), len(items[0].windows)
            ends = self._forward(self._ends(tasks, items).contiguous())
            numbers = [self._at_ends(tasks, items, j, ends.unflatten(0, (count, -1))) for j in range(windows)]
        factor = self._rule.factor
        sums = [DeviceSums(points.shape[2:], count, points.device, self._rule.mode != "paper", factor) for _ in range(windows)]
        width = max(1, self._width(points.shape[2:]) // count)
        for start in range(0, points.shape[1], width):
            some = slice(start, start + width)
            x = points[:, some].flatten(0, 1).contiguous()
            together = self._together(x, windows)
            output, products = with_products(self._forward, x, batched=together > 1)
            if together == 1 and not output.requires_grad:
                raise NetworkError(without_gradient(self._model))
            for first in range(0, windows, together):
                chosen = range(first, min(first + together, windows))
                slopes = torch.stack([self._slope(tasks, items, j, output) for j in chosen])
                for j, gradient in zip(chosen, products(slopes, chosen.stop == windows)):
                    sums[j].add(gradient.unflatten(0, (count, -1)), steps[:, some])
            del output, products, x
        maps = torch.stack([one.total.float() for one in sums])
        known = torch.stack([torch.cat([own[:, :2], one.numbers(), own[:, 2:], one.by_node()], 1) for own, one in zip(numbers, sums)])
        return _Done(items, *to_host(maps, known))

    def _together(self, x: Tensor, windows: int) -> int:
        """Windows whose products with the pass of `x` are batched: as many as fill two passes, since what is saved is saved once; 1 if the
        network cannot be transformed so."""
        most = min(windows, 2 * self._width(x.shape[1:]) // len(x))
        if most < 2 or not once(self._model, ("batched products", self._frame), lambda: are_batched(self._forward, x)):
            return 1
        return most

    def _forward(self, x: Tensor) -> Tensor:
        """The images that windows lie in, (R, C, sH, sW): of clips, the chosen frame of the output, unless it is the only one."""
        with nullcontext() if self._frame is None else one_frame(self._frame):
            output = self._model.forward(x)
        return output[:, self._frame] if output.ndim == 5 else output

    def _of_tasks(
        self, tasks: Sequence[Explained], items: Sequence[_Item], along: Callable[[Path, Tensor], tuple[Tensor, ...]]
    ) -> Iterator[tuple[Tensor, ...]]:
        """For each item what `along` makes of its task's path and image, (n, …, C, H, W) each, cropped; once for all images if they share
        a path that takes any number."""
        numbers = list(dict.fromkeys(item.task for item in items))
        paths = [tasks[number].path for number in numbers]
        if type(paths[0]) is BlurPath and all(path == paths[0] for path in paths):
            made = along(paths[0], torch.stack([tasks[number].image for number in numbers]))
            each = {number: tuple(values[:, i] for values in made) for i, number in enumerate(numbers)}
        else:
            each = {number: along(tasks[number].path, tasks[number].image) for number in numbers}
        for item in items:
            yield tuple(_cut(values, item.crop) for values in each[item.task])

    def _path(self, tasks: Sequence[Explained], items: Sequence[_Item]) -> tuple[Tensor, Tensor]:
        """Points and increments of all items: (items, nodes, …, C, h, w)."""
        pairs = list(self._of_tasks(tasks, items, self._along))
        return torch.stack([points for points, _ in pairs]), torch.stack([steps for _, steps in pairs])

    def _along(self, path: Path, image: Tensor) -> tuple[Tensor, Tensor]:
        if self._rule.mode == "paper":
            if not isinstance(path, BlurPath):
                raise NetworkError("mode `paper` is the demo's blur path; use mode `accurate` with another path")
            moving = len(path.demo_null()) - int(path.demo_null().sum())  # the null steps are the last ones
            points, steps = path.demo_steps(image)
            return points[:moving], steps[:moving]
        starts, stops, centres = (
            [float(at(cell)) for cell in self._cells] for at in (lambda c: c.start, lambda c: c.stop, lambda c: c.centre)
        )
        return path.points(image, centres), path.increments(image, starts, stops)

    def _ends(self, tasks: Sequence[Explained], items: Sequence[_Item]) -> Tensor:
        """Baseline and end of each item's path, in turn: (2 · items, …, C, h, w); without a baseline the ends: (items, …, C, h, w)."""
        if not self._rule.baseline:
            return torch.stack([_cut(tasks[item.task].image, item.crop) for item in items])

        def base(path: Path, image: Tensor) -> tuple[Tensor]:
            return (path.points(image, [0.0]),)

        bases = self._of_tasks(tasks, items, base)
        return torch.cat([torch.cat([first, _cut(tasks[item.task].image, item.crop)[None]]) for item, (first,) in zip(items, bases)])

    def _patches(self, tasks: Sequence[Explained], items: Sequence[_Item], j: int, output: Tensor) -> tuple[Tensor, Window, Tensor | None]:
        """The window of each item with the pixel that objectives read beyond it, (items, rows, C, n + 1, n + 1), where it is in them, and
        the same part of the targets. `output`: (items, rows, C, sh, sw)."""
        places = [self._place(tasks, item, j) for item in items]
        parts = torch.stack([window.cut(rows, 1) for window, rows in zip(places, output)])
        targets = None
        if self._objective.name == "error":
            each = [(tasks[item.task].target, tasks[item.task].windows[item.windows[j]]) for item in items]
            if any(target is None for target, _ in each):
                raise ValueError("objective `error` needs a target")
            targets = torch.stack([window.cut(target, 1) for target, window in each if target is not None])
        return parts, Window(0, 0, places[0].size), targets

    def _place(self, tasks: Sequence[Explained], item: _Item, j: int) -> Window:
        window = tasks[item.task].windows[item.windows[j]]
        return item.crop.moved(window, self._model.scale) if item.crop else window

    def _score(self, parts: Tensor, inside: Window, targets: Tensor | None) -> Tensor:
        """(items, rows)."""
        rows = parts.shape[1]
        shown = None if targets is None else targets.repeat_interleave(rows, 0)
        return self._objective(parts.flatten(0, 1), inside, shown).unflatten(0, (-1, rows))

    def _at_ends(self, tasks: Sequence[Explained], items: Sequence[_Item], j: int, output: Tensor) -> Tensor:
        """(items, 4): scores at the baseline (NaN without one) and at the end, flat pixels there, and whether the scores are finite."""
        parts, inside, targets = self._patches(tasks, items, j, output)
        scores = self._score(parts, inside, targets).double()
        flat = (squared_steps(parts[:, -1]) == 0).flatten(1).sum(1, keepdim=True)
        finite = torch.isfinite(scores).all(1, keepdim=True).double()
        if not self._rule.baseline:
            scores = torch.cat([torch.full_like(scores, float("nan")), scores], 1)
        return torch.cat([scores, flat.double(), finite], 1)

    def _slope(self, tasks: Sequence[Explained], items: Sequence[_Item], j: int, output: Tensor) -> Tensor:
        """The derivative of each row's score with respect to the output: zero outside the row's window."""
        by_item = output.detach().unflatten(0, (len(items), -1))
        parts, inside, targets = self._patches(tasks, items, j, by_item)
        parts.requires_grad_()
        with torch.enable_grad():
            score = self._score(parts, inside, targets).sum()
        (inner,) = torch.autograd.grad(score, parts)
        slope = torch.zeros_like(by_item, memory_format=torch.contiguous_format)
        for item, rows, values in zip(items, slope, inner):
            self._place(tasks, item, j).cut(rows, 1).copy_(values)
        return slope.flatten(0, 1)

    # -- results ----------------------------------------------------------------------------------------------------

    def _collected(self, tasks: Sequence[Explained], queued: Sequence[_Done]) -> list[list[WindowResult] | NetworkError]:
        found: list[dict[int, WindowResult]] = [{} for _ in tasks]
        infinite: set[int] = set()
        for done in queued:
            done.ready()
            maps, numbers = done.maps.numpy(), done.numbers.numpy()
            for i, item in enumerate(done.items):
                for j, window in enumerate(item.windows):
                    first, last, error, bad, flat, finite, *sums = numbers[j, i].tolist()
                    if not finite:
                        infinite.add(item.task)
                    task = tasks[item.task]
                    values = np.zeros(tuple(task.image.shape), np.float32)
                    inside = values if item.crop is None else item.crop.cut(torch.from_numpy(values)).numpy()
                    inside[...] = maps[j, i]
                    if bad and self._rule.mode != "paper":
                        values[:] = np.nan
                    found[item.task][window] = WindowResult(
                        task.windows[window], values, first, last, len(sums), error, int(bad), int(flat), np.array(sums)
                    )
        why = "not finite: NaN or infinity in the network's output, so there is no score to explain"
        return [NetworkError(why) if i in infinite else [found[i][j] for j in sorted(found[i])] for i in range(len(tasks))]


Found = Iterator[tuple[int, list[WindowResult] | NetworkError]]
"""Sample, and its windows' results or why it has none."""


def in_groups(passes: Passes, groups: Sequence[Sequence[int]], explain: Callable[[int], Explained]) -> Callable[[], Found]:
    """Queue the maps of all samples, group by group: while a group's passes run, the next one is prepared. The returned function waits for
    them, in order. `explain` may raise NetworkError. Raises ForwardError: in smaller passes it may run."""
    started = [_started(passes, group, explain) for group in groups]
    return lambda: chain.from_iterable(finish() for finish in started)


def _started(passes: Passes, group: Sequence[int], explain: Callable[[int], Explained]) -> Callable[[], Found]:
    found: dict[int, list[WindowResult] | NetworkError] = {}
    tasks: dict[int, Explained] = {}
    for i in group:
        try:
            tasks[i] = explain(i)
        except NetworkError as error:
            found[i] = error
    wait: Callable[[], Sequence[list[WindowResult] | NetworkError]] = list
    try:
        if tasks:
            wait = passes.launch(list(tasks.values()))
    except ForwardError:
        raise
    except NetworkError as error:
        found.update(dict.fromkeys(tasks, error))

    def finish() -> Found:
        found.update(zip(tasks, wait()))
        for i in group:
            yield i, found[i]

    return finish


def maps_of(
    model: Model, task: Explained, *, objective: Objective, rule: Rule, radius: Radius | None, frame: int | None = None
) -> list[WindowResult]:
    """The maps of one image or clip: in wide passes on a GPU, else as `attribute` makes them. Raises NetworkError."""
    if not (task.image.is_cuda and WidePasses.serves(rule)):
        return attribute(
            model, task.image, task.windows, task.path, objective=objective, rule=rule, target=task.target, radius=radius, frame=frame
        )
    height, width = (model.scale * n for n in task.image.shape[-2:])
    for window in task.windows:
        if problem := window.problem(height, width):
            raise NetworkError(problem)
    frame = output_frame(model, len(task.image), frame) if task.image.ndim == 4 else None
    passes = WidePasses(
        model, objective=objective, rule=rule, radius=radius, frame=frame, rows=lambda shape: planned_rows(model, shape, frame)
    )
    (found,) = passes.launch([task])()
    if isinstance(found, NetworkError):
        raise found
    return found


def _cut(values: Tensor, crop: Crop | None) -> Tensor:
    return crop.cut(values) if crop else values


def to_host(maps: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor, Callable[[], None]]:
    """Both on the host once the returned function returns; on a GPU the copies are queued behind the pass that makes them."""
    if not maps.is_cuda:
        return maps, numbers, lambda: None
    copies = [torch.empty(one.shape, dtype=one.dtype, pin_memory=True).copy_(one, non_blocking=True) for one in (maps, numbers)]
    event = torch.cuda.Event()
    event.record()
    return copies[0], copies[1], event.synchronize

