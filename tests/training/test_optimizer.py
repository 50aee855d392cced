"""The optimizer is PyTorch's, without PyTorch's compiler."""

from __future__ import annotations

import io
import sys

import pytest
import torch
from torch import Tensor, nn

from xlli_ray.models.without_compiler import NAME
from xlli_ray.training.optimizer import Adam

OURS = {"lr": 1e-2, "betas": (0.9, 0.99)}


def trained(make: type[torch.optim.Adam], **given: object) -> tuple[list[Tensor], dict[str, object]]:
    """Weights and state after three steps, a saved state, and three more from it."""
    weights = [nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4)), nn.Parameter(torch.ones(4))]
    optimizer = make(weights, **given)  # type: ignore[arg-type]
    for step in range(6):
        optimizer.zero_grad(set_to_none=True)
        (torch.full((2, 3), 0.1 * step) @ weights[0] - weights[1]).square().sum().backward()
        optimizer.step()
        if step == 2:
            sink = io.BytesIO()
            torch.save(optimizer.state_dict(), sink)
            optimizer = make(weights, **given)  # type: ignore[arg-type]
            optimizer.load_state_dict(torch.load(io.BytesIO(sink.getvalue()), weights_only=True))
    return [weight.detach() for weight in weights], optimizer.state_dict()


def test_it_has_the_numbers_of_pytorchs() -> None:
    (ours, state), (theirs, same) = trained(Adam, **OURS), trained(torch.optim.Adam, **OURS, fused=True)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    assert state["param_groups"] == same["param_groups"]
    assert len(state["state"]) == len(same["state"]) == len(ours)  # type: ignore[arg-type]


def test_it_loads_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget() -> None:
        monkeypatch.delitem(sys.modules, NAME, raising=False)
        monkeypatch.delitem(vars(torch), "_dynamo", raising=False)
        for function in (torch.optim.Optimizer.zero_grad, torch.optim.Optimizer.add_param_group,
                         torch.optim.Optimizer.state_dict, torch.optim.Optimizer.load_state_dict):  # fmt: skip
            monkeypatch.delattr(function.__wrapped__, "__dynamo_disable", raising=False)  # type: ignore[attr-defined]

    forget()
    monkeypatch.setattr(sys, "meta_path", [_Refused(), *sys.meta_path])
    trained(Adam, **OURS)
    assert NAME not in sys.modules
    with pytest.raises(AssertionError, match="_dynamo was loaded"):
        trained(torch.optim.Adam, **OURS, fused=True)


class _Refused:
    """Finds no compiler."""

    def find_spec(self, name: str, *_: object) -> None:
        assert name != NAME, f"{name} was loaded"
