"""One batch through the probes of a unit: probes share a forward pass, and each runs after those that it needs.

Measurements needed from stages whose cells this unit does not write are computed as well, and discarded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from xlli_ray.engine.worker.known_motion import knowing
from xlli_ray.errors import NetworkError
from xlli_ray.models.batch_independence import sample_seed
from xlli_ray.models.layers import capture, frames_of
from xlli_ray.models.model import Model
from xlli_ray.models.precision import allow_tf32
from xlli_ray.models.tap import Tap
from xlli_ray.probes import make_probe
from xlli_ray.probes.measurement import Batch, Forward, Launched, Measurement, Staged
from xlli_ray.probes.probe import Probe
from xlli_ray.store.records.manifest import Cell

if TYPE_CHECKING:
    import torch

    from xlli_ray.engine.worker.staging import Staging

SAMPLE_FAULTS = (RuntimeError, ValueError, ArithmeticError, MemoryError, LookupError, TypeError, AttributeError, AssertionError)
"""Errors of a network and its gradients for one input. Any error of a network's own code arrives as ForwardError."""


class Measuring:
    """Measures batches for the cells of one unit, with their `probes`. `find` returns a needed cell by id, `companion` another model."""

    def __init__(
        self, cells: Sequence[Cell], probes: Sequence[Probe], find: Callable[[str], Cell], companion: Callable[[str], Model],
        device: torch.device,
    ) -> None:  # fmt: skip
        self.cells = tuple(cells)
        self._companion, self._device = companion, device
        self._draws = any("draws" in cell.identity for cell in cells)
        written = {cell.id: probe for cell, probe in zip(cells, probes)}
        order: dict[str, tuple[Cell, Probe]] = {}

        def add(cell: Cell) -> None:
            for name in cell.needs:
                if name not in order:
                    add(find(name))
            order.setdefault(cell.id, (cell, written.get(cell.id) or make_probe(cell.kind, cell.params, cell.spec, cell.code)))

        for cell in cells:
            add(cell)
        self._order = tuple(order.values())
        taps: dict[str, dict[Tap, None]] = {}
        for cell, probe in self._order:
            if _shares(probe):
                taps.setdefault(_precision(cell), {}).update(dict.fromkeys(probe.taps()))
        self._taps = {name: tuple(some) for name, some in taps.items()}
        # a network may change its input in place, so those that use the input after the pass get another copy
        self._guards = bool(taps) and (len(taps) > 1 or not all(_shares(probe) for _, probe in self._order))

    @property
    def needs_model(self) -> bool:
        """Whether any of them needs the model of its cell."""
        return any(probe.SUBJECT == "model" for _, probe in self._order)

    def together(self, model: Model | None, batch: Batch) -> list[Measurement]:
        """The measurement of the batch by each cell. Raises whatever a network or a probe raises."""
        return self._measure(model, batch, lambda error: None)

    def launch(self, model: Model | None, batch: Batch, staging: Staging) -> Callable[[], list[Measurement]]:
        """Start the same; the returned function waits for it. A device with memory of its own can compute the next batch meanwhile, unless
        a probe needs another one's measurements. Both parts raise whatever a network or a probe raises."""
        if not staging.depth or any(cell.needs for cell, _ in self._order):
            done = self.together(model, batch)
            return lambda: done
        started: dict[str, Callable[[dict[Any, np.ndarray]], Measurement]] = {}
        leaving: dict[Any, torch.Tensor] = {}
        passes: dict[str, Forward] = {}
        with self._own_draws(batch), knowing(model, batch), _tf32_as_it_was(self._order):
            for cell, probe in self._order:
                precision = _precision(cell)
                subject = model.at(precision) if model is not None and probe.SUBJECT == "model" else None
                if _shares(probe) and precision not in passes:
                    passes[precision] = self._forward(subject, batch)
                shared = passes[precision] if _shares(probe) else None
                given = self._accompanied(probe, batch, precision)
                if not isinstance(probe, Staged):
                    started[cell.id] = partial(_known, probe.measure(subject, given, shared))
                    continue
                launched = probe.launch(subject, given, shared)
                leaving |= {(cell.id, name): values for name, values in launched.read.items()}
                started[cell.id] = partial(_concluded, probe, subject, given, cell.id, launched)
            arriving = staging.to_host(leaving)

        def read() -> list[Measurement]:
            arrived = arriving()
            return [started[cell.id](arrived) for cell in self.cells]

        return read

    def alone(self, model: Model | None, sample: Batch) -> list[Measurement]:
        """The same for one sample; if the network or probe of a cell fails, the sample is failed for this cell, with the reason."""
        return self._measure(model, sample, lambda error: Measurement({}, {}, [], {0: reason(error)}))

    def _measure(self, model: Model | None, batch: Batch, failed: Callable[[Exception], Measurement | None]) -> list[Measurement]:
        done: dict[str, Measurement] = {}
        passes: dict[str, Forward | Exception] = {}
        with self._own_draws(batch), knowing(model, batch):
            params = {cell.id: probe.params for cell, probe in self._order}
            for cell, probe in self._order:
                given, blocked = _with_needed(cell, batch, done, params)
                if not given.ok.any():
                    columns: dict[str, list[object]] = {name: [] for name, _ in cell.columns}
                    done[cell.id] = Measurement({}, columns, [], blocked)
                    continue
                precision = _precision(cell)
                subject = model.at(precision) if model is not None and probe.SUBJECT == "model" else None
                try:
                    if _shares(probe) and precision not in passes:
                        passes[precision] = self._forward(subject, batch)
                    forward = passes[precision] if _shares(probe) else None
                    if isinstance(forward, Exception):
                        raise forward
                    measured = probe.measure(subject, self._accompanied(probe, given, precision), forward)
                except SAMPLE_FAULTS as error:
                    if _shares(probe):
                        passes.setdefault(precision, error)  # all cells that share the pass fail
                    failure = failed(error)
                    if failure is None:
                        raise
                    measured = failure
                finally:
                    if precision == "tf32":
                        allow_tf32((False, False))  # a backward pass that failed halfway has left it on
                done[cell.id] = replace(measured, failed={**measured.failed, **blocked}) if blocked else measured
        return [done[cell.id] for cell in self.cells]

    def _forward(self, model: Model | None, batch: Batch) -> Forward:
        import torch

        assert model is not None
        with torch.no_grad(), capture(model, self._taps[model.precision], frames=frames_of(batch.input)) as captured:
            output = model.forward(model.prepare(batch.input.clone() if self._guards else batch.input))
        return Forward(output if model.output == "image" else None, captured)

    @contextmanager
    def _own_draws(self, batch: Batch) -> Iterator[None]:
        """For a network that draws random numbers: seeds torch's generator from the (only) sample of the batch. Restored afterwards."""
        import torch

        if not self._draws:
            yield
            return
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(sample_seed(batch.samples[0].sample_id))
            yield

    def _accompanied(self, probe: Probe, batch: Batch, precision: str) -> Batch:
        """The batch with the outputs of the other models that the probe needs."""
        import torch

        if not probe.companions:
            return batch
        outputs: dict[str, torch.Tensor] = {}
        for name in probe.companions:
            other = self._companion(name).at(precision)
            with torch.no_grad(), knowing(other, batch):
                outputs[name] = other.forward(other.prepare(batch.input))
        return replace(batch, companions=outputs)


def reason(error: Exception) -> str:
    """Why a sample could not be measured, in one line."""
    import torch

    if isinstance(error, NetworkError):
        return str(error)
    text = (str(error).strip() or "no message").splitlines()[0][:300]
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text
    return "out of memory alone" if memory else f"{type(error).__name__}: {text}"


def _precision(cell: Cell) -> str:
    """Of the network, for the measurement of this cell."""
    return str(cell.identity.get("precision", "float32"))


@contextmanager
def _tf32_as_it_was(cells: Sequence[tuple[Cell, Probe]]) -> Iterator[None]:
    """A backward pass that failed halfway has left TensorFloat-32 on."""
    try:
        yield
    finally:
        if any(_precision(cell) == "tf32" for cell, _ in cells):
            allow_tf32((False, False))


def _known(measured: Measurement, arrived: dict[Any, np.ndarray]) -> Measurement:
    return measured


def _concluded(
    probe: Staged, model: Model | None, batch: Batch, cell: str, launched: Launched, arrived: dict[Any, np.ndarray]
) -> Measurement:
    return probe.conclude(model, batch, {**launched.kept, **{name: arrived[cell, name] for name in launched.read}})


def _shares(probe: Probe) -> bool:
    return probe.SUBJECT == "model" and probe.SHARES_FORWARD


def _with_needed(cell: Cell, batch: Batch, done: dict[str, Measurement], params: dict[str, Any]) -> tuple[Batch, dict[int, str]]:
    """The batch with the measurements that the cell needs and the parameters behind them; and position → reason, for samples that one of
    these could not measure."""
    if not cell.needs:
        return batch, {}
    places = [(*name.split("/"), name) for name in cell.needs]
    stages = [stage for stage, *_ in places]
    names = {stage if stages.count(stage) == 1 else f"{stage}/{what}": name for stage, _, what, name in places}
    measured, asked = ({short: some[name] for short, name in names.items()} for some in (done, params))
    blocked = {position: f"{stage}: {why}" for stage, _, _, name in reversed(places) for position, why in done[name].failed.items()}
    ok = batch.ok.copy()
    ok[np.array(list(blocked), np.int64)] = False
    return replace(batch, measured=measured, asked=asked, ok=ok), blocked
