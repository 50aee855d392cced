"""A GPU is made ready in a thread, and what is wrong with it is not said there."""

from __future__ import annotations

import pytest
import torch

from xlli_ray.engine.worker.warm import warm_ahead


def test_a_cpu_needs_nothing() -> None:
    assert warm_ahead("cpu") is None
    assert warm_ahead("mps") is None


def test_a_gpu_computes_once_and_leaves_the_random_state_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    zeros = torch.zeros

    def here(*shape: int, device: str) -> torch.Tensor:
        made.append(device)
        return zeros(*shape)

    monkeypatch.setattr(torch, "zeros", here)
    before = torch.get_rng_state()
    thread = warm_ahead("cuda:0")
    assert thread is not None
    thread.join(60)
    assert made == ["cuda:0", "cuda:0"]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_gpu_that_is_missing_is_reported_by_whoever_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*shape: int, device: str) -> torch.Tensor:
        raise RuntimeError("no driver")

    monkeypatch.setattr(torch, "zeros", broken)
    thread = warm_ahead("cuda")
    assert thread is not None
    thread.join(60)
    assert not thread.is_alive()
