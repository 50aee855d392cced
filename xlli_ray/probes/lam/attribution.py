"""Attribution: one image or clip, some windows of one output image, one path → one signed map per window with its error.

What makes it several times faster than a loop over steps (measured by tests/benchmarks/lam.py): no gradients of weights; the score on the
window's slice only; channels-last tensors; one forward pass for all windows, then one vector-Jacobian product each on the retained graph;
fewer nodes, better placed; for networks with a finite receptive field, only the part of the image on which the window can depend; and for
attention networks, faster equivalents of their operations (`equivalents`).

No network is changed: inputs become channels-last, but weights are left as they are, since other probes share them.

Of a clip the score is that of one output frame, and the map has every input frame (`over_clips`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlli_ray.errors import NetworkError, counted
from xlli_ray.models.blocks.one_frame import one_frame
from xlli_ray.models.model import Model
from xlli_ray.probes.lam.demo import STEPS
from xlli_ray.probes.lam.diffusion_index import normalised_map
from xlli_ray.probes.lam.equivalents import Equivalents
from xlli_ray.probes.lam.gates import AveragedGates, Tape
from xlli_ray.probes.lam.objectives import Objective, flat_pixels
from xlli_ray.probes.lam.path_points import BlurPath, Path
from xlli_ray.probes.lam.quadrature import FACTOR, FIRST_CELLS, Cell, SecondDifferences, draws_factor, estimate, even_cells, worst_cell
from xlli_ray.probes.lam.receptive_field import Crop, Radius, crop_for
from xlli_ray.probes.lam.window import Window

Mode = Literal["paper", "accurate"]
BLOCK = 8
"""Nodes that are blurred together; more would only use more memory."""
FORWARD_SHARE = 0.45
"""Cost of a forward pass relative to a gradient (measured 0.39–0.46): decides whether windows share forward passes or get crops."""


@dataclass(frozen=True)
class Rule:
    """Where gradients are taken: `nodes` midpoints, or as many as bring E below `tolerance`, at most `max_nodes`."""

    mode: Mode = "accurate"
    nodes: int = 20
    tolerance: float | None = None
    max_nodes: int = 60
    rows: int = 1
    """Nodes per forward pass; results depend on it in the last digits."""
    gates: Literal["plain", "averaged"] = "plain"
    """Averaged: ReLU gates averaged over the node's cell (`gates`), not the network's gradient. Only with `nodes`, one per pass."""
    baseline: bool = True
    """Whether the path has a baseline; else its score, and with it the completeness, is NaN."""
    drawn: bool = False
    """Whether nodes are independent draws (`method_choices.Gradients`): then E is the standard error of their mean."""

    @property
    def factor(self) -> float:
        """That of E."""
        return draws_factor(self.nodes) if self.drawn else FACTOR


@dataclass(frozen=True)
class WindowResult:
    """The attribution of one window, with its error."""

    window: Window
    attribution: NDArray[np.float32]
    """(C, H, W), of a clip (T, C, H, W), signed: what each input value contributed to the change of the score from the baseline."""
    objective_baseline: float
    objective_input: float
    nodes: int
    error_estimate: float
    """E: estimated relative L2 error of Σ_c A (`quadrature`); NaN in `paper` mode, below 3 nodes, and for methods without one."""
    nonfinite: int
    """Entries of gradients that were NaN or infinite: 0 in `paper` mode as in the demo; otherwise the map is undefined."""
    flat: int
    """Window pixels at which the output has no gradient at the end of the path."""
    step_sums: NDArray[np.float64] = field(repr=False)
    """Σ A at each node, in path order."""

    @property
    def map(self) -> NDArray[np.float32]:
        """(H, W), of a clip (T, H, W), in 0..1; all frames of a clip share one peak."""
        return normalised_map(self.attribution, axes=tuple(range(1 - self.attribution.ndim, 0)))

    @property
    def completeness(self) -> float:
        """|ΣA − (D(I) − D(x₀))| / |D(I) − D(x₀)|: a check, not an error. NaN when the score does not change, and without a baseline."""
        change = self.objective_input - self.objective_baseline
        return abs(float(self.attribution.sum(dtype=np.float64)) - change) / abs(change) if change else float("nan")

    @property
    def undefined(self) -> bool:
        """True if there is no map: zero everywhere, or not finite."""
        return not np.isfinite(self.attribution).all() or not self.attribution.any()


def attribute(
    model: Model,
    image: Tensor,
    windows: Sequence[Window],
    path: Path,
    *,
    objective: Objective | None = None,
    rule: Rule | None = None,
    end: Tensor | None = None,
    target: Tensor | None = None,
    radius: Radius | None = None,
    layout: torch.memory_format | None = None,
    frame: int | None = None,
) -> list[WindowResult]:
    """Maps of all windows of one image or clip.

    `image`: (C, H, W), or (T, C, H, W), as returned by `Model.prepare`. `end`: the end of the path, if it is not the image. `target`:
    (C, sH, sW), for objective `error`. `radius`: of a finite receptive field; None: never crop. `frame`: of a clip's output, that of the
    windows (and of the target); None: the centre. Raises NetworkError for a window or frame outside the output, an output without a
    gradient, or a score that is not finite.
    """
    objective, rule = objective or Objective(), rule or Rule()
    height, width = (model.scale * n for n in image.shape[-2:])
    for window in windows:
        if problem := window.problem(height, width):
            raise NetworkError(problem)
    if image.ndim == 4:
        frame = output_frame(model, len(image), frame)
    crops = _crops(windows, radius, model, image)
    jobs: list[tuple[list[Window], Crop | None]] = [([w], c) for w, c in zip(windows, crops)] if crops else [(list(windows), None)]
    out: list[WindowResult] = []
    for some, crop in jobs:
        out += _Walk(
            model, image if end is None else end, some, path, objective, rule, target, crop, layout or layout_for(model), frame
        ).run()
    return out


def _crops(windows: Sequence[Window], radius: Radius | None, model: Model, image: Tensor) -> list[Crop] | None:
    """A crop for each window, or None if one shared forward pass over the whole image is cheaper."""
    if radius is None:
        return None
    height, width = image.shape[-2:]
    crops = [crop_for(window, radius, model.scale, height, width, least=model.minimum) for window in windows]
    whole = height * width * (FORWARD_SHARE + (1 - FORWARD_SHARE) * len(windows))
    return crops if sum(crop.area for crop in crops) < whole else None


def output_frame(model: Model, frames: int, frame: int | None) -> int:
    """The frame of the output whose windows are explained; None: the centre. Raises NetworkError for one that the network does not give."""
    centre = frames // 2
    frame = centre if frame is None else frame
    if not 0 <= frame < frames:
        raise NetworkError(f"frame {frame} of a clip of {counted(frames, 'frame')}: expected 0 to {frames - 1}, or centre")
    if frame != centre and getattr(model, "gives", "frames") == "centre":
        raise NetworkError(f"frame {frame}: model {model.id} ({model.network}) returns the centre frame only, {centre} of {frames}")
    return frame


def layout_for(model: Model) -> torch.memory_format:
    """Memory format of inputs: channels-last, which convolutions are faster with on a CPU; unchanged on a GPU, where they are slower, for
    clips, which have a frame axis, and for networks with linear layers, whose tokens would have to be reordered in every block."""
    if "frame" in model.AXES or model.device.type == "cuda":
        return torch.contiguous_format
    tokens = any(isinstance(module, torch.nn.Linear) for module in model.module.modules())
    return torch.contiguous_format if tokens else torch.channels_last


def without_gradient(model: Model) -> str:
    """Why a network whose output has no gradient cannot be explained."""
    return (
        f"model {model.id!r}: its output has no gradient with respect to its input (it detaches, rounds, or runs under "
        "no_grad); LAM needs a differentiable network"
    )


class _Walk:
    """Integration along a path to `image`, for windows that share their forward passes. `frame`: of a clip's output."""

    def __init__(
        self, model: Model, image: Tensor, windows: list[Window], path: Path, objective: Objective, rule: Rule,
        target: Tensor | None, crop: Crop | None, layout: torch.memory_format, frame: int | None = None,
    ) -> None:  # fmt: skip
        self.model, self.image, self.windows, self.path, self.rule = model, image, windows, path, rule
        self.objective, self.target, self.crop, self.layout, self.frame = objective, target, crop, layout, frame
        self.seen = [crop.moved(w, model.scale) for w in windows] if crop else windows
        if target is not None and crop is not None:
            s = model.scale
            self.target = target[..., s * crop.top : s * crop.bottom, s * crop.left : s * crop.right]
        shape = image.shape
        self.totals = [torch.zeros(shape, dtype=torch.float64, device=image.device) for _ in windows]
        self.bad = [0] * len(windows)
        self.sums: list[dict[int, float]] = [{} for _ in windows]
        self.flat = [0] * len(windows)
        self.forms = True  # until `_ends` has found that none applies to the network

    def run(self) -> list[WindowResult]:
        first, last = self._ends()
        if self.rule.mode == "paper":
            nodes, errors = self._paper()
        elif self.rule.gates == "averaged":
            nodes, errors = self._averaged()
        elif self.rule.tolerance is None:
            nodes, errors = self._midpoints()
        else:
            nodes, errors = self._refined(self.rule.tolerance)
        results = []
        for j, window in enumerate(self.windows):
            attribution = self.totals[j].cpu().numpy().astype(np.float32)
            if self.bad[j] and self.rule.mode != "paper":
                attribution[:] = np.nan
            sums = np.array([self.sums[j][i] for i in sorted(self.sums[j])])
            results.append(
                WindowResult(window, attribution, first[j], last[j], nodes[j], errors[j], self.bad[j], self.flat[j], sums)
            )
        return results

    # -- the three rules --------------------------------------------------------------------------------------------

    def _paper(self) -> tuple[list[int], list[float]]:
        if not isinstance(self.path, BlurPath):
            raise NetworkError("mode `paper` is the demo's blur path; use mode `accurate` with another path")
        points, steps = self.path.demo_steps(self.image)
        null = self.path.demo_null()
        for start in range(0, STEPS, self.rule.rows):
            rows = [k for k in range(start, min(start + self.rule.rows, STEPS)) if not null[k]]
            if rows:
                for k, (gradients, increment) in zip(rows, self._gradients(points[rows], steps[rows])):
                    for j, gradient in enumerate(gradients):
                        self._add(j, k, gradient, increment)
        return [int((~null).sum())] * len(self.windows), [float("nan")] * len(self.windows)

    def _midpoints(self) -> tuple[list[int], list[float]]:
        cells = even_cells(self.rule.nodes)
        errors = [SecondDifferences(self.rule.factor) for _ in self.windows]
        k = 0
        for points, steps in self._nodes(cells):
            for gradients, increment in self._gradients(points, steps):
                for j, gradient in enumerate(gradients):
                    self._add(j, k, gradient, increment)
                    errors[j].add(gradient, increment)
                k += 1
        return [len(cells)] * len(self.windows), [error.relative_to(self._cut(t)) for error, t in zip(errors, self.totals)]

    def _averaged(self) -> tuple[list[int], list[float]]:
        """As `_midpoints`, with gates averaged over each node's cell: a node's backward pass follows the next node's forward pass."""
        if self.rule.tolerance is not None:
            raise NetworkError("gates: averaged takes `nodes`: adaptively cut cells have no fixed neighbours")
        cells, tape = even_cells(self.rule.nodes), Tape()
        errors = [SecondDifferences() for _ in self.windows]

        def graphs() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
            for node, (point, step) in enumerate(self._nodes(cells, rows=1)):
                with AveragedGates(tape, node):
                    x, output = self._forward(point)
                yield x, output, self._cut(step)[0]

        ahead = graphs()
        following = next(ahead, None)
        for k in range(len(cells)):
            assert following is not None
            x, output, step = following
            following = next(ahead, None)
            for j, gradient in enumerate(self._backward(x, output, range(len(self.windows)))):
                self._add(j, k, gradient[0], step)
                errors[j].add(gradient[0], step)
            tape.forget(k - 1)
        return [len(cells)] * len(self.windows), [error.relative_to(self._cut(t)) for error, t in zip(errors, self.totals)]

    def _refined(self, tolerance: float) -> tuple[list[int], list[float]]:
        """Each window cuts its worst cell in three until E is below the tolerance. A node needed by several windows at once costs one
        forward pass; it runs alone, so that a map does not depend on the other windows."""
        cells = [even_cells(FIRST_CELLS) for _ in self.windows]
        known: list[dict[Fraction, Tensor]] = [{} for _ in self.windows]
        errors, going = [float("nan")] * len(self.windows), set(range(len(self.windows)))
        steps: dict[Cell, Tensor] = {}
        while going:
            wanted = {j: [cell for cell in cells[j] if cell.centre not in known[j]] for j in sorted(going)}
            for cell in sorted({cell for some in wanted.values() for cell in some}):
                asking = [j for j, some in wanted.items() if cell in some]
                point, _ = self._at([cell])
                for gradients, _ in self._gradients(point, point, only=asking):
                    for j, gradient in zip(asking, gradients):
                        known[j][cell.centre] = gradient
            for j in sorted(going):
                for cell in cells[j]:
                    if cell not in steps:
                        steps[cell] = self._cut(self.path.increments(self.image, [float(cell.start)], [float(cell.stop)]))[0]
                increments = torch.stack([steps[cell] for cell in cells[j]])
                slopes = torch.stack([known[j][cell.centre] for cell in cells[j]])
                centres = [float(cell.centre) for cell in cells[j]]
                errors[j] = estimate(centres, slopes, increments, (slopes * increments).double().sum(0))
                if not errors[j] > tolerance or len(cells[j]) + 2 > self.rule.max_nodes:
                    going.discard(j)
                    for k, (gradient, increment) in enumerate(zip(slopes, increments)):
                        self._add(j, k, gradient, increment)
                    continue
                worst = worst_cell(cells[j], slopes, increments)
                cells[j][worst : worst + 1] = cells[j][worst].thirds()
        return [len(some) for some in cells], errors

    # -- pieces -----------------------------------------------------------------------------------------------------

    def _cut(self, values: Tensor) -> Tensor:
        return self.crop.cut(values) if self.crop else values

    def _scored(self, output: Tensor) -> Tensor:
        """The images that windows lie in, (R, C, sH, sW): of clips, the chosen frame of the output, unless it is the only one."""
        return output[:, self.frame] if output.ndim == 5 else output

    def _one_frame(self) -> AbstractContextManager[None]:
        """Of clips, networks are told which frame of the output is read. Steps are not run again where their operations are replaced."""
        if self.frame is None:
            return nullcontext()
        return one_frame(self.frame, recompute=self.rule.gates == "plain" and not self.forms)

    def _at(self, cells: Sequence[Cell]) -> tuple[Tensor, Tensor]:
        """Centres of cells as images, and the cells' increments."""
        points = self.path.points(self.image, [float(cell.centre) for cell in cells])
        return points, self.path.increments(self.image, [float(c.start) for c in cells], [float(c.stop) for c in cells])

    def _nodes(self, cells: Sequence[Cell], *, rows: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """`_at` of all cells in order, `rows` at a time; several are blurred together, at a fifth of the cost."""
        rows = rows or self.rule.rows
        block = rows * -(-BLOCK // rows)
        for start in range(0, len(cells), block):
            yield from zip(*(some.split(rows) for some in self._at(cells[start : start + block])))

    def _ends(self) -> tuple[list[float], list[float]]:
        """Scores at the baseline (NaN without one) and at the end of the path. Raises NetworkError if one is not finite."""
        with torch.no_grad():
            both = torch.stack([*([self.path.points(self.image, [0.0])[0]] if self.rule.baseline else []), self.image])
            with self._one_frame(), Equivalents() as forms:
                output = self._scored(self.model.forward(self._cut(both).contiguous(memory_format=self.layout)))
            self.forms = forms.used
            scores = [self.objective(output, window, self.target) for window in self.seen]
        self.flat = [flat_pixels(output[-1], window) for window in self.seen]
        if not all(bool(torch.isfinite(score).all()) for score in scores):
            raise NetworkError("not finite: NaN or infinity in the network's output, so there is no score to explain")
        first = [float(score[0]) if self.rule.baseline else float("nan") for score in scores]
        return first, [float(score[-1]) for score in scores]

    def _gradients(
        self, points: Tensor, increments: Tensor, *, only: Sequence[int] | None = None
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """For each node: gradients of all windows (or of those in `only`), and the increment; all cropped."""
        gradients = self._backward(*self._forward(points), range(len(self.windows)) if only is None else only)
        steps = self._cut(increments)
        for row in range(len(points)):
            yield [gradient[row] for gradient in gradients], steps[row]

    def _forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The nodes as inputs of the network, and its output, on one graph. Raises NetworkError if the output has none."""
        x = self._cut(points).contiguous(memory_format=self.layout).requires_grad_()
        with torch.enable_grad(), self._one_frame(), Equivalents() if self.forms else nullcontext():
            output = self._scored(self.model.forward(x))
        if not output.requires_grad:
            raise NetworkError(without_gradient(self.model))
        return x, output

    def _backward(self, x: Tensor, output: Tensor, chosen: Sequence[int]) -> list[Tensor]:
        """The gradient of each chosen window's score, of the shape of `x`. The graph is freed."""
        gradients = []
        for position, j in enumerate(chosen):
            with torch.enable_grad():
                score = self.objective(output, self.seen[j], self.target).sum()
            (gradient,) = torch.autograd.grad(score, x, retain_graph=position + 1 < len(chosen))
            gradients.append(gradient.contiguous())
        return gradients

    def _add(self, j: int, k: int, gradient: Tensor, increment: Tensor) -> None:
        bad = ~torch.isfinite(gradient)
        if count := int(bad.sum()):
            self.bad[j] += count
            gradient = torch.where(bad, torch.zeros_like(gradient), gradient)
        product = gradient.double() * increment.double()
        self._cut(self.totals[j]).add_(product)
        self.sums[j][k] = float(product.sum())
