"""Fields of a `lam` stage. Does not import torch, since the recipe's schema reads this file."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from xlli_ray.errors import RecipeError
from xlli_ray.probes.lam.cascade_cells import CASCADE, SHARES, cascade_problem
from xlli_ray.probes.lam.method_choices import FIELDS, INTEGRAL, asked_in_vain, method_of, name_of
from xlli_ray.probes.lam.path_choices import way_of
from xlli_ray.registry import LAM_METHODS, LAM_PATHS

_STRICT = ConfigDict(extra="forbid", frozen=True)
Frame = Annotated[int, Field(ge=0)]


def _once_each(stages: str | list[str]) -> str | list[str]:
    if isinstance(stages, list) and len(set(stages)) < len(stages):
        raise ValueError(f"the same stage twice: {', '.join(sorted({one for one in stages if stages.count(one) > 1}))}")
    return stages


Stages = Annotated[str | Annotated[list[str], Field(min_length=1)], AfterValidator(_once_each)]
"""Of probes that try maps of other stages: the id of one, or of several."""


def several(stages: str | list[str]) -> tuple[str, ...]:
    """The ids of `Stages`."""
    return (stages,) if isinstance(stages, str) else tuple(stages)


class Channel(BaseModel):
    """Objective: the sum over the window of one channel of the output."""

    model_config = _STRICT
    channel: int = Field(ge=0)


class By(BaseModel):
    """Windows where this model's output differs most from the target."""

    model_config = _STRICT
    by: str


class Hardest(BaseModel):
    """`choose: {hardest: {by: MODEL}}`."""

    model_config = _STRICT
    hardest: By


class Chosen(BaseModel):
    """Windows chosen in each sample by a rule."""

    model_config = _STRICT
    size: int = Field(default=16, ge=1, description="side, output pixels")
    per_sample: int = Field(default=4, ge=1)
    choose: Literal["texture", "grid"] | Hardest = Field(default="texture", description="texture | grid | {hardest: {by: MODEL}}")


class Place(BaseModel):
    """One explicit window, in output pixels."""

    model_config = _STRICT
    top: int = Field(ge=0)
    left: int = Field(ge=0)
    size: int = Field(ge=1)


class Listed(BaseModel):
    """Windows from a CSV file with the columns path, top, left, size; `places` is its content: path → windows."""

    model_config = _STRICT
    file: str
    places: dict[str, list[Place]] = Field(default_factory=dict)

    def of(self, source: str) -> list[Place]:
        """The windows of the file `source`, by its own path, or by the longest listed path that it ends with after a '/'; empty: none."""
        parts = source.split("/")
        tails = ["/".join(parts[i:]) for i in range(1, len(parts))]
        fitting = [path for tail in tails for path in self._by_tail.get(tail, ())] + ([source] if source in self.places else [])
        return self.places[max(fitting, key=len)] if fitting else []

    @cached_property
    def _by_tail(self) -> dict[str, list[str]]:
        """Path without leading dots and slashes → path as in the list."""
        out: dict[str, list[str]] = {}
        for path in self.places:
            out.setdefault(path.lstrip("./"), []).append(path)
        return out


class Params(BaseModel):
    """Fields of a `lam` stage."""

    model_config = _STRICT
    mode: Literal["accurate", "paper"] = "accurate"
    nodes: int | None = Field(default=None, ge=1, description="number of gradients in mode accurate [20; clips 10; averaged gates 12]")
    tolerance: float | None = Field(default=None, gt=0, description="instead of nodes: refine until the error estimate is below this")
    max_nodes: int = Field(default=60, ge=6, description="maximum number of gradients with tolerance")
    gates: Literal["plain", "averaged"] = Field(
        default="plain", description="averaged: ReLU gates are averaged over a node's cell; faster, but not the network's gradient"
    )
    objective: Literal["gradient", "sum", "error"] | Channel = "gradient"
    path: str = Field(default="blur", description="blur, linear_black, linear_mean, linear_blurred, pair, or package.module:Class")
    windows: Chosen | Listed | list[Place] = Field(default_factory=Chosen)
    controls: list[Literal["randomised_weights", "shifted_window", "cascade"]] = Field(default_factory=list)
    control_samples: int = Field(default=20, ge=1, description="number of samples with controls")
    signed: bool = Field(default=False, description="store the signed attribution of each channel as array `attribution`")
    crop: Literal["auto", "never"] = Field(default="auto", description="auto: crop inputs if the receptive field is finite")
    frame: Literal["centre"] | Frame = Field(default="centre", description="of clips: the frame of the output in which the windows are")
    flow: str | None = Field(default=None, description="of clips: id of the flow stage, for the trajectory of each window")
    max_rows: int | None = Field(default=None, ge=1, description="maximum number of samples with maps, evenly spread over degradations")
    method: str | dict[str, Any] = Field(
        default=INTEGRAL,
        description="path (gradients along it), gradient_input, smoothgrad, occlusion, {name: arguments}, or package.module:Class",
    )
    cascade: list[float] = Field(
        default_factory=lambda: list(SHARES), min_length=1,
        description="of the control cascade: shares of the layers, from the output on, whose weights are drawn; each has a cell of its own",
    )  # fmt: skip

    @field_validator("path")
    @classmethod
    def _path(cls, name: str) -> str:
        if LAM_PATHS.knows(name):  # code of a study that no recipe names is not loaded
            way_of(name)
        elif ":" not in name:
            LAM_PATHS.load(name)
        return name

    @field_validator("method")
    @classmethod
    def _method(cls, given: str | dict[str, Any]) -> str | dict[str, Any]:
        name = name_of(given)
        if LAM_METHODS.knows(name):
            method_of(given)
        elif ":" not in name:
            LAM_METHODS.load(name)
        return given if isinstance(given, dict) and given[name] else name

    @field_validator("cascade")
    @classmethod
    def _cascade(cls, shares: list[float]) -> list[float]:
        if problem := cascade_problem(shares):
            raise ValueError(problem)
        return shares

    @model_validator(mode="after")
    def _one_method(self) -> Params:
        """Fields of the integral along a path say nothing of another method."""
        if problem := asked_in_vain(self.method, {name: getattr(self, name) for name in FIELDS}):
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Params:
        if self.mode == "paper":
            if self.path != "blur":
                raise ValueError(f"mode: paper is the demo's blur path; path: {self.path} needs mode: accurate")
            if self.tolerance is not None or self.nodes is not None:
                raise ValueError("mode: paper has the demo's 50 steps; nodes and tolerance belong to mode: accurate")
        if self.gates == "averaged" and (self.mode == "paper" or self.tolerance is not None):
            raise ValueError("gates: averaged goes with mode: accurate and nodes: it needs fixed neighbours, unlike the demo")
        if self.tolerance is not None and self.nodes is not None:
            raise ValueError("tolerance replaces nodes: give one of them")
        if self.cascade != list(SHARES) and CASCADE not in self.controls:
            raise ValueError("cascade: these shares belong to the control of that name; add it, as controls: [cascade]")
        if isinstance(self.windows, list) and not self.windows:
            raise ValueError("windows: the list is empty; give at least one {top:, left:, size:}")
        return self

    @classmethod
    def inlined(cls, params: Mapping[str, Any], resolve: Callable[[str], str]) -> dict[str, Any]:
        """`params` with the windows of a CSV file in them, so that a study does not depend on the file. Raises RecipeError."""
        windows = params.get("windows")
        if not isinstance(windows, Mapping) or "file" not in windows or windows.get("places"):
            return dict(params)
        path = resolve(str(windows["file"]))
        return {**params, "windows": {"file": path, "places": read_places(Path(path))}}


def read_places(path: Path) -> dict[str, list[dict[str, int]]]:
    """CSV with the columns path, top, left, size → path → windows, in the file's order. Raises RecipeError naming the line."""
    try:
        if path.exists() and not path.is_file():
            raise RecipeError(f"windows file {path}: not a file. Expected a CSV file with the columns path, top, left, size.")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            missing = {"path", "top", "left", "size"} - {str(name).strip() for name in reader.fieldnames or ()}
            if missing:
                raise RecipeError(f"windows file {path}: expected the columns path, top, left, size; {', '.join(sorted(missing))} missing")
            out: dict[str, list[dict[str, int]]] = {}
            for row in reader:
                try:
                    place = {key: int(row[key]) for key in ("top", "left", "size")}
                    if max(place.values()) >= 1 << 31:
                        raise ValueError(place)
                except (TypeError, ValueError) as error:
                    raise RecipeError(f"windows file {path}, line {reader.line_num}: expected integers, got {dict(row)}") from error
                if place["size"] < 1 or min(place["top"], place["left"]) < 0:
                    raise RecipeError(
                        f"windows file {path}, line {reader.line_num}: expected top ≥ 0, left ≥ 0 and size ≥ 1, in output "
                        f"pixels; found {place}"
                    )
                out.setdefault(str(row["path"] or "").strip(), []).append(place)
    except RecipeError:
        raise
    except (OSError, csv.Error, ValueError) as error:
        raise RecipeError(f"windows file {path}: {error}. Give a CSV file with the columns path, top, left, size.") from error
    if not out:
        raise RecipeError(f"windows file {path}: no rows below the header")
    return out
