"""The base class of degradations: parameters, the effect on an image, and by-products.

To add one, write a subclass in a file of its own and a line in `registry.DEGRADATIONS`, or nothing here at all: an installed package names
it as an entry point, a recipe as `package.module:Class`. Label, recipe, columns of the sample table, axis and colour in figures, training
draws and the pipeline follow from the class. Raise its VERSION whenever the same input gives other bytes.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from xlli_ray.errors import RecipeError

Domain = Literal["target", "input"]
PLAIN = re.compile(r"[0-9]+(?:\.[0-9]+)?")


@dataclass(frozen=True)
class Degraded:
    """A degraded image and by-products.

    `image`: same shape and dtype as the input. `extras`: by name, as declared in `Degradation.EXTRAS`, each (H, W) or (H, W, C)
    with the image's height and width.
    """

    image: NDArray[Any]
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Extra:
    """A by-product that probes may read and `inputs` may store: a rain layer, a mask."""

    about: str
    """Meaning, range, unit."""
    channels: int
    """0: a map (H, W)."""
    dtype: Literal["uint8", "float32", "bool"]

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        """Shape for an image of that size."""
        return (height, width, self.channels) if self.channels else (height, width)


class Degradation(ABC):
    """One kind of degradation with its parameters. Two of one class with equal `params` are equal."""

    NAME: ClassVar[str]
    """As written in recipes and as a column of the sample table: lower-case letters and `_`."""
    VERSION: ClassVar[int]
    """Raised by hand when the same input gives other bytes; part of the identity of stored results."""
    ORDER: ClassVar[int]
    """Position in the pipeline, in tables and in figures: lower comes first."""
    DOMAIN: ClassVar[Domain]
    """The input of `apply`. `target`: the whole image before it is downscaled, float32 (H, W, 3) in 0..1. `input`: the patch, uint8
    (h, w, 3)."""
    Params: ClassVar[type[BaseModel]]
    """Frozen, no extra fields. Errors of validators say what the value means and what was expected."""
    LEVEL: ClassVar[str]
    """The field of `Params` that the short form `{blur: 2}` sets: the level, the one number of tables and axes. Where the field is no
    number, the property `level` says which one stands for it."""
    AXIS: ClassVar[str]
    """Meaning and unit of the level: `blur, σ in target pixels`."""
    HIGHER_IS_WORSE: ClassVar[bool] = True
    COLOUR: ClassVar[str | None] = None
    """#rrggbb, its colour in every figure; None: a spare one."""
    EXTRAS: ClassVar[Mapping[str, Extra]] = {}
    """By-products of `apply`, by name."""

    def __init__(self, params: BaseModel) -> None:
        self.params = params

    @classmethod
    def of(cls, value: float | str | Mapping[str, Any]) -> Self:
        """From a level, or from all parameters by name. Raises RecipeError naming the field."""
        fields = cls.fields(value)
        if isinstance(level := fields.get(cls.LEVEL), list | tuple) and cls.takes_range(cls.LEVEL):
            raise RecipeError(f"degradation {cls.NAME}: the range {list(level)} is for training; expected one number here")
        try:
            made = cls(cls.Params(**fields))
        except ValidationError as error:
            short = not isinstance(value, Mapping)
            raise RecipeError(f"degradation {cls.NAME}: {'; '.join(_problem(one, short) for one in error.errors())}") from error
        made._check_level()
        return made

    @classmethod
    def fields(cls, value: float | str | Mapping[str, Any]) -> Mapping[str, Any]:
        """Parameters by name from a recipe's value: the parameters themselves, or the short form, a level."""
        return value if isinstance(value, Mapping) else {cls.LEVEL: value}

    @classmethod
    def takes_range(cls, field: str) -> bool:
        """Whether this parameter is a number, so that a list in its place is a range to draw from in training; other parameters may be
        lists in their own right."""
        info = cls.Params.model_fields.get(field)
        return info is not None and info.annotation in (int, float, int | None, float | None)

    @classmethod
    def from_label(cls, text: str) -> Self:
        """Inverse of `label`; `text` is what follows the name. Raises ValueError for an invalid text."""
        if not PLAIN.fullmatch(text):
            raise ValueError(text)
        return cls.of(float(text))

    @property
    def level(self) -> float:
        """The level, as a number."""
        return float(getattr(self.params, self.LEVEL))

    @property
    def label(self) -> str:
        """A short readable name, `blur2`. Parameters other than the level, if not the default, are not in it unless the class
        includes them: `mixture` adds a hash, or the recipe gives a name."""
        return f"{self.NAME}{self.level:g}"

    @property
    def plain(self) -> bool:
        """Whether `label` contains all parameters."""
        return self.params == self.Params(**{self.LEVEL: getattr(self.params, self.LEVEL)})

    @abstractmethod
    def apply(self, array: NDArray[Any], *, key: str) -> Degraded:
        """The degraded copy.

        All randomness comes from `key`: `seed|content`, or `seed|sha256 of the image` in domain `target`.
        """

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.params == self.params  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self), self.params.model_dump_json()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.params!r})"

    def _check_level(self) -> None:
        """Levels must survive `%g`, otherwise two of them could share a label and thus an identity."""
        level = self.level
        if float(f"{level:g}") != level or not re.fullmatch(r"[0-9.]+", f"{level:g}"):
            raise RecipeError(
                f"degradation {self.NAME}: {level!r} has too many digits for a label; expected at most six, e.g. {level:g}"
            )


def number(value: Any) -> Any:
    """For a `BeforeValidator` of numeric fields: a finite int or float, no text, no boolean."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a level; expected a number")
    return value


def _problem(error: Any, short: bool) -> str:
    """One line from pydantic's error, without the field's name if the recipe used the short form."""
    where = ".".join(map(str, error["loc"]))
    text = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        text = f"there is no parameter {where!r}"
    return text if short and error["type"] == "value_error" else f"{where}: {text}" if where not in text else text


def as_float32(array: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 → float32 in 0..1."""
    return array.astype(np.float32) / np.float32(255)
