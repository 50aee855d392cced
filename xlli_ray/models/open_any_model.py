"""`open_model`: the shortcut from a checkpoint or module to a `Model`, for notebooks; a study uses its recipe."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xlli_ray.errors import NetworkError
from xlli_ray.models.accepted_sizes import with_rule
from xlli_ray.models.build_model import load_model
from xlli_ray.models.builtin_weights import builtin_path
from xlli_ray.models.checkpoint import read_state_dict
from xlli_ray.models.model import ClipModel, ImageModel, Model, Range, frame_by_frame
from xlli_ray.models.model_spec import BUILTIN, ModelSpec


def open_model(source: str | os.PathLike[str] | nn.Module | Model, **known: Any) -> Model:
    """A model from a checkpoint's path, `builtin:NAME`, a torch module, or a `Model`, which is returned unchanged.

    `known`: fields of a recipe's model entry (`network`, `scale`, `range`, `args`, …). A bare module needs `scale`; its input and output
    are RGB in 0..1 unless `range` or `channels` are given; its sizes are determined by trial unless `multiple` or `minimum` are given; with
    `frames="all"` it takes clips, with `frames="each"` it is run over them (its sizes are then not tried). The module is copied: the
    caller's, which may be in training, is not changed.
    Raises WeightsError and NetworkError.
    """
    if isinstance(source, Model):
        return source
    if isinstance(source, nn.Module):
        if "scale" not in known:
            raise NetworkError("a bare torch module does not declare its scale: give scale=4 (1 for restoration)")
        fields: dict[str, Any] = {
            "id": type(source).__name__, "network": f"{type(source).__module__}:{type(source).__qualname__}", "network_version": 0,
            "channels": 3, "multiple": 1, "minimum": 1, "output": "image", "weights_sha256": "", **known,
        }  # fmt: skip
        fields["range"] = Range(*fields.get("range", (0.0, 1.0)))
        how = fields.pop("frames", None)
        module = _copied(source).eval().requires_grad_(False)
        if how == "all":
            return ClipModel(module=module, **fields)
        made = ImageModel(module=module, **fields)
        if how == "each":
            return frame_by_frame(made)
        return made if known.keys() & {"multiple", "minimum", "square"} else with_rule(made)
    text = os.fspath(source)
    data = builtin_path(text) if text.startswith(BUILTIN) else Path(text)
    read = read_state_dict(data, name=text, key=known.pop("key", None), sha256=known.pop("sha256", None))
    spec = ModelSpec(**{"id": Path(text.removeprefix(BUILTIN)).stem, "weights": text, **known})
    return load_model(spec, read.tensors)


def _copied(source: nn.Module) -> nn.Module:
    """A copy with its own tensors, without gradients. Tensors computed from others (weight norm) are copied with their current values."""
    memo: dict[int, Any] = {}
    for module in source.modules():
        for value in vars(module).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
        for parameter in module.parameters(recurse=False):
            copied = parameter.detach().clone(memory_format=torch.preserve_format)
            memo[id(parameter)] = nn.Parameter(copied, requires_grad=False)
    try:
        return copy.deepcopy(source, memo)
    except Exception as error:  # a module may hold anything
        raise NetworkError(
            f"{type(source).__name__} cannot be copied ({type(error).__name__}: {error}), and the network itself must not be changed:"
            " give the path of its checkpoint, or a module that copy.deepcopy can copy"
        ) from error
