"""Where the paths of `lam` begin, by the names that a recipe has for them.

A map explains the difference between a baseline and the image, so the baseline is a part of the question: the blurred image (the paper's
path), black, the mean colour, the degraded input on the way to the clean target. To add one: a subclass of `Straight` with a NAME and
`baseline`, or one of `Way` with `path`, in a file of its own; a registry line (`registry.LAM_PATHS`), an entry point of the group
`xlli_ray.lam_paths`, or its place in a recipe, `path: grey.py:Grey`. Importing the file must not import torch.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from xlli_ray.errors import NetworkError, RecipeError
from xlli_ray.registry import LAM_PATHS

if TYPE_CHECKING:
    from torch import Tensor

    from xlli_ray.probes.lam.path_points import Path

_NAME = re.compile(r"[a-z][a-z0-9_]*")
BLUR_SIDE = 9
"""Side of the blur's kernel."""


class Way:
    """How the path of an image is made."""

    NAME: ClassVar[str]
    """As the column `path` and identities have it; where a registry names it its name there. Of a-z, 0-9 and _."""
    VERSION: ClassVar[int] = 1
    """Raised by hand when the path changes."""
    TO_TARGET: ClassVar[bool] = False
    """True: it ends at the clean target, which must be there and of the image's size."""

    def unfit(self, height: int, width: int) -> str:
        """Why an input of (height, width) pixels has no such path; '' when it has."""
        return ""

    def path(self, image: Tensor, target: Tensor | None) -> tuple[Path, Tensor]:
        """The path for `image`, (C, H, W) in 0..1 as the network is given it, and where it ends: the image, or its target (C, H, W)."""
        raise NotImplementedError


class Straight(Way):
    """A straight line to the image."""

    def baseline(self, image: Tensor) -> Tensor:
        """Where it begins: (C, H, W) in 0..1 of the image's dtype and device."""
        raise NotImplementedError

    def path(self, image: Tensor, target: Tensor | None) -> tuple[Path, Tensor]:
        from xlli_ray.probes.lam.path_points import LinearPath

        return LinearPath(self.baseline(image).expand_as(image)), image


class Blur(Way):
    """The paper's: less and less blurred."""

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
        from xlli_ray.probes.lam.path_points import SIGMA, filtered, gaussian_kernels

        return filtered(image, gaussian_kernels([SIGMA]))[0]


class Pair(Way):
    """From the degraded input to the clean target, for networks of scale 1."""

    NAME = "pair"
    TO_TARGET = True

    def path(self, image: Tensor, target: Tensor | None) -> tuple[Path, Tensor]:
        from xlli_ray.probes.lam.path_points import LinearPath

        if target is None or target.shape != image.shape:
            why = "leads from the degraded input to a clean target of the same size; there is none for this sample"
            raise NetworkError(f"path `{self.NAME}` {why}")
        return LinearPath(image), target


def _too_small(height: int, width: int) -> str:
    half = BLUR_SIDE // 2
    if min(height, width) > half:
        return ""
    return f"the blur path needs inputs above {half} pixels on each side, this one has {height} rows × {width} columns"


def way_of(name: str) -> Way:
    """The way of that name, or at that place. Raises RecipeError with the nearest names, or for what is none."""
    cls = LAM_PATHS.load(name)
    own = getattr(cls, "NAME", None)
    if not (isinstance(cls, type) and issubclass(cls, Way) and isinstance(own, str) and _NAME.fullmatch(own)):
        raise RecipeError(f"path {name!r}: expected a subclass of xlli_ray.probes.lam.path_choices.Way with a NAME of a-z, 0-9 and _")
    if own != name and (name in LAM_PATHS or (own in LAM_PATHS and LAM_PATHS.load(own) is not cls)):
        raise RecipeError(f"path {name!r}: its NAME {own!r} is that of another path; give it another")
    return cls()


def make_path(name: str, image: Tensor, target: Tensor | None = None) -> tuple[Path, Tensor]:
    """The path called `name` for one input (C, H, W), and where it ends: the image, or for `pair` the clean target of the same size."""
    return way_of(name).path(image, target)
