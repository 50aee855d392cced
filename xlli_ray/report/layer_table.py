"""`xlli layers`: what a network is, and its layers, as a table for a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from xlli_ray.errors import RecipeError, SampleError, WeightsError, counted
from xlli_ray.report.text import grid

if TYPE_CHECKING:
    from xlli_ray.models.model import Model

_WEIGHTS = re.compile(r"(?i)\.(pth|pt|ckpt|safetensors|bin|th|tar|pkl)$")


def parse_args(texts: Sequence[str]) -> dict[str, Any]:
    """Arguments of a network from `key=value` (the value in YAML) or a JSON mapping, several of either. Raises RecipeError."""
    parsed: dict[str, Any] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        try:
            if text.lstrip().startswith("{"):
                given = json.loads(text)
            elif sign and key.isidentifier():
                given = {key: yaml.safe_load(value)}
            else:
                raise ValueError("no key=value")
        except (ValueError, yaml.YAMLError, RecursionError) as error:
            raise RecipeError(f"--args {text[:80]!r}: write key=value, or a JSON mapping ({str(error).splitlines()[0][:120]})") from None
        parsed |= given
    return parsed


def layer_table(
    source: str | None, pattern: str | None, *, network: str | None, size: int, scale: int | None,
    args: Mapping[str, Any] | None = None, key: str | None = None,
) -> str:  # fmt: skip
    """`xlli layers`. `source`: weights, or a factory that needs none; then `network` may be left out."""
    import torch

    from xlli_ray.models.layers import list_layers, resolve

    if source is not None and network is None and _is_factory(source):
        source, network = None, source
    if source is not None and network is not None and ":" in network and pattern is None and _is_pattern(source):
        source, pattern = None, source
    model, checked, digest = _model(source, network=network, scale=scale, args=dict(args or {}), key=key)
    example = torch.zeros(model.shape(model.trial_size(size, size)))
    infos = resolve(model, [pattern], example) if pattern else list_layers(model, example)
    rows = [
        [f"{i.tap.module}{':input' if i.tap.side == 'input' else ''}", i.kind, list(i.shape),
         f"{i.stride[0]:g}×{i.stride[1]:g}" if i.stride else None, i.parameters, i.calls]
        for i in infos
    ]  # fmt: skip
    head = f"{model.network}, ×{model.scale}, {counted(model.channels, 'channel')}, "
    head += f"range {model.range[0]:g}…{model.range[1]:g}, input {size}×{size}"
    notes = [f"note: {note}" for note in (*checked, *model.notes)]
    return "\n".join([head, *digest, *notes, grid(rows, ["layer", "kind", "shape", "stride (input px)", "parameters", "calls"])])


def _is_factory(source: str) -> bool:
    """Whether the text names a factory and no file of weights: `my.py:make`, `package.module:make`."""
    match = re.fullmatch(r"(?!builtin:)[^:]+:[A-Za-z_]\w*", source)
    return match is not None and not Path(source).exists()


def _is_pattern(source: str) -> bool:
    """Whether what stands where weights are expected is a layer pattern."""
    return not _WEIGHTS.search(source) and not Path(source).exists() and "://" not in source and not source.startswith("builtin:")


def _model(
    source: str | None, *, network: str | None, scale: int | None, args: dict[str, Any], key: str | None
) -> tuple[Model, tuple[str, ...], tuple[str, ...]]:
    """The model, what reading its file had to say, and the line of a model's entry that has the file checked."""
    from xlli_ray.corpus.files.sources import read_bytes
    from xlli_ray.models.build_model import ModelSpec, load_model
    from xlli_ray.models.builtin_weights import builtin_path
    from xlli_ray.models.checkpoint import read_state_dict
    from xlli_ray.models.model_spec import BUILTIN

    spec = ModelSpec(id="checkpoint", weights=source, network=network, scale=scale, args=args)
    if source is None:
        if network is None:
            raise WeightsError("give a file of weights, builtin:NAME, or a factory: xlli layers FILE.py:factory")
        return load_model(spec, {}), (), ()
    try:
        data = builtin_path(source).read_bytes() if source.startswith(BUILTIN) else read_bytes(source)
    except SampleError as error:
        raise WeightsError(f"weights: {error}") from error
    read = read_state_dict(data, name=source, key=key)
    line = () if source.startswith(BUILTIN) else (f"sha256: {read.file_sha256}",)
    unchecked = "its format has no checksums: `sha256` in the model's entry has the file checked"
    return load_model(spec, read.tensors), (*read.notes, *([unchecked] if line and not read.checked else [])), line
