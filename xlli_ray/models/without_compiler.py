"""PyTorch's shapes without PyTorch's compiler.

Many operators have their shape functions in Python, wrapped as "not to be compiled". The first call of one loads `torch._dynamo` to mark
it, nearly a second of CPU time, for a process that compiles nothing. Within `without_compiler` they run unmarked. Whoever wants more of
`torch._dynamo` than that gets the real one at once; afterwards nothing is marked, and all is as it was.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

import torch

NAME = "torch._dynamo"
MARK = "__dynamo_disable"
"""Attribute in which PyTorch remembers the marked form of a function."""
_LOCK = threading.RLock()


class _Marker(ModuleType):
    """Stands for `torch._dynamo` while it is only asked to mark functions, and leaves them as they are."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.marked: list[Callable[..., Any]] = []

    def disable(self, function: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
        self.marked.append(function)
        return function

    def leave(self) -> None:
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME]
        if vars(torch).get("_dynamo") is self:
            del torch._dynamo
        for function in self.marked:
            with suppress(AttributeError):
                delattr(function, MARK)
        self.marked.clear()

    def __getattr__(self, name: str) -> Any:
        self.leave()
        return getattr(importlib.import_module(NAME), name)


@contextmanager
def without_compiler() -> Iterator[None]:
    """See the module. No effect if the compiler is loaded."""
    with _LOCK:
        if NAME in sys.modules:
            yield
            return
        marker = _Marker()
        sys.modules[NAME] = marker
        torch._dynamo = marker  # type: ignore[assignment]
        try:
            yield
        finally:
            marker.leave()
