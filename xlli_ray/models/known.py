"""What was found out about a model by running it, kept as long as the model is: its reach, how it treats a batch, what it saves."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from xlli_ray.models.model import Model

T = TypeVar("T")
_KNOWN: WeakKeyDictionary[Model, dict[Hashable, Any]] = WeakKeyDictionary()


def once(model: Model, what: Hashable, find: Callable[[], T]) -> T:
    """`find()` at the first call for this model and `what`, the same result later. It must not hold the model itself."""
    known = _KNOWN.setdefault(model, {})
    if what not in known:
        known[what] = find()
    return cast("T", known[what])
