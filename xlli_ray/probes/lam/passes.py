"""What stands between the stage and passes of many images: what is explained, and how passes are asked for its maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from xlli_ray.errors import NetworkError

if TYPE_CHECKING:
    from torch import Tensor

    from xlli_ray.probes.lam.attribution import WindowResult
    from xlli_ray.probes.lam.path_points import Path
    from xlli_ray.probes.lam.window import Window


@dataclass(frozen=True)
class Explained:
    """An image or clip and its windows. `image`: the end of the path, (C, H, W) or (T, C, H, W); `target`: (C, sH, sW), for `error`."""

    image: Tensor
    windows: Sequence[Window]
    path: Path
    target: Tensor | None = None


class Passes(Protocol):
    """Maps of many images in few passes, for a GPU: `wide_passes.WidePasses`, or something like it."""

    narrowed: bool
    """Whether memory ran out, and passes of less than the planned width were made."""

    def images_a_pass(self, shape: Sequence[int]) -> int:
        """Images of `shape` that fill a pass."""

    def launch(self, tasks: Sequence[Explained]) -> Callable[[], list[list[WindowResult] | NetworkError]]:
        """Queue the maps of images of one size; the returned function waits for them."""
