"""Weights that come with the package, each with a card, both checked by sha256 whenever they are used.

    weights: builtin:srresnet-gr-clean

The networks are twins that differ in one thing (see `docs/training.md`). The weight file says all that is needed to
build the network; the card says how it was trained. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from xlli_ray.errors import WeightsError
from xlli_ray.models import spec
from xlli_ray.training.card import check_card


def builtin_names() -> list[str]:
    """Names of the weights that come with the package, sorted."""
    return spec.builtin_names()


def builtin_card(name: str) -> dict[str, Any]:
    """The card of built-in weights, `name` with or without "builtin:".

    WeightsError when there are none of that name, or the card is absent, damaged or not the weights' own.
    """
    path = spec.builtin_path(name).with_suffix(".json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"built-in weights {path.stem!r} have no card: {path} ({error.strerror}).") from error
    except ValueError as error:
        raise WeightsError(f"the card {path} is damaged: {error}. Install the package again.") from error
    return check_card(content, name=str(path))


def builtin_path(name: str) -> Path:
    """Path of built-in weights, `name` with or without "builtin:"; the file is the one that its card describes.

    WeightsError names what there is when the name is unknown, and says which hash differs when a file was changed.
    """
    path = spec.builtin_path(name)
    expected = builtin_card(name)["weights"]["sha256"]
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if actual != expected:
        raise WeightsError(
            f"built-in weights {path.stem!r} are damaged: {path} has the sha256 {actual[:16]}…, its card says"
            f" {expected[:16]}…. Install the package again."
        )
    return path
