"""A user's own network: `network: FILE.py:make` or `package.module:make`, imported, called, and given its weights.

Search order: the recipe's folder, installed packages, the current folder. A factory found among installed packages is looked for only
there from then on. Its folder is at the front of the import path while its file is imported and the factory is called, and only then, so
that it may import its neighbours; neighbours of the same name in two folders are two modules.
Whatever the file, the factory or the network raises becomes a NetworkError that says where it was raised.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from xlli_ray.errors import NetworkError, closest
from xlli_ray.models.networks import Built
from xlli_ray.models.randomness import randomness_kept
from xlli_ray.models.step_reports import step
from xlli_ray.user_code import beside, find_module, said


@dataclass(frozen=True)
class Factory:
    """A callable that returns a network.

    `folder`: where it was found, so that it is found there again; "" for an installed package. `beside`: the folder of its file, for
    importing neighbours. `version`: its file's VERSION, else 1.
    """

    network: str
    call: Any
    folder: str
    version: int
    beside: str = ""


@dataclass(frozen=True)
class Product:
    """Result of a factory: `built` with everything it declares, or only a module."""

    module: nn.Module
    built: Built | None


def find_factory(network: str, folder: str | None = None) -> Factory:
    """Import the factory that `network` ("FILE.py:make", "package.module:make") names.

    `folder`: where to look first; None: nowhere, so that installed packages precede the current folder; "": only among installed packages,
    as for a study's model whose factory was found there.

    NetworkError lists the places searched, or says what its import raised.
    """
    path, _, name = network.rpartition(":")
    if not path or not name.isidentifier():
        raise NetworkError(f"network {network!r} cannot be imported: expected FILE.py:factory or package.module:factory.")
    first = str(Path(folder).absolute()) if folder else None
    places = list(dict.fromkeys(place for place in (first, str(Path.cwd()) if folder != "" else None) if place is not None))
    step("%s was imported", network)
    module, where, folder_of_file = find_module(f"network {network!r}", path, first, places, NetworkError)
    if not hasattr(module, name):
        near = closest(name, [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")])
        raise NetworkError(
            f"network {network!r} cannot be imported: {getattr(module, '__file__', path)} has no {name!r}."
            + (f" Did you mean {near[0]!r}?" if near else "")
        )
    version = getattr(module, "VERSION", 1)
    if isinstance(version, bool) or not isinstance(version, int):
        raise NetworkError(f"network {network!r}: VERSION in {getattr(module, '__file__', path)} is {version!r}; expected an integer.")
    return Factory(network, getattr(module, name), where, version, folder_of_file)


@randomness_kept()
def make(factory: Factory, args: Mapping[str, Any]) -> Product:
    """Call the factory. NetworkError if it raises, does not accept the arguments, or does not return a module."""
    called = f"{factory.network}({', '.join(f'{key}={value!r}' for key, value in args.items())})"
    step("%s was called", called)
    try:
        with beside(factory.beside):
            given = factory.call(**args)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a factory may raise anything, sys.exit included
        raise NetworkError(f"{called} raised {said(error)}. {_takes(factory)}") from error
    module = given.module if isinstance(given, Built) else given
    if isinstance(module, nn.Module):
        return Product(module, given if isinstance(given, Built) else None)
    if isinstance(module, type) and issubclass(module, nn.Module):
        raise NetworkError(f"{called} returned the class {module.__name__}, not a network: call it, as in `return {module.__name__}(...)`.")
    raise NetworkError(f"{called} returned a {type(module).__name__}; expected an nn.Module or a Built.")


def _takes(factory: Factory) -> str:
    try:
        return f"Check `args`: it takes {inspect.signature(factory.call)}."
    except (TypeError, ValueError):
        return "Check `args`."
