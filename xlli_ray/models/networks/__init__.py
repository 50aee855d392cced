"""Networks of our own, one file each, written from their papers: what a file holds, and what it returns.

A file here holds three things::

    VERSION = 1                                     # raised by hand when the same weights would give other numbers

    class Imdn(nn.Module): ...                      # module names equal to the prefixes of the public state dict

    def from_state_dict(tensors, args) -> Built     # widths and depths read from the shapes; strict loading

Module names are those of the state dict, so that a layer pattern can be read off the checkpoint's keys. Where the same network
is published under several sets of names, the file lists them as `RENAMES`, pairs of a pattern and what to write in its place,
and hands its tensors to `renamed` first; the other names become `aliases` of the layers. Adding a network is one file and one
line in `registry.NETWORKS`, or an entry point `xlli_ray.networks` of an installed package, which names the module.

`from_state_dict` is called with PyTorch's meta device as the default (`built`): modules that it makes have shapes and no memory
until `load_strict` has compared every shape with the file's, so that a few kilobytes cannot ask for terabytes.

Where several networks differ in little more than a number, one file holds them, each as an object with `VERSION` and `from_state_dict`, and
`registry.NETWORKS` names the object: `prenet:PRN_R`.

A file may name the `args` of a recipe that it takes: `ARGS = ("scale",)`. A model's `scale:` is handed on as the
argument `scale` to a file that takes one. A network that can be trained has `create(args, generator=)`; one made of registered classes,
such as an alignment operator, tells their VERSIONs in `Built.parts`, and for its training in `parts(args)`. Importing this package imports
no torch; `network_file` imports the one file that is asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from xlli_ray.errors import NetworkError, RecipeError, WeightsError, closest, counted
from xlli_ray.registry import ALIGNMENTS, FLOW_ESTIMATORS, NETWORKS

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor, nn


@dataclass(frozen=True)
class Built:
    """A network as its file built it, weights loaded.

    `module`    takes and gives (B, channels, H, W) float32 in `range`; the output is `scale` times as high and wide. A network of clips
                (`call`) takes (B, T, channels, H, W) and gives (B, T, channels, scale*H, scale*W).
    `scale`     output pixels per input pixel along one axis; 1 for a network that keeps the size.
    `channels`  1 (luma) or 3 (RGB).
    `range`     (lo, hi) of the values that go in and come out, unless the recipe says otherwise.
    `multiple`  the module needs H and W divisible by this (the caller pads). None: of a factory's network it is found by
                trying (`accepted_sizes`), for networks of ours it is 1.
    `minimum`   smallest H and W, in pixels, that the module can take. None: as above.
    `output`    "image", or "none" for a network whose output is no image (a classifier).
    `call`      "image", or "clip" for a network that takes clips.
    `frames`    of a network of clips: how many it takes at once; None: any number.
    `gives`     of a network of clips: "frames", or "centre" for one that gives (B, channels, scale*H, scale*W), of frame T // 2.
    `aliases`   other names for taps, e.g. {"RB16": "trunk.15"}; a value is a layer pattern, so ":input" may follow.
    `notes`     for people: what they should know of how the file was read, e.g. tensors that the network never uses.
    `parts`     VERSIONs of registered classes that the network was built with, e.g. {"alignment patch": 1}: the registry's noun and the
                name. Those above 1 are part of a cell's identity.
    """

    module: nn.Module
    scale: int
    channels: int = 3
    range: tuple[float, float] = (0.0, 1.0)
    multiple: int | None = None
    minimum: int | None = None
    output: Literal["image", "none"] = "image"
    aliases: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    call: Literal["image", "clip"] = "image"
    frames: int | None = None
    gives: Literal["frames", "centre"] = "frames"
    parts: dict[str, int] = field(default_factory=dict)


def network_file(name: str) -> ModuleType:
    """The file of a registered network, imported, or the object in one. NetworkError names the closest ones for an unknown name, or says
    what an installed package's file lacks."""
    if name not in NETWORKS and not NETWORKS.misformed(name):
        likely = closest(name, NETWORKS)
        raise NetworkError(
            f"network {name!r} is not one of ours ({', '.join(NETWORKS)})."
            + (f" Did you mean {likely[0]!r}?" if likely else "")
            + " Name one of your own as package.module:factory, or leave `network` out to let spandrel recognise it."
        )
    try:
        file = cast("ModuleType", NETWORKS.load(name))
    except RecipeError as error:
        raise NetworkError(str(error)) from error
    if lacking := [part for part in ("VERSION", "from_state_dict") if not hasattr(file, part)]:
        raise NetworkError(
            f"network {name!r}: the module {NETWORKS[name]} has no {' and no '.join(lacking)} (docs/extending.md, A network)."
        )
    return file


PARTS = {registry.noun: registry for registry in (ALIGNMENTS, FLOW_ESTIMATORS)}
"""Registries whose classes may be parts of a network (`Built.parts`), by their nouns."""


def current_parts(parts: Mapping[str, int]) -> dict[str, int]:
    """The same parts with their VERSIONs of now; one that cannot be loaded keeps its number: loading the network reports why."""
    now = {}
    for part, version in parts.items():
        noun, _, name = part.rpartition(" ")
        try:
            now[part] = int(PARTS[noun].load(name).VERSION)
        except (KeyError, RecipeError):
            now[part] = version
    return now


def raised(parts: Mapping[str, int]) -> dict[str, int]:
    """The parts whose VERSION is above 1, sorted: those that are part of identities."""
    return {part: version for part, version in sorted(parts.items()) if version != 1}


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


def counts(args: Mapping[str, Any], defaults: Mapping[str, int], *, network: str) -> tuple[int, ...]:
    """Widths and depths: those of `args`, else the defaults, in the order of `defaults`. NetworkError for one that is no integer ≥ 1."""
    values = {name: args.get(name, default) for name, default in defaults.items()}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise NetworkError(f"network {network!r}: {name} must be an integer ≥ 1, got {value!r}.")
    return tuple(values.values())


def built(name: str, tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> Built:
    """A registered network with its weights. WeightsError when they are not a checkpoint of it, NetworkError for `args`."""
    import torch

    file = network_file(name)
    try:
        with torch.device("meta"):
            made: Built = file.from_state_dict(tensors, args)
    except (WeightsError, NetworkError):
        raise
    except Exception as error:  # what a file does with shapes that no checkpoint of it has
        said = (str(error).strip() or "no message").splitlines()[0][:200]
        raise WeightsError(
            f"these tensors do not have the shapes of network {name!r} ({type(error).__name__}: {said}). Name the right `network`, or copy"
            " the file again."
        ) from error
    return made


def renamed(tensors: Mapping[str, Tensor], renames: Iterable[tuple[str, str]]) -> dict[str, Tensor]:
    """`tensors` under this package's names: each key goes through all of `renames`, (regular expression, replacement)."""
    out: dict[str, Tensor] = {}
    rules = list(renames)
    for key, tensor in tensors.items():
        name = key
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        if name in out:
            raise WeightsError(f"two tensors of this state dict mean {shown_name(name)!r}. Which one is meant cannot be told.")
        out[name] = tensor
    return out


def shape_of(tensors: Mapping[str, Tensor], key: str, *, network: str, axes: int = 4) -> tuple[int, ...]:
    """Shape of one tensor of a state dict: `axes` numbers, none of them 0. WeightsError when it is absent or of another
    shape: then this is not a checkpoint of `network`."""
    if key not in tensors:
        some = ", ".join(map(shown_name, list(tensors)[:4]))
        raise WeightsError(
            f"this is not a checkpoint of network {network!r}: it has no tensor {key!r}; it has {counted(len(tensors), 'tensor')},"
            f" the first: {some or 'none'}. Name the right `network`, or leave it out to let spandrel recognise it."
        )
    shape = tuple(tensors[key].shape)
    if len(shape) != axes or 0 in shape:
        raise WeightsError(
            f"this is not a checkpoint of network {network!r}: {key!r} has shape {shape}, expected {axes} axes, none of them empty. Copy"
            " the file again, or name the right `network`."
        )
    return shape


def numbered(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many blocks a state dict has: one more than the largest number that group 1 of `pattern` matches, else 0.
    WeightsError when that is more than there are tensors: no network of ours leaves numbers out."""
    found = [re.match(pattern, key) for key in tensors]
    count = max((int(match.group(1)[:9]) + 1 for match in found if match), default=0)
    if count > len(tensors) + 1:
        held = counted(len(tensors), "tensor")
        raise WeightsError(f"the names of this state dict count to {count}, with {held} in it. Copy the file again.")
    return count


def shuffle_scale(outputs: int, channels: int, *, network: str) -> int:
    """Scale of a pixel shuffle that turns `outputs` feature maps into `channels`: outputs = channels * scale**2."""
    scale = math.isqrt(outputs // channels)
    if channels * scale**2 != outputs or scale < 1:
        raise WeightsError(
            f"the last convolution of network {network!r} gives {outputs} maps, which is not {channels} (the channels"
            f" of its input) times a square; so its scale cannot be read off. Is this a checkpoint of {network!r}?"
        )
    return scale


def shown_name(name: str) -> str:
    """A tensor's name from a file, on one line of a message: quoted when it holds what does not print, cut when it is long."""
    short = name if len(name) <= 80 else f"{name[:60]}… ({len(name):,} characters)"
    return short if short.isprintable() and short else repr(short)


def load_strict(module: nn.Module, tensors: Mapping[str, Tensor], *, network: str) -> None:
    """Copy `tensors` into `module`, names and shapes exactly equal, and make it ready to be looked into.

    Afterwards the module is in eval mode and no parameter asks for a gradient (gradients to the *input* still flow).
    WeightsError lists what is missing, unexpected or of another shape; nothing is copied then.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in tensors]
    unexpected = [shown_name(key) for key in tensors if key not in own]
    other = [
        f"{key}: {tuple(tensors[key].shape)} in the file, {tuple(own[key].shape)} in the network"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]
    kinds = [
        f"{key}: {tensors[key].dtype} in the file, {own[key].dtype} in the network"
        for key in own
        if key in tensors and tensors[key].is_floating_point() != own[key].is_floating_point()
    ]
    if missing or unexpected or other or kinds:
        parts = [
            f"{what} ({len(found)}): {', '.join(found[:6])}{', …' if len(found) > 6 else ''}"
            for what, found in (("missing", missing), ("unexpected", unexpected), ("of another shape", other), ("of another kind", kinds))
            if found
        ]
        raise WeightsError(
            f"the weights do not fit network {network!r}. {'; '.join(parts)}."
            " Check `network` and its `args`, or that the file holds this network and not another one."
        )
    if any(tensor.is_meta for tensor in own.values()):  # shapes agree: now there may be memory
        fresh = {key: tensor.to(own[key].dtype, copy=True) for key, tensor in tensors.items()}
        module.load_state_dict(fresh, strict=True, assign=True)
    else:
        module.load_state_dict(dict(tensors), strict=True)
    module.eval()
    module.requires_grad_(False)
