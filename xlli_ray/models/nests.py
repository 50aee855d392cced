"""Which of a checkpoint's mappings holds the weights: training programs wrap them, and keep averaged ones beside the last ones.

Averaged weights (an exponential moving average over the steps) are what papers report and what people share, so they are preferred, and it
is said that they were taken. Weights of a discriminator or the state of an optimizer are never taken. What cannot be decided is an error
that lists what there is; `key` in a model's entry decides: names of mappings, with `/` between them, or the common beginning of names
(`generator_ema` for `generator_ema.conv.weight`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from xlli_ray.errors import WeightsError, closest
from xlli_ray.models.pickled import Stored, Unusable

DEEPEST = 12
"""Mappings within mappings; a mapping that holds itself goes on for ever."""
WRAPPERS = ("module.", "_orig_mod.")
"""Beginnings of every name: of DataParallel and of torch.compile."""

# Names of averaged weights, of plain ones in the order in which they are looked for, and of what is no network to look into.
_AVERAGED = re.compile(r"(?i)^(.*[_-])?ema([_-].*)?$|^net_?e$|^.*averaged?_model.*$|^swa_.*$|^shadow(_params)?$")
PLAIN = ("params", "state_dict", "net", "model", "model_state_dict")
_ALSO_PLAIN = re.compile(
    r"(?i)^(model_?|net_?|network_?|module_?|g_?|gen_?|generator_?|net_?g_?|weights_?|student_?)(state(_?dict)?|params|weights)?$"
)
_OTHER = re.compile(r"(?i)^(.*[_-])?(d|net_?d\d*|dis|disc|discriminator|critic)([_-]?(ema|state(_?dict)?|params))?$")
_OTHER_WORDS = {
    "optim", "optimizer", "optimizers", "optimiser", "sched", "scheduler", "schedulers", "scaler", "amp", "rng", "random", "callbacks",
    "loops", "criterion", "loss", "losses", "lpips", "vgg", "perceptual", "metric", "metrics", "hyper", "config", "teacher",
    "discriminator",
}  # fmt: skip


@dataclass(frozen=True)
class Chosen:
    """`tensors`: the mapping as the file has it. `notes`: what was decided, for people."""

    tensors: Mapping[Any, Any]
    notes: tuple[str, ...] = ()


def is_tensor(value: Any) -> bool:
    """A tensor, or a description of one."""
    return isinstance(value, Tensor | Stored | Unusable)


def is_other(name: str) -> bool:
    """Whether tensors under this name are no network to look into: a discriminator, a loss, an optimizer's state."""
    return _OTHER.match(name) is not None or not _OTHER_WORDS.isdisjoint(re.split(r"[_\-.]", name.lower()))


def is_averaged(name: str) -> bool:
    """Whether weights under this name are averaged ones."""
    return _AVERAGED.match(name) is not None and not is_other(name)


def choose(content: Any, *, key: str | None = None) -> Chosen:
    """The mapping of `content` that holds the weights. WeightsError, without the file's name, when there is none, or several are."""
    if key is not None:
        return _asked(content, key)
    notes: list[str] = []
    path: list[str] = []
    leading = _leading(content)
    while isinstance(content, Mapping) and len(path) <= DEEPEST:
        inner = {name: value for name, value in content.items() if id(value) in leading}
        name = _pick(content, inner, path, notes)
        if name is None:
            break
        path.append(name)
        content = inner[name]
    if len(path) > DEEPEST:
        raise WeightsError(f"mappings within mappings, more than {DEEPEST} deep ({' / '.join(path[:3])} / …). Save the state dict itself.")
    if not isinstance(content, Mapping) or not any(map(is_tensor, content.values())):
        keys = ", ".join(_shown(name) for name in list(content)[:8]) if isinstance(content, Mapping) else ""
        what = f"the keys {keys or 'none'}" if isinstance(content, Mapping) else "no mapping"
        raise WeightsError(
            f"no tensors where they are looked for (at the top, or under {', '.join(PLAIN)} and the like); found {what}."
            " Save the state dict itself: torch.save(checkpoint[...], ...)."
        )
    return Chosen(content, tuple(notes))


def _pick(content: Mapping[Any, Any], inner: Mapping[Any, Any], path: list[str], notes: list[str]) -> str | None:
    """The inner mapping to go into, None to stay here."""
    names = [name for name in inner if isinstance(name, str)]
    averaged = dict.fromkeys(name for name in names if is_averaged(name))
    plain = [name for name in PLAIN if name in names] + [n for n in names if n not in PLAIN and _ALSO_PLAIN.match(n) and not is_other(n)]
    plain = [name for name in plain if name not in averaged]
    here = any(map(is_tensor, content.values()))
    before = "".join(f"{name}/" for name in path)
    if averaged:
        name = _one_of(list(averaged), inner, path)
        if plain or here:
            beside = plain[0] if plain else "the others"
            way = f"`key: {before}{beside}`" if plain else "naming them in a file of their own"
            notes.append(f"averaged weights taken ({before}{name}); {way} takes those of the last step")
        return name
    if plain:
        return _one_of(plain, inner, path)
    if here:
        return None
    rest = [name for name in names if not is_other(name)]
    if len(rest) > 1:
        raise WeightsError(_several(rest, path))
    if rest:
        notes.append(f"weights taken from {before}{rest[0]}, the only ones in the file")
        return rest[0]
    if names:
        raise WeightsError(
            f"the file holds {_listed(names)} only: no network to look into."
            f" Write `key: {before}{names[0]}` if you mean it."
        )
    return None


def _one_of(names: list[str], inner: Mapping[Any, Any], path: list[str]) -> str:
    """The first name when all stand for the same tensors. WeightsError that lists them otherwise."""
    others = {id(inner[name]): inner[name] for name in names[1:]}  # each once, however many names it has
    if all(_same(inner[names[0]], other) for other in others.values()):
        return names[0]
    raise WeightsError(_several(names, path))


def _several(names: list[str], path: list[str]) -> str:
    before = "".join(f"{name}/" for name in path)
    return (
        f"the file holds several sets of weights: {_listed([before + name for name in names])}."
        f" Choose one in the model's entry: `key: {before}{names[0]}`."
    )


def _same(left: Any, right: Any) -> bool:
    """Whether two mappings are the same object, or describe the same views of the same storages."""
    if left is right:
        return True
    if not isinstance(left, Mapping) or not isinstance(right, Mapping) or left.keys() != right.keys():
        return False
    return all(left[key] is right[key] or _view(left[key]) == _view(right[key]) is not None for key in left)


def _view(value: Any) -> tuple[Any, ...] | None:
    return (value.storage.key, value.storage.start, value.offset, value.size, value.stride) if isinstance(value, Stored) else None


def _leading(content: Any) -> set[int]:
    """Ids of the mappings that hold a tensor, themselves or in mappings inside them.

    Each is looked at once, and from those with tensors the way back is followed: the work is linear in the file, however often it names
    one mapping.
    """
    above: dict[int, list[int]] = {}
    found: list[int] = []
    todo = [content] if isinstance(content, Mapping) else []
    seen = {id(content)}
    while todo:
        mapping = todo.pop()
        if any(map(is_tensor, mapping.values())):
            found.append(id(mapping))
        for item in mapping.values():
            if isinstance(item, Mapping):
                above.setdefault(id(item), []).append(id(mapping))
                if id(item) not in seen:
                    seen.add(id(item))
                    todo.append(item)
    leading: set[int] = set()
    while found:
        here = found.pop()
        if here not in leading:
            leading.add(here)
            found += above.get(here, ())
    return leading


def _asked(content: Any, key: str) -> Chosen:
    """What `key` names."""
    here = content
    for part in [part for part in key.split("/") if part]:
        if isinstance(here, Mapping) and isinstance(here.get(part), Mapping):
            here = here[part]
            continue
        beginning = part.rstrip(".") + "."
        named = here.items() if isinstance(here, Mapping) else ()
        group = {k[len(beginning) :]: v for k, v in named if isinstance(k, str) and k.startswith(beginning)}
        if not group:
            there = list(dict.fromkeys(_names(content, _leading(content))))
            near = closest(key, there)
            raise WeightsError(
                f"there is nothing under `key: {key}`; the file holds {', '.join(map(_shown, there[:12])) or 'no mappings'}."
                + (f" Did you mean {near[0]!r}?" if near else "")
            )
        here = group
    if not isinstance(here, Mapping) or not any(map(is_tensor, here.values())):
        inner = [f"{key}/{name}" for name, value in here.items() if isinstance(value, Mapping)] if isinstance(here, Mapping) else []
        raise WeightsError(f"`key: {key}` names no tensors." + (f" Inside it are {', '.join(map(_shown, inner[:8]))}." if inner else ""))
    return Chosen(here, (f"weights taken from {key}, as `key` says",))


def _names(content: Any, leading: set[int]) -> Iterator[str]:
    """Names of mappings that hold tensors, two levels deep, each looked into once, and beginnings of names."""
    if not isinstance(content, Mapping):
        return
    seen: set[int] = set()
    for name, value in content.items():
        if isinstance(name, str) and id(value) in leading:
            yield name
            if id(value) in seen:
                continue
            seen.add(id(value))
            for inside, more in value.items():
                if isinstance(inside, str) and id(more) in leading:
                    yield f"{name}/{inside}"
                elif isinstance(inside, str) and is_tensor(more) and "." in inside:
                    yield f"{name}/{inside.partition('.')[0]}"
        elif isinstance(name, str) and is_tensor(value) and "." in name:
            yield name.partition(".")[0]


def _listed(names: Sequence[Any]) -> str:
    return ", ".join(map(_shown, names[:12])) + (f", … ({len(names)})" if len(names) > 12 else "")


def _shown(name: Any) -> str:
    return repr(name if isinstance(name, str | int | float | bool | None) else type(name).__name__)[:80]
