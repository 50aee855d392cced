"""The methods of `lam`, as named in a recipe: how an attribution is made.

`path`, the default, integrates gradients along the stage's `path` with its mode and nodes: the paper's method. The others are what it is
compared with, on the same windows and for the same score: gradient × input, SmoothGrad, occlusion. Only `path` promises that its shares sum
to a change of the score; so for the others `completeness` and `objective_baseline` are NaN, and `path` is empty.

To add one: a subclass of `Gradients`, for a weighted sum of gradients at points of its choice, or of `Method` for anything else, in a file
of its own; a registry line (`registry.LAM_METHODS`), an entry point of the group `xlli_ray.lam_methods`, or its location in a recipe,
`method: mine.py:Mine`. Importing the file must not import torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from xlli_ray.errors import NetworkError, RecipeError, closest
from xlli_ray.registry import LAM_METHODS

if TYPE_CHECKING:
    from torch import Tensor

    from xlli_ray.models.model import Model
    from xlli_ray.probes.lam.attribution import Rule, WindowResult
    from xlli_ray.probes.lam.objectives import Objective
    from xlli_ray.probes.lam.passes import Explained, Passes
    from xlli_ray.probes.lam.path_points import Path
    from xlli_ray.probes.lam.receptive_field import Radius

INTEGRAL = "path"
"""The method that integrates along the stage's path."""
FIELDS = {"mode": "accurate", "nodes": None, "tolerance": None, "max_nodes": 60, "gates": "plain", "path": "blur"}
"""Fields of a stage that belong to it alone, and their defaults."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class NoArgs(BaseModel):
    """No arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Method:
    """A choice of method: makes the maps of all windows of an image or clip."""

    NAME: ClassVar[str]
    """As in the column `mode`, in identities and in names of cells; the same as in the registry, if registered. a-z, 0-9 and _."""
    VERSION: ClassVar[int] = 1
    """Raised by hand when the maps change."""
    REFERENCE: ClassVar[str] = ""
    Args: ClassVar[type[BaseModel]] = NoArgs
    """Its arguments in a recipe, `method: {smoothgrad: {draws: 20}}`."""

    def __init__(self, args: BaseModel | None = None) -> None:
        self.args: Any = self.Args() if args is None else args

    @property
    def units(self) -> str:
        """What the array `attribution` is."""
        return "signed, in units of the objective"

    @property
    def gradients(self) -> int:
        """Gradients of each window; 0 for a method of forward passes."""
        return 0

    def forwards(self, height: int, width: int, frames: int = 0) -> int:
        """Forward passes without a gradient that an input of (height, width) pixels takes, whatever its windows."""
        return 1

    def rule(self) -> Rule:
        """Nodes and error estimate, for methods that are sums of gradients."""
        from xlli_ray.probes.lam.attribution import Rule

        return Rule()

    def path(self, image: Tensor, key: str) -> Path:
        """What the method needs of `image`, (C, H, W) or (T, C, H, W), as the path of `Explained`. `key`: of the sample, for draws."""
        raise NotImplementedError

    def one_by_one(
        self, model: Model, task: Explained, *, objective: Objective, radius: Radius | None, frame: int | None, alone: bool = False
    ) -> list[WindowResult]:
        """The maps of one image or clip, also with a network that treats a batch as a whole (`alone`). Raises NetworkError."""
        raise NotImplementedError

    def passes(self, model: Model, *, objective: Objective, radius: Radius | None, frame: int | None) -> Passes:
        """The same for many images, in few passes."""
        raise NotImplementedError

    def maps(
        self, model: Model, task: Explained, *, objective: Objective, radius: Radius | None, frame: int | None
    ) -> list[WindowResult]:
        """The maps of one image or clip: in wide passes on a GPU, else one by one. Raises NetworkError."""
        height, width = (model.scale * n for n in task.image.shape[-2:])
        for window in task.windows:
            if problem := window.problem(height, width):
                raise NetworkError(problem)
        if not task.image.is_cuda:
            return self.one_by_one(model, task, objective=objective, radius=radius, frame=frame)
        (found,) = self.passes(model, objective=objective, radius=radius, frame=frame).launch([task])()
        if isinstance(found, NetworkError):
            raise found
        return found


class Gradients(Method):
    """A sum of gradients at points of the method's choice, each times an increment. Needs `gradients`, `path` and, where they are draws,
    `DRAWN`."""

    DRAWN: ClassVar[bool] = False
    """Whether the points are independent draws, so that E is the standard error of their mean."""

    def forwards(self, height: int, width: int, frames: int = 0) -> int:
        return 1  # the score at the input

    def rule(self) -> Rule:
        from xlli_ray.probes.lam.attribution import Rule

        return Rule(nodes=self.gradients, baseline=False, drawn=self.DRAWN)

    def one_by_one(
        self, model: Model, task: Explained, *, objective: Objective, radius: Radius | None, frame: int | None, alone: bool = False
    ) -> list[WindowResult]:
        from xlli_ray.probes.lam.attribution import attribute

        return attribute(
            model, task.image, task.windows, task.path, objective=objective, rule=self.rule(), target=task.target, radius=radius,
            frame=frame,
        )  # fmt: skip

    def passes(self, model: Model, *, objective: Objective, radius: Radius | None, frame: int | None) -> Passes:
        from xlli_ray.probes.lam.pass_width import planned_rows
        from xlli_ray.probes.lam.wide_passes import WidePasses

        return WidePasses(
            model, objective=objective, rule=self.rule(), radius=radius, frame=frame,
            rows=lambda shape: planned_rows(model, shape, frame),
        )  # fmt: skip


class Integral(Method):
    """Gradients integrated along the stage's `path`, by its `mode`, `nodes`, `tolerance` and `gates`, which the stage itself runs."""

    NAME = INTEGRAL
    REFERENCE = "Gu & Dong, CVPR 2021; Sundararajan et al., Axiomatic attribution for deep networks, ICML 2017"


Given = str | Mapping[str, Any]
"""A method in a recipe: its name, or {name: arguments}."""


def name_of(given: Given) -> str:
    """The name or location in a recipe's entry. Raises RecipeError."""
    if isinstance(given, str):
        return given
    if len(given) != 1 or not all(isinstance(one, Mapping | None) for one in given.values()):
        raise RecipeError(f"method: expected a name, or one name with its arguments, as {{smoothgrad: {{draws: 20}}}}; got {dict(given)!r}")
    return str(next(iter(given)))


def method_of(given: Given) -> Method:
    """The method with that name or location, and its arguments. Raises RecipeError with the nearest names, or naming the argument."""
    name = name_of(given)
    cls = LAM_METHODS.load(name)
    own = getattr(cls, "NAME", None)
    if not (isinstance(cls, type) and issubclass(cls, Method) and isinstance(own, str) and _NAME.fullmatch(own)):
        wanted = "a subclass of xlli_ray.probes.lam.method_choices.Method with a NAME of a-z, 0-9 and _"
        raise RecipeError(f"method {name!r}: expected {wanted}")
    if own in ("accurate", "paper", "averaged") or (
        own != name and (name in LAM_METHODS or (own in LAM_METHODS and LAM_METHODS.load(own) is not cls))
    ):
        raise RecipeError(f"method {name!r}: its NAME {own!r} is taken; rename it")
    args = {} if isinstance(given, str) else dict(next(iter(given.values())) or {})
    try:
        return cls(cls.Args(**args))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        raise RecipeError("; ".join(_said(name, cls.Args, problem) for problem in problems)) from error


def asked_in_vain(given: Given, fields: Mapping[str, Any]) -> str:
    """Which of the integral's `fields`, by name, has a value that method `given` takes no notice of; '' if none."""
    name = name_of(given)
    asked = next((field for field, value in fields.items() if value != FIELDS[field]), None)
    if name == INTEGRAL or asked is None:
        return ""
    return (
        f"{asked}: {fields[asked]} says how gradients are integrated along a path, and method: {name} integrates none; leave {asked} out, "
        f"or use method: {INTEGRAL}"
    )


def _said(name: str, args: type[BaseModel], problem: Any) -> str:
    """One problem with a method's arguments."""
    where = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        near = closest(where, args.model_fields, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"method {name}: there is no argument {where!r}: {hint}Valid here: {', '.join(args.model_fields) or 'none'}"
    return f"method {name}{f', {where}' if where else ''}: {problem['msg'].removeprefix('Value error, ')}"
