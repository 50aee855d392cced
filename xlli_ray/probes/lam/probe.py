"""LAM: which input pixels a network uses to restore one window of its output (Gu & Dong, CVPR 2021).

A map is the path-integrated gradient of a score of the window (its detail, by default) from a blurred input to the input: large where the
network found what it drew there. The diffusion index (DI) measures how widely the map is spread, from 0 for one pixel to 100 for equal
values; a larger one means that the network uses more of the image, not that the result is better. It depends on the image size: compare DI
only between maps of equal size, preferably of the same windows.

Other methods of attribution (`method: gradient_input`, `smoothgrad`, `occlusion`) are there to compare it with: same windows, same score.

`paper` reproduces the authors' demo. `accurate` approximates the integral better with fewer gradients, and each map has an
estimate of its error. A map that is zero everywhere or not finite is undefined and has no DI. Controls are maps that should differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel

from xlli_ray.corpus import resize
from xlli_ray.errors import ForwardError, NetworkError, PlanError, counted
from xlli_ray.probes.lam import over_clips
from xlli_ray.probes.lam.cascade_cells import expanded, share_of
from xlli_ray.probes.lam.columns import COLUMNS, map_row
from xlli_ray.probes.lam.demo import MOVING
from xlli_ray.probes.lam.method_choices import INTEGRAL, method_of
from xlli_ray.probes.lam.params import Channel, Chosen, Hardest, Listed, Params
from xlli_ray.probes.lam.passes import Explained, Passes
from xlli_ray.probes.lam.path_choices import way_of
from xlli_ray.probes.lam.window_count import most_windows
from xlli_ray.probes.measurement import ArrayPlan, Batch, Column, Forward, Launched, Measurement, Shapes, at_once, columns_of
from xlli_ray.probes.probe import Probe

if TYPE_CHECKING:
    import torch

    from xlli_ray.models.model import Model
    from xlli_ray.probes.lam.attribution import Rule, WindowResult
    from xlli_ray.probes.lam.objectives import Objective
    from xlli_ray.probes.lam.path_points import Path
    from xlli_ray.probes.lam.receptive_field import Radius
    from xlli_ray.probes.measurement import Timing

NODES = 20
"""Default number of nodes of mode accurate; the reasons are in docs/log.md."""
CLIP_NODES = 10
"""The same over clips, whose maps have that error (about 0.05) with half the gradients: docs/log.md."""
GATED_NODES = 12
"""With averaged gates."""
LATER = ("frame", "flow", "max_rows", "method")
"""Parameters that cells of earlier versions know nothing of: in the identity where they are used."""
SIDE, FRAMES = 64, 5
"""Assumed side of inputs and length of clips, for the projection of methods whose passes depend on them."""
GRADIENT = 2.2
"""Cost of a gradient in forward passes (measured 2.2–2.6)."""


class Lam(Probe):
    """Attribution maps. Writes table `lam`, one row per window, and array `map`: float32 (sample, window, y, x), |Σ_c A| / max in 0..1 over
    the network's input; with `signed` also `attribution`: (sample, window, channel, y, x). Unused windows are NaN. Of clips, both have the
    axis `frame` after `window`, and there are the small arrays of `over_clips`."""

    KIND: ClassVar[str] = "lam"
    FLOAT64: ClassVar[bool] = True
    GRADIENTS: ClassVar[bool] = True
    VERSION: ClassVar[int] = 2
    SHARES_FORWARD: ClassVar[bool] = False
    NEEDS_OUTPUT: ClassVar[bool] = True
    CLIPS: ClassVar[bool] = True
    ROW: ClassVar[str] = "map"
    COLUMNS: ClassVar[tuple[Column, ...]] = COLUMNS
    REFERENCE: ClassVar[str] = (
        "Gu & Dong, Interpreting super-resolution networks with local attribution maps, CVPR 2021, arXiv 2011.11036; "
        "controls: Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018; of other methods see `method`"
    )
    Params: ClassVar[type[BaseModel]] = Params

    def __init__(self, params: BaseModel, spec: Mapping[str, Any]) -> None:
        assert isinstance(params, Params)
        super().__init__(params, spec)
        self.control = str(spec.get("control", ""))
        self.channels = int(spec.get("channels", 3))
        self.method = method_of(params.method)
        self.integral = params.method == INTEGRAL
        self.mode = self.method.NAME if not self.integral else "averaged" if self.params.gates == "averaged" else self.params.mode
        self.what = self.mode + (f".{self.control}" if self.control else "")
        self.max_rows = params.max_rows
        if self.control:
            self.max_rows = min(params.control_samples, params.max_rows or params.control_samples)
        self.needs = (params.flow,) if params.flow else ()
        self.nodes = self.params.nodes or (GATED_NODES if self.mode == "averaged" else CLIP_NODES if spec.get("clip") else NODES)
        if not self.integral:
            self.nodes = self.method.gradients
        nodes = MOVING if self.params.mode == "paper" else self.nodes
        others = 2 if self.integral else self.method.forwards(SIDE, SIDE, FRAMES if spec.get("clip") else 0)
        self.cost = nodes * (1 + (GRADIENT - 1) * self._most(None)) + others
        choose = getattr(self.params.windows, "choose", None)
        self.companions = (choose.hardest.by,) if isinstance(choose, Hardest) else ()
        self.way = way_of(params.path)

    @classmethod
    def cells(cls, params: BaseModel, model: Model, example: torch.Tensor) -> list[dict[str, Any]]:
        assert isinstance(params, Params)
        super().cells(params, model, example)
        if isinstance(params.objective, Channel) and params.objective.channel >= model.channels:
            has = counted(model.channels, "channel")
            raise PlanError(f"lam: objective channel {params.objective.channel}: the output of {model.id} has {has}")
        over_clips.check_clips(params.frame, params.flow, model)
        about = {"channels": model.channels, **({"clip": True} if "frame" in model.AXES else {})}
        return [{"control": control, **about} for control in ("", *expanded(params.controls, params.cascade))]

    @classmethod
    def parts(cls, params: BaseModel) -> dict[str, int]:
        assert isinstance(params, Params)
        way, method = way_of(params.path), method_of(params.method)
        parts = {f"path {way.NAME}": way.VERSION} if ":" in params.path or way.VERSION > 1 else {}
        return parts | ({f"method {method.NAME}": method.VERSION} if params.method != INTEGRAL or method.VERSION > 1 else {})

    def columns(self) -> tuple[Column, ...]:
        return (*self.COLUMNS, *over_clips.FLOW_COLUMNS) if self.params.flow else self.COLUMNS

    def identity(self) -> dict[str, Any]:
        # `controls` have their own cells: adding one changes nothing here.
        unsaid = {name for name in LATER if getattr(self.params, name) == Params.model_fields[name].default}
        data = self.params.model_dump(mode="json", exclude={"controls", "control_samples", "cascade", *unsaid})
        if "method" in data:
            data["method"] = {self.method.NAME: self.method.args.model_dump(mode="json")}
        if isinstance(self.params.windows, Listed):
            del data["windows"]["file"]
        windows = self.params.windows
        if resize.VERSION > 1 and isinstance(windows, Chosen) and windows.choose == "texture":
            data["resize version"] = resize.VERSION  # without a target they are chosen on the enlarged input
        data["path"] = self.way.NAME  # the location of its code is not part of its identity
        samples = self.params.control_samples if self.control else None
        return {**data, **self.parts(self.params), "control": self.control, "control_samples": samples}

    def refuses(self, model: Model, scales: Sequence[int]) -> str | None:
        other = [scale for scale in scales if scale not in (0, model.scale)]
        if other:
            return (
                f"model {model.id} enlarges ×{model.scale}, the corpus holds ×{other[0]} samples; "
                f"use `corpus.scale: {model.scale}` or pairs of that scale, or leave the model out of this stage"
            )
        if self.way.TO_TARGET and model.scale != 1:
            leads = f"path: {self.way.NAME} goes from the degraded input to a target of the same size"
            return f"{leads}; model {model.id} enlarges ×{model.scale}"
        needs = [
            name for name, asked in (
                ("objective: error", self.params.objective == "error"), (f"path: {self.way.NAME}", self.way.TO_TARGET),
                ("windows: hardest", bool(self.companions)),
            ) if asked
        ]  # fmt: skip
        if needs and 0 in scales:
            return f"{needs[0]} needs a target, and this corpus has inputs without one; use images or pairs"
        return None

    @property
    def by_source(self) -> bool:
        """Whether the windows of a sample depend on its file."""
        return isinstance(self.params.windows, Listed)

    def unfit(self, scale: int, height: int, width: int, source: str, *, target: bool = False) -> str:
        """See `probes.measurement.Selective`."""
        from xlli_ray.probes.lam.fitting import no_room

        return no_room(self.params, scale, height, width, source)

    def timing(self, model: Model) -> Timing:
        """See `probes.measurement.Timed`."""
        from xlli_ray.probes.lam.attribution import Rule
        from xlli_ray.probes.lam.forward_timing import time_forwards
        from xlli_ray.probes.lam.timing import time_maps

        frames = model.trial_size(1, 1).frames

        def prepare(network: Model) -> tuple[Model, Radius | None]:
            return self._ready(network, frames)

        if not (self.integral or self.method.gradients):
            return time_forwards(model, self.params, self.method, prepare)
        rule = Rule(gates=self.params.gates) if self.integral else self.method.rule()
        return time_maps(model, self.params, self.nodes, lambda image, target: self._path(image, target, "timing"), rule, prepare)

    def arrays(self, shapes: Shapes) -> tuple[ArrayPlan, ...]:
        count = self._most(shapes.output)
        size, frames = (shapes.height, shapes.width), (shapes.frames,) if shapes.frames else ()
        leading = ("window", "frame")[: 1 + len(frames)]
        attributes = {"mode": self.mode, "control": self.control or "none", "about": "|sum of channels| / max"}
        whole = ArrayPlan("map", (count, *frames, *size), "float32", (*leading, "y", "x"), "blosc", (1.0, 1.0), attributes, gaps=True)
        plans = [whole]
        if self.params.signed:
            about = {**attributes, "about": self.method.units}
            shape = (count, *frames, self.channels, *size)
            dims = (*leading, "channel", "y", "x")
            plans.append(ArrayPlan("attribution", shape, "float32", dims, "blosc", (1.0, 1.0), about, gaps=True))
        if frames:
            over_clips.check_frame(self._frame(*frames), shapes)
            plans += over_clips.clip_plans(count, *frames, flow=bool(self.params.flow))
        return tuple(plans)

    def _most(self, output: tuple[int, ...] | None) -> int:
        return most_windows(self.params.windows, output)

    # -- measuring ----------------------------------------------------------------------------------------------

    def measure(self, model: Model, batch: Batch, forward: Forward | None) -> Measurement:
        return at_once(self, model, batch, forward)

    def launch(self, model: Model, batch: Batch, forward: Forward | None) -> Launched:
        """See `probes.measurement.Staged`: on a GPU the maps are queued, else they are computed here."""
        good = np.flatnonzero(batch.ok).tolist()
        if self._is_wide(model, batch):
            return Launched({}, self._wide(model, batch, good))
        done: list[tuple[int, list[WindowResult] | NetworkError]] = []
        for i in good:
            try:
                done.append((i, self._sample(model, batch, i)))
            except NetworkError as error:
                if isinstance(error, ForwardError) and not batch.alone:
                    raise  # in smaller passes it may run
                done.append((i, error))
        return Launched({}, {"results": lambda: iter(done)})

    def conclude(self, model: Model, batch: Batch, results: Mapping[str, Any]) -> Measurement:
        """See `probes.measurement.Staged`."""
        output = tuple(model.scale * n for n in batch.input.shape[-2:])
        frames = tuple(batch.input.shape[1:-3])
        height, width = batch.input.shape[-2:]
        shapes = Shapes(height, width, (*frames, 0, *output), {}, frames=frames[0] if frames else 0)
        arrays = {plan.name: np.full((len(batch.samples), *plan.shape), np.nan, np.float32) for plan in self.arrays(shapes)}
        columns: dict[str, list[Any]] = {name: [] for name, _ in columns_of(self.columns(), clips=bool(frames))}
        positions: list[int] = []
        failed: dict[int, str] = {}
        objective = self.params.objective
        asked = {
            "mode": self.mode, "control": self.control, "path": self.way.NAME if self.integral else "",
            "objective": f"channel{objective.channel}" if isinstance(objective, Channel) else objective,
        }  # fmt: skip
        for i, maps in results["results"]():
            try:
                if isinstance(maps, NetworkError):
                    raise maps
                flows = over_clips.flows_of(batch, self.params.flow, i) if self.params.flow else None
            except NetworkError as error:
                failed[i] = str(error)
                continue
            for j, result in enumerate(maps):
                positions.append(i)
                found: dict[str, Any] = {"map": result.map, "attribution": result.attribution}
                row = map_row(result, found["map"], {"window": j, **asked})
                if frames:
                    more, small = over_clips.clip_numbers(result, found["map"], self._frame(*frames), model.scale, flows)
                    row, found = {**row, **more}, {**found, **small}
                for name, array in arrays.items():
                    array[i, j] = found[name]
                for name, value in row.items():
                    columns[name].append(value)
        passes = results.get("passes")
        return Measurement(arrays, columns, positions, failed, narrowed=passes is not None and passes.narrowed)

    def _frame(self, frames: int) -> int:
        """The explained frame of clips of so many."""
        asked = self.params.frame
        return frames // 2 if asked == "centre" else int(asked)

    def _explained(self, model: Model, batch: Batch, i: int, shown: torch.Tensor) -> Explained:
        """One sample, ready to be explained. `shown`: the batch's input, where windows are chosen. Raises NetworkError with the reason if
        it has no map."""
        import torch

        from xlli_ray.probes.lam.controls import shifted
        from xlli_ray.probes.lam.sample_windows import sample_windows

        image = model.prepare(batch.input[i : i + 1])[0]
        clean = batch.targets[i]
        high, wide = image.shape[-2:]
        height, width = model.scale * high, model.scale * wide
        if clean is not None and clean.shape[-2:] != (height, width):
            raise NetworkError(f"wrong scale: the output is {width}×{height} pixels, the target {clean.shape[-1]}×{clean.shape[-2]}")
        if problem := self.unfit(model.scale, high, wide, batch.samples[i].source):
            raise NetworkError(problem)
        frame = self._output_frame(model, batch)
        windows = sample_windows(self.params.windows, model, batch, i, frame, shown)
        if self.control == "shifted_window":
            windows = [shifted(window, height, width) for window in windows]
        target = None
        if clean is not None and (self.params.objective == "error" or self.way.TO_TARGET or ":" in self.params.path):
            target = model.prepare(torch.from_numpy(clean)[None].to(image.device))[0]
        sample = batch.samples[i]
        path, end = self._path(image, target, f"{sample.seed}|{sample.sample_id}")
        return Explained(end, windows, path, target if target is None or frame is None else target[frame])

    def _path(self, image: torch.Tensor, target: torch.Tensor | None, key: str) -> tuple[Path, torch.Tensor]:
        """The path of an image and its end; of other methods than the integral, what they need of the image."""
        from xlli_ray.probes.lam.clip_path import path_of

        return path_of(self.way, image, target) if self.integral else (self.method.path(image, key), image)

    def _sample(self, model: Model, batch: Batch, i: int) -> list[WindowResult]:
        """Maps of all windows of one sample, a node at a time. Raises NetworkError with the reason if it has none."""
        from xlli_ray.probes.lam.attribution import attribute

        task, frame = self._explained(model, batch, i, batch.input), self._output_frame(model, batch)
        network, radius = self._ready(model, self._frames(batch))
        if not self.integral:
            alone = batch.alone or self._whole_batches(model)
            return self.method.one_by_one(network, task, objective=self._objective(), radius=radius, frame=frame, alone=alone)
        return attribute(
            network, task.image, task.windows, task.path, objective=self._objective(), rule=self._rule(), target=task.target,
            radius=radius, frame=frame,
        )  # fmt: skip

    def _is_wide(self, model: Model, batch: Batch) -> bool:
        """Whether many images share a pass: on a GPU, if the network treats the images of a batch independently."""
        from xlli_ray.probes.lam.wide_passes import WidePasses

        if not self._on_gpu(batch.input) or batch.alone or not WidePasses.serves(self._rule()):
            return False
        return not self._whole_batches(model)

    @staticmethod
    def _whole_batches(model: Model) -> bool:
        """Whether the network treats a batch as a whole."""
        from xlli_ray.models.batch_independence import manners
        from xlli_ray.models.known import once

        return bool(once(model, "manners", lambda: manners(model)).alone)

    def _wide(self, model: Model, batch: Batch, good: Sequence[int]) -> dict[str, Any]:
        """Queue the maps of a batch, as many images in a pass as keep a GPU busy: `results`, which waits for them, and the `passes`."""
        from xlli_ray.probes.lam.pass_width import planned_rows
        from xlli_ray.probes.lam.wide_passes import WidePasses, in_groups

        network, radius = self._ready(model, self._frames(batch))
        frame = self._output_frame(model, batch)
        if self.integral:
            passes: Passes = WidePasses(
                network, objective=self._objective(), rule=self._rule(), radius=radius, frame=frame,
                rows=lambda shape: planned_rows(network, shape, frame),
            )  # fmt: skip
        else:
            passes = self.method.passes(network, objective=self._objective(), radius=radius, frame=frame)
        # copied once: a copy of each image would wait for the passes that run meanwhile
        shown = batch.input.cpu() if any(target is None for target in batch.targets) else batch.input
        each = 2 * passes.images_a_pass(tuple(batch.input.shape[1:]))
        groups = [good[start : start + each] for start in range(0, len(good), each)]
        return {"results": in_groups(passes, groups, lambda i: self._explained(model, batch, i, shown)), "passes": passes}

    def _rule(self) -> Rule:
        """A node a pass: on a CPU more bring no gain, a GPU has wide passes, and a network may treat a batch as a whole."""
        from xlli_ray.probes.lam.attribution import Rule

        return Rule(self.params.mode, self.nodes, self.params.tolerance, self.params.max_nodes, gates=self.params.gates)

    def _objective(self) -> Objective:
        from xlli_ray.probes.lam.objectives import Objective

        asked = self.params.objective
        return Objective("channel", asked.channel) if isinstance(asked, Channel) else Objective(asked)

    @staticmethod
    def _frames(batch: Batch) -> int:
        """Frames of its clips; 0 for images."""
        return batch.input.shape[1] if batch.input.ndim == 5 else 0

    def _output_frame(self, model: Model, batch: Batch) -> int | None:
        """The explained frame of the output; None for images."""
        from xlli_ray.probes.lam.attribution import output_frame

        frames = self._frames(batch)
        return output_frame(model, frames, self._frame(frames)) if frames else None

    @staticmethod
    def _on_gpu(values: torch.Tensor) -> bool:
        return values.is_cuda

    def _ready(self, model: Model, frames: int = 0) -> tuple[Model, Radius | None]:
        """The network to explain (the model or its randomised copy) and its radius, over clips of so many frames."""
        from xlli_ray.models.known import once
        from xlli_ray.probes.lam.cascade import top_parameters
        from xlli_ray.probes.lam.controls import randomised
        from xlli_ray.probes.lam.receptive_field import proved_radius

        frame = self._frame(frames) if frames else 0
        network, share = model, share_of(self.control)
        if self.control == "randomised_weights":
            network = once(model, "randomised", lambda: randomised(model))
        elif share is not None:
            network = once(model, self.control, lambda: randomised(model, only=top_parameters(model, share)))
        if self.params.crop == "never":
            return network, None
        return network, once(network, ("radius", frames, frame), lambda: proved_radius(network, frames, frame))
