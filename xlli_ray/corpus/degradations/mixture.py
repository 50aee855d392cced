"""Degradations applied one after the other, in one fixed order; from a recipe's entry or from a label.

A recipe writes `clean`, `{blur: 2.0}`, `{blur: 2.0, noise: 10}`, or parameters by name, `{blur: {sigma: 2.0, window: 15}}`, or with its own
label, `{rain: {amount: 0.006, length: 40}, label: medium-rain}`.

>>> mixture = parse({"noise": 10, "blur": 2.0})
>>> mixture.label, mixture.type, mixture.level("blur")
('blur2+noise10', 'blur+noise', 2.0)
>>> parse_label("blur2+noise10") == mixture
True
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from typing import Any

from numpy.typing import NDArray

from xlli_ray.corpus import resize
from xlli_ray.corpus.degradations.degradation import Degradation, Degraded, Domain
from xlli_ray.errors import RecipeError, closest
from xlli_ray.registry import DEGRADATIONS

CLEAN = "clean"
GIVEN = "given"  # label of given inputs and pairs, degraded elsewhere if at all
REAL = "real-"  # prefix of labels of real sets (`pies`); no degradation's label has it
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+~-]*")
NAME = re.compile(r"[a-z_]+")
WORDS = ("label", "share")  # keys of an entry besides its degradations; `share` only in training recipes

# A mixture as written in a recipe.
Spec = str | Mapping[str, Any]


def get(name: str) -> type[Degradation]:
    """The degradation with that name or location. Raises RecipeError with the closest names."""
    if not DEGRADATIONS.knows(name) and ":" not in name:
        DEGRADATIONS.check_form(name)
        hint = ", ".join(closest(name, [*DEGRADATIONS, CLEAN])) or ", ".join([CLEAN, *DEGRADATIONS])
        raise RecipeError(f"degradation {name!r} does not exist. Closest: {hint}. All: {', '.join([CLEAN, *DEGRADATIONS])}.")
    cls = DEGRADATIONS.load(name)
    if not (isinstance(cls, type) and issubclass(cls, Degradation)) or not NAME.fullmatch(cls.NAME):
        raise RecipeError(f"degradation {name!r}: expected a subclass of Degradation whose NAME is of a-z and _, got {cls!r}")
    return cls


@dataclass(frozen=True)
class Mixture:
    """Degradations applied one after the other.

    `parts`: sorted by ORDER; empty for a clean image. `name`: the recipe's own label, None: made from the parts.
    """

    parts: tuple[Degradation, ...] = ()
    name: str | None = None

    @property
    def label(self) -> str:
        """`clean`, `blur2`, `blur2+noise10`, `blur2w15`: the name of this mixture. One with more parameters than its parts' labels
        contain, and without a name in the recipe, ends with a hash of them, `~1f3a`."""
        if self.name is not None:
            return self.name
        text = "+".join(part.label for part in self.parts) or CLEAN
        return text if all(part.plain for part in self.parts) else f"{text}~{sha256(self._canonical.encode()).hexdigest()[:4]}"

    @property
    def identity(self) -> str:
        """Part of sample ids: equal only for equal parameters, whatever the label."""
        plain = "+".join(part.label for part in self.parts) or CLEAN
        return plain if all(part.plain for part in self.parts) else self._canonical

    @property
    def _canonical(self) -> str:
        return json.dumps([[part.NAME, part.params.model_dump(mode="json")] for part in self.parts], sort_keys=True, separators=(",", ":"))

    @property
    def type(self) -> str:
        """`clean`, `blur`, `blur+noise`: which degradations, without their parameters."""
        return "+".join(part.NAME for part in self.parts) or CLEAN

    def level(self, name: str) -> float | None:
        """Level of that degradation, None if it is not part of the mixture."""
        return next((part.level for part in self.parts if name == part.NAME), None)

    def versions(self) -> dict[str, int]:
        """VERSION of each part, for the identity of what is computed from it."""
        return {part.NAME: part.VERSION for part in self.parts}

    def only(self, domain: Domain) -> Mixture:
        """The parts of that domain."""
        return Mixture(tuple(part for part in self.parts if domain == part.DOMAIN))

    def apply(self, array: NDArray[Any], domain: Domain, *, key: str) -> Degraded:
        """Run the parts of one domain in order; dtype and range are those of the domain. `array` itself if there are none.

        If two parts have a by-product of the same name, the later one is used. Raises ValueError for a part that violates its declaration.
        """
        extras: dict[str, NDArray[Any]] = {}
        for part in self.only(domain).parts:
            made = part.apply(array, key=key)
            if made.image.shape != array.shape or made.image.dtype != array.dtype or set(made.extras) != set(part.EXTRAS):
                raise ValueError(
                    f"degradation {part.NAME} gave {made.image.dtype} {made.image.shape} with extras {sorted(made.extras)}; expected "
                    f"{array.dtype} {array.shape} with {sorted(part.EXTRAS)}"
                )
            array = made.image
            extras |= made.extras
        return Degraded(array, extras)


def mixture_of(parts: Iterable[Degradation], name: str | None = None) -> Mixture:
    """The parts in pipeline order. Raises RecipeError if two have the same name."""
    ordered = sorted(parts, key=lambda part: (part.ORDER, part.NAME))
    names = [part.NAME for part in ordered]
    if twice := next((one for one in names if names.count(one) > 1), None):
        raise RecipeError(f"degradation {twice!r} is listed twice in one entry")
    return Mixture(tuple(ordered), name)


def parse(spec: Spec) -> Mixture:
    """`clean` or {name: level or parameters, ...} -> Mixture. Raises RecipeError for unknown names, bad values and anything else."""
    if isinstance(spec, str) and spec == CLEAN:
        return Mixture()
    if isinstance(spec, str) or not isinstance(spec, Mapping) or not spec:
        raise RecipeError(
            f"degradation {spec!r}: expected the word {CLEAN}, or names with levels such as {{blur: 2.0, noise: 10}}"
        )
    values = dict(spec)
    if "share" in values:
        raise RecipeError(f"share {values['share']!r}: of crops, only for training; here every entry makes a sample from each patch")
    name = values.pop("label", None)
    if name is not None:
        _check_name(name, values)
    return mixture_of([get(one).of(value) for one, value in values.items()], name)


def _check_name(name: object, values: Mapping[str, Any]) -> None:
    if not isinstance(name, str) or not LABEL.fullmatch(name) or name in (CLEAN, GIVEN) or name.startswith(REAL) or not values:
        raise RecipeError(
            f"degradation label {name!r}: expected letters, digits, `_`, `.`, `+`, `~`, `-`, starting with a letter or digit; not "
            f"{CLEAN}, {GIVEN} or {REAL}…, and at least one degradation"
        )


@cache
def parse_label(label: str) -> Mixture:
    """The mixture with this automatic label. Raises RecipeError if no mixture has it."""
    parts = []
    for text in [] if label == CLEAN else label.split("+"):
        match = re.fullmatch(r"([a-z_]+)([0-9-].*)", text)
        try:
            if match is None:
                raise ValueError(text)
            parts.append(get(match[1]).from_label(match[2]))
        except RecipeError:
            raise
        except ValueError:
            raise RecipeError(f"{label!r} is not a label of a degradation; expected e.g. clean, blur2, blur2+noise10") from None
    mixture = mixture_of(parts)
    if mixture.label != label:
        raise RecipeError(f"{label!r} is not a label of a degradation; the same mixture is written {mixture.label!r}")
    return mixture


def with_window(mixture: Mixture, window: int | None) -> Mixture:
    """The same mixture, its blur with a window of that side."""
    from xlli_ray.corpus.degradations.blur import Blur

    def changed(part: Degradation) -> Degradation:
        return Blur.of({"sigma": part.level, "window": window}) if isinstance(part, Blur) else part

    return replace(mixture, parts=tuple(changed(part) for part in mixture.parts))


def is_real(label: str) -> bool:
    """Whether this is the label of a real set, which has its own contents."""
    return label.startswith(REAL)


def is_made(label: str) -> bool:
    """Whether inputs with this label are made from clean images: neither `given` nor real ones."""
    return label != GIVEN and not is_real(label)


def versions(mixtures: Iterable[Mixture]) -> dict[str, int]:
    """VERSION of all processing of samples of these mixtures, including `resize`, since they are made from larger images."""
    by_name: dict[str, int] = {}
    for mixture in mixtures:
        by_name |= {"resize": resize.VERSION} | mixture.versions()
    return by_name


def counted(all_versions: Mapping[str, int]) -> dict[str, int]:
    """`versions` as identities hold them, sorted: without `resize` at 1, which was not recorded in the first studies."""
    return {name: version for name, version in sorted(all_versions.items()) if (name, version) != ("resize", 1)}


def extras_of(mixtures: Iterable[Mixture], sizes: Mapping[Domain, tuple[int, int]]) -> dict[str, tuple[tuple[int, ...], str]]:
    """By-products of all these mixtures: name → shape and dtype for one sample. `sizes`: (height, width) in each domain."""
    parts = [part for mixture in mixtures for part in mixture.parts]
    return {name: (extra.shape(*sizes[part.DOMAIN]), extra.dtype) for part in parts for name, extra in part.EXTRAS.items()}
