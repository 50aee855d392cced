"""A recipe's specification of one model, the location of built-in weights, and what a weight file tells unread. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from xlli_ray.errors import WeightsError, closest

BUILTIN = "builtin:"
WEIGHTS = Path(__file__).parent / "weights"
SPANDREL_VERSION = 1  # raised when the use of spandrel's parts in `build_model` changes


@dataclass(frozen=True)
class ModelSpec:
    """One entry of a recipe's `models`, the argument of `load_model`.

    `weights`  path or URI of the checkpoint, "builtin:NAME", or None for a factory that brings its own.
    `network`  one of `NETWORKS`, "FILE.py:factory", "package.module:factory", or None: the state dict is recognised.
    `args`     for the network or factory.
    `scale`    None: the network's own. Otherwise it selects (carn_m) or is checked.
    `range`    (lo, hi) of the module's input and output; None: the network's own.
    `output`   "none" for a network that does not return an image: its output is neither checked nor mapped.
    `frames`   "each": a network for images, run over clips frame by frame; "all": it takes clips; None: the network's own.
    `folder`   where a factory is looked for first: the recipe's folder, or where it was found before ("": among installed packages).
    `tiles`, `segments`  (side, halo) in input pixels, (frames, overlap): run in pieces (`models.pieces`); None: whole.
    `sizes`    (multiple, minimum, square) as found before, for a factory's network that does not declare them; None: determined by trial.
    """

    id: str
    weights: str | None = None
    network: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    scale: int | None = None
    range: tuple[float, float] | None = None
    output: Literal["image", "none"] = "image"
    folder: str | None = None
    sizes: tuple[int, int, bool] | None = None
    frames: Literal["each", "all"] | None = None
    tiles: tuple[int, int] | None = None
    segments: tuple[int, int] | None = None


def builtin_names() -> list[str]:
    """Names of the weights that come with the package, sorted."""
    return sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))


def builtin_path(name: str) -> Path:
    """Path of built-in weights; `name` with or without "builtin:". WeightsError lists the available names."""
    name = name.removeprefix(BUILTIN)
    names = builtin_names()
    if name not in names:
        likely = closest(name, names)
        raise WeightsError(
            f"no built-in weights {name!r}; available: {', '.join(names) or 'none'}."
            + (f" Did you mean builtin:{likely[0]}?" if likely else "")
        )
    return WEIGHTS / f"{name}.safetensors"


def check_sha256(digest: str, expected: str, *, name: str) -> None:
    """WeightsError if a file's sha256 is not the expected one (hex digits, upper or lower case)."""
    if expected.lower() != digest:
        raise WeightsError(
            f"{name}: the file does not match `sha256`, or is damaged: it has {digest[:16]}…, expected {expected[:16]}…. Download it"
            " again, or correct `sha256`."
        )


def has_checksums(data: bytes) -> bool:
    """Whether the format of a weight file detects a flipped bit: a zip archive. Safetensors and PyTorch before 1.6 do not."""
    return data.startswith(b"PK")
