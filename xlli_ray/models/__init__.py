"""Networks: checkpoint -> `Model`, which maps images or clips in 0..1 to the same and keeps gradients; and its layers.

    bytes --checkpoint.read_state_dict--> tensors --load_model(spec)--> Model --layers.capture--> features

Importing this package imports no torch; the names below are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xlli_ray.models.build_model import load_model
    from xlli_ray.models.builtin_weights import builtin_names, builtin_path
    from xlli_ray.models.checkpoint import StateDict, read_state_dict, to_safetensors, weights_sha256
    from xlli_ray.models.cost import activation_bytes, multiply_adds
    from xlli_ray.models.layers import LayerInfo, capture, list_layers, resolve
    from xlli_ray.models.model import ClipModel, ImageModel, Model, Range
    from xlli_ray.models.model_spec import ModelSpec
    from xlli_ray.models.open_any_model import open_model
    from xlli_ray.models.tap import Tap

_HOME = {
    "StateDict": "checkpoint", "read_state_dict": "checkpoint", "to_safetensors": "checkpoint",
    "weights_sha256": "checkpoint",
    "activation_bytes": "cost", "multiply_adds": "cost",
    "LayerInfo": "layers", "Tap": "tap", "capture": "layers", "list_layers": "layers", "resolve": "layers",
    "load_model": "build_model",
    "ClipModel": "model", "ImageModel": "model", "Model": "model", "Range": "model", "open_model": "open_any_model",
    "ModelSpec": "model_spec", "builtin_names": "builtin_weights", "builtin_path": "builtin_weights",
}  # fmt: skip

__all__ = [
    "ClipModel", "ImageModel", "LayerInfo", "Model", "ModelSpec", "Range", "StateDict", "Tap", "activation_bytes", "builtin_names",
    "builtin_path", "capture", "list_layers", "load_model", "multiply_adds", "open_model", "read_state_dict", "resolve", "to_safetensors",
    "weights_sha256",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
