"""What is done to a clean image before a network sees it: one file each, mixed in one fixed order.

A recipe writes `clean`, `{blur: 2.0}` or `{blur: 2.0, noise: 10}`; each becomes a `Mixture` with a label (`clean`,
`blur2`, `blur2+noise10`) that goes into the sample's identity. The order is the one of the super-resolution literature
whatever the recipe's: blur on the whole target, then the bicubic, then noise, then JPEG on the low-resolution patch.

To add one: write a file with one object that satisfies `Degradation`, and its line in `REGISTRY`. Label, recipe,
columns of the sample table, training draws and the pipeline follow from it. Raise its VERSION whenever its bytes
change.

>>> mixture = parse({"noise": 10, "blur": 2.0})
>>> mixture.label, mixture.type, mixture.level("blur")
('blur2+noise10', 'blur+noise', 2.0)
>>> parse_label("blur2+noise10") == mixture
True
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus import resize
from xlli_ray.errors import RecipeError, closest

CLEAN = "clean"
BLUR = "blur"  # the one degradation with something to choose beside its level
GIVEN = "given"  # label of inputs and pairs: whatever was done to them was done elsewhere
REAL = "real-"  # so begin the labels of sets of real inputs beside made ones (`pies`); no degradation's label does

REGISTRY: dict[str, str] = {
    "blur": "xlli_ray.corpus.degradations.blur:BLUR",
    "noise": "xlli_ray.corpus.degradations.noise:NOISE",
    "jpeg": "xlli_ray.corpus.degradations.jpeg:JPEG",
}

# What a recipe may say; a list [low, high] instead of a number only where networks are trained.
Spec = str | Mapping[str, float]
DrawSpec = str | Mapping[str, float | Sequence[float]]


class Degradation(Protocol):
    """One kind of damage. Levels are positive numbers; level 0 does not exist, it is `clean`."""

    @property
    def NAME(self) -> str:
        """As written in recipes: lower-case letters and `_`."""

    @property
    def VERSION(self) -> int:
        """Raised by hand when the same input gives other bytes; part of the identity of what is stored."""

    @property
    def ORDER(self) -> int:
        """Place in the pipeline: lower comes first."""

    @property
    def DOMAIN(self) -> Literal["target", "input"]:
        """What `apply` works on.

        `target`: the whole image before it is downscaled, float32 (H, W, 3) in 0..1. `input`: the patch, uint8 (h, w,
        3).
        """

    @property
    def INTEGER(self) -> bool:
        """Levels are whole numbers."""

    def check(self, level: float) -> None:
        """Raise RecipeError when `level` makes no sense."""

    def apply(self, array: NDArray[Any], level: float, *, key: str) -> NDArray[Any]:
        """The damaged copy, same shape and dtype.

        All randomness comes from `key`: `seed|content`, or `seed|sha256 of the image` in domain `target`.
        """


@cache
def get(name: str) -> Degradation:
    """The degradation of that name. Raises RecipeError, naming the closest ones."""
    if name not in REGISTRY:
        hint = ", ".join(closest(name, [*REGISTRY, CLEAN])) or ", ".join([CLEAN, *REGISTRY])
        raise RecipeError(
            f"degradation {name!r} does not exist. Closest: {hint}. All: {', '.join([CLEAN, *REGISTRY])}."
        )
    module, _, attribute = REGISTRY[name].partition(":")
    return cast(Degradation, getattr(importlib.import_module(module), attribute))


@dataclass(frozen=True)
class Mixture:
    """Degradations applied one after the other.

    `parts`: (name, level), sorted by ORDER; empty for a clean image. `window`: side of the blur's window in pixels, for parity with
    others' scripts; None: the blur's own. It gives other pixels, so it is part of the label; without blur there is none.
    """

    parts: tuple[tuple[str, float], ...] = ()
    window: int | None = None

    def __post_init__(self) -> None:
        if self.level(BLUR) is None:
            object.__setattr__(self, "window", None)  # the same mixture, so equal and of the same label
        elif self.window is not None:
            self._part(BLUR)  # raises RecipeError for a window that cannot be

    @property
    def label(self) -> str:
        """`clean`, `blur2`, `blur2+noise10`, `blur2w15`: goes into sample ids; `parse_label` reads it back."""
        window = "" if self.window is None else f"w{self.window}"
        return "+".join(f"{name}{level:g}{window if name == BLUR else ''}" for name, level in self.parts) or CLEAN

    @property
    def type(self) -> str:
        """`clean`, `blur`, `blur+noise`: the label without its levels and window."""
        return "+".join(name for name, _ in self.parts) or CLEAN

    def level(self, name: str) -> float | None:
        """Level of that degradation, None where it is not part of the mixture."""
        return dict(self.parts).get(name)

    def versions(self) -> dict[str, int]:
        """VERSION of each part, for the identity of what is computed from it."""
        return {name: get(name).VERSION for name, _ in self.parts}

    def only(self, domain: Literal["target", "input"]) -> Mixture:
        """The parts that work in that domain."""
        return Mixture(tuple((name, level) for name, level in self.parts if domain == get(name).DOMAIN), self.window)

    def apply(self, array: NDArray[Any], domain: Literal["target", "input"], *, key: str) -> NDArray[Any]:
        """Run the parts of one domain in order; dtype and range as the domain says.

        `array` itself when there are none.
        """
        for name, level in self.only(domain).parts:
            array = self._part(name).apply(array, level, key=key)
        return array

    def _part(self, name: str) -> Degradation:
        if name != BLUR or self.window is None:
            return get(name)
        from xlli_ray.corpus.degradations.blur import Blur

        return Blur(self.window)


def parse(spec: Spec) -> Mixture:
    """`clean` or {name: level, ...} -> Mixture. Raises RecipeError for unknown names, bad levels and anything else."""
    if isinstance(spec, str):
        if spec == CLEAN:
            return Mixture()
        raise RecipeError(
            f"degradation {spec!r}: expected the word {CLEAN}, or names with levels such as {{blur: 2.0, noise: 10}}"
        )
    if not isinstance(spec, Mapping) or not spec:
        raise RecipeError(
            f"degradation {spec!r}: expected the word {CLEAN}, or names with levels such as {{blur: 2.0}}"
        )
    return _mixture({name: _level(name, level) for name, level in spec.items()})


def parse_label(label: str) -> Mixture:
    """Inverse of `Mixture.label`. Raises RecipeError for a text that no mixture has as its label."""
    levels: dict[str, float] = {}
    window: int | None = None
    for part in [] if label == CLEAN else label.split("+"):
        match = re.fullmatch(r"([a-z_]+)([0-9][^w]*)(?:w([0-9]+))?", part)
        try:
            levels[match[1]] = float(match[2])  # type: ignore[index]
        except (TypeError, ValueError):
            raise RecipeError(
                f"{label!r} is no label of a degradation; expected e.g. clean, blur2, blur2+noise10"
            ) from None
        window = window if match is None or match[3] is None else int(match[3])
    mixture = replace(parse(levels), window=window) if levels else Mixture()
    if mixture.label != label:
        raise RecipeError(f"{label!r} is no label of a degradation; the same mixture is written {mixture.label!r}")
    return mixture


def is_real(label: str) -> bool:
    """Whether this is the label of a set of real inputs beside made ones: its contents are its own."""
    return label.startswith(REAL)


def is_made(label: str) -> bool:
    """Whether inputs of this label are made here, from clean images: not `given` ones, and not those of real sets."""
    return label != GIVEN and not is_real(label)


def versions(labels: Iterable[str]) -> dict[str, int]:
    """VERSION of all that is done to samples of these labels: nothing to inputs that are not made here, `resize` to all others."""
    made = {label for label in labels if is_made(label)}
    found = {"resize": resize.VERSION} if made else {}
    for label in made:
        found.update(parse_label(label).versions())
    return found


def counted(found: Mapping[str, int]) -> dict[str, int]:
    """`versions` as identities hold them, sorted: without `resize` at 1, which was not counted when the first studies were made."""
    return {name: version for name, version in sorted(found.items()) if (name, version) != ("resize", 1)}


def draw(spec: DrawSpec | Sequence[DrawSpec], rng: np.random.Generator) -> Mixture:
    """A mixture for one training sample: `{blur: [0, 4]}` draws its level uniformly, numbers stay as they are.

    Of a list of specs one is drawn first. Levels are rounded to the six digits that labels carry (whole numbers where
    the degradation has whole levels, ends included); a level that comes out as 0 drops its part. One number is taken
    from `rng` per range, in pipeline order, whatever the result.
    """
    if isinstance(spec, Sequence) and not isinstance(spec, str):
        if not spec:
            raise RecipeError("degradations: the list is empty; expected at least one entry, e.g. [clean]")
        spec = spec[int(rng.integers(len(spec)))]
    ranges = _ranges(spec)
    if ranges is None:
        return parse(cast(Spec, spec))
    levels = {}
    for name, (low, high) in ranges.items():
        level = low
        if low < high:
            uniform = float(rng.random())
            whole = get(name).INTEGER
            level = math.floor(low + uniform * (high - low + 1)) if whole else low + uniform * (high - low)
        level = float(f"{level:g}")
        if level != 0.0:
            levels[name] = level
    return _mixture(levels)


def check_draw(spec: DrawSpec | Sequence[DrawSpec]) -> None:
    """Raise RecipeError unless `draw` accepts `spec`: to be called before training, not in it."""
    entries = spec if isinstance(spec, Sequence) and not isinstance(spec, str) else [spec]
    if not entries:
        raise RecipeError("degradations: the list is empty; expected at least one entry, e.g. [clean]")
    for entry in entries:
        if _ranges(entry) is None:
            parse(cast(Spec, entry))


def _ranges(spec: DrawSpec) -> dict[str, tuple[float, float]] | None:
    """(low, high) per name in pipeline order, None where `spec` holds no range at all.

    The low end may be 0, no damage.
    """
    if not isinstance(spec, Mapping) or not any(isinstance(value, Sequence) for value in spec.values()):
        return None
    ranges = {}
    for name in sorted(spec, key=_order):
        value = spec[name]
        if isinstance(value, Sequence) and not isinstance(value, str):
            if len(value) != 2 or not all(_is_number(end) for end in value) or not 0 <= value[0] <= value[1]:
                raise RecipeError(
                    f"degradation {name}: {value!r} is no range; expected [low, high] with 0 <= low <= high"
                )
            low, high = float(value[0]), float(value[1])
            for end in (low, high):
                if end != 0.0:
                    get(name).check(end)
            ranges[name] = (low, high)
        else:
            level = _level(name, value)
            ranges[name] = (level, level)
    return ranges


def _level(name: str, value: object) -> float:
    """A checked level. Levels must survive `%g`, else two of them could share a label and so an identity."""
    degradation = get(name)
    if isinstance(value, (list, tuple)):
        raise RecipeError(f"degradation {name}: the range {list(value)} is for training; expected one number here")
    if not _is_number(value):
        raise RecipeError(f"degradation {name}: {value!r} is no level; expected a number")
    level = float(cast(float, value))
    degradation.check(level)
    if float(f"{level:g}") != level or not re.fullmatch(r"[0-9.]+", f"{level:g}"):
        raise RecipeError(
            f"degradation {name}: {level!r} has too many digits for a label; expected at most six, e.g. {level:g}"
        )
    return level


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _order(name: str) -> tuple[int, str]:
    return get(name).ORDER, name


def _mixture(levels: Mapping[str, float]) -> Mixture:
    return Mixture(tuple((name, levels[name]) for name in sorted(levels, key=_order)))
