"""Weights that come with the package, each with a card, both verified by sha256 on every use.

    weights: builtin:srresnet-gr-clean

The networks are twins that differ in one respect (see `docs/training.md`). The weight file contains everything needed
to build the network; the card says how it was trained, holds the sha256 of the weight file, and its own hash
(`card_sha256`, over everything else in it), so that a damaged card is detected just like a damaged weight file.
Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xlli_ray.errors import WeightsError
from xlli_ray.models import model_spec as spec


def builtin_names() -> list[str]:
    """Names of the weights that come with the package, sorted."""
    return spec.builtin_names()


def builtin_card(name: str) -> dict[str, Any]:
    """The card of built-in weights, `name` with or without "builtin:".

    WeightsError if there are none of that name, or the card is missing, damaged or belongs to other weights.
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
    """Path of built-in weights, `name` with or without "builtin:"; the file is verified against its card.

    WeightsError lists the names if the name is unknown, and says which hash differs if a file was changed.
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


def sealed(card: Mapping[str, Any]) -> dict[str, Any]:
    """`card` with `card_sha256` over everything else in it: sha256 of its JSON with sorted keys."""
    content = {key: value for key, value in card.items() if key != "card_sha256"}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return {**content, "card_sha256": hashlib.sha256(text.encode()).hexdigest()}


def check_card(card: Any, *, name: str) -> dict[str, Any]:
    """Return `card`. WeightsError if it is not a card of this package or its contents do not match its hash."""
    if not isinstance(card, dict) or "card_sha256" not in card or "sha256" not in (card.get("weights") or ()):
        raise WeightsError(f"{name}: this is not a card of trained weights: it has no card_sha256 or weights.sha256.")
    expected, actual = card["card_sha256"], sealed(card)["card_sha256"]
    if expected != actual:
        raise WeightsError(
            f"{name}: the card was changed or is damaged: its sha256 is {actual[:16]}…, it says {str(expected)[:16]}…."
            " Install the package again, or train the network again."
        )
    return card
