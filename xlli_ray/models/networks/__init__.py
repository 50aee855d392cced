"""Networks of our own, one file each, written from their papers: the registry, and what each file returns.

A file here holds three things::

    VERSION = 1                                     # raised by hand when the same weights would give other numbers

    class Imdn(nn.Module): ...                      # module names equal to the prefixes of the public state dict

    def from_state_dict(tensors, args) -> Built     # widths and depths read from the shapes; strict loading

Module names are those of the state dict, so that nothing is renamed on the way in and a layer pattern can be read off
the checkpoint's keys. Adding a network is one file and one line in `NETWORKS`.

A file may name the `args` of a recipe that it takes: `ARGS = ("scale",)`. A model's `scale:` is handed on as the
argument `scale` to a file that takes one. Importing this package imports no torch; `network_file` imports the one file
that is asked for.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from xlli_ray.errors import NetworkError, WeightsError, closest

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor, nn

NETWORKS: dict[str, str] = {
    "srresnet": "xlli_ray.models.networks.srresnet",
    "classifier": "xlli_ray.models.networks.classifier",
    "imdn": "xlli_ray.models.networks.imdn",
    "rfdn": "xlli_ray.models.networks.rfdn",
    "rlfn": "xlli_ray.models.networks.rlfn",
    "carn_m": "xlli_ray.models.networks.carn_m",
    "ffdnet": "xlli_ray.models.networks.ffdnet",
}


@dataclass(frozen=True)
class Built:
    """A network as its file built it, weights loaded.

    `module`    takes and gives (B, channels, H, W) float32 in `range`; the output is `scale` times as high and wide.
    `scale`     output pixels per input pixel along one axis; 1 for a network that keeps the size.
    `channels`  1 (luma) or 3 (RGB).
    `range`     (lo, hi) of the values that go in and come out, unless the recipe says otherwise.
    `multiple`  the module needs H and W divisible by this (the caller pads).
    `minimum`   smallest H and W, in pixels, that the module can take.
    `output`    "image", or "none" for a network whose output is no image (a classifier).
    `aliases`   other names for taps, e.g. {"RB16": "trunk.15"}; a value is a layer pattern, so ":input" may follow.
    """

    module: nn.Module
    scale: int
    channels: int = 3
    range: tuple[float, float] = (0.0, 1.0)
    multiple: int = 1
    minimum: int = 1
    output: Literal["image", "none"] = "image"
    aliases: dict[str, str] = field(default_factory=dict)


def network_file(name: str) -> ModuleType:
    """The file of a registered network, imported. NetworkError names the closest ones for an unknown name."""
    if name not in NETWORKS:
        likely = closest(name, NETWORKS)
        raise NetworkError(
            f"network {name!r} is not one of ours ({', '.join(NETWORKS)})."
            + (f" Did you mean {likely[0]!r}?" if likely else "")
            + " Name one of your own as package.module:factory, or leave `network` out to let spandrel recognise it."
        )
    return importlib.import_module(NETWORKS[name])


def check_args(args: Mapping[str, Any], allowed: Iterable[str], *, network: str) -> None:
    """Refuse arguments that `network` does not take. NetworkError names the one that was probably meant."""
    names = sorted(allowed)
    for key in args:
        if key not in names:
            likely = closest(key, names)
            raise NetworkError(
                f"network {network!r} takes no argument {key!r}; it takes {', '.join(names) or 'none'}."
                + (f" Did you mean {likely[0]!r}?" if likely else "")
            )


def shape_of(tensors: Mapping[str, Tensor], key: str, *, network: str) -> tuple[int, ...]:
    """Shape of one tensor of a state dict. WeightsError when absent: then this is not a checkpoint of `network`."""
    if key not in tensors:
        some = ", ".join(list(tensors)[:4])
        raise WeightsError(
            f"this is not a checkpoint of network {network!r}: it has no tensor {key!r}; it has {len(tensors)} tensors,"
            f" the first: {some or 'none'}. Name the right `network`, or leave it out to let spandrel recognise it."
        )
    return tuple(tensors[key].shape)


def numbered(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many blocks a state dict has: one more than the largest number that group 1 of `pattern` matches, else 0."""
    found = [re.match(pattern, key) for key in tensors]
    return max((int(match.group(1)) + 1 for match in found if match), default=0)


def shuffle_scale(outputs: int, channels: int, *, network: str) -> int:
    """Scale of a pixel shuffle that turns `outputs` feature maps into `channels`: outputs = channels * scale**2."""
    scale = math.isqrt(outputs // channels)
    if channels * scale**2 != outputs:
        raise WeightsError(
            f"the last convolution of network {network!r} gives {outputs} maps, which is not {channels} (the channels"
            f" of its input) times a square; so its scale cannot be read off. Is this a checkpoint of {network!r}?"
        )
    return scale


def load_strict(module: nn.Module, tensors: Mapping[str, Tensor], *, network: str) -> None:
    """Copy `tensors` into `module`, names and shapes exactly equal, and make it ready to be looked into.

    Afterwards the module is in eval mode and no parameter asks for a gradient (gradients to the *input* still flow).
    WeightsError lists what is missing, unexpected or of another shape; nothing is copied then.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in tensors]
    unexpected = [key for key in tensors if key not in own]
    other = [
        f"{key}: {tuple(tensors[key].shape)} in the file, {tuple(own[key].shape)} in the network"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]
    if missing or unexpected or other:
        parts = [
            f"{what} ({len(found)}): {', '.join(found[:6])}{', …' if len(found) > 6 else ''}"
            for what, found in (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
            if found
        ]
        raise WeightsError(
            f"the weights do not fit network {network!r}. {'; '.join(parts)}."
            " Check `network` and its `args`, or that the file holds this network and not another one."
        )
    module.load_state_dict(dict(tensors), strict=True)
    module.eval()
    module.requires_grad_(False)
