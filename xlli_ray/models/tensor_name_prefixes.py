"""Possible names of a state dict's tensors: unchanged, or without the prefix of a training program.

A program that trains a network as part of something larger saves it under that part's name: `generator.conv.weight`, `net_g.…`, and
sometimes with averaged weights (`generator_ema.…`) and a discriminator as well. Such a prefix may also belong to the network itself
(`model.0.weight`), so nothing is stripped when a file is read: building a network tries the variants in turn, unchanged names first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from xlli_ray.models.nested_weights import WRAPPERS, is_averaged, is_other

_PARTS = re.compile(
    r"(?i)^(module|_orig_mod|_forward_module|generator|gen|g|net|net_?g|network|model|student|backbone|sr_?model)([_-]ema)?$|^ema([_-]model)?$|^net_?e$"
)
DEEPEST = 3
"""Prefixes that are stripped one after the other: `model.net_g.module.`"""


@dataclass(frozen=True)
class Variant:
    """`tensors` under the names to try; `cut`: the prefix stripped, `left`: the prefixes of the tensors left out."""

    tensors: Mapping[str, Tensor]
    cut: str = ""
    left: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """For people, if tensors were left out that could have been meant."""
        if not self.left:
            return ()
        averaged = " (averaged weights)" if is_averaged(self.cut.rstrip(".").rpartition(".")[2]) else ""
        return (f"tensors {self.cut}*{averaged} taken, {', '.join(f'{name}.*' for name in self.left)} left out",)


def variants(tensors: Mapping[str, Tensor]) -> Iterator[Variant]:
    """The variants of a state dict, in the order in which to try them: unchanged, averaged parts, then others."""
    yield Variant(tensors)
    yield from _inside(Variant(tensors), DEEPEST)


def _inside(outer: Variant, depth: int) -> Iterator[Variant]:
    if not depth:
        return
    groups: dict[str, dict[str, Tensor]] = {}
    for key, tensor in outer.tensors.items():
        first, dot, rest = key.partition(".")
        if dot and rest:
            groups.setdefault(first, {})[rest] = tensor
        else:
            groups.setdefault("", {})[key] = tensor  # a counter next to the network
    parts = [name for name in groups if _PARTS.match(name) and not is_other(name)]
    for name in sorted(parts, key=lambda name: not is_averaged(name)):
        left = tuple(other for other in groups if other not in (name, "")) + outer.left
        inner = Variant(groups[name], f"{outer.cut}{name}.", left)
        yield inner
        yield from _inside(inner, depth - 1)


def under(tensors: Mapping[str, Tensor], own: set[str]) -> Variant:
    """The variant with exactly the names of a module, `own`, some of which have a wrapper's prefix; else the tensors unchanged."""
    for variant in variants(tensors):
        if variant.tensors.keys() == own:
            return variant
    for wrapper in WRAPPERS:
        for variant in variants(tensors):
            if {wrapper + key for key in variant.tensors} == own:
                return Variant({wrapper + key: tensor for key, tensor in variant.tensors.items()}, variant.cut, variant.left)
    return Variant(tensors)
