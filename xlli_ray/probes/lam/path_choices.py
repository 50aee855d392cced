"""The paths of `lam` by their baselines, as named in a recipe.

A map explains the difference between a baseline and the image, so the baseline is a part of the question: the blurred image (the paper's
path), black, the mean colour, the degraded input on the way to the clean target. To add one: a subclass of `Straight` with a NAME and
`baseline`, or one of `Way` with `path`, in a file of its own; a registry line (`registry.LAM_PATHS`), an entry point of the group
`xlli_ray.lam_paths`, or its location in a recipe, `path: grey.py:Grey`. Importing the file must not import torch.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from xlli_ray.errors import NetworkError, RecipeError
from xlli_ray.probes.lam.demo import SIGMA, SIZE
from xlli_ray.registry import LAM_PATHS

if TYPE_CHECKING:
    from torch import Tensor

    from xlli_ray.probes.lam.path_points import Path

_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Way:
    """A choice of path: makes the path of an image."""

    NAME: ClassVar[str]
    """As in the column `path` and in identities; the same as in the registry, if registered. a-z, 0-9 and _."""
    VERSION: ClassVar[int] = 1
    """Raised by hand when the path changes."""
    TO_TARGET: ClassVar[bool] = False
    """True: it ends at the clean target, which must exist and have the image's size."""

    def unfit(self, height: int, width: int) -> str:
        """Why an input of (height, width) pixels has no such path; '' if it has one."""
        return ""

    def path(self, image: Tensor, target: Tensor | None) -> tuple[Path, Tensor]:
        """The path for `image`, (C, H, W) in 0..1 as given to the network, and its end: the image, or the target (C, H, W)."""
        raise NotImplementedError


class Straight(Way):
    """A straight line to the image."""

    def baseline(self, image: Tensor) -> Tensor:
        """Its start: (C, H, W) in 0..1, with the image's dtype and device."""
        raise NotImplementedError

    def path(self, image: Tensor, target: Tensor | None) -> tuple[Path, Tensor]:
        from xlli_ray.probes.lam.path_points import LinearPath

        return LinearPath(self.baseline(image).expand_as(image)), image


class Blur(Way):
    """The paper's path: less and less blur."""

    NAME = "blur"

    def unfit(self, height: int, width: int) -> str:
        return _too_small(height, width)

    def path(self, image: Tensor, target: Tensor | None) -> tuple[Path, Tensor]:
        from xlli_ray.probes.lam.path_points import BlurPath

        return BlurPath(), image


class Black(Straight):
    """From black."""

    NAME = "linear_black"

    def baseline(self, image: Tensor) -> Tensor:
        return image.new_zeros(image.shape)


class Mean(Straight):
    """From the image's mean colour."""

    NAME = "linear_mean"

    def baseline(self, image: Tensor) -> Tensor:
        return image.double().mean(dim=(1, 2), keepdim=True).to(image.dtype)


class Blurred(Straight):
    """From the blurred image."""

    NAME = "linear_blurred"

    def unfit(self, height: int, width: int) -> str:
        return _too_small(height, width)

    def baseline(self, image: Tensor) -> Tensor:
        from xlli_ray.probes.lam.path_points import filtered, gaussian_kernels

        return filtered(image, gaussian_kernels([SIGMA]))[0]


class Pair(Way):
    """From the degraded input to the clean target, for networks of scale 1."""

    NAME = "pair"
    TO_TARGET = True

    def path(self, image: Tensor, target: Tensor | None) -> tuple[Path, Tensor]:
        from xlli_ray.probes.lam.path_points import LinearPath

        if target is None or target.shape != image.shape:
            why = "goes from the degraded input to a clean target of the same size; this sample has none"
            raise NetworkError(f"path `{self.NAME}` {why}")
        return LinearPath(image), target


def _too_small(height: int, width: int) -> str:
    half = SIZE // 2
    if min(height, width) > half:
        return ""
    return f"the blur path needs inputs above {half} pixels on each side, this one has {height} rows × {width} columns"


def way_of(name: str) -> Way:
    """The path with that name or location. Raises RecipeError with the nearest names, or if it is not a path."""
    cls = LAM_PATHS.load(name)
    own = getattr(cls, "NAME", None)
    if not (isinstance(cls, type) and issubclass(cls, Way) and isinstance(own, str) and _NAME.fullmatch(own)):
        raise RecipeError(f"path {name!r}: expected a subclass of xlli_ray.probes.lam.path_choices.Way with a NAME of a-z, 0-9 and _")
    if own != name and (name in LAM_PATHS or (own in LAM_PATHS and LAM_PATHS.load(own) is not cls)):
        raise RecipeError(f"path {name!r}: its NAME {own!r} is taken by another path; rename it")
    return cls()


def make_path(name: str, image: Tensor, target: Tensor | None = None) -> tuple[Path, Tensor]:
    """The path called `name` for one input (C, H, W), and its end: the image, or for `pair` the clean target of the same size."""
    return way_of(name).path(image, target)
