"""A user's own network: `network: FILE.py:make` or `package.module:make`, found, called, and given its weights.

Where it is looked for, in this order: the recipe's folder, what is installed, the current folder. What was found among installed packages
is looked for there and nowhere else from then on. The folder where it lies is at the front of the import path while its file is imported
and the factory is called, and only then, so that it may import its neighbours; and neighbours of one name in two folders are two modules.
Whatever the file, the factory or the network raises is a NetworkError that says who raised it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from xlli_ray.errors import NetworkError, XlliError, closest
from xlli_ray.models.networks import Built
from xlli_ray.models.randomness import randomness_kept
from xlli_ray.models.trial_steps import step

_LOADED: dict[str, dict[str, ModuleType]] = {}  # folder -> the modules that were imported from it
_LOCK = threading.RLock()


@dataclass(frozen=True)
class Factory:
    """A callable that makes a network.

    `folder`: from where it was found, so that looking there first finds it again; "" for an installed package. `beside`: the folder where
    its file lies, for the import of neighbours. `version`: its file's VERSION, else 1.
    """

    network: str
    call: Any
    folder: str
    version: int
    beside: str = ""


@dataclass(frozen=True)
class Product:
    """What a factory gave: `built` with everything that it said, or only a module."""

    module: nn.Module
    built: Built | None


def find_factory(network: str, folder: str | None = None) -> Factory:
    """Import what `network` ("FILE.py:make", "package.module:make") names.

    `folder`: where to look first; None: nowhere, so that what is installed goes before the current folder; "": among installed packages
    only, as for a study's model whose factory was found there.

    NetworkError says where it was looked for, or what its import raised.
    """
    path, _, name = network.rpartition(":")
    if not path or not name.isidentifier():
        raise NetworkError(f"network {network!r} cannot be imported: expected FILE.py:factory or package.module:factory.")
    first = str(Path(folder).absolute()) if folder else None
    places = list(dict.fromkeys(place for place in (first, str(Path.cwd()) if folder != "" else None) if place is not None))
    step("%s was imported", network)
    with _LOCK:
        module, where, beside = _module(network, path, first, places)
    if not hasattr(module, name):
        near = closest(name, [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")])
        raise NetworkError(
            f"network {network!r} cannot be imported: {getattr(module, '__file__', path)} has no {name!r}."
            + (f" Did you mean {near[0]!r}?" if near else "")
        )
    version = getattr(module, "VERSION", 1)
    if isinstance(version, bool) or not isinstance(version, int):
        raise NetworkError(f"network {network!r}: VERSION in {getattr(module, '__file__', path)} is {version!r}; expected a whole number.")
    return Factory(network, getattr(module, name), where, version, beside)


@randomness_kept()
def make(factory: Factory, args: Mapping[str, Any]) -> Product:
    """Call the factory. NetworkError when it raises, does not take the arguments, or gives no module."""
    said = f"{factory.network}({', '.join(f'{key}={value!r}' for key, value in args.items())})"
    step("%s was called", said)
    try:
        with _beside(factory.beside):
            given = factory.call(**args)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a factory may raise anything, sys.exit included
        raise NetworkError(f"{said} raised {_what(error)}. {_takes(factory)}") from error
    module = given.module if isinstance(given, Built) else given
    if isinstance(module, nn.Module):
        return Product(module, given if isinstance(given, Built) else None)
    if isinstance(module, type) and issubclass(module, nn.Module):
        raise NetworkError(f"{said} gave the class {module.__name__}, not a network: call it, as in `return {module.__name__}(...)`.")
    raise NetworkError(f"{said} gave a {type(module).__name__}; expected an nn.Module or a Built.")


def _takes(factory: Factory) -> str:
    try:
        return f"Check `args`: it takes {inspect.signature(factory.call)}."
    except (TypeError, ValueError):
        return "Check `args`."


def _what(error: BaseException) -> str:
    said = (str(error).strip() or "no message").splitlines()[0][:300]
    return f"{type(error).__name__}: {said}"


def _module(network: str, path: str, first: str | None, places: list[str]) -> tuple[ModuleType, str, str]:
    """The module, the place from where it was found and the folder where its file lies, both "" for an installed one.

    `first`: of `places`, what goes before installed packages.
    """
    looked = " and ".join(places) or "no folder: this study had it among installed packages"
    try:
        if path.endswith(".py") or "/" in path:
            for place in places:
                file = Path(place, Path(path).expanduser())
                if file.is_file():
                    beside = str(file.parent.absolute())
                    return _from_file(file.resolve().stem, file, beside), place, beside
            raise NetworkError(f"network {network!r}: there is no file {path}; it was looked for in {looked}.")
        if path.partition(".")[0] == __package__.partition(".")[0]:
            return importlib.import_module(path), "", ""  # of this package: never what a folder has under its name
        inside = Path(*path.split("."))
        # The current folder may be a study of a stranger's: what is installed goes before it.
        before = [place for place in places if place == first]
        for place in [*before, "", *(place for place in places if place != first)]:
            if not place and _installed(path):
                break
            for file in (Path(place, inside).with_suffix(".py"), Path(place, inside, "__init__.py")) if place else ():
                if file.is_file():
                    return _from_file(path, file, place), place, place
        return importlib.import_module(path), "", ""
    except (XlliError, KeyboardInterrupt):
        raise
    except ModuleNotFoundError as error:
        if error.name and (path == error.name or path.startswith(f"{error.name}.")):
            raise NetworkError(
                f"network {network!r} cannot be imported: {_what(error)}. It was looked for"
                + (f" as {inside}.py in {looked}, and" if places else "")
                + " among installed packages. Write FILE.py:factory with the path from the recipe's folder, or install the package."
            ) from error
        raise NetworkError(f"network {network!r} cannot be imported: it imports what is not there: {_what(error)}.") from error
    except BaseException as error:  # importing a user's file can raise anything
        raise NetworkError(f"network {network!r} cannot be imported: {_what(error)}.") from error


def _installed(path: str) -> bool:
    """Whether the import path has the module's package."""
    return importlib.machinery.PathFinder.find_spec(path.partition(".")[0]) is not None


def _from_file(name: str, file: Path, folder: str) -> ModuleType:
    """The module in `file`, imported as `name` where that name is free, or already is this file; else under a name of its own."""
    wanted = file.resolve()
    with _beside(folder):
        known = sys.modules.get(name)
        if known is not None and _file_of(known) == wanted:
            return known
        if known is None and all(part.isidentifier() for part in name.split(".")):
            module = importlib.import_module(name)
            if _file_of(module) == wanted:
                return module
        alias = f"_xlli_{hashlib.sha256(str(wanted).encode()).hexdigest()[:12]}_{wanted.stem}"
        if alias in sys.modules:
            return sys.modules[alias]
        spec = importlib.util.spec_from_file_location(alias, wanted)
        assert spec is not None  # the file ends in .py
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[alias] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[alias]
            raise
        return module


@contextmanager
def _beside(folder: str) -> Iterator[None]:
    """While open, `folder` is first on the import path, and modules that came from other factories' folders are out of the way."""
    if not folder:
        yield
        return
    with _LOCK:
        away = {
            name: module
            for other, modules in _LOADED.items()
            if other != folder
            for name, module in modules.items()
            if sys.modules.get(name) is module
        }
        for name in away:
            del sys.modules[name]
        own = _LOADED.setdefault(folder, {})
        sys.modules.update(own)
        before = set(sys.modules.copy())
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        try:
            yield
        finally:
            if folder in sys.path:
                sys.path.remove(folder)
            own.update({name: module for name, module in sys.modules.copy().items() if name not in before and _below(module, folder)})
            for name, module in away.items():
                sys.modules.setdefault(name, module)


def _below(module: ModuleType, folder: str) -> bool:
    """Whether a module's file lies in the folder, and not among packages that are installed below it."""
    file = _file_of(module)
    return file is not None and file.is_relative_to(Path(folder).resolve()) and "site-packages" not in file.parts


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if isinstance(file, str) else None
