"""One small network, and batches of known content, for all probes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xlli_ray.corpus.sample import Sample
from xlli_ray.corpus.size import Size
from xlli_ray.models.layers import capture, frames_of, resolve
from xlli_ray.models.model import ImageModel, Model, Range
from xlli_ray.probes import probe_class
from xlli_ray.probes.measurement import Batch, Forward, Measurement, SetProbe, Shapes


class Upscaler(nn.Module):
    """head → ReLU → pool to a vector beside the way → tail → pixel shuffle."""

    def __init__(self, scale: int = 2, channels: int = 3, width: int = 5) -> None:
        super().__init__()
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.down = nn.Conv2d(width, 4, 3, stride=2, padding=1)
        self.flat = nn.Linear(width, 2)
        self.tail = nn.Conv2d(width, channels * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2

    def forward(self, x: Tensor) -> Tensor:
        features = self.act(self.head(x))
        bias = self.flat(features.mean((2, 3))).sum(1) + self.down(features).mean((1, 2, 3))
        return self.shuffle(self.tail(features)) + 0.01 * bias[:, None, None, None]


def as_model(module: nn.Module, **known: Any) -> Model:
    """A `Model` around `module`."""
    fields: dict[str, Any] = {
        "id": "toy", "network": "toy:toy", "network_version": 1, "scale": 2, "channels": 3, "range": Range(0.0, 1.0), "multiple": 1,
        "minimum": 1, "output": "image", "weights_sha256": "0" * 64,
    }  # fmt: skip
    return ImageModel(module=module.eval().requires_grad_(False), **(fields | known))


@pytest.fixture(scope="session")
def model() -> Model:
    return as_model(Upscaler())


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    def make(count: int = 3, height: int = 14, width: int = 18, *, scale: int = 2, seed: int = 0, targets: bool = True,
             frames: int = 0) -> Batch:  # fmt: skip
        rng = np.random.default_rng(seed)
        size = Size(height, width, frames)
        inputs = rng.uniform(0, 1, (count, *size.shape())).astype(np.float32)
        wanted = [rng.uniform(0, 1, size.times(scale).shape()).astype(np.float32) if targets else None for _ in range(count)]
        samples = [
            Sample(
                row=i, sample_id=f"{i:016x}", content=f"{i:016x}", source=f"/{i}.png", source_sha="0" * 64, target=None, target_sha=None,
                label="clean", scale=scale, kind="images", seed=0, box=None, height=height, width=width,
                frames=frames,
            )
            for i in range(count)
        ]  # fmt: skip
        return Batch(samples, torch.from_numpy(inputs), wanted, np.ones(count, bool), extras=[{} for _ in samples])

    return make


def forward_of(model: Model, batch: Batch, taps: tuple[Any, ...]) -> Forward:
    """The shared forward pass, as a worker runs it."""
    with torch.no_grad(), capture(model, taps, frames=frames_of(batch.input)) as found:
        output = model.forward(model.prepare(batch.input))
    return Forward(output if model.output == "image" else None, dict(found))


def shapes_of(model: Model, size: Size, taps: tuple[Any, ...]) -> Shapes:
    """What the plan finds out about an input size."""
    patterns = [f"{tap.module}:{tap.side}" for tap in taps]
    infos = {i.tap: (i.shape, i.stride) for i in resolve(model, patterns, model.shape(size))} if taps else {}
    output = model.given(model.shape(size), size.height, size.width)[1:] if model.output == "image" else None
    target = (size.height * model.scale, size.width * model.scale)
    return Shapes(size.height, size.width, output, infos, together=3, frames=size.frames, target=target)


ALL = {"lam": {"signed": True}}


def measure(probe: Any, model: Model, batch: Batch) -> Measurement:
    """As a worker does: with the shared forward where the probe takes part in it, else alone; without a model where samples are measured by
    themselves; a set's arrays once the set is whole."""
    looks = probe.SUBJECT == "model"
    if probe.needs:  # of stages by their usual names, with their usual parameters, and all that they can store
        needed = {name: probe_class(name)(probe_class(name).Params(**ALL.get(name, {})), {}) for name in probe.needs}
        batch = replace(batch, measured={name: measure(one, model, batch) for name, one in needed.items()})
    forward = forward_of(model, batch, probe.taps()) if looks and probe.SHARES_FORWARD else None
    measured = probe.measure(model if looks else None, batch, forward)
    if not isinstance(probe, SetProbe):
        return measured
    gathering = probe.gather(len(batch.samples), "cpu")
    good = np.array([bool(batch.ok[i]) and i not in measured.failed for i in range(len(batch.samples))])
    for i in np.flatnonzero(good).tolist():
        gathering.add(i, {name: array[i] for name, array in measured.arrays.items()})
    return replace(measured, arrays=gathering.conclude(good))


@pytest.fixture
def tools() -> Any:
    """The helpers above, for tests: conftest files are not importable by name."""
    from types import SimpleNamespace

    return SimpleNamespace(Upscaler=Upscaler, as_model=as_model, forward_of=forward_of, shapes_of=shapes_of, measure=measure)
