"""The trials of `toy:small` that precede each study, made once for equal ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import fields
from typing import Any


def known(model: Any) -> str | None:
    """What the trials of a `toy:small` depend on; None for other networks, which misbehave in many ways and are tried each time."""
    if (type(model.module).__module__, type(model.module).__name__) != ("toy", "Small"):
        return None
    settings = [(field.name, repr(getattr(model, field.name))) for field in fields(model) if field.name != "module"]
    weights = hashlib.sha256(b"".join(tensor.detach().numpy().tobytes() for tensor in model.module.state_dict().values()))
    return f"{type(model).__name__} {settings} {model.module!r} {weights.hexdigest()}"


def once(trial: Callable[..., Any]) -> Callable[..., Any]:
    """`manners_of` or `remark_of`, remembered."""
    found: dict[tuple[str, str, tuple[Any, ...]], Any] = {}

    def tried(model: Any, unsure: Any, *taps: Any) -> Any:
        what = None if model.id in unsure else known(model)
        if what is None:
            return trial(model, unsure, *taps)
        key = (model.id, what, taps)
        if key not in found:
            found[key] = trial(model, unsure, *taps)
        return found[key]

    return tried
