"""PyTorch's shapes, and its optimizers, without PyTorch's compiler.

Many operators have their shape functions in Python, wrapped as "not to be compiled". The first call of one loads `torch._dynamo` to mark
it, nearly a second of CPU time, for a process that compiles nothing; and they compare sizes with functions that would also take unknown
ones, whose module loads sympy, a third of a second. Within `without_compiler` they run unmarked, and all sizes are numbers. Whoever wants
more of these modules than that gets the real ones at once; afterwards nothing is marked, and all is as it was.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import reduce
from operator import and_, or_
from types import ModuleType
from typing import Any

import torch

NAME = "torch._dynamo"
SYMBOLIC = "torch.fx.experimental.symbolic_shapes"
ALGEBRA = "sympy"
MARK = "__dynamo_disable"
"""Attribute in which PyTorch remembers the marked form of a function."""
_LOCK = threading.RLock()


class _StandIn(ModuleType):
    """Stands for a module that is not loaded, until more is asked of it than it has."""

    def leave(self) -> None:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]

    def real(self) -> ModuleType:
        for stand_in in [module for module in sys.modules.values() if isinstance(module, _StandIn)]:
            stand_in.leave()  # the real one of one may need that of another
        return importlib.import_module(self.__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real(), name)


class _Marker(_StandIn):
    """`torch._dynamo` while it is only asked to mark functions, or places in them: it leaves them as they are."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.marked: list[Callable[..., Any]] = []
        torch._dynamo = self  # type: ignore[assignment]

    def disable(self, function: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
        self.marked.append(function)
        return function

    def graph_break(self) -> None:
        """What a compiler would not compile across, as before and after the step of an optimizer."""

    def leave(self) -> None:
        super().leave()
        if vars(torch).get("_dynamo") is self:
            del torch._dynamo
        for function in self.marked:
            with suppress(AttributeError):
                delattr(function, MARK)
        self.marked.clear()


class _Known(_StandIn):
    """`torch.fx.experimental.symbolic_shapes` while all sizes are known."""

    def __init__(self) -> None:
        super().__init__(SYMBOLIC)
        for name, of_known in _OF_KNOWN.items():
            setattr(self, name, self._function(name, of_known))

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":  # as an import asks; it is not a package
            raise AttributeError(name)
        return super().__getattr__(name)

    def _function(self, name: str, of_known: Callable[..., Any]) -> Callable[..., Any]:
        def function(*args: Any, **given: Any) -> Any:
            if not given and _all_known(args):
                return of_known(*args)
            return getattr(self.real(), name)(*args, **given)  # perhaps long after: modules may have kept this function

        return function


class _Algebra(_StandIn):
    """`sympy` while nothing is an expression."""

    def __init__(self) -> None:
        super().__init__(ALGEBRA)
        self.Basic: type = type("Basic", (), {})

    def leave(self) -> None:
        super().leave()
        vars(self).pop("Basic", None)  # a module may have kept this one


def _same(value: bool) -> bool:
    return value


_OF_KNOWN: dict[str, Callable[..., Any]] = {
    "expect_true": _same,
    "guard_bool": _same,
    "guard_or_false": _same,
    "guard_or_true": _same,
    "guard_size_oblivious": _same,
    "statically_known_true": _same,
    "guarding_hint_or_throw": _same,
    "has_guarding_hint": lambda _: True,
    "is_nested_int": lambda _: False,
    "sym_and": lambda *values: reduce(and_, values),
    "sym_or": lambda *values: reduce(or_, values),
    "sym_eq": lambda one, other: one == other,
}
"""What PyTorch's functions are for known sizes and conditions."""


_NUMBERS = frozenset((bool, int))


def _all_known(values: Any) -> bool:
    for value in values:  # noqa: SIM110 asked a million times for a network of 60 blocks, and `all` takes four times as long
        if type(value) not in _NUMBERS and not (isinstance(value, tuple) and _all_known(value)):
            return False
    return True


@contextmanager
def without_compiler() -> Iterator[None]:
    """See the module. No effect on what is loaded."""
    with _LOCK, ExitStack() as stack:
        for name, kind in ((NAME, _Marker), (SYMBOLIC, _Known), (ALGEBRA, _Algebra)):
            if name not in sys.modules:
                sys.modules[name] = stand_in = kind()
                stack.callback(stand_in.leave)
        yield
