"""Paths and globs of a recipe, made absolute once, so that the copy in `study.json` is valid on any machine with the same
folders."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xlli_ray.corpus.files.patterns import escape
from xlli_ray.corpus.kinds import kind_of
from xlli_ray.errors import RecipeError, StudyError
from xlli_ray.registry import CORPORA
from xlli_ray.store.objects.client import is_url, refuse_secrets


def resolve_path(text: str, base: Path) -> str:
    """An absolute path, or the unchanged URL. Raises RecipeError for URLs with credentials."""
    if is_url(text):
        try:
            refuse_secrets(text)
        except StudyError as error:
            raise RecipeError(str(error)) from error
        except ValueError as error:  # brackets without an IPv6 address
            raise RecipeError(f"{text!r} is not a URL: {error}") from error
        return text
    try:
        home = Path(text).expanduser()
    except RuntimeError as error:
        raise RecipeError(f"{text!r}: {error}. Write the whole path.") from error
    return os.path.normpath(base / home)


def resolve_glob(text: str, base: Path) -> str:
    """A pattern with its folder made absolute: brackets and braces in the name of the recipe's folder are not wildcards."""
    if is_url(text) or os.path.isabs(os.path.expanduser(text)):
        return resolve_path(text, base)
    return resolve_path(text, Path(escape(str(base))))


class _Paths:
    """Paths of a recipe in the folder `base`."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def path(self, text: str) -> str:
        return resolve_path(text, self._base)

    def glob(self, text: str) -> str:
        return resolve_glob(text, self._base)


def resolve_corpus(corpus: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """The corpus section with paths and globs made absolute."""

    paths = _Paths(base)
    out = {key: kind_of(key).resolve(value, paths) if CORPORA.knows(key) else value for key, value in corpus.items()}
    if isinstance(pies := out.get("pies"), Mapping) and "real" in pies:
        out["pies"] = {**pies, "real": kind_of("inputs").resolve(pies["real"], paths)}
    return out
