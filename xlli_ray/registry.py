"""Everything that a recipe can name, and where its code is.

A registry maps names to `module:attribute`; nothing is imported before it is asked for, so that the recipe's schema and `--help` stay
light. There are three ways in:

- a line below, for what comes with the package;
- an entry point of an installed package, which edits nothing here::

      [project.entry-points."xlli_ray.degradations"]
      rain = "my_package.rain:Rain"

- the place itself in a recipe, `my_package.rain:Rain`. Code runs when a name is loaded, so such a name must have been allowed first, and
  only the reader of a user's own recipe allows any (`allow`): a study that came from elsewhere cannot name code to run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from xlli_ray.errors import RecipeError, closest

PLACE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""`package.module:Name`."""
_allowed: set[str] = set()


class Registry(MutableMapping[str, str]):
    """Names of one kind → `module:attribute`. `group` is the entry points' group, `noun` what one of them is called in messages."""

    def __init__(self, group: str, noun: str, entries: dict[str, str]) -> None:
        self.group, self.noun = group, noun
        self._entries = entries

    @cached_property
    def _installed(self) -> dict[str, str]:
        """Entries of installed packages. A name of ours stays ours."""
        found = sorted(entry_points(group=self.group), key=lambda entry: (entry.name, entry.value))
        return {entry.name: entry.value for entry in found if entry.name not in self._entries and PLACE.fullmatch(entry.value)}

    def __getitem__(self, name: str) -> str:
        return self._entries[name] if name in self._entries else self._installed[name]

    def __setitem__(self, name: str, place: str) -> None:
        self._entries[name] = place

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._entries
        yield from (name for name in self._installed if name not in self._entries)

    def __len__(self) -> int:
        return len({*self._entries, *self._installed})

    def knows(self, name: str) -> bool:
        """Whether `load` may be asked for `name`: it is registered, or a place that this process was allowed to import."""
        return name in self or (name in _allowed and PLACE.fullmatch(name) is not None)

    def load(self, name: str) -> Any:
        """What `name` stands for. Raises RecipeError with the nearest names, or saying why the code of a place cannot be used."""
        if name not in self and not PLACE.fullmatch(name):
            near = closest(name, self, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise RecipeError(f"there is no {self.noun} {name!r}. {hint}There are: {', '.join(sorted(self))}; or package.module:Name.")
        if not self.knows(name):
            raise RecipeError(
                f"{self.noun} {name!r} is code that no recipe of yours names: it is not run. Its results can be read; to compute with it, "
                "run a recipe that names it."
            )
        module, _, attribute = self.get(name, name).partition(":")
        try:
            return getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise RecipeError(f"{self.noun} {name!r} cannot be loaded: {error}. Is its package installed where this runs?") from error


def allow(names: Iterable[str]) -> None:
    """Let this process import the places among `names`. To be called with names from the user's own recipe only."""
    _allowed.update(name for name in names if PLACE.fullmatch(name))


def allowed() -> tuple[str, ...]:
    """The places that this process may import: for the workers of a run, which are told."""
    return tuple(sorted(_allowed))


def places_in(document: object) -> set[str]:
    """All texts of a recipe that look like a place: keys and values, however deep."""
    if isinstance(document, str):
        return {document} if PLACE.fullmatch(document) else set()
    if isinstance(document, Mapping):
        return {place for pair in document.items() for item in pair for place in places_in(item)}
    return {place for item in document for place in places_in(item)} if isinstance(document, list | tuple) else set()


CORPORA = Registry(
    "xlli_ray.corpora", "corpus kind",
    {
        "images": "xlli_ray.corpus.kinds.images:Images",
        "inputs": "xlli_ray.corpus.kinds.inputs:Inputs",
        "pairs": "xlli_ray.corpus.kinds.pairs:Pairs",
        "list": "xlli_ray.corpus.kinds.list:Listed",
        "clips": "xlli_ray.corpus.kinds.clips:Clips",
    },
)  # fmt: skip
"""Where samples come from, by the key of the section `corpus`."""
DEGRADATIONS = Registry(
    "xlli_ray.degradations", "degradation",
    {
        "blur": "xlli_ray.corpus.degradations.blur:Blur",
        "noise": "xlli_ray.corpus.degradations.noise:Noise",
        "jpeg": "xlli_ray.corpus.degradations.jpeg:Jpeg",
    },
)  # fmt: skip
