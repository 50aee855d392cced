"""Code that a recipe names by its place, `my_package.rain:Rain` or `rain.py:Rain`: which places may be imported, and how.

Loading a name runs code, so a place must have been allowed first, which only happens when a user's own recipe is read (`allow`): a study
from elsewhere cannot name code to run.

A place is looked up like a network's factory, in this order: the recipe's folder, installed packages, the current folder. A file's folder
is at the front of the import path while it is imported, and only then, so that it may import its neighbours; neighbours of the same name in
two folders are two modules.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.util
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from xlli_ray.errors import RecipeError, XlliError, closest

PLACE = re.compile(r"(?:[A-Za-z_][\w.]*|[\w./~-]+\.py):[A-Za-z_]\w*")
"""`package.module:Name` or `FILE.py:Name`."""
_allowed: set[str] = set()
_folders: dict[str, str] = {}  # place → the folder of the last recipe that named it
_LOADED: dict[str, dict[str, ModuleType]] = {}  # folder → the modules imported from it
LOCK = threading.RLock()
"""Held while a user's code is imported: the import path and `sys.modules` are global."""


def allow(names: Iterable[str | tuple[str, str]], folder: str = "") -> None:
    """Allow this process to import the places among `names`, looked up in `folder` first. Call only with names from the user's own recipe.
    Also accepts the result of `allowed`, pairs of a place and its folder."""
    for name in names:
        place, first = (name, folder) if isinstance(name, str) else name
        if PLACE.fullmatch(place):
            _allowed.add(place)
            _folders[place] = first


def allowed() -> tuple[tuple[str, str], ...]:
    """The places that this process may import, each with the folder where it is looked up first: to be passed to the workers of a run."""
    return tuple((place, _folders.get(place, "")) for place in sorted(_allowed))


def is_allowed(name: str) -> bool:
    """Whether `name` is a place that this process may import."""
    return name in _allowed and PLACE.fullmatch(name) is not None


def places_in(document: object) -> set[str]:
    """All strings in a recipe that look like a place: keys and values at any depth."""
    if isinstance(document, str):
        return {document} if PLACE.fullmatch(document) else set()
    if isinstance(document, Mapping):
        return {place for pair in document.items() for item in pair for place in places_in(item)}
    return {place for item in document for place in places_in(item)} if isinstance(document, list | tuple) else set()


def load_place(noun: str, place: str) -> Any:
    """The object at a place; `noun` says what it is, in messages. Raises RecipeError."""
    path, _, attribute = place.rpartition(":")
    folder = _folders.get(place, "")
    what = f"{noun} {place!r}"
    places = list(dict.fromkeys([*([str(Path(folder).absolute())] if folder else []), str(Path.cwd())]))
    module, _, _ = find_module(what, path, places[0] if folder else None, places, RecipeError)
    if not hasattr(module, attribute):
        near = closest(attribute, [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise RecipeError(f"{what} cannot be loaded: {getattr(module, '__file__', path)} has no {attribute!r}.{hint}")
    return getattr(module, attribute)


def find_module(what: str, path: str, first: str | None, places: list[str], raises: type[XlliError]) -> tuple[ModuleType, str, str]:
    """Import the module `path` (`FILE.py` or `package.module`): the module, the place where it was found and the folder of its file, both
    "" for an installed one.

    `what`: its description in messages. `first`: the one of `places` that precedes installed packages. Raises `raises`, with the places
    searched, or the error of the import.
    """
    with LOCK:
        return _find_module(what, path, first, places, raises)


def _find_module(what: str, path: str, first: str | None, places: list[str], raises: type[XlliError]) -> tuple[ModuleType, str, str]:
    looked = " and ".join(places) or "no folder: this study had it among installed packages"
    try:
        if path.endswith(".py") or "/" in path:
            for place in places:
                file = Path(place, Path(path).expanduser())
                if file.is_file():
                    beside = str(file.parent.absolute())
                    return _from_file(file.resolve().stem, file, beside), place, beside
            raise raises(f"{what}: there is no file {path}; it was looked for in {looked}.")
        if path.partition(".")[0] == __package__.partition(".")[0]:
            return importlib.import_module(path), "", ""  # of this package: never a file of that name in a folder
        inside = Path(*path.split("."))
        # The current folder may be an untrusted study: installed packages precede it.
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
            name = what.rsplit(":", 1)[-1].strip("'") or "Name"
            raise raises(
                f"{what} cannot be imported: {said(error)}. It was looked for"
                + (f" as {inside}.py in {looked}, and" if places else "")
                + f" among installed packages. Write FILE.py:{'factory' if what.startswith('network') else name} with the path from the "
                "recipe's folder, or install the package."
            ) from error
        raise raises(f"{what} cannot be imported: it imports a missing module: {said(error)}.") from error
    except BaseException as error:  # importing a user's file can raise anything
        raise raises(f"{what} cannot be imported: {said(error)}.") from error


def said(error: BaseException) -> str:
    """The type of an error and the first line of its message."""
    text = (str(error).strip() or "no message").splitlines()[0][:300]
    return f"{type(error).__name__}: {text}"


def _installed(path: str) -> bool:
    """Whether the module's package is on the import path."""
    return importlib.machinery.PathFinder.find_spec(path.partition(".")[0]) is not None


def _from_file(name: str, file: Path, folder: str) -> ModuleType:
    """The module in `file`, imported as `name` if that name is free, or already is this file; else under a unique name."""
    wanted = file.resolve()
    with beside(folder):
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
def beside(folder: str) -> Iterator[None]:
    """Within the context, `folder` is first on the import path, and modules from other factories' folders are hidden."""
    if not folder:
        yield
        return
    with LOCK:
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
    """Whether a module's file is in the folder, and not in a package installed below it."""
    file = _file_of(module)
    return file is not None and file.is_relative_to(Path(folder).resolve()) and "site-packages" not in file.parts


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if isinstance(file, str) else None
