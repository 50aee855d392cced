"""The corpus section of a recipe, validated: sources of samples, patches, degradations. Needs neither torch nor files.

Exactly one key is a kind of corpus (`kinds/`), and its value is validated by that kind. `pies` makes an evaluation set from the
images: it determines both patches and degradations (`pies_like_set.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_serializer, model_validator
from pydantic_core import InitErrorDetails

from xlli_ray.corpus.degradations import Mixture, extras_of, is_made, parse, parse_label, versions
from xlli_ray.corpus.kinds.kind import CorpusKind, kind_of
from xlli_ray.corpus.pies_like_set import PiesSpec
from xlli_ray.corpus.size import Size
from xlli_ray.errors import RecipeError
from xlli_ray.registry import CORPORA
from xlli_ray.user_code import PLACE

Entries = list[str | dict[str, float | str | dict[str, Any]]]
EARLY = ("images", "inputs", "pairs", "list")
"""Keys that are stored as null if not given, so that the hash of a corpus is the same as when these were the only keys."""


class PatchSpec(BaseModel):
    """The patches of each image, in pixels of the target (of the input if there is no target)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(default=128, ge=1, description="side of a patch; a multiple of the scale")
    per_image: int | None = Field(default=8, ge=1, description="at most this many from one image; null: all")
    count: int | None = Field(default=None, ge=1, description="at most this many in total; null: all")
    min_std: float = Field(default=5.0, ge=0.0, le=127.5, description="flatter patches are left out: standard deviation of 8-bit luma")


class CorpusSpec(BaseModel):
    """Section `corpus` of a recipe. Paths may be relative to a folder that is passed to the functions that read them."""

    model_config = ConfigDict(extra="allow", frozen=True)

    scale: int | None = Field(
        default=None, ge=1, description="only with images: target size over input size; 1: same size"
    )
    patches: PatchSpec | None = Field(default=None, description="null: whole images")
    degradations: Entries | None = Field(default=None, description="only with images; null: [clean]")
    pies: PiesSpec | None = Field(default=None, description="only with images: instead of patches and degradations")
    max_pixels: int | None = Field(
        default=None, ge=1, description="files of more pixels are refused; null: those above 1 GiB decoded, 89 million pixels"
    )

    @model_validator(mode="wrap")
    @classmethod
    def _kinds(cls, data: Any, handler: Any) -> Any:
        """Checks unknown fields as parameters of the kind of that name. All problems are reported at once."""
        if not isinstance(data, Mapping):
            return handler(data)
        fields, kinds, problems = {}, {}, list[InitErrorDetails]()
        for key, value in data.items():
            if key in cls.model_fields:
                fields[key] = value
            elif not CORPORA.knows(key) and not PLACE.fullmatch(str(key)) and not CORPORA.misformed(key):
                problems.append({"type": "extra_forbidden", "loc": (key,), "input": value})
            elif value is not None:
                try:
                    kinds[key] = _adapter(kind_of(key)).validate_python(value)
                except ValidationError as error:
                    problems += _moved(error, key)
                except RecipeError as error:
                    problems.append({"type": "value_error", "loc": (key,), "input": value, "ctx": {"error": error}})
        if not problems:
            return handler({**kinds, **fields})
        try:
            handler(fields)
        except ValidationError as error:
            problems += [one for one in _moved(error) if one["loc"]]  # missing fields of the section are irrelevant now
        raise ValidationError.from_exception_data(cls.__name__, problems)

    @model_serializer(mode="wrap")
    def _dumped(self, handler: Any) -> dict[str, Any]:
        return {**dict.fromkeys(EARLY), **handler(self)}

    @field_validator("degradations", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if isinstance(value, list):
            if not value:
                raise ValueError("the list is empty; expected at least one entry, e.g. [clean]")
            mixtures = [parse(entry) for entry in value]
            for names in ([mixture.label for mixture in mixtures], [mixture.identity for mixture in mixtures]):
                if twice := sorted({name for name in names if names.count(name) > 1}):
                    raise ValueError(f"{twice[0]} is listed twice; each degradation makes one sample of a patch")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> CorpusSpec:
        given = list(self.model_extra or ())
        if len(given) != 1:
            there = f"found {' and '.join(given)}" if given else "found none"
            raise ValueError(f"expected exactly one source of {', '.join(CORPORA)}; {there}")
        self.check_together()
        return self

    def check_together(self) -> None:
        """Raise ValueError for incompatible keys."""
        kind_of(self.kind).check(self)
        if self.pies is not None:
            for name in ("patches", "degradations"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} and pies are both given, but pies determines patches and degradations: omit {name}")
        for name, tiles in (("patches", self.patches), ("pies", self.pies)):
            if self.scale is not None and tiles is not None and tiles.size % self.scale:
                raise ValueError(f"{name}.size must be a multiple of scale {self.scale}, got {tiles.size}")

    @property
    def kind(self) -> str:
        """The key that is a kind of corpus."""
        return next(iter(self.model_extra or ()))

    @property
    def given(self) -> Any:
        """The value of that key, as the kind's type."""
        return (self.model_extra or {})[self.kind]

    @property
    def made(self) -> bool:
        """Whether the inputs are made from clean targets."""
        return kind_of(self.kind).makes(self)

    @property
    def files_shared(self) -> bool:
        """Whether what was decoded of a file is needed again soon: for the next patch, degradation or clip."""
        return bool(self.patches or self.pies or len(self.degradations or ()) > 1 or kind_of(self.kind).FILES_SHARED)

    @classmethod
    def more_keys(cls) -> list[str]:
        """Other keys, for messages."""
        return list(CORPORA)

    @classmethod
    def annotation_of(cls, key: str) -> Any:
        """The type of the value of one of these keys, None for others."""
        return kind_of(key).Given if CORPORA.knows(key) else None

    @property
    def mixtures(self) -> tuple[Mixture, ...]:
        """The degradations of each clean image, in the recipe's order."""
        if self.pies is not None:
            return self.pies.mixtures
        return tuple(parse(entry) for entry in self.degradations or ["clean"])

    def mixture(self, label: str) -> Mixture:
        """The mixture behind a label of the sample table. Raises RecipeError for one that neither this section nor the package knows."""
        return next((mixture for mixture in self.mixtures if mixture.label == label), None) or parse_label(label)

    def versions(self, labels: Iterable[str]) -> dict[str, int]:
        """VERSION of each degradation behind these labels, of resizing, and of the kind of corpus if not 1. Inputs used
        unchanged have no degradations."""
        version = kind_of(self.kind).VERSION
        made = versions(self.mixture(label) for label in labels if is_made(label)) if self.made else {}
        return made | ({f"kind {self.kind}": version} if version != 1 else {})

    def extras(self, size: Size, scale: int, *, masks: bool = False) -> dict[str, tuple[tuple[int, ...], str]]:
        """By-products of the degradations and of the kind of corpus, for an input of that size: name → shape and dtype for one sample.
        `masks`: whether samples have a mask from a file."""
        target = size.times(scale)
        extras = extras_of(self.mixtures, {"input": (size.height, size.width), "target": (target.height, target.width)})
        frames = (size.frames,) if size.frames else ()
        if masks:
            extras["mask"] = ((size.height, size.width), "bool")
        made = {name: ((*frames, *shape), dtype) for name, (shape, dtype) in extras.items()}
        return {**made, **kind_of(self.kind).extras(size, scale)}

    def patches_of(self, kind: str) -> PatchSpec | None:
        """The patches of sources of that kind; None: whole images. In pixels of the target, or of the input if there is no target."""
        if self.pies is None:
            return self.patches
        size = self.pies.size if kind_of(kind).MADE else self.pies.size // (self.scale or 1)
        return PatchSpec(size=size, per_image=self.pies.most, min_std=self.pies.min_std)


def _adapter(kind: CorpusKind) -> TypeAdapter[Any]:
    return TypeAdapter(kind.Given)


def _moved(error: ValidationError, *above: str) -> list[InitErrorDetails]:
    """The problems of a validation, with their paths below `above`."""
    return [
        {"type": one["type"], "loc": (*above, *one["loc"]), "input": one["input"], "ctx": one.get("ctx", {})} for one in error.errors()
    ]  # type: ignore[misc]
