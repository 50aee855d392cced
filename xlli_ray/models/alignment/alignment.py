"""What an alignment operator is, and how a network gets the one that its arguments name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from xlli_ray.errors import NetworkError, RecipeError, closest
from xlli_ray.models.blocks.warp import BORDERS
from xlli_ray.registry import ALIGNMENTS

ARG = "alignment"


class Alignment(nn.Module):
    """An alignment operator. A subclass defines `forward`, and takes `channels`, then its options as keyword arguments with defaults.

    `VERSION`    raised by hand when the same weights and inputs would give other numbers; it is part of a cell's identity.
    `LEVEL`      what is aligned: "feature", the maps of a supporting frame or what a recurrent network carries; "image", the supporting
                 frames themselves, before features are extracted: a network then warps its input, and aligns nothing later.
    `USES_FLOW`  false: the flow given is ignored, so a network need not estimate any.
    `LEARNED`    it has weights, which are in the network's state dict: only weights trained with it fit.
    """

    VERSION: ClassVar[int] = 1
    LEVEL: ClassVar[Literal["feature", "image"]] = "feature"
    USES_FLOW: ClassVar[bool] = True
    LEARNED: ClassVar[bool] = False

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, support: Tensor, current: Tensor, flow: Tensor) -> Tensor:
        """(B, C, h, w), (B, C, h, w), (B, 2, h, w) pixels, x first → (B, C, h, w)."""
        raise NotImplementedError


Choice = str | Mapping[str, Any]
"""`patch`, or `{patch: {size: 16}}`."""


def alignment_of(choice: Choice, *, channels: int, network: str = "") -> Alignment:
    """The operator that `choice` names, made for maps of `channels`. `network`: for messages.

    NetworkError for an unknown operator, one that is no `Alignment`, an option that it does not take, or a value that it refuses.
    """
    name, options = _read(choice, network)
    cls = alignment_class(choice, network=network)
    takes = [key for key, item in inspect.signature(cls.__init__).parameters.items() if item.kind is item.KEYWORD_ONLY]
    for key in options:
        if key not in takes:
            near = closest(key, takes)
            raise NetworkError(
                f"{_of(network)}alignment {name!r} takes no option {key!r}; it takes {', '.join(takes) or 'none'}."
                + (f" Did you mean {near[0]!r}?" if near else "")
            )
    try:
        return cls(channels, **options)
    except NetworkError as error:
        raise NetworkError(f"{_of(network)}{error}") from error


def alignment_class(choice: Choice, *, network: str = "") -> type[Alignment]:
    """The class of the operator that `choice` names. NetworkError as for `alignment_of`."""
    name, _ = _read(choice, network)
    try:
        cls = ALIGNMENTS.load(name)
    except RecipeError as error:
        raise NetworkError(f"{_of(network)}{error}") from error
    if not (isinstance(cls, type) and issubclass(cls, Alignment)):
        raise NetworkError(f"{_of(network)}alignment {name!r} is {cls!r}; expected a subclass of Alignment (docs/extending.md).")
    return cls


def alignment_parts(choice: Choice) -> dict[str, int]:
    """The VERSION of the operator that `choice` names, as `networks.Built.parts` wants it."""
    return {f"alignment {_read(choice, '')[0]}": alignment_class(choice).VERSION}


def _read(choice: Any, network: str) -> tuple[str, Mapping[str, Any]]:
    if isinstance(choice, str):
        return choice, {}
    if choice is None:
        return "none", {}  # `alignment: null`
    if isinstance(choice, Mapping) and len(choice) == 1:
        ((name, options),) = choice.items()
        if isinstance(name, str) and (options is None or isinstance(options, Mapping)):
            return name, options or {}
    raise NetworkError(f"{_of(network)}alignment is {choice!r}; expected a name, or a name with its options: {{patch: {{size: 16}}}}.")


def _of(network: str) -> str:
    return f"network {network!r}: " if network else ""


def one_of(name: str, option: str, value: Any, allowed: Mapping[str, Any] | tuple[str, ...]) -> None:
    """NetworkError if an operator's option has none of the values allowed."""
    if value not in tuple(allowed):
        raise NetworkError(f"alignment {name!r}: {option} is {value!r}; expected one of {', '.join(allowed)}.")


def check_border(name: str, border: Any) -> None:
    """NetworkError if `border` is none of those of `blocks.warp`."""
    one_of(name, "border", border, BORDERS)
