"""Which of a checkpoint's mappings holds the weights: training programs nest them, and keep averaged ones next to the last ones.

Averaged weights (an exponential moving average over the steps) are what papers report and what people share, so they are preferred, and a
note says so. Weights of a discriminator or the state of an optimizer are never taken. An ambiguous file is an error that lists the
choices; `key` in a model's entry selects one: names of mappings, separated by `/`, or the common prefix of names (`generator_ema` for
`generator_ema.conv.weight`).
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
"""Depth of nested mappings; a mapping that contains itself is endless."""
WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes of all names: of DataParallel and of torch.compile."""

# Names of averaged weights, of plain ones in search order, and of mappings that are not networks to analyse.
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
    """`tensors`: the mapping as in the file. `notes`: decisions made, for people."""

    tensors: Mapping[Any, Any]
    notes: tuple[str, ...] = ()


def is_tensor(value: Any) -> bool:
    """A tensor, or a description of one."""
    return isinstance(value, Tensor | Stored | Unusable)


def is_other(name: str) -> bool:
    """Whether tensors under this name are not a network to analyse: a discriminator, a loss, an optimizer's state."""
    return _OTHER.match(name) is not None or not _OTHER_WORDS.isdisjoint(re.split(r"[_\-.]", name.lower()))


def is_averaged(name: str) -> bool:
    """Whether weights under this name are averaged ones."""
    return _AVERAGED.match(name) is not None and not is_other(name)


def choose(content: Any, *, key: str | None = None) -> Chosen:
    """The mapping of `content` that holds the weights. WeightsError, without the file's name, if there is none or more than one."""
    if key is not None:
        return _by_key(content, key)
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
        raise WeightsError(f"nested mappings, more than {DEEPEST} deep ({' / '.join(path[:3])} / …). Save the state dict itself.")
    if not isinstance(content, Mapping) or not any(map(is_tensor, content.values())):
        keys = ", ".join(_shown(name) for name in list(content)[:8]) if isinstance(content, Mapping) else ""
        what = f"the keys {keys or 'none'}" if isinstance(content, Mapping) else "no mapping"
        raise WeightsError(
            f"no tensors in the usual places (at the top, or under {', '.join(PLAIN)} and similar); found {what}."
            " Save the state dict itself: torch.save(checkpoint[...], ...)."
        )
    return Chosen(content, tuple(notes))


def _pick(content: Mapping[Any, Any], inner: Mapping[Any, Any], path: list[str], notes: list[str]) -> str | None:
    """The inner mapping to descend into, None to stay."""
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
            way = f"`key: {before}{beside}`" if plain else "saving them in a separate file"
            notes.append(f"averaged weights taken ({before}{name}); {way} selects those of the last step")
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
            f"the file holds only {_listed(names)}: not a network to analyse."
            f" Set `key: {before}{names[0]}` to use it anyway."
        )
    return None


def _one_of(names: list[str], inner: Mapping[Any, Any], path: list[str]) -> str:
    """The first name if all refer to the same tensors; otherwise a WeightsError that lists them."""
    others = {id(inner[name]): inner[name] for name in names[1:]}  # each once, even if it has several names
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
    """Ids of the mappings that contain a tensor, directly or nested.

    Each is visited once, and from those with tensors parents are followed upwards: linear in the size of the file, even if it refers to
    one mapping many times.
    """
    above: dict[int, list[int]] = {}
    pending: list[int] = []
    todo = [content] if isinstance(content, Mapping) else []
    seen = {id(content)}
    while todo:
        mapping = todo.pop()
        if any(map(is_tensor, mapping.values())):
            pending.append(id(mapping))
        for item in mapping.values():
            if isinstance(item, Mapping):
                above.setdefault(id(item), []).append(id(mapping))
                if id(item) not in seen:
                    seen.add(id(item))
                    todo.append(item)
    leading: set[int] = set()
    while pending:
        current = pending.pop()
        if current not in leading:
            leading.add(current)
            pending += above.get(current, ())
    return leading


def _by_key(content: Any, key: str) -> Chosen:
    """The mapping that `key` names."""
    current = content
    for part in [part for part in key.split("/") if part]:
        if isinstance(current, Mapping) and isinstance(current.get(part), Mapping):
            current = current[part]
            continue
        beginning = part.rstrip(".") + "."
        named = current.items() if isinstance(current, Mapping) else ()
        group = {k[len(beginning) :]: v for k, v in named if isinstance(k, str) and k.startswith(beginning)}
        if not group:
            available = list(dict.fromkeys(_names(content, _leading(content))))
            near = closest(key, available)
            raise WeightsError(
                f"nothing under `key: {key}`; the file holds {', '.join(map(_shown, available[:12])) or 'no mappings'}."
                + (f" Did you mean {near[0]!r}?" if near else "")
            )
        current = group
    if not isinstance(current, Mapping) or not any(map(is_tensor, current.values())):
        inner = [f"{key}/{name}" for name, value in current.items() if isinstance(value, Mapping)] if isinstance(current, Mapping) else []
        raise WeightsError(f"`key: {key}` names no tensors." + (f" Inside it are {', '.join(map(_shown, inner[:8]))}." if inner else ""))
    return Chosen(current, (f"weights taken from {key}, as `key` says",))


def _names(content: Any, leading: set[int]) -> Iterator[str]:
    """Names of mappings that hold tensors, two levels deep, each visited once, and prefixes of names."""
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
